"""The rendered workflow on a fresh clone: it passes as committed, and a defect fails in the right step."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import sklearn.datasets

from looseleaf.project import make
from looseleaf.snapshot import git
from support.clones import changed, commit, first_push
from support.rendering import Template, run, tool

TOOLS = os.environ.get("LOOSELEAF_TOOLS")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("ci"),
    pytest.mark.skipif(not TOOLS, reason="LOOSELEAF_TOOLS does not name the folder that holds gha_run/"),
]
WORKFLOW = ".github/workflows/lifecycle.yml"
STEPS = ["uses actions/checkout", "uses astral-sh/setup-uv"]
MAKES = ["make setup", "make check", "make provenance", "make test", "make smoke"]

RunSteps = Callable[[Path], list[tuple[str, str]]]


@pytest.fixture(scope="session")
def run_steps(tmp_path_factory: pytest.TempPathFactory) -> RunSteps:
    """Return a function that runs the workflow of a repository and returns the name and state of each step."""
    folder = shutil.copytree(Path(str(TOOLS)) / "gha_run", tmp_path_factory.mktemp("tools") / "gha_run")
    built = run("sh", "-c", "npm install --no-audit --no-fund && npm run build", folder=folder, HOME=str(folder))
    assert built.returncode == 0, built.stdout
    # With the uv cache of the suite, a clone installs without downloads.
    cache = folder / "cache"
    cache.mkdir()
    (cache / "uv").symlink_to(os.environ["UV_CACHE_DIR"])

    def steps(repository: Path) -> list[tuple[str, str]]:
        report = folder / "report.json"
        run(
            "node", str(folder / "gha_run.mjs"), "--repo", str(repository), "--json", str(report), WORKFLOW,
            folder=repository, GHA_UV=tool("uv"), GHA_CACHE=str(cache), GHA_TMP=str(folder),
        )  # fmt: skip
        return [(step["step"].split("@")[0], step["state"]) for step in json.loads(report.read_text())]

    return steps


@pytest.fixture(scope="session")
def committed(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the default repository as its author first pushes it."""
    return first_push(template, tmp_path_factory.mktemp("ci") / "project")


def test_the_first_push_passes(run_steps: RunSteps, committed: Path) -> None:
    steps = run_steps(committed)
    assert [name for name, _ in steps] == [*STEPS, *MAKES]
    assert [state.split(":")[0] for _, state in steps] == ["equivalent"] * 2 + ["ran"] * 5, steps


@pytest.mark.parametrize(
    ("name", "line", "step"),
    [
        ("uv.lock", None, "make setup"),
        ("src/model/data.py", "import math\n", "make check"),
        ("tests/test_planted.py", "def test_planted() -> None:\n    assert not 1\n", "make test"),
        ("config/local.yaml", "storage: uv.lock/storage\n", "make smoke"),
    ],
)
def test_a_defect_fails_in_the_step_for_it(
    run_steps: RunSteps, committed: Path, tmp_path: Path, name: str, line: str | None, step: str
) -> None:
    steps = run_steps(changed(committed, tmp_path / "project", name, line))
    assert [name for name, state in steps if state == "FAILED"] == [step]


def test_without_the_table_in_git_the_push_passes_and_training_is_skipped(
    run_steps: RunSteps, committed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "project"
    git("clone", "--quiet", str(committed), str(folder), folder=committed)
    table = tmp_path / "wine.csv"
    sklearn.datasets.load_wine(as_frame=True).frame.to_csv(table, index=False)
    done = run(*make("setup", "contract", f"DATA={table}", "LABEL=target"), folder=folder)
    assert done.returncode == 0, done.stdout
    commit(folder)
    steps = run_steps(folder)
    assert [state.split(":")[0] for _, state in steps] == ["equivalent"] * 2 + ["ran"] * 5, steps
    clone = tmp_path / "clone"
    git("clone", "--quiet", str(folder), str(clone), folder=folder)
    (clone / ".venv").symlink_to(folder / ".venv")
    done = run(*make("smoke"), folder=clone, GITHUB_ACTIONS="true")
    assert done.returncode == 0, done.stdout
    assert "::notice::The tables are not available" in done.stdout
    assert not (clone / "storage").exists()
