"""Simulated years with a change: the commands of a repository learn it, and the alarm ends."""

import sys

import pytest

from support.rendering import ROOT, run


@pytest.mark.slow
@pytest.mark.proof
@pytest.mark.parametrize("kind", ["concept", "covariate", "none"])
def test_a_change_is_learned_from_the_second_retrain_on(kind: str) -> None:
    done = run(sys.executable, str(ROOT / "tests/support/loop.py"), "3" if kind != "none" else "1", kind, folder=ROOT)
    assert done.returncode == 0, done.stdout
