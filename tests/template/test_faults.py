"""The suite can fail: each planted fault of faults.toml turns its test red, and nothing else had."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from support.rendering import ROOT, Template, outcome

FAULTS: list[dict[str, Any]] = tomllib.loads((ROOT / "tests/faults.toml").read_text(encoding="utf-8"))["fault"]
pytestmark = pytest.mark.xdist_group("faults")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the working tree, a repository of its own with the history of this one."""
    return Template.with_history(ROOT, tmp_path_factory.mktemp("faults") / "tree").folder


def test_there_are_enough_faults_and_each_names_its_promise() -> None:
    assert len(FAULTS) >= 12
    promises = [fault["promise"] for fault in FAULTS]
    assert len(set(promises)) == len(promises)


def test_every_test_that_a_fault_names_is_there(tree: Path) -> None:
    """The suite itself runs those of tests/, green; those of template/ run in renders, and here."""
    names = dict.fromkeys(fault["test"] for fault in FAULTS)
    code, said = outcome(tree, "--collect-only", *(name for name in names if name.startswith("tests/")))
    assert code == 0, said
    code, said = outcome(tree, *(name for name in names if name.startswith("template/")))
    assert code == 0, said


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault["promise"])
def test_the_fault_turns_its_test_red(tree: Path, fault: dict[str, Any]) -> None:
    path = tree / fault["file"]
    sound = path.read_text(encoding="utf-8")
    assert sound.count(fault["find"]) == 1, f"{fault['file']} does not hold {fault['find']!r} exactly once"
    path.write_text(sound.replace(fault["find"], fault["replace"]), encoding="utf-8")
    try:
        code, said = outcome(tree, fault["test"])
    finally:
        path.write_text(sound, encoding="utf-8")
    # 1 is a test that failed; a test that does not exist or does not collect is something else.
    assert code == 1, said
