"""Records of checks: what `make lint`, `make test` and `make test-slow` write for a release."""

import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from looseleaf.snapshot import git
from maintenance import checks
from support import PATIENCE
from support.rendering import ROOT, SOURCES, run, start

PASS, FAIL = ["true"], ["false"]


def test_a_passed_check_is_green_for_its_commit_only(checkout: Path) -> None:
    commit = git("rev-parse", "HEAD", folder=checkout)
    assert not checks.is_green(checkout, "test", commit)
    assert checks.run(checkout, "test", PASS) == 0
    assert checks.is_green(checkout, "test", commit)
    assert not checks.is_green(checkout, "lint", commit)
    assert not checks.is_green(checkout, "test", git("rev-parse", "HEAD~1", folder=checkout))
    assert checks.run(checkout, "test", FAIL) == 1
    assert not checks.is_green(checkout, "test", commit)


def test_a_check_of_changed_files_is_not_green(checkout: Path) -> None:
    commit = git("rev-parse", "HEAD", folder=checkout)
    assert checks.run(checkout, "test", [sys.executable, "-c", "open('new.txt', 'w')"]) == 0
    assert not checks.is_green(checkout, "test", commit)
    assert checks.run(checkout, "test", ["rm", "new.txt"]) == 0
    assert not checks.is_green(checkout, "test", commit)
    assert checks.run(checkout, "test", PASS) == 0
    assert checks.is_green(checkout, "test", commit)


def test_an_interrupted_check_leaves_no_record(checkout: Path) -> None:
    commit = git("rev-parse", "HEAD", folder=checkout)
    assert checks.run(checkout, "test", PASS) == 0
    command = [sys.executable, "-m", "maintenance.checks", "test", "sh", "-c", "kill -INT $PPID; exec sleep 600"]
    process = start(*command, folder=checkout, env=os.environ | {"PYTHONPATH": SOURCES})
    try:
        assert process.wait(PATIENCE) == 130
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert not checks.is_green(checkout, "test", commit)


@pytest.mark.parametrize("goal", checks.GOALS)
def test_make_records_a_complete_run_and_not_a_part(goal: str) -> None:
    recorded = f"maintenance.checks {goal} "
    assert recorded in run("make", "--dry-run", goal, folder=ROOT).stdout
    assert recorded not in run("make", "--dry-run", goal, "ARGS=tests/runtime", folder=ROOT).stdout
