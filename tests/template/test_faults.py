"""The suite can fail: each planted fault of faults.toml makes its test fail."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from support.rendering import ROOT, Template, outcome

FAULTS: list[dict[str, Any]] = tomllib.loads((ROOT / "tests/faults.toml").read_text(encoding="utf-8"))["fault"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the working tree, a repository of its own with the history of this one."""
    return Template.with_history(ROOT, tmp_path_factory.mktemp("faults") / "tree").folder


def test_there_are_enough_faults_and_each_has_its_promise() -> None:
    assert len(FAULTS) >= 12
    promises = [fault["promise"] for fault in FAULTS]
    assert len(set(promises)) == len(promises)


def test_the_test_of_each_fault_exists(tree: Path) -> None:
    """The suite runs them, those of template/ in renders."""
    names = dict.fromkeys(fault["test"] for fault in FAULTS)
    for place in ("tests/", "template/"):
        code, output = outcome(tree, "--collect-only", *(name for name in names if name.startswith(place)))
        assert code == 0, output


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault["promise"])
def test_the_fault_makes_its_test_fail(tree: Path, fault: dict[str, Any]) -> None:
    path = tree / fault["file"]
    original = path.read_text(encoding="utf-8")
    assert original.count(fault["find"]) == 1, f"{fault['file']} does not contain {fault['find']!r} exactly once"
    path.write_text(original.replace(fault["find"], fault["replace"]), encoding="utf-8")
    try:
        code, output = outcome(tree, "-p", "no:schemathesis", fault["test"])
    finally:
        path.write_text(original, encoding="utf-8")
    # 1 is a test that failed; a test that does not exist or does not collect has another code.
    assert code == 1, output
