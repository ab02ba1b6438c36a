"""The images of a fresh render, built by buildah on stand-ins of the base images and run hardened by podman."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from looseleaf.project import make, post
from looseleaf.snapshot import git
from maintenance.demo import readme_request
from support.processes import free_port
from support.rendering import ROOT, Template, run, tool
from support.tools import needs
from support.waiting import eventually

TOOLS = os.environ.get("LOOSELEAF_TOOLS", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("image"),
    needs("buildah", "podman", "runc", "mmdebstrap"),
    pytest.mark.skipif(not TOOLS, reason="LOOSELEAF_TOOLS does not name the folder with base-images.sh"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can build the stand-ins of the base images"),
]

# The standard runtime of podman does not accept the control groups of every CI machine.
BUILD = "--runtime runc --isolation oci --pull=never --network host"
PODMAN = ("podman", "--runtime", "runc", "--cgroup-manager", "cgroupfs")
LIMITS = ("--ulimit", "nofile=4096:4096", "--ulimit", "nproc=4096:4096")
USER = "10001"
# Planted before the images are built; none may be in an image.
SECRETS = (".env", "src/model/.env", "config/tls.key", "lifecycle/own.pem", "data/secret.csv", "storage/secret.txt")
STATE = """
import json, os
status = dict(line.split(":", 1) for line in open("/proc/1/status").read().splitlines())
print(json.dumps({
    "user": os.getuid(), "capabilities": int(status["CapEff"], 16), "no_new_privileges": int(status["NoNewPrivs"]),
    "writable": [each for each in ("/", "/app", "/app/storage/bundles") if os.access(each, os.W_OK)],
}))
"""
CONTENT = """
import importlib.util, json, shutil
programs = [each for each in ("uv", "uvx", "gcc", "git") if shutil.which(each)]
libraries = [each for each in ("sklearn", "pandas", "duckdb", "mlflow", "onnx") if importlib.util.find_spec(each)]
print(json.dumps([programs, libraries]))
"""


@dataclass(frozen=True)
class Images:
    """A rendered repository, and an image store of its own for buildah and podman."""

    folder: Path
    variables: dict[str, str]

    def run(self, *command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
        return run(*command, folder=self.folder, **self.variables | variables)

    def done(self, *command: str) -> str:
        """Run a command that must succeed, and return its output without the warnings of podman."""
        done = self.run(*command)
        assert done.returncode == 0, done.stdout
        return "\n".join(line for line in done.stdout.splitlines() if not line.startswith("time="))

    def build(self, *variables: str) -> str:
        """Run `make image`, and return the command that it prints."""
        output = self.done(*make("-s", "image", "ENGINE=buildah", f"OPTIONS={BUILD}", *variables))
        return re.findall(r"^  (podman run .*)$", output, re.MULTILINE)[0]

    def job(self, printed: str, *command: str) -> str:
        """Run a command instead of `monitor`, as the printed command does, but with a folder of data to write to."""
        printed = printed.replace('"$(id -u):$(id -g)"', USER).replace(":/app/data:ro", ":/app/data")
        words = self.words(printed)
        assert words.pop() == "monitor"
        return self.done(*PODMAN, "run", *LIMITS, *words[2:], *command)

    def words(self, printed: str) -> list[str]:
        return shlex.split(printed.replace("$PWD", str(self.folder)))

    @contextmanager
    def service(self, printed: str, name: str) -> Iterator[str]:
        """Run the printed command on a free port in the background; yields the address."""
        port = free_port()
        words = self.words(printed.replace("--rm ", "").replace("127.0.0.1:8000:", f"127.0.0.1:{port}:"))
        self.done(*PODMAN, "run", *LIMITS, "--detach", "--name", name, *words[2:])
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            self.run(*PODMAN, "rm", "--force", "--volumes", name)

    def is_healthy(self, name: str) -> bool:
        return self.run(*PODMAN, "healthcheck", "run", name).returncode == 0

    def python(self, name: str, code: str) -> Any:
        """Return what code in a running container prints as JSON."""
        return json.loads(self.done(*PODMAN, "exec", name, "python", "-c", code))

    def size(self, image: str) -> int:
        return int(json.loads(self.done(*PODMAN, "image", "inspect", image))[0]["Size"])


def image_of(printed: str) -> str:
    return re.findall(r" (churn-(?:serve|jobs):\S+)", printed)[0]


@pytest.fixture(scope="module")
def images(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Images]:
    """Render a repository with the environment of the suite, and build the stand-ins of the base images."""
    work = tmp_path_factory.mktemp("images")
    folder = template.copy(work / "project", platform="kubernetes")
    (folder / ".venv").symlink_to(sys.prefix)
    done = run(tool("uv"), "lock", "--quiet", folder=folder)
    assert done.returncode == 0, done.stdout
    for name in SECRETS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("s3cret")
    # As a checkout with the umask 077 has them; the user of a container is another one.
    for name in ("config/base.yaml", "src/model/contract.py", "lifecycle/src/lifecycle/settings.py"):
        (folder / name).chmod(0o600)
    git("init", "--quiet", folder=folder)
    git("add", "--all", folder=folder)
    git("commit", "--quiet", "--message", "First", folder=folder)
    for name in ("data", "storage"):
        shutil.chown(folder / name, int(USER))
    (work / "tmp").mkdir()
    (work / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{work}/graph"\nrunroot = "{work}/run"\n'
    )
    made = Images(folder, {"CONTAINERS_STORAGE_CONF": str(work / "storage.conf"), "TMPDIR": str(work / "tmp")})
    # What has no part in an image stays in the checkout: it takes a minute.
    base = {"WORKDIR": str(ROOT / "build/base-images"), "PYTHON_HOME": sys.base_prefix}
    base |= {"PY": "{}.{}.{}".format(*sys.version_info)}
    base["UV"] = re.findall(r"^UV_VERSION := (\S+)", (folder / "lifecycle/lifecycle.mk").read_text(), re.M)[0]
    try:
        done = made.run("bash", f"{TOOLS}/base-images.sh", **base)
        assert done.returncode == 0, done.stdout
        yield made
    finally:
        made.run(*PODMAN, "rm", "--all", "--force")
        made.run("buildah", "rm", "--all")
        made.run("umount", str(work / "graph/overlay"))
        shutil.rmtree(work)


@pytest.fixture(scope="module")
def jobs(images: Images) -> str:
    """Return the command that runs a job, after the jobs have deployed a first version."""
    # No later build has a layer of it, and to store the layers of its build stage takes long.
    printed = images.build("TARGET=jobs", f"OPTIONS={BUILD} --layers=false")
    for command in ("sample", "train", "promote", "features"):
        images.job(printed, command)
    return printed


@pytest.fixture(scope="module")
def serve(images: Images, jobs: str) -> str:
    """Return the command that runs the service with the version that the jobs have deployed."""
    return images.build("BAKE=1", f"OPTIONS={BUILD} --secret id=ca,src=/etc/ssl/certs/ca-certificates.crt")


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
        images.done(*PODMAN, "stop", "--time", "30", "hardened")
        state = json.loads(images.done(*PODMAN, "inspect", "hardened"))[0]["State"]
        assert (state["Status"], state["ExitCode"]) == ("exited", 0)
        assert "Application shutdown complete" in images.done(*PODMAN, "logs", "hardened")
        # The prediction is in the volume, from which a job reads it.
        volume = images.done(*PODMAN, "volume", "inspect", "--format", "{{.Mountpoint}}", "churn-predictions").strip()
        (line,) = next(Path(volume).rglob("segments/*")).read_text().splitlines()
        assert readme_request(images.folder)["customer_id"] in line


def test_the_image_of_the_service_has_only_what_an_onnx_bundle_needs(images: Images, serve: str, jobs: str) -> None:
    with images.service(serve, "content"):
        assert images.python("content", CONTENT) == [[], []]
    small, large = (images.size(image_of(printed)) for printed in (serve, jobs))
    print(f"serve: {small / 1e6:.0f} MB; with scikit-learn and pandas (jobs): {large / 1e6:.0f} MB")
    assert 0 < 2 * small <= large


def test_the_labels_name_model_version_commit_and_owners(images: Images, serve: str) -> None:
    image = json.loads(images.done(*PODMAN, "image", "inspect", image_of(serve)))[0]
    labels = {name.rpartition(".")[2]: text for name, text in image["Labels"].items() if "opencontainers" in name}
    (version,) = [path.name for path in images.folder.glob("storage/bundles/*")]
    commit = git("rev-parse", "HEAD", folder=images.folder)
    assert labels == {"title": "churn", "version": version, "revision": commit, "authors": "nobody yet"}


def test_no_secret_and_no_data_are_in_an_image(images: Images, serve: str, jobs: str) -> None:
    for printed in (serve, jobs):
        command = ("run", *LIMITS, "--rm", "--network", "none", "--entrypoint", "grep", image_of(printed))
        done = images.run(*PODMAN, *command, "-rl", "s3cret", "/app", "--exclude-dir=.venv")
        assert done.returncode == 1, done.stdout
        listed = images.run(*PODMAN, *command[:-2], "ls", image_of(printed), "-A", "/app").stdout.split()
        assert not {".git", "data", ".env"} & {*listed}


def test_a_mounted_storage_is_served(images: Images, serve: str) -> None:
    printed = images.build()
    assert '"$(id -u):$(id -g)"' in printed
    printed = printed.replace('"$(id -u):$(id -g)"', USER).replace(":8000 ", ":9000 -e LIFECYCLE_SERVE__PORT=9000 ")
    with images.service(printed, "mounted") as address:
        eventually(lambda: images.is_healthy("mounted"))
        assert post(f"{address}/predict", readme_request(images.folder)).keys() == {"prediction", "probability"}


def test_a_variable_selects_the_environment_of_a_container(images: Images, serve: str) -> None:
    container = ("run", *LIMITS, "--rm", "--network", "none", "-e", "ENVIRONMENT=staging", image_of(serve))
    done = images.run(*PODMAN, *container)
    assert done.returncode == 1
    assert "error: nothing is deployed in staging" in done.stdout


def test_an_image_with_a_planted_fault_is_found(images: Images, serve: str) -> None:
    """Without USER the process is root, and with another path of the health check the container is unhealthy."""
    path = images.folder / "deploy/Containerfile"
    text = path.read_text()
    assert "USER" in text
    try:
        path.write_text(re.sub(r"^USER .*\n", "", text, flags=re.M).replace("/readyz", "/nothing"))
        printed = images.build("BAKE=1")
    finally:
        path.write_text(text)
    with images.service(printed, "faulty") as address:
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
