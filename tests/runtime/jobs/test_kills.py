"""The tests of kills.py, in a process of their own: a fork takes along the locks of threads that others started."""

from support.rendering import ROOT, outcome


def test_a_kill_at_any_step_leaves_storage_that_loads_and_can_go_on() -> None:
    code, said = outcome(ROOT, "tests/lifecycle/kills.py")
    assert code == 0, said
    assert "8 passed" in said
