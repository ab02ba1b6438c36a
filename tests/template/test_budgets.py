"""Ceilings for what a reader has to read. They may only fall."""

from collections.abc import Callable
from pathlib import Path

import pytest

from looseleaf.snapshot import git
from support.rendering import ROOT, TEMPLATE, files

RUNTIME = TEMPLATE / "lifecycle/src/lifecycle"
HOOKS = ROOT / "hooks/looseleaf"


def modules(folder: Path) -> list[Path]:
    listed = git("ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", str(folder), folder=ROOT)
    return [path for name in listed.split("\0") if name.endswith(".py") and (path := ROOT / name).is_file()]


def non_blank_lines(paths: list[Path]) -> int:
    return sum(bool(line.strip()) for path in paths for line in path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize(("folder", "lines", "count"), [(RUNTIME, 8991, 90), (HOOKS, 5000, 60)])
def test_the_code_stays_within_its_budget(folder: Path, lines: int, count: int) -> None:
    paths = modules(folder)
    assert non_blank_lines(paths) <= lines
    assert len(paths) <= count


@pytest.mark.parametrize("folder", [RUNTIME, HOOKS])
def test_no_module_has_more_than_250_lines(folder: Path) -> None:
    long = {path.name: count for path in modules(folder) if (count := len(path.read_text().splitlines())) > 250}
    assert long == {}


def test_no_test_file_has_more_than_400_lines() -> None:
    paths = [*(ROOT / "tests").rglob("*.py"), *(TEMPLATE / "tests").rglob("*.py")]
    long = {path.name: count for path in paths if (count := len(path.read_text().splitlines())) > 400}
    assert long == {}


def test_a_default_render_stays_within_its_budget(render: Callable[..., Path]) -> None:
    assert len(files(render())) <= 148


def test_the_code_of_the_team_stays_within_its_budget() -> None:
    paths = [*(TEMPLATE / "src").rglob("*.py"), *(TEMPLATE / "src").rglob("*.sql")]
    assert non_blank_lines(paths) <= 350


def test_folders_of_the_runtime_have_few_entries() -> None:
    crowded = {
        str(folder): len(names)
        for folder in {path.parent for path in modules(RUNTIME)} - {RUNTIME}
        if len(names := {path.name for path in folder.iterdir() if path.name != "__pycache__"}) > 13
    }
    assert crowded == {}
