"""`make image` with a builder that only records its arguments, and the rules of `deploy/Containerfile`."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lifecycle.models.bundle import INSTALL
from looseleaf.snapshot import git
from support.builders import Repository, arguments
from support.rendering import TEMPLATE, files, run, tool
from support.services import KNOWN

CONTAINERFILE = (TEMPLATE / "deploy/Containerfile").read_text(encoding="utf-8")
RULES = "\n".join(line for line in CONTAINERFILE.splitlines() if not line.startswith("#"))
LABEL = "--label=org.opencontainers.image."


@pytest.fixture
def repository(render: Callable[..., Path], tmp_path: Path) -> Repository:
    return Repository.of(render(platform="kubernetes", owners="@ana, @bo, @ana"), tmp_path)


def test_a_baked_image_is_of_the_deployed_version_and_says_so(repository: Repository) -> None:
    repository.install("podman")
    version = repository.deploy()
    repository.storage.fill(repository.storage.publish(kind="onnx"), KNOWN)
    done = repository.make("image", "BAKE=1", "OPTIONS=--secret id=ca,src='my ca.pem'")
    given = arguments(done)
    commit = git("rev-parse", "HEAD", folder=repository.folder)
    labels = dict(each.removeprefix(LABEL).split("=", 1) for each in given if each.startswith(LABEL))
    assert labels == {"title": "churn", "version": version, "revision": commit, "authors": "ana, bo"}
    assert given[1:5] == ["build", "--file=deploy/Containerfile", "--target=serve", f"--tag=churn-serve:{version}"]
    assert given[-3:] == ["--secret", "id=ca,src=my ca.pem", "."]
    assert f"--build-arg=PYTHON={sys.version_info[0]}.{sys.version_info[1]}" in given
    context = repository.folder / "build/image/storage"
    baked = {path.relative_to(context).parts[0]: path for path in context.rglob("*") if path.is_file()}
    assert baked.keys() == {"bundles", "deployments", "features"}
    assert json.loads((context / "deployments/local.json").read_bytes())["live"]["version"] == version
    assert "podman run --rm --read-only --tmpfs /tmp --cap-drop ALL" in done.stdout
    assert f"/app/storage/predictions churn-serve:{version}" in done.stdout


def test_a_new_volume_of_the_jobs_can_start_with_the_deployed_version(repository: Repository) -> None:
    repository.install("podman")
    version = repository.deploy()
    repository.storage.fill(repository.storage.publish(kind="onnx"), KNOWN)
    commit = git("rev-parse", "HEAD", folder=repository.folder)
    given = arguments(repository.make("image", "BAKE=1", "TARGET=jobs"))
    assert f"--tag=churn-jobs:{commit}" in given
    assert (repository.folder / "build/image/storage/bundles" / version).is_dir()
    for stage in ("serve", "jobs"):
        assert "COPY --chown=10001:10001 --chmod=755 build/image/storage storage\n" in stages()[stage]


@pytest.mark.parametrize("kind", INSTALL)
def test_the_deployed_version_decides_which_libraries_are_installed(repository: Repository, kind: str) -> None:
    repository.install("buildah")
    repository.deploy(kind)
    (install,) = [each for each in arguments(repository.make("image")) if each.startswith("--build-arg=INSTALL=")]
    assert f"uv sync {install.removeprefix('--build-arg=INSTALL=')}" == INSTALL[kind]
    assert not any((repository.folder / "build/image/storage").rglob("*.json"))


def test_other_libraries_can_be_given_as_the_page_says(repository: Repository) -> None:
    page = (TEMPLATE / "lifecycle/docs/serving.md").read_text(encoding="utf-8")
    (options,) = re.findall(r'`OPTIONS="(--build-arg INSTALL=.*)"` changes', page)
    repository.install("podman")
    given = arguments(repository.make("image", f"OPTIONS={options}"))
    # The last one of a name counts.
    found = [each.rpartition("INSTALL=")[2] for each in given if "INSTALL=" in each]
    assert [f"uv sync {each}" for each in found] == [INSTALL["onnx"], INSTALL["skops"]]
    assert f'ARG INSTALL="{found[0]}"\n' in CONTAINERFILE


def test_the_command_for_production_passes_the_api_key(repository: Repository) -> None:
    repository.install("podman")
    assert " -e LIFECYCLE_API_KEY " in repository.make("image", "ENVIRONMENT=production").stdout


def test_an_edited_work_tree_is_named_in_the_image(repository: Repository) -> None:
    repository.install("docker")
    (repository.folder / "config/base.yaml").write_text("train: {seed: 1}\n")
    given = arguments(repository.make("image", "TARGET=jobs", "ENVIRONMENT=staging", UV_DEFAULT_INDEX="secret"))
    commit = git("rev-parse", "HEAD", folder=repository.folder)
    assert {f"--tag=churn-jobs:{commit}-edited", f"--build-arg=COMMIT={commit}-edited"} <= {*given}
    assert "--build-arg=ENVIRONMENT=staging" in given
    # The builder reads the address, which may contain a password, from its environment.
    assert "--build-arg=UV_DEFAULT_INDEX" in given
    assert "secret" not in str(given)


def without_deployment(repository: Repository) -> None:
    repository.install("docker")


def without_features(repository: Repository) -> None:
    repository.install("docker")
    repository.deploy()


def without_engine(repository: Repository) -> None:
    repository.deploy()


def with_a_damaged_bundle(repository: Repository) -> None:
    repository.install("docker")
    (repository.storage.store.bundles / repository.deploy() / "golden.jsonl").write_text("")


def with_a_failing_builder(repository: Repository) -> None:
    repository.install("docker", code=7)


def without_containerfile(repository: Repository) -> None:
    shutil.rmtree(repository.folder / "deploy")


@pytest.mark.parametrize(
    ("prepare", "variables", "message"),
    [
        (without_deployment, "BAKE=1 ENVIRONMENT=staging", "nothing is deployed in staging"),
        (without_deployment, "BAKE=1 ENVIRONMENT=staging", "Run `make train promote ENVIRONMENT=staging` first"),
        (without_deployment, "BAKE=1 TARGET=jobs", "nothing is deployed in local"),
        (without_deployment, "ENVIRONMENT=prod", "there is no environment 'prod'"),
        (without_deployment, "TARGET=train", "invalid choice: 'train'"),
        (without_deployment, "ENGINE=podman", "podman is not installed here"),
        (without_features, "BAKE=1", ".sqlite is missing, and the service is not ready without it\n  Run `make feat"),
        (without_engine, "", "a container engine is not installed here"),
        (with_a_damaged_bundle, "BAKE=1", "holds a changed golden.jsonl"),
        (with_a_failing_builder, "", "docker could not build the image\n  ENGINE=… selects another engine"),
        (without_containerfile, "", "there is no deploy/Containerfile; make update SET=platform=kubernetes TAKE="),
    ],
)
def test_what_is_missing_is_a_message_with_what_to_do(
    repository: Repository, prepare: Callable[[Repository], Any], variables: str, message: str
) -> None:
    prepare(repository)
    done = repository.make("image", *variables.split())
    assert done.returncode == 2
    assert message in done.stdout
    assert "Traceback" not in done.stdout
    assert "is built" not in done.stdout


def test_a_repository_without_a_service_builds_the_jobs_only(repository: Repository) -> None:
    shutil.rmtree(repository.folder / "lifecycle/src/lifecycle/serving")
    repository.install("docker")
    assert "--target=jobs" in arguments(repository.make("image"))
    assert "invalid choice: 'serve'" in repository.make("image", "TARGET=serve").stdout


def test_all_images_are_pushed_and_a_failure_is_named(repository: Repository) -> None:
    repository.install("docker")
    commands = arguments(repository.make("image", "TARGET=all", "PUSH=Registry.example.org/Team"))
    pushed = [commands[place + 1] for place, each in enumerate(commands) if each == "push"]
    assert [each.rpartition(":")[0] for each in pushed] == [
        "registry.example.org/team/churn-serve", "registry.example.org/team/churn-jobs"
    ]  # fmt: skip
    # Without a password, the login of the machine is used.
    assert "login" not in commands
    (repository.programs / "docker").write_text('#!/bin/sh\n[ "$1" != push ]\n')
    done = repository.make("image", "PUSH=registry.example.org/team")
    assert (done.returncode, "is pushed" in done.stdout) == (2, False)
    assert "docker push of registry.example.org/team/churn-serve:" in done.stdout
    assert "REGISTRY_USER and REGISTRY_PASSWORD" in done.stdout


# --- deploy/Containerfile ---------------------------------------------------------------------------------------------


def stages() -> dict[str, str]:
    """Return the text of each stage by its name."""
    parts = re.split(r"^FROM .* AS (\S+)$", RULES, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_the_containerfile_has_nothing_that_an_older_builder_or_an_air_gap_breaks() -> None:
    assert not re.search(r"^#\s*syntax\s*=", CONTAINERFILE, re.MULTILINE | re.IGNORECASE)
    assert not re.search(r"<<|--link\b|--exclude\b|\bADD\b", RULES)
    assert "RUN" not in stages()["serve"] + stages()["jobs"] + stages()["runtime"]
    mounts = re.findall(r"--mount=(\S+)", RULES)
    assert mounts
    assert all("target=/" in each for each in mounts if "type=secret" not in each)


def test_files_that_only_their_owner_may_read_are_made_readable() -> None:
    copied = re.findall(r"^COPY (?!--from=)(.*)$", RULES, re.MULTILINE)
    assert copied
    assert all("--chmod=755 " in each for each in copied)


def test_no_process_runs_as_root_and_no_uv_is_left() -> None:
    assert re.findall(r"^USER (.*)$", RULES, re.MULTILINE) == ["10001:10001"]
    assert "USER" in stages()["runtime"]
    assert [name for name, text in stages().items() if "--from=uv" in text] == ["build"]
    assert re.findall(r"^FROM (\S+) AS (?:serve|jobs)$", RULES, re.MULTILINE) == ["runtime", "runtime"]


def test_both_bases_and_the_index_are_arguments() -> None:
    assert {*re.findall(r"^FROM (\S+)", RULES, re.MULTILINE)} == {
        "${UV_IMAGE}", "${PYTHON_IMAGE}", "build", "runtime"
    }  # fmt: skip
    assert "ARG UV_DEFAULT_INDEX\n" in stages()["build"]


def test_the_linter_of_container_files_finds_nothing() -> None:
    done = run(tool("hadolint"), "--no-color", str(TEMPLATE / "deploy/Containerfile"), folder=TEMPLATE)
    assert done.returncode == 0, done.stdout


def test_the_default_render_has_no_file_of_it(render: Callable[..., Path]) -> None:
    assert not [name for name in files(render()) if name.startswith("deploy/") or name.endswith("/image.py")]
