"""Collecting the prediction log: no row is lost or doubled, damaged lines are counted, old dates are removed."""

import json
import os
from dataclasses import replace
from typing import Any

import pytest

from lifecycle.contract import tables
from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.errors import LifecycleError
from lifecycle.models.bundle import Bundle
from lifecycle.monitoring.collect import collect, prune
from lifecycle.registry import predictions
from lifecycle.storage import Store
from support.logs import DAY, NOON, PREDICTION, ROW, line, write
from support.storages import Storage

STORAGES = ("directory", "bucket")


def logged(store: Store, first: int = 0, last: int = 2**40, version: str | None = None) -> list[dict[str, Any]]:
    """Return what `load_rows` reads."""
    with tables.connect() as connection:
        count = predictions.load_rows(connection, store, "local", first, last, version)
        found = connection.execute(f"FROM {predictions.LOGGED}")
        names = [column[0] for column in found.description or ()]
        rows = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    assert len(rows) == count
    return rows


@pytest.fixture
def version(bundle: Bundle) -> str:
    """The deployed version."""
    return bundle.version


def test_each_row_of_each_line_is_read_back_with_its_prediction_and_facts(storage: Storage, version: str) -> None:
    two = {
        "rows": [ROW, ROW | {"customer_id": "zoë"}],
        "predictions": [PREDICTION, {"prediction": "churns", "probability": 1}],
    }
    segment = write(storage.store, "a.jsonl", line(version, NOON + 0.5, **two))
    done = collect(storage.store, "local")
    assert (done.rows, done.segments, done.half_lines, segment.exists()) == (2, 1, 0, False)
    first, second = logged(storage.store)
    facts = {"ts": NOON, "as_of": NOON - DAY, "version": version, "threshold": 0.5, "lifecycle_request": "r1"}
    assert first == ROW | PREDICTION | facts | {"lifecycle_position": 0}
    assert (second["customer_id"], second["lifecycle_position"], second["probability"]) == ("zoë", 1, 1.0)
    assert logged(storage.store, NOON + 1) == logged(storage.store, 0, NOON) == logged(storage.store, version="x") == []


def test_without_a_log_there_are_columns_and_no_rows(storage: Storage) -> None:
    assert logged(storage.store) == []
    with tables.connect() as connection:
        predictions.load_rows(connection, storage.store, "local", 0, 1)
        assert connection.execute(f"SELECT ts, version, prediction FROM {predictions.LOGGED}").fetchall() == []


def test_a_segment_across_midnight_makes_two_files_and_collecting_again_replaces_them(
    storage: Storage, version: str
) -> None:
    lines = [line(version, NOON), line(version, NOON + DAY)]
    for _ in range(2):
        # A job that was killed before it removed the segment does the same again.
        write(storage.store, "a.jsonl", *lines)
        collect(storage.store, "local")
        files = predictions.files(storage.store, "local")
        assert [path.relative_to(storage.store.predictions).as_posix() for path in files] == [
            "local/date=2026-01-01/a.parquet",
            "local/date=2026-01-02/a.parquet",
        ]
    assert [row["ts"] for row in logged(storage.store)] == [NOON, NOON + DAY]


def test_an_incomplete_line_is_skipped_and_counted(storage: Storage, version: str) -> None:
    whole = json.dumps(line(version)).encode()
    bad = [whole[:40], b"7\n", b'{"ts": 1}\n', b"\xff\n", json.dumps(line(version, rows=[])).encode() + b"\n"]
    write(storage.store, "a.jsonl", *bad[1:], line(version), bad[0])
    write(storage.store, "b.jsonl", line(version), whole)
    done = collect(storage.store, "local")
    assert (done.rows, done.half_lines, len(logged(storage.store))) == (2, 6, 2)


def test_complete_lines_of_a_segment_that_is_being_written_are_collected_and_only_a_closed_one_is_removed(
    storage: Storage, version: str
) -> None:
    half = json.dumps(line(version, id="r2")).encode()
    path = write(storage.store, "a.open", line(version), half[:40])
    with predictions.writer_lock(path):
        done = collect(storage.store, "local")
        assert (done.rows, done.half_lines, done.segments, path.exists()) == (1, 0, 1, True)
        assert predictions.open_segments(path.parent) == [path]
        with path.open("ab") as file:
            file.write(half[40:] + b"\n")
        collect(storage.store, "local")
        assert len(logged(storage.store)) == 2
    done = collect(storage.store, "local")
    assert (done.rows, done.segments, len(logged(storage.store))) == (2, 1, 2)
    assert list(path.parent.iterdir()) == []


def test_a_segment_of_a_version_whose_bundle_is_gone_is_kept_and_reported(storage: Storage, version: str) -> None:
    lost = write(storage.store, "a.jsonl", line(version), line("20200101T000000-00000000"))
    write(storage.store, "b.jsonl", line(version))
    done = collect(storage.store, "local")
    assert (done.rows, list(done.waiting), lost.exists()) == (1, ["a.jsonl"], True)
    assert "20200101T000000-00000000" in done.waiting["a.jsonl"]
    assert len(logged(storage.store)) == 1


KINDS = Contract(
    2,
    Target("multiclass", "size", ("small", "a b", "large")),
    (
        Column("who", "key", "integer"),
        Column("when", "key", "time"),
        Column("e-mail", "request", "category", loggable=False),
        Column('odd "name"', "request", "boolean", nullable=True),
        Column("amount", "request", "number", required=False, default=7.0),
    ),
)


