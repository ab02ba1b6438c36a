"""A repository that has left the template passes its own commands and the tests that moved in."""

from pathlib import Path

import pytest

from looseleaf.project import make
from looseleaf.snapshot import git
from support.proposals import save
from support.rendering import Template, run
from support.workflows import FEW_TESTS

pytestmark = pytest.mark.slow


def test_a_repository_that_has_left_the_template_keeps_running(template: Template, tmp_path: Path) -> None:
    folder = template.copy(tmp_path / "project")
    git("init", "--quiet", folder=folder)
    for goal in ("setup", "eject"):
        done = run(*make(goal), folder=folder)
        assert done.returncode == 0, done.stdout
        save(folder, f"make {goal}")
    tests = (".venv/bin/pytest", "-q", "-c", "lifecycle/tests/pytest.ini")
    # All tests can be imported; those of one package run, because all of them take about ten minutes.
    for step, options in (
        (make("check", "test", "smoke"), FEW_TESTS),
        ((*tests, "--collect-only", "lifecycle/tests"), ""),
        ((*tests, "lifecycle/tests/runtime/contract"), ""),
    ):
        done = run(*step, folder=folder, PYTEST_ADDOPTS=options)
        assert done.returncode == 0, done.stdout
    assert not (folder / ".copier-answers.yml").exists()
    assert "passed" in done.stdout
