"""The rendered workflow on a fresh clone: it passes as committed, and a defect fails in the right step."""

import os
from pathlib import Path

import pytest
import sklearn.datasets

from looseleaf.project import make
from looseleaf.snapshot import git
from support.clones import changed, commit, first_push
from support.rendering import Template, run
from support.workflows import FEW_TESTS, Runner

TOOLS = os.environ.get("LOOSELEAF_TOOLS")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("ci"),
    pytest.mark.skipif(not TOOLS, reason="LOOSELEAF_TOOLS does not name the folder that holds gha_run/"),
]
STEPS = ["uses actions/checkout", "uses astral-sh/setup-uv"]
MAKES = ["make setup", "make check", "make provenance", "make test", "make smoke"]


@pytest.fixture(scope="session")
def committed(template: Template, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the default repository as its author first pushes it."""
    return first_push(template, tmp_path_factory.mktemp("ci") / "project")


def test_the_first_push_passes(runner: Runner, committed: Path) -> None:
    steps = runner.steps(committed)
    assert [step.name for step in steps] == [*STEPS, *MAKES]
    assert [step.state.split(":")[0] for step in steps] == ["equivalent"] * 2 + ["ran"] * 5, steps


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
    runner: Runner, committed: Path, tmp_path: Path, name: str, line: str | None, step: str
) -> None:
    steps = runner.steps(changed(committed, tmp_path / "project", name, line), PYTEST_ADDOPTS=FEW_TESTS)
    assert [each.name for each in steps if each.state == "FAILED"] == [step]


def test_without_the_table_in_git_the_push_passes_and_training_is_skipped(
    runner: Runner, committed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "project"
    git("clone", "--quiet", str(committed), str(folder), folder=committed)
    table = tmp_path / "wine.csv"
    sklearn.datasets.load_wine(as_frame=True).frame.to_csv(table, index=False)
    done = run(*make("setup", "contract", f"DATA={table}", "LABEL=target"), folder=folder)
    assert done.returncode == 0, done.stdout
    commit(folder)
    # That all tests pass without the table is a matter of tests/inference/test_own_table.py.
    steps = runner.steps(folder, PYTEST_ADDOPTS=FEW_TESTS)
    assert [step.state.split(":")[0] for step in steps] == ["equivalent"] * 2 + ["ran"] * 5, steps
    clone = tmp_path / "clone"
    git("clone", "--quiet", str(folder), str(clone), folder=folder)
    (clone / ".venv").symlink_to(folder / ".venv")
    done = run(*make("smoke"), folder=clone, GITHUB_ACTIONS="true")
    assert done.returncode == 0, done.stdout
    assert "::notice::The tables are not available" in done.stdout
    assert not (clone / "storage").exists()
