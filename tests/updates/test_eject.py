"""`make eject` leaves the template: its updates are removed, the runtime's tests move in, the rest is unchanged."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from looseleaf import eject
from looseleaf.snapshot import git
from support.proposals import save
from support.rendering import Template, files, run

# A Python of a repository, as far as eject calls it: it cannot import what only this suite has.
PYTHON = """#!/bin/sh
shift 2
for name; do case $name in
  looseleaf|copier|maintenance|hypothesis) ;;
  client) [ ! -e "$PYTHONPATH/client" ] || echo client ;;
  *) echo $name ;;
esac; done
"""


@pytest.fixture
def rendered(template: Template, tmp_path: Path) -> Callable[[str], Path]:
    """`rendered("gitlab")` returns a committed repository of this template, with an environment."""

    def made(ci: str) -> Path:
        folder = template.copy(tmp_path / ci, ci=ci, platform="kubernetes")
        git("init", "--quiet", folder=folder)
        save(folder, "The first")
        python = folder / ".venv/bin/python"
        python.parent.mkdir(parents=True)
        python.write_text(PYTHON)
        for each in (python, shutil.copy(python, python.with_name("lifecycle"))):
            Path(each).chmod(0o755)
        return folder

    return made


@pytest.mark.parametrize("ci", ["github", "gitlab"])
def test_what_updates_a_repository_is_removed_and_everything_else_stays(
    rendered: Callable[[str], Path], ci: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = rendered(ci)
    before = files(folder)
    assert eject.run(folder) == 0
    assert "This repository has left the template" in capsys.readouterr().out
    after = {name: content for name, content in files(folder).items() if not name.startswith("lifecycle/tests/")}
    assert before.keys() - after.keys() == {name for name in eject.REMOVED if name in before}
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {name for name in eject.EDITS if name in before}
    for name in changed:
        for gone in ("provenance", "manifest_check", "propose", "ci/update.yml", "looseleaf update"):
            assert gone not in after[name].decode()
        if name.endswith(".yml"):
            yaml.safe_load(after[name])
    shown = run("make", "help", folder=folder).stdout
    assert " test-lifecycle " in shown
    assert not {" update ", " propose ", " provenance ", " eject "} & {
        f" {line.split()[0]} " for line in shown.splitlines()
    }
    # All commands that are left can be read by make.
    assert run("make", "--dry-run", "check", "test", "train", folder=folder).returncode == 0


def test_the_tests_of_the_runtime_move_in_with_what_they_import(rendered: Callable[[str], Path]) -> None:
    folder = rendered("github")
    assert eject.run(folder) == 0
    moved = {path.relative_to(folder / eject.TESTS).as_posix() for path in (folder / eject.TESTS).rglob("*.py")}
    assert {"runtime/conftest.py", "runtime/training/test_gate.py", "support/__init__.py", "support/teams.py"} <= moved
    assert {"runtime/cli/test_check.py", "runtime/client/test_calls.py"} <= moved
    # It tests renders.
    assert "runtime/test_architecture.py" not in moved
    assert len([name for name in moved if "/test_" in name]) >= 60
    for name in moved:
        text = (folder / eject.TESTS / name).read_text()
        assert not [line for line in text.splitlines() if line.startswith(("from looseleaf", "import looseleaf"))], name


def test_a_file_that_is_not_the_templates_stops_it_and_nothing_changes(
    rendered: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = rendered("github")
    path = folder / "lifecycle/lifecycle.mk"
    path.write_text(path.read_text().replace("# --- End of the updates", "# mine"))
    save(folder, "An edit")
    before = files(folder)
    assert eject.run(folder) == 1
    assert "lifecycle/lifecycle.mk is not as the template has it" in capsys.readouterr().err
    assert files(folder) == before


def test_it_refuses_uncommitted_changes_a_missing_environment_and_a_second_time(
    rendered: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = rendered("github")
    (folder / "README.md").write_text("mine\n")
    assert eject.run(folder) == 1
    assert "the work tree has uncommitted changes" in capsys.readouterr().err
    save(folder, "Mine")
    (folder / ".venv").rename(folder.parent / "venv")
    assert eject.run(folder) == 1
    assert "Run make setup" in capsys.readouterr().err
    (folder.parent / "venv").rename(folder / ".venv")
    assert eject.run(folder) == 0
    save(folder, "Leave the template")
    assert eject.run(folder) == 1
    assert "this repository has left the template already" in capsys.readouterr().err


def test_outside_of_a_repository_it_is_an_error_of_one_line(tmp_path: Path) -> None:
    done = run(sys.executable, "-m", "looseleaf.cli", "eject", folder=tmp_path)
    assert (done.returncode, "is not in a git repository" in done.stdout, "Traceback" in done.stdout) == (
        1,
        True,
        False,
    )
