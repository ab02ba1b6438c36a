"""The images of a fresh render, built by buildah on stand-ins of the base images and run hardened by podman."""

import argparse
import json
import shlex
from pathlib import Path

import image

from looseleaf.project import make, post
from looseleaf.snapshot import git
from maintenance.demo import readme_request
from support.images import BUILD, MARKS, STATE, USER, Images, image_of
from support.waiting import eventually

pytestmark = MARKS

CONTENT = """
import importlib.util, json, shutil
programs = [each for each in ("uv", "uvx", "gcc", "git") if shutil.which(each)]
libraries = [each for each in ("sklearn", "pandas", "duckdb", "mlflow", "onnx") if importlib.util.find_spec(each)]
print(json.dumps([programs, libraries]))
"""


def test_the_jobs_train_and_promote_in_a_hardened_container(images: Images, jobs: str) -> None:
    (facts,) = images.folder.glob("storage/bundles/*/bundle.json")
    assert json.loads(facts.read_bytes())["code"]["commit"] == git("rev-parse", "HEAD", folder=images.folder)
    assert "rows as of" in images.job(jobs, "score", "--date", "2026-01-01")


def test_the_service_runs_hardened_predicts_and_drains(images: Images, serve: str) -> None:
    with images.service(serve, "hardened") as address:
        eventually(lambda: images.is_healthy("hardened"))
        assert post(f"{address}/predict", readme_request(images.folder)).keys() == {"prediction", "probability"}
        assert images.python("hardened", STATE) == {
            "user": int(USER), "capabilities": 0, "no_new_privileges": 1, "writable": []
        }  # fmt: skip
        images.done("podman", "stop", "--time", "30", "hardened")
        state = json.loads(images.done("podman", "inspect", "hardened"))[0]["State"]
        assert (state["Status"], state["ExitCode"]) == ("exited", 0)
        assert "Application shutdown complete" in images.done("podman", "logs", "hardened")
        # The prediction is in the volume, from which a job reads it.
        volume = images.done("podman", "volume", "inspect", "--format", "{{.Mountpoint}}", "churn-predictions").strip()
        (line,) = next(Path(volume).rglob("segments/*")).read_text().splitlines()
        assert readme_request(images.folder)["customer_id"] in line


def test_the_image_of_the_service_has_only_what_an_onnx_bundle_needs(images: Images, serve: str, jobs: str) -> None:
    with images.service(serve, "content"):
        assert images.python("content", CONTENT) == [[], []]
    small, large = (images.inspect(image_of(printed))["Size"] for printed in (serve, jobs))
    print(f"serve: {small / 1e6:.0f} MB; with scikit-learn and pandas (jobs): {large / 1e6:.0f} MB")
    assert 0 < 2 * small <= large


def test_the_labels_name_model_version_commit_and_owners(images: Images, serve: str) -> None:
    image = images.inspect(image_of(serve))
    labels = {name.rpartition(".")[2]: text for name, text in image["Labels"].items() if "opencontainers" in name}
    (version,) = [path.name for path in images.folder.glob("storage/bundles/*")]
    commit = git("rev-parse", "HEAD", folder=images.folder)
    assert labels == {"title": "churn", "version": version, "revision": commit, "authors": "nobody yet"}


def test_no_secret_and_no_data_are_in_an_image(images: Images, serve: str, jobs: str) -> None:
    for printed in (serve, jobs):
        command = ("run", "--rm", "--network", "none", "--entrypoint", "grep", image_of(printed))
        done = images.run("podman", *command, "-rl", "s3cret", "/app", "--exclude-dir=.venv")
        assert done.returncode == 1, done.stdout
        listed = images.run("podman", *command[:-2], "ls", image_of(printed), "-A", "/app").stdout.split()
        assert not {".git", "data", ".env"} & {*listed}


def test_a_mounted_storage_is_served(images: Images, serve: str) -> None:
    """What is mounted hides what is baked; that an image without anything baked can be built is shown by the jobs."""
    given = argparse.Namespace(target="serve", environment="local", engine="buildah", bake=False)
    printed = image.hardened(given, image_of(serve))
    assert '"$(id -u):$(id -g)"' in printed
    printed = printed.replace('"$(id -u):$(id -g)"', USER).replace(":8000 ", ":9000 -e LIFECYCLE_SERVE__PORT=9000 ")
    with images.service(printed, "mounted") as address:
        eventually(lambda: images.is_healthy("mounted"))
        assert post(f"{address}/predict", readme_request(images.folder)).keys() == {"prediction", "probability"}


def test_a_variable_selects_the_environment_of_a_container(images: Images, serve: str) -> None:
    container = ("run", "--rm", "--network", "none", "-e", "ENVIRONMENT=staging", image_of(serve))
    done = images.run("podman", *container)
    assert done.returncode == 1
    assert "error: nothing is deployed in staging" in done.stdout


def test_an_image_with_a_planted_fault_is_found(images: Images, serve: str) -> None:
    """Without USER the process is root, and with another path of the health check the container is unhealthy."""
    config = images.inspect(image_of(serve))
    kind, *check = config["Healthcheck"]["Test"]
    assert (config["User"], kind, "/readyz" in check[-1]) == (f"{USER}:{USER}", "CMD", True)
    faulty = shlex.join([kind, *check[:-1], check[-1].replace("/readyz", "/nothing")])
    images.derive(image_of(serve), "churn-serve:faulty", "--user", "", "--healthcheck", faulty)
    with images.service(serve.replace(image_of(serve), "churn-serve:faulty"), "faulty") as address:
        eventually(lambda: "200" in images.run("curl", "-si", f"{address}/readyz").stdout)
        assert not images.is_healthy("faulty")
        assert images.python("faulty", STATE)["user"] == 0


def test_the_secret_is_the_certificate_that_downloads_are_verified_with(images: Images, tmp_path: Path) -> None:
    """With the certificate of an authority that has signed nothing here, nothing can be downloaded."""
    end = "-----END CERTIFICATE-----\n"
    known = Path("/etc/ssl/certs/ca-certificates.crt").read_text()
    (tmp_path / "ca.pem").write_text(known.partition(end)[0] + end)
    options = f"OPTIONS={BUILD} --no-cache --secret id=ca,src={tmp_path / 'ca.pem'}"
    done = images.run(*make("-s", "image", "ENGINE=buildah", options), TMPDIR=str(tmp_path))
    assert done.returncode == 2
    assert "certificate" in done.stdout
    assert "buildah could not build the image" in done.stdout