def test_every_kind_keeps_its_type_and_two_contracts_share_a_table(storage: Storage, version: str) -> None:
    other = "20260102T000000-00000000"
    (storage.store.bundles / other).mkdir()
    (storage.store.bundles / other / "contract.json").write_text(KINDS.to_json(), encoding="utf-8")
    row = {"who": 2**60 + 1, "when": "2026-01-01T01:00:00+02:00", 'odd "name"': True, "e-mail": "x@example.org"}
    output = {"prediction": "a b", "probabilities": {"small": 0.1, "a b": 0.7, "large": 0.2}}
    huge = row | {"who": 2**70, 'odd "name"': None, "amount": 5, "when": "2026-01-01"}
    both = {"rows": [row, huge], "predictions": [output, output]}
    write(storage.store, "a.jsonl", line(version), line(other, NOON + 1, as_of=None, threshold=None, **both))
    collect(storage.store, "local")
    first, second, third = logged(storage.store)
    assert (first["customer_id"], first["who"], second["customer_id"]) == ("ann", None, None)
    assert (second["who"], second['odd "name"'], second["amount"]) == (2**60 + 1, True, 7.0)
    assert second["when"].isoformat() == "2025-12-31T23:00:00"
    assert (second["probabilities_a b"], second["as_of"], second["threshold"]) == (0.7, None, None)
    # What no column can hold is null, and takes no other row with it.
    assert (third["who"], third['odd "name"'], third["amount"]) == (None, None, 5.0)
    assert not {"e-mail", "date"} & second.keys()


def test_a_regression_whose_column_types_changed_between_versions_is_read_together(storage: Storage) -> None:
    columns = (Column("x", "request", "integer"),)
    old = storage.publish(Contract(1, Target("regression", "price"), columns))
    new = storage.publish(
        Contract(2, Target("regression", "price"), (replace(columns[0], kind="number"),)), "20260102T000000"
    )
    outputs = [{"prediction": 1.5}]
    write(storage.store, "a.jsonl", line(old.version, rows=[{"x": 1}], predictions=outputs))
    write(storage.store, "b.jsonl", line(new.version, NOON + 1, rows=[{"x": 0.5}], predictions=outputs))
    collect(storage.store, "local")
    assert [(row["x"], row["prediction"]) for row in logged(storage.store)] == [(1.0, 1.5), (0.5, 1.5)]


def test_only_dates_beyond_the_retention_are_removed(storage: Storage, version: str) -> None:
    for at in range(5):
        write(storage.store, f"{at}.jsonl", line(version, NOON + at * DAY))
    collect(storage.store, "local")
    gone = prune(storage.store, "local", NOON + 4 * DAY, days=2)
    assert [path.parent.name for path in gone] == ["date=2026-01-01", "date=2026-01-02"]
    assert [row["ts"] for row in logged(storage.store)] == [NOON + at * DAY for at in (2, 3, 4)]
    assert not any(path.parent.exists() for path in gone)
    assert prune(storage.store, "local", NOON + 4 * DAY, days=2) == []


def test_a_batch_of_an_older_table_is_kept_from_the_day_on_which_it_was_scored(storage: Storage) -> None:
    folder = storage.store.predictions / "local/date=2019-05-01"
    folder.mkdir(parents=True)
    batch, service = folder / "score-20260101T000000.parquet", folder / "20190501.parquet"
    for path in (batch, service):
        path.write_bytes(b"")
    # What a killed job left.
    (folder / ".score-20260101T000000.parquet.a1b2.draft").write_bytes(b"")
    scored = int(batch.stat().st_mtime)
    assert prune(storage.store, "local", scored + 2 * DAY, days=3) == [service]
    assert prune(storage.store, "local", scored + 5 * DAY, days=3) == [batch]
    assert not folder.exists()


def test_a_segment_stays_when_the_disk_refuses(storage: Storage, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    segment = write(storage.store, "a.jsonl", line(version))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(LifecycleError, match="No space left"):
            collect(storage.store, "local")
    assert segment.exists()
    left = [path for path in storage.store.predictions.rglob("*") if path.suffix in (".draft", ".json", ".parquet")]
    assert left == []
    assert collect(storage.store, "local").rows == 1


def test_the_types_of_a_version_do_not_depend_on_other_versions(storage: Storage) -> None:
    folder = storage.store.predictions / "local/date=2026-01-01"
    folder.mkdir(parents=True)
    with tables.connect() as connection:
        for version, kind in (("v1", "VARCHAR"), ("v2", "BIGINT")):
            facts = f"1767225600 AS ts, '{version}' AS version, 'r' AS lifecycle_request, 0 AS lifecycle_position"
            columns = f"CAST(3 AS {kind}) AS x, 'photo.png' AS filename, {facts}"
            connection.execute(f"COPY (SELECT {columns}) TO '{folder}/{version}.parquet'")
        assert predictions.load_rows(connection, storage.store, "local", 0, 2**40, "v2") == 1
        assert connection.execute(f"SELECT typeof(x) FROM {predictions.LOGGED}").fetchone() == ("BIGINT",)


def test_a_damaged_line_does_not_stop_the_collection(storage: Storage, bundle: Bundle) -> None:
    version = bundle.version
    bad = [
        line(version, 1e300),
        line(version, rows=[ROW | {"visits": "many"}]),
        line(version, rows=[7]),
        line(version, predictions=[None]),
    ]
    write(storage.store, "a.jsonl", *bad, line(version, NOON, id="sound"))
    done = collect(storage.store, "local")
    assert (done.rows, done.half_lines) == (1, len(bad))
