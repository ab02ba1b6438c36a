"""Each of the 28 rows loses its point by one defect of the evidence, and keeps it without one."""

import os
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lifecycle.timestamps import DAY
from looseleaf.ready.score import ROWS
from support.ready_tree import BUNDLE, DATED, DECISION, DRILLS, NOW, VERSION, Tree, simulate, write

IDS = [row["id"] for row in tomllib.loads(ROWS.read_text(encoding="utf-8"))["rows"]]


@pytest.fixture(scope="session")
def complete(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return write(tmp_path_factory.mktemp("ready") / "repository")


@pytest.fixture
def tree(complete: Tree, tmp_path: Path) -> Tree:
    """A copy for a test to change; the files are as old as the first ones."""
    copy = Tree(Path(shutil.copytree(complete.folder, tmp_path / "repository")))
    # The evidence of tests, and of a year, is as old as its file.
    for name in ("build/tests.xml", f"storage/bundles/{VERSION}/evidence.json"):
        os.utime(copy.folder / name, (NOW - DAY, NOW - DAY))
    for path in (copy.folder / "src").rglob("*.*"):
        os.utime(path, (NOW - 20 * DAY, NOW - 20 * DAY))
    return copy


def of(name: str, key: str, value: Any) -> Callable[[Tree], None]:
    """Return a defect that sets a value in a JSON document; `key` is a path with dots."""

    def defect(tree: Tree) -> None:
        def change(document: Any) -> None:
            *parents, last = key.split(".")
            for parent in parents:
                document = document[int(parent) if isinstance(document, list) else parent]
            document[last] = value

        tree.json(name, change)

    return defect


def failed(check: str, **numbers: Any) -> Callable[[Tree], None]:
    """Return a defect that lets a check of the gate fail."""

    def defect(tree: Tree) -> None:
        def change(document: Any) -> None:
            found = next(each for each in document["checks"] if each["name"] == check)
            found |= {"outcome": "failed", "text": f"{check} is not as it should be"} if not numbers else {}
            found["numbers"] |= numbers

        tree.json(DECISION, change)

    return defect


def in_text(name: str, old: str, new: str) -> Callable[[Tree], None]:
    return lambda tree: tree.text(name, old, new)


STALE = {"kind": "stale", "text": "the training data end long ago", "verdict": "retrain", "columns": []}
HARMFUL = {"mean": -0.02, "se": 0.002}
LOW = {"rows": 400, "value": 0.6, "lower": 0.57, "upper": 0.63}
BETTER = [{"setting": "learning_rate=0.05", "mean": 0.03, "lower": 0.01, "upper": 0.05}]
MISSED = {"verdict": "ok", "text": "ok"}

DEFECTS: dict[str, list[tuple[Callable[[Tree], None], set[str]]]] = {
    "data-1": [(in_text("contract.json", '"x-version": 1', '"x-version":  1'), set())],
    "data-2": [(of(BUNDLE, "benefits.plan", HARMFUL), set()), (of(BUNDLE, "benefits", {}), set())],
    "data-3": [(failed("size"), set())],
    "data-4": [(of(BUNDLE, "dominant", "`plan` alone gives 95% of the improvement"), set())],
    "data-5": [
        (of(DRILLS, "drills.erasure.left", 1), set()),
        (in_text("docs/agreement.md", "a year; none", ""), set()),
    ],
    "data-6": [(in_text("storage/audit.jsonl", "2026-05-20T10:2", "2026-06-20T10:2"), set())],
    "data-7": [(in_text("build/tests.xml", 'name="a"/>', 'name="a"><failure/></testcase>'), {"infrastructure-2"})],
    "model-1": [(of(BUNDLE, "code.edited", True), set()), (of(BUNDLE, "owners.data-science", []), set())],
    "model-2": [(of(DATED, "quality.expected", 0.95), set())],
    "model-3": [(of(DRILLS, "drills.tuning.tried", BETTER), set())],
    "model-4": [(of(DRILLS, "drills.staleness", {"at": NOW, "problem": "no older rows"}), set())],
    "model-5": [(failed("linear"), set())],
    "model-6": [(of(BUNDLE, "slices", {}), set()), (failed("slices"), set())],
    "model-7": [(failed("fairness"), set()), (failed("fairness", tested=0), set())],
    "infrastructure-1": [(of(DRILLS, "drills.pipeline.equal", {"model.onnx": False}), set())],
    "infrastructure-2": [(in_text("build/tests.xml", 'name="c"/>', 'name="c"><error/></testcase>'), set())],
    "infrastructure-3": [(of(DRILLS, "drills.pipeline.problem", "training failed"), {"infrastructure-1"})],
    "infrastructure-4": [(of(DECISION, "overridden", ["linear"]), set()), (of(DECISION, "verdict", "failed"), set())],
    "infrastructure-5": [(of(BUNDLE, "files", {"model.onnx": "f"}), set())],
    "infrastructure-6": [(in_text("storage/audit.jsonl", '"staging"', '"production"'), set())],
    "infrastructure-7": [(of(DRILLS, "drills.rollback.recorded", False), set())],
    "monitoring-1": [(of(DRILLS, "drills.monitoring.nulls", MISSED), set())],
    "monitoring-2": [
        (of(DRILLS, "drills.monitoring.invalid", MISSED), set()),
        (of(DATED, "windows.0.columns.plan.broken", "has 12 nulls"), set()),
    ],
    "monitoring-3": [
        (of(DRILLS, "drills.monitoring.skew", MISSED), set()),
        (of(DATED, "skew.different", 90), set()),
    ],
    "monitoring-4": [(of(DATED, "reasons", [STALE]), set())],
    "monitoring-5": [(of(f"storage/bundles/{VERSION}/evidence.json", "predictions.refit", [0.1, None]), set())],
    "monitoring-6": [(of(DRILLS, "drills.performance.after", 9.0), set())],
    "monitoring-7": [(of(DATED, "quality.overall", LOW), {"model-2"})],
}
CASES = [(row, *each) for row, all_of_it in DEFECTS.items() for each in all_of_it]


def test_complete_evidence_earns_every_point(tree: Tree) -> None:
    score = tree.score()
    assert {row.id: row.text for row in score.rows if row.points < 1} == {}
    assert len(score.rows) == 28
    assert score.score == 7
    assert not any(row.command for row in score.rows)


def test_every_row_has_a_defect() -> None:
    assert list(DEFECTS) == IDS


@pytest.mark.parametrize(("row", "defect", "others"), CASES, ids=[row for row, *_ in CASES])
def test_a_defect_of_the_evidence_loses_the_point_of_its_row(
    tree: Tree, row: str, defect: Callable[[Tree], None], others: set[str]
) -> None:
    defect(tree)
    assert tree.lost() == {row} | others
    found = tree.rows()[row]
    assert found.command
    assert found.text


@pytest.mark.parametrize("row", IDS)
def test_old_evidence_loses_the_point(tree: Tree, row: str) -> None:
    age = tree.rows()[row].age
    found = tree.rows(NOW + (age + 20) * DAY)[row]
    assert found.points == 0
    assert "older than" in found.text


def test_each_section_has_seven_rows_and_the_score_is_the_lowest_sum(tree: Tree) -> None:
    tree.json(DECISION, lambda document: document["checks"].clear())
    score = tree.score()
    assert [IDS.index(f"{section}-7") for section in score.sections] == [6, 13, 20, 27]
    assert score.score == min(map(score.sum_of, score.sections)) < 7


def test_nothing_counts_for_another_contract_or_other_features(tree: Tree) -> None:
    tree.text("contract.json", '"customer_id"', '"client_id"')
    assert {row.points for row in tree.score().rows} == {0}
    assert {row.command for row in tree.score().rows} == {"make train promote"}
    assert "another contract" in tree.problem()
    tree.text("contract.json", '"client_id"', '"customer_id"')
    tree.text("src/model/features.sql", "SELECT", "SELECT DISTINCT")
    assert tree.score().score == 0


def test_nothing_counts_for_other_tables_or_before_a_deployment(tree: Tree) -> None:
    of(DRILLS, "drills.pipeline.data", "d2")(tree)
    assert "the tables give other rows" in tree.problem()
    (tree.folder / "storage/deployments/local.json").unlink()
    assert "nothing is deployed in local" in tree.problem()
    assert tree.score().score == 0


def test_drills_and_reports_about_another_version_do_not_count(tree: Tree) -> None:
    of(DRILLS, "version", "20250101T000000000000-0123abcd")(tree)
    of(DATED, "version", "20250101T000000000000-0123abcd")(tree)
    lost = {row.id for row in tree.score().rows if not row.points}
    assert {"model-2", "model-3", "infrastructure-1", "monitoring-1", "monitoring-4", "monitoring-7"} <= lost


def test_a_simulated_year_earns_half_where_history_of_production_is_needed(tree: Tree) -> None:
    simulate(tree)
    points = {row: found.points for row, found in tree.rows().items() if found.points < 1}
    assert points == {"model-2": 0.5, "monitoring-4": 0.5, "monitoring-7": 0.5}
    # The year of the sample says nothing about another contract.
    (tree.folder / f"build/year/storage/bundles/{VERSION}/features.sql").write_text("SELECT 1", encoding="utf-8")
    assert tree.rows()["monitoring-7"].points == 0


def test_tests_that_ran_before_the_code_changed_do_not_count(tree: Tree) -> None:
    os.utime(tree.folder / "src/model/features.sql", (NOW, NOW))
    assert tree.lost() == {"data-7", "infrastructure-2"}


def test_drills_from_before_the_tables_changed_do_not_count(tree: Tree) -> None:
    table = tree.folder / "data/customers.parquet"
    table.parent.mkdir()
    table.touch()
    os.utime(table, (NOW - 30 * DAY, NOW - 30 * DAY))
    assert tree.lost() == set()
    os.utime(table, (NOW, NOW))
    assert {"infrastructure-1", "infrastructure-7", "model-3", "model-4", "monitoring-1"} <= tree.lost()
