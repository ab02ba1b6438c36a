"""Labels: late ones, corrections and duplicates, and a join that is the same for the same timestamp."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lifecycle.contract import tables
from lifecycle.contract.schema import Contract, Target
from lifecycle.contract.tables import write_parquet
from lifecycle.errors import LifecycleError
from lifecycle.models.bundle import Bundle
from lifecycle.monitoring.collect import collect
from lifecycle.registry import labels, predictions
from lifecycle.storage import Store
from support.logs import DAY, NOON, PREDICTION, ROW, line, write
from support.storages import CHURN, Storage

STORAGES = ("directory", "bucket")


@pytest.fixture
def store(storage: Storage, bundle: Bundle) -> Store:
    """Predictions for Ann and Bob in one request at noon, for Ann again in the evening and on the next day."""
    both = {"rows": [ROW, ROW | {"customer_id": "bob"}], "predictions": [PREDICTION, PREDICTION]}
    lines = [line(bundle.version, NOON, id="r1", **both), line(bundle.version, NOON + 9 * 3600, id="r2")]
    write(storage.store, "a.jsonl", *lines, line(bundle.version, NOON + DAY, id="r3"))
    collect(storage.store, "local")
    return storage.store


def deliver(store: Store, folder: Path, *lines: str, seen: int = NOON + DAY, contract: Contract = CHURN) -> int | None:
    """Add a CSV file."""
    file = folder / "labels.csv"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return labels.add(store, contract, file, seen)


def known(store: Store, as_of: int, contract: Contract = CHURN) -> Sequence[Any]:
    """Request, position, label and when it was seen, for each prediction."""
    with tables.connect() as connection:
        predictions.load_rows(connection, store, "local", 0, 2**40)
        count = labels.joined(connection, store, contract, as_of)
        columns = f"lifecycle_request, lifecycle_position, {labels.LABEL}, {labels.SEEN}"
        found = connection.execute(f"SELECT {columns} FROM {labels.LABELLED}").fetchall()
    assert count == sum(row[2] is not None for row in found)
    return found


def test_a_label_by_request_belongs_to_its_prediction(store: Store, tmp_path: Path) -> None:
    assert deliver(store, tmp_path, "request_id,position,label", "r1,1,churns", "r2,0,stays") == 2
    seen = NOON + DAY
    assert known(store, seen) == [
        ("r1", 0, None, None),
        ("r1", 1, "churns", seen),
        ("r2", 0, "stays", seen),
        ("r3", 0, None, None),
    ]


def test_a_label_by_key_belongs_to_the_predictions_of_its_date(store: Store, tmp_path: Path) -> None:
    assert deliver(store, tmp_path, "customer_id,ts,churned", f"ann,{NOON - 3600},1", "bob,2026-01-02T00:00:00,0") == 2
    assert [row[2] for row in known(store, NOON + DAY)] == ["churns", None, "churns", None]
    unlogged = replace(CHURN, columns=(replace(CHURN.columns[0], loggable=False), *CHURN.columns[1:]))
    for contract in (unlogged, replace(CHURN, columns=CHURN.columns[1:])):
        with pytest.raises(LifecycleError, match="its rows are identified by request_id\n"):
            deliver(store, tmp_path, "key,ts,label", f"eve,{NOON},stays", contract=contract)
    assert len(labels.files(store)) == 1
    assert [row[2] for row in known(store, NOON + DAY, unlogged)] == [None] * 4


def test_the_last_label_counts_and_a_later_delivery_changes_no_join_as_of_an_earlier_time(
    store: Store, tmp_path: Path
) -> None:
    deliver(store, tmp_path, "request_id,label", "r2,stays", seen=NOON + 2 * DAY)
    before = known(store, NOON + 3 * DAY)
    deliver(store, tmp_path, "request_id,label", "r2,churns", "r3,stays", seen=NOON + 4 * DAY)
    # What was seen earlier and arrives later corrects nothing.
    deliver(store, tmp_path, "request_id,label,seen_ts", f"r2,stays,{NOON + 2 * DAY}", seen=NOON + 4 * DAY)
    assert known(store, NOON + 3 * DAY) == before
    assert [row[2] for row in before] == [None, None, "stays", None]
    assert [row[2] for row in known(store, NOON + 4 * DAY)] == [None, None, "churns", "stays"]
    assert [row[2] for row in known(store, NOON + DAY)] == [None] * 4


def test_of_labels_seen_at_the_same_time_the_one_for_the_request_counts(store: Store, tmp_path: Path) -> None:
    deliver(store, tmp_path, "key,ts,label", f"ann,{NOON},stays", f"ann,{NOON + DAY},stays")
    deliver(store, tmp_path, "request_id,label", "r2,churns", "r1,churns")
    assert [row[2] for row in known(store, NOON + DAY)] == ["churns", None, "churns", "stays"]


def test_the_same_file_again_adds_nothing(store: Store, tmp_path: Path) -> None:
    assert deliver(store, tmp_path, "request_id,label", "r2,stays") == 1
    assert deliver(store, tmp_path, "request_id,label", "r2,stays", seen=NOON + 9 * DAY) is None
    assert len(labels.files(store)) == 1


def test_labels_that_match_a_prediction_are_counted(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"

    def meets(*lines: str) -> int:
        deliver(store, tmp_path, *lines)
        with tables.connect() as connection:
            predictions.load_rows(connection, store, "local", 0, 2**40)
            return labels.matched(connection, store, CHURN, file)

    assert meets("request_id,position,label", "r1,1,stays", "r1,2,stays", "r9,0,stays", "r2,0,churns") == 2
    assert meets("key,ts,label", f"ann,{NOON},stays", f"ann,{NOON - DAY},stays", f"eve,{NOON},stays") == 1
    (storage_log,) = {path.parent.parent for path in predictions.files(store, "local")}
    shutil.rmtree(storage_log)
    assert meets("request_id,label", "r1,stays") == 0, "nothing is collected"


def test_labels_come_as_parquet_with_types_of_their_own(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "labels.parquet"
    with tables.connect() as connection:
        query = "SELECT 'ann' AS customer_id, TIMESTAMP '2026-01-01 08:00:00' AS ts, TRUE AS churned"
        write_parquet(connection, query, file)
    assert labels.add(store, CHURN, file, NOON) == 1
    assert [row[2] for row in known(store, NOON)] == ["churns", None, "churns", None]


BAD = [
    (("request_id,label", "r1,stays", "r2,maybe", "r3,"), "label is not one of stays, churns in 2 rows (first: 2, 3)"),
    (("request_id,label,seen_ts", f"r1,stays,{NOON + DAY + 1}"), "seen_ts is in the future in 1 rows (first: 1)"),
    (("request_id,label,colour", "r1,stays,red"), "the column colour is unknown"),
    (("label", "stays"), "its rows are identified by request_id or by customer_id and ts"),
    (("request_id,customer_id,ts,label", "r1,ann,1,stays"), "request_id or by customer_id and ts"),
    (("customer_id,label", "ann,stays"), "customer_id and ts"),
    (("key,customer_id,ts,label", "ann,ann,1,stays"), "the column customer_id is unknown"),
    (("position,customer_id,ts,label", "0,ann,1,stays"), "the column position is unknown"),
    (("customer_id,ts,label", "ann,soon,stays", ",1,stays"), "customer_id is missing in 1 rows (first: 2)"),
    (
        ("customer_id,ts,label", "bob,1,stays", f"ann,{NOON},stays", f"ann,{NOON + 60},churns"),
        "label contradicts another one of the same customer_id and date and seen_ts in 2 rows (first: 2, 3)",
    ),
    (
        ("request_id,label", "r1,stays", "r1,churns", "r1,stays"),
        "label contradicts another one of the same request_id and seen_ts in 3 rows (first: 1, 2, 3)",
    ),
    (
        ("customer_id,ts,label", "ann,soon,stays"),
        "ts is not a valid time (2026-01-31T12:00:00Z, a date, or seconds since 1970) in 1 rows (first: 1)",
    ),
    (("request_id,label,churned", "r1,stays,0"), "one column churned or label"),
    (("request_id,position,label", "r1,-1,stays", "r1,x,stays"), "position is not an index from 0 in 2 rows"),
    (("request_id,label,seen_ts", "r1,stays,"), "seen_ts is not a valid time"),
]


@pytest.mark.parametrize(("lines", "problem"), BAD, ids=[problem for _, problem in BAD])
def test_a_file_with_invalid_values_is_refused_by_column_and_row_and_not_imported(
    store: Store, tmp_path: Path, lines: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(LifecycleError) as caught:
        deliver(store, tmp_path, *lines)
    assert problem in caught.value.problem
    assert labels.files(store) == []


def test_a_label_of_a_regression_is_a_number(store: Store, tmp_path: Path) -> None:
    number = replace(CHURN, target=Target("regression", "price"))
    for bad in ("dear", "nan", "inf"):
        with pytest.raises(LifecycleError, match="label is not a number in 1 rows"):
            deliver(store, tmp_path, "request_id,price", "r2,1.5", f"r3,{bad}", contract=number)
    assert deliver(store, tmp_path, "request_id,price", "r2,1.5", contract=number) == 1
    assert [row[2] for row in known(store, NOON + DAY, number)] == [None, None, "1.5", None]


OTHER_TARGETS = [
    (Target("binary", "churned", ("no", "yes")), "yes"),
    (Target("multiclass", "churned", ("stays", "pauses", "churns")), "pauses"),
    (Target("regression", "churned"), "0.5"),
]


@pytest.mark.parametrize(("target", "label"), OTHER_TARGETS, ids=[target.task for target, _ in OTHER_TARGETS])
def test_a_stored_label_of_another_target_is_not_a_label_of_this_one(
    store: Store, tmp_path: Path, target: Target, label: str
) -> None:
    older = replace(CHURN, target=target)
    assert deliver(store, tmp_path, "request_id,label", f"r2,{label}", f"r3,{label}", contract=older) == 2
    deliver(store, tmp_path, "request_id,label,seen_ts", f"r3,stays,{NOON}")
    seen = NOON + DAY
    assert known(store, seen)[2:] == [("r2", 0, None, seen), ("r3", 0, "stays", NOON)]
    if target.task != "regression":
        number = replace(CHURN, target=Target("regression", "churned"))
        assert known(store, seen, number)[2:] == [("r2", 0, None, seen), ("r3", 0, None, seen)]
    with pytest.raises(LifecycleError, match="label is not one of stays, churns in 1 rows"):
        deliver(store, tmp_path, "request_id,label", f"r1,{label}")


def test_coverage_counts_predictions_older_than_the_label_delay(store: Store, tmp_path: Path) -> None:
    deliver(store, tmp_path, "request_id,label", "r2,stays", "r3,stays")
    as_of = NOON + 2 * DAY - 1
    with tables.connect() as connection:
        predictions.load_rows(connection, store, "local", 0, 2**40)
        labels.joined(connection, store, CHURN, as_of)
        found = labels.coverage(connection, as_of, label_days=1)
        nothing = labels.coverage(connection, as_of, label_days=9)
    assert (found.predictions, found.mature, found.labelled, round(found.share, 3)) == (4, 3, 1, 0.333)
    assert (nothing.mature, nothing.share) == (0, 0.0)
