"""Run the tests of kills.py in a process of their own: a fork would copy locks of threads that other tests started."""

import pytest

from support.rendering import ROOT, outcome


@pytest.mark.slow
def test_a_kill_at_any_step_leaves_storage_that_loads_and_can_go_on() -> None:
    code, said = outcome(ROOT, "tests/support/kills.py")
    assert code == 0, said
    assert "8 passed" in said
