"""The workflows that bring a version to production on fresh clones: each step passes, and a fault fails in its step."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from lifecycle.storage import Store
from looseleaf.snapshot import git
from support import hosting
from support.clones import changed, commit
from support.hosting import Issues
from support.rendering import Template, run, tool
from support.storages import PLAIN, Storage
from support.workflows import Runner, Step, install_programs

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("ci"),
    pytest.mark.skipif(not os.environ.get("LOOSELEAF_TOOLS"), reason="LOOSELEAF_TOOLS names no folder with gha_run/"),
]


CREATED = "2026-01-01T00:00:00+00:00"
PUBLISH = 'make image TARGET=all AUDIT=1 SCANNER="$SCANNER" PUSH="$REGISTRY"'


@dataclass(frozen=True)
class Host:
    """A committed repository, the programs of the machine that runs its workflows, and the storage of its variables."""

    committed: Path
    programs: Path
    storage: Storage
    runner: Runner

    def run(self, repository: Path, name: str, *options: str, **environment: str) -> list[Step]:
        """Run a workflow; returns the steps that are no actions, and none of a job that was skipped."""
        variables = {"LIFECYCLE_STORAGE": str(self.storage.store.root), "MONITORED": "staging"}
        given = [text for name, value in variables.items() for text in ("--var", f"{name}={value}")]
        passed = {"GHA_PATH": f"{self.programs}:{os.environ['PATH']}", "GHA_UV": str(self.programs / "uv")}
        # The environment of the suite does not contain the package of the repository.
        passed |= {"NO_PROXY": "127.0.0.1", "PYTHONPATH": "src"}
        passed["GHA_PASS"] = "GITHUB_API_URL,NO_PROXY,PYTHONPATH,SSL_CERT_FILE,SSL_CERT_DIR"
        workflow = f".github/workflows/lifecycle-{name}.yml"
        found = self.runner.steps(repository, *given, *options, workflow=workflow, **passed | environment)
        assert not [step for step in found if step.state.startswith("NOT RUN")]
        return [step for step in found if not step.name.startswith("uses ") and step.state != "skipped"]

    def calls(self) -> list[str]:
        """Return the calls of the builder since the last time."""
        path = self.programs / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines


@pytest.fixture(scope="module")
def host(template: Template, tmp_path_factory: pytest.TempPathFactory, runner: Runner) -> Host:
    work = tmp_path_factory.mktemp("host")
    folder = template.copy(work / "project", platform="kubernetes")
    git("init", "--quiet", folder=folder)
    done = run(tool("uv"), "lock", "--quiet", folder=folder)
    assert done.returncode == 0, done.stdout
    commit(folder)
    storage = Storage(Store(work / "storage"), work / "drafts")
    for day in ("20260101T000000", "20260102T000000"):
        storage.deploy(storage.publish(PLAIN, day, kind="onnx", created=CREATED), environment="staging")
    return Host(folder, install_programs(work / "bin"), storage, runner)


def test_a_push_to_the_main_branch_publishes_both_images_and_what_is_in_them(host: Host) -> None:
    steps = host.run(host.committed, "image")
    assert {(step.job, step.name): step.state for step in steps} == {
        ("check", "make setup"): "ran",
        ("check", "make audit"): "ran",
        ("check", "make manifests ENVIRONMENT=staging DRAFT=1"): "ran",
        ("check", "make manifests ENVIRONMENT=production DRAFT=1"): "ran",
        ("publish", "make setup"): "ran",
        ("publish", "make sbom"): "ran",
        ("publish", PUBLISH): "ran",
    }, steps
    commit = git("rev-parse", "HEAD", folder=host.committed)
    calls = host.calls()
    assert [line for line in calls if line.startswith("docker push")] == [
        f"docker push ghcr.io/acme/project/churn-{target}:{commit}" for target in ("serve", "jobs")
    ]
    # The password reaches the program on its standard input only.
    at = calls.index("docker login --username octocat --password-stdin ghcr.io")
    assert calls[at + 1].startswith("xdocker tag ")


def test_a_pull_request_builds_both_images_and_publishes_nothing(host: Host) -> None:
    steps = host.run(host.committed, "image", "--event", "pull_request")
    assert {step.job for step in steps} == {"check", "build"}
    assert {step.state for step in steps} == {"ran"}, steps
    assert [line.split()[1] for line in host.calls()] == ["build", "build"]


@pytest.mark.parametrize(
    ("name", "line", "step", "reason"),
    [
        ("pyproject.toml", "\n[project.optional-dependencies]\nmore = ['tqdm']\n", "make setup", "uv.lock"),
        ("deploy/Containerfile", "USER root\n", "make audit", "DL3002"),
        ("deploy/Containerfile", None, PUBLISH, "there is no deploy/Containerfile"),
    ],
)
def test_a_defect_fails_in_the_step_for_it(
    host: Host, tmp_path: Path, name: str, line: str | None, step: str, reason: str
) -> None:
    steps = host.run(changed(host.committed, tmp_path / "project", name, line), "image")
    (failed,) = [each for each in steps if each.state == "FAILED"]
    assert (failed.name, reason in failed.log) == (step, True), failed.log
    assert not [line for line in host.calls() if line.startswith("docker push")]


def test_the_scheduled_run_opens_an_issue_about_what_it_found_and_fails(host: Host) -> None:
    with hosting.api(Issues()) as api:
        # The deployed model of the tests has no distributions to compare with.
        steps = host.run(host.committed, "monitor", "--event", "schedule", GITHUB_API_URL=api.url)
        assert [step.state for step in steps] == ["ran"] * 3, steps
        # Nothing is deployed there.
        options = ("--event", "schedule", "--var", "MONITORED=production")
        steps = host.run(host.committed, "monitor", *options, GITHUB_API_URL=api.url)
        (failed,) = [step for step in steps if step.state == "FAILED"]
        assert (failed.name, "nothing is deployed in production" in failed.log) == ("make scheduled", True)
        assert steps[-1].state == "ran", steps[-1].log
        titles = [each["title"] for each in api.open]
        assert titles == ["Monitoring of staging: watch", "`make monitor` failed in production"]


def test_without_a_storage_the_schedule_does_nothing(host: Host) -> None:
    assert host.run(host.committed, "monitor", "--event", "schedule", "--var", "LIFECYCLE_STORAGE=") == []


def dispatch(**inputs: str) -> list[str]:
    return ["--event", "workflow_dispatch", *(text for pair in inputs.items() for text in ("--input", "=".join(pair)))]


HOSTILE = "$(touch /tmp/{0}) $(shell touch {0}) `touch {0}`'; touch {0}; '"


def test_a_person_promotes_and_rolls_back_and_the_reason_is_recorded_as_text(host: Host, tmp_path: Path) -> None:
    older, _ = host.storage.store.versions()
    marker = tmp_path / "planted"
    why = HOSTILE.format(marker)
    for given in (
        {"command": "rollback", "reason": why},
        {"command": "promote", "version": older, "reason": why},
    ):
        steps = host.run(host.committed, "promote", *dispatch(environment="staging", **given))
        assert [step.state for step in steps] == ["ran", "ran"], steps[-1].log
    assert not marker.exists()
    entry = json.loads((host.storage.store.root / "audit.jsonl").read_text().splitlines()[-1])
    assert (entry["action"], entry["live"]["version"], entry["why"]) == ("rollback", older, why)
    assert "already; nothing changed" in steps[-1].log


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"environment": "staging", "version": "", "reason": "x"}, "VERSION: is missing"),
        ({"environment": "production", "version": "newest", "reason": "x"}, "is not promoted in production"),
    ],
)
def test_what_may_not_be_promoted_fails(host: Host, inputs: dict[str, str], reason: str) -> None:
    version = host.storage.store.versions()[-1] if inputs["version"] == "newest" else inputs["version"]
    steps = host.run(host.committed, "promote", *dispatch(**inputs | {"version": version}))
    assert (steps[-1].state, reason in steps[-1].log) == ("FAILED", True), steps[-1].log


def test_a_bundle_is_copied_first_where_production_has_a_storage_of_its_own(host: Host) -> None:
    inputs = dispatch(environment="production", version=host.storage.store.versions()[-1], reason="x")
    steps = host.run(host.committed, "promote", *inputs, "--var", "SEPARATE_STORAGE=true")
    assert {step.job for step in steps} >= {"export"}
    assert steps[1].name == 'make bundle VERSION="${VERSION:?is missing}" EXPORT=build/bundle.zip'
