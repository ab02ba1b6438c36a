"""Ceilings for what a reader has to read. They may only fall."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from looseleaf.snapshot import git
from support.rendering import ROOT, TEMPLATE, files

RUNTIME = TEMPLATE / "lifecycle/src/lifecycle"
HOOKS = ROOT / "hooks/looseleaf"
LIFT = HOOKS / "lift"
# What continues the notebook lift after its code is written.
GRADUATE = HOOKS / "graduate.py"
SPARK = RUNTIME / "spark"
# What `make contract` and `make lift` write into the team's zone.
WRITTEN = {HOOKS / "contract/own", LIFT / "own"}
READY = HOOKS / "ready"
MAINTENANCE = ROOT / "maintenance"
# Ten of them let other programs read a version, and people and agents the repository: the protocol's module, the six in
# INTEROP, their page, AGENTS.md and the dev container. Three are docs/slo.yaml, the tool that derives alerts from it,
# and the page about readiness.
# Six are about Spark: an update can bring them to every repository only.
FILES = 145


def modules(folder: Path) -> list[Path]:
    listed = git("ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", str(folder), folder=ROOT)
    return [path for name in listed.split("\0") if name.endswith(".py") and (path := ROOT / name).is_file()]


def non_blank_lines(paths: list[Path]) -> int:
    return sum(bool(line.strip()) for path in paths for line in path.read_text(encoding="utf-8").splitlines())


INTEROP = TEMPLATE / "lifecycle/tools/interop"
# 180 lines of the runtime, in one module, are the Open Inference Protocol, and about 120 what the gate does with
# slices, their limit, the value of a threshold and the benefit of each input.
BUDGETS = [
    (RUNTIME, 10300, 71),
    (SPARK, 640, 5),
    (INTEROP, 715, 6),
    (HOOKS, 5400, 57),
    (LIFT, 2500, 23),
    (GRADUATE, 200, 1),
    (READY, 901, 13),
    (MAINTENANCE, 562, 7),
]


@pytest.mark.parametrize(("folder", "lines", "count"), BUDGETS)
def test_the_code_stays_within_its_budget(folder: Path, lines: int, count: int) -> None:
    # The notebook lift, readiness and the engine Spark have budgets of their own.
    apart = (WRITTEN | {LIFT, GRADUATE, READY, SPARK}) - {folder}
    paths = [path for path in modules(folder) if apart.isdisjoint([path, *path.parents])]
    assert non_blank_lines(paths) <= lines
    assert len(paths) <= count


@pytest.mark.parametrize("folder", [RUNTIME, INTEROP, HOOKS, MAINTENANCE])
def test_no_module_has_more_than_250_lines(folder: Path) -> None:
    long = {path.name: count for path in modules(folder) if (count := len(path.read_text().splitlines())) > 250}
    assert long == {}


def test_no_test_file_has_more_than_400_lines() -> None:
    paths = [*(ROOT / "tests").rglob("*.py"), *(TEMPLATE / "tests").rglob("*.py")]
    long = {path.name: count for path in paths if (count := len(path.read_text().splitlines())) > 400}
    assert long == {}


def test_a_default_render_stays_within_its_budget(render: Callable[..., Path]) -> None:
    # Only a company's fork renders uv.toml.
    assert len(files(render()).keys() - {"uv.toml"}) <= FILES


def test_the_code_of_the_team_stays_within_its_budget() -> None:
    paths = [*(TEMPLATE / "src").rglob("*.py"), *(TEMPLATE / "src").rglob("*.sql")]
    assert non_blank_lines(paths) <= 350


def test_folders_of_the_runtime_have_few_entries() -> None:
    crowded = {
        str(folder): len(names)
        for folder in {path.parent for path in modules(RUNTIME)} - {RUNTIME}
        if len(names := {path.name for path in folder.iterdir() if path.name != "__pycache__"}) > 14
    }
    assert crowded == {}


def test_a_module_that_is_too_long_turns_the_checks_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git("init", "--quiet", folder=tmp_path)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    module = tmp_path / "module.py"
    module.write_text("\n" + "x = 1\n" * 249)
    test_no_module_has_more_than_250_lines(tmp_path)
    test_the_code_stays_within_its_budget(tmp_path, lines=249, count=1)
    module.write_text("\n" + "x = 1\n" * 250)
    with pytest.raises(AssertionError):
        test_no_module_has_more_than_250_lines(tmp_path)
    with pytest.raises(AssertionError):
        test_the_code_stays_within_its_budget(tmp_path, lines=249, count=1)
    with pytest.raises(AssertionError):
        test_the_code_stays_within_its_budget(tmp_path, lines=250, count=0)


def test_a_render_with_one_file_too_many_turns_the_check_red(render: Callable[..., Path], tmp_path: Path) -> None:
    folder = shutil.copytree(render(), tmp_path / "project")
    for number in range(FILES + 1 - len(files(folder).keys() - {"uv.toml"})):
        (folder / f"{number}.txt").touch()
    with pytest.raises(AssertionError):
        test_a_default_render_stays_within_its_budget(lambda: folder)
