"""`make manifests` and `make deploy`, with a kubectl that renders as the real one does and only records the rest."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from support.clusters import IMAGE, KUBECTL, edit, repository
from support.rendering import run

OVERLAY = "overlays/production/kustomization.yaml"
RECORDER = """#!/bin/sh
if [ "$1" = kustomize ]; then exec {real} "$@"; fi
echo "$*" >> {log}
case "$*" in {fails}) echo "the cluster does not do that" >&2; exit {code};; config*) echo the-cluster;; esac
"""


@dataclass(frozen=True)
class Project:
    """A rendered repository with the environment of the suite; `programs` is a folder with all that it can start."""

    folder: Path
    programs: Path

    def make(self, goal: str, *variables: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return run("make", "-s", goal, *variables, folder=self.folder, PATH=str(self.programs), **environment)

    def install(self, fails: str = "nothing", code: int = 1) -> None:
        """Install a kubectl for which the arguments that `fails` matches end with `code`."""
        program = self.programs / "kubectl"
        program.write_text(RECORDER.format(real=KUBECTL, log=self.log, fails=fails, code=code))
        program.chmod(0o755)

    @property
    def log(self) -> Path:
        return self.programs / "kubectl.log"

    def done(self) -> list[str]:
        """Return what was requested from the cluster."""
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def project(render: Callable[..., Path], tmp_path: Path) -> Project:
    folder = shutil.copytree(render(platform="kubernetes"), tmp_path / "project")
    repository(render(platform="kubernetes"), folder)
    (folder / ".venv").symlink_to(sys.prefix)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("make", "sh", "git"):
        (programs / name).symlink_to(str(shutil.which(name)))
    made = Project(folder, programs)
    made.install()
    return made


PATH, NAMESPACE = "build/manifests/production.yaml", "--namespace=production"
SHOW = ["config current-context", f"diff --filename {PATH}"]
SECRET, APPLY = f"get secret churn-api-key {NAMESPACE}", f"apply --filename {PATH}"
STATUS = f"rollout status deployment/churn-serve {NAMESPACE} --timeout=360s"
UNDO = f"`kubectl rollout undo deployment/churn-serve {NAMESPACE}` goes back"


def test_the_manifests_are_written_and_need_no_cluster(project: Project) -> None:
    done = project.make("manifests", f"IMAGE={IMAGE}", ENVIRONMENT="production")
    assert (done.returncode, done.stdout) == (0, f"14 objects: {PATH}\n")
    objects = [*yaml.safe_load_all((project.folder / PATH).read_text())]
    assert {each["metadata"]["namespace"] for each in objects} == {"production"}
    assert project.done() == []


def test_a_deployment_shows_the_difference_applies_it_and_waits(project: Project) -> None:
    # 1 is the code for a difference.
    project.install(fails="diff*", code=1)
    done = project.make("deploy", "ENVIRONMENT=production", f"IMAGE={IMAGE}")
    assert done.returncode == 0, done.stdout
    assert "context the-cluster, namespace=production" in done.stdout
    assert project.done() == [*SHOW, SECRET, APPLY, STATUS]


def test_the_difference_alone_changes_nothing(project: Project) -> None:
    done = project.make("deploy", "ENVIRONMENT=production", f"IMAGE={IMAGE}", "DRY_RUN=1")
    assert done.returncode == 0, done.stdout
    assert project.done() == SHOW


@pytest.mark.parametrize(
    ("fails", "code", "requested", "message"),
    [
        ("diff*", 2, SHOW, "the cluster refuses the objects, or does not respond"),
        ("get*", 1, [*SHOW, SECRET], "there is no Secret churn-api-key in this namespace of the cluster"),
        ("apply*", 1, [*SHOW, SECRET, APPLY], "kubectl did not apply all objects"),
        ("rollout*", 1, [*SHOW, SECRET, APPLY, STATUS], UNDO),
    ],
)
def test_a_deployment_that_fails_says_what_to_do(
    project: Project, fails: str, code: int, requested: list[str], message: str
) -> None:
    project.install(fails, code)
    done = project.make("deploy", "ENVIRONMENT=production", f"IMAGE={IMAGE}")
    assert done.returncode == 2
    assert message in done.stdout
    assert "Traceback" not in done.stdout
    assert project.done() == requested


def without_kubectl(project: Project) -> None:
    (project.programs / "kubectl").unlink()


def without_deploy(project: Project) -> None:
    shutil.rmtree(project.folder / "deploy")


def with_images_of_its_own(project: Project) -> None:
    path = project.folder / "deploy/kubernetes" / OVERLAY
    lines = path.read_text().splitlines()
    path.write_text(
        "\n".join(line.removeprefix("# ") if "# images" in line or "newTag" in line else line for line in lines)
    )


def with_the_example_of_a_bucket(project: Project) -> None:
    edit(project.folder, OVERLAY, "s3://bucket-", "s3://example-")


def as_rendered(project: Project) -> None:
    pass


@pytest.mark.parametrize(
    ("prepare", "variables", "message"),
    [
        (as_rendered, "", "no environment is given\n  ENVIRONMENT=production or staging"),
        (as_rendered, "ENVIRONMENT=prod", "there is no overlay prod\n  ENVIRONMENT=production or staging"),
        (as_rendered, "ENVIRONMENT=../..", "there is no overlay ../.."),
        (as_rendered, "ENVIRONMENT=production", "the image of serve is not named\n  IMAGE=registry.example.org/"),
        (as_rendered, "ENVIRONMENT=production IMAGE=localhost:5000/churn", "IMAGE=localhost:5000/churn has no tag"),
        (with_images_of_its_own, f"ENVIRONMENT=production IMAGE={IMAGE}", "IMAGE would have no effect"),
        (with_the_example_of_a_bucket, f"ENVIRONMENT=production IMAGE={IMAGE}", "Set the bucket of this environment"),
        (without_kubectl, "ENVIRONMENT=production", "neither kubectl nor kustomize is installed here"),
        (
            without_deploy,
            "ENVIRONMENT=production",
            "there is no deploy/kubernetes; make update SET=platform=kubernetes",
        ),
    ],
)
@pytest.mark.parametrize("goal", ["manifests", "deploy"])
def test_what_is_missing_is_a_message_with_what_to_do(
    project: Project, prepare: Callable[[Project], None], variables: str, message: str, goal: str
) -> None:
    prepare(project)
    done = project.make(goal, *variables.split())
    assert done.returncode == 2
    assert message in done.stdout
    assert "Traceback" not in done.stdout
    assert project.done() == []
    assert not (project.folder / "build").exists()


def test_the_overlay_can_name_the_images(project: Project) -> None:
    with_images_of_its_own(project)
    done = project.make("manifests", "ENVIRONMENT=production")
    assert done.returncode == 0, done.stdout
    assert "image: registry.example.org/team/model-serve:1a2b3c\n" in (project.folder / PATH).read_text()


def test_kustomize_renders_where_there_is_no_kubectl_and_kubectl_is_needed_to_deploy(project: Project) -> None:
    without_kubectl(project)
    program = project.programs / "kustomize"
    program.write_text(f'#!/bin/sh\n[ "$1" = build ] && shift && exec {KUBECTL} kustomize "$@"\n')
    program.chmod(0o755)
    assert project.make("manifests", "ENVIRONMENT=staging", f"IMAGE={IMAGE}").returncode == 0
    done = project.make("deploy", "ENVIRONMENT=staging", f"IMAGE={IMAGE}")
    assert done.returncode == 2
    assert "kubectl is not installed here" in done.stdout
