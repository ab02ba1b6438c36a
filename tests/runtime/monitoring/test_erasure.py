"""Erasure: nothing of a key is left anywhere, what belongs to others stays, and its labels do not come back."""

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from lifecycle.contract.schema import Column
from lifecycle.errors import LifecycleError
from lifecycle.features.online import FeatureTable, table_path
from lifecycle.models.bundle import Bundle
from lifecycle.monitoring import erasure, labels
from lifecycle.monitoring.erasure import erase
from lifecycle.registry import predictions, segments
from lifecycle.serving.app import create
from lifecycle.settings import Log
from lifecycle.storage import Store
from support.logs import ANSWER, DAY, NOON, ROW, line, write
from support.services import KNOWN, QUICK, eventually
from support.storages import CHURN, Storage

BOTH = {"rows": [ROW, ROW | {"customer_id": "bob"}], "answers": [ANSWER, ANSWER | {"prediction": "churns"}]}


def left(store: Store) -> list[tuple[str, str, int]]:
    """Key, request and position of each collected row."""
    with predictions.connect() as connection:
        predictions.rows(connection, store, "local", 0, 2**40)
        columns = "customer_id, lifecycle_request, lifecycle_position"
        return connection.execute(f"SELECT {columns} FROM {predictions.LOGGED}").fetchall()


def test_a_key_leaves_parquet_segments_and_labels_of_every_environment_and_nobody_else_does(
    storage: Storage, bundle: Bundle, tmp_path: Path
) -> None:
    store, version = storage.store, bundle.version
    write(store, "a.jsonl", line(version, NOON, id="r1", **BOTH), line(version, NOON + DAY, id="r2"))
    write(store, "c.jsonl", line(version, NOON, id="r4"), environment="staging")
    predictions.collect(store, "local")
    predictions.collect(store, "staging")
    whole = json.dumps(line(version, NOON, id="r9")).encode()
    write(store, "b.jsonl", line(version, NOON, id="r3", **BOTH), whole[:-150])
    file = tmp_path / "labels.csv"
    file.write_text("request_id,position,label\nr1,0,stays\nr1,1,churns\nr3,0,stays\nr7,0,stays\n", encoding="utf-8")
    assert labels.add(store, CHURN, file, NOON) == 4
    other = tmp_path / "keyed.csv"
    other.write_text(f"key,ts,label\nann,{NOON},stays\nbob,{NOON},stays\n", encoding="utf-8")
    labels.add(store, CHURN, other, NOON)

    half = store.predictions / "local" / ".collecting" / "0.json"
    half.parent.mkdir()
    day = store.scores / "local/date=2026-01-01"
    for path in (
        half,
        store.predictions / "local" / "date=2026-01-01" / ".a.parquet.0123.draft",
        day / ".scores.parquet.parts" / "rows.parquet",
        store.scores / "local/.spill/duckdb_temp_storage.tmp",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("what a killed job left of ann", encoding="utf-8")

    scores = store.scores / "local/date=2026-01-01/scores.parquet"
    with predictions.connect() as connection:
        predictions.replace(connection, "SELECT unnest(['ann', 'bob']) AS customer_id, 0.5 AS probability", scores)

    done = erase(store, "ann", CHURN)
    assert (done.rows, done.labels) == (5, 3)
    files = [path for path in store.root.rglob("*") if path.is_file() and "bundles" not in path.parts]
    assert not any(b"ann" in path.read_bytes() for path in files)
    table = FeatureTable(table_path(store, bundle.feature_set), bundle.contract)
    assert (table.look_up("ann"), table.look_up("bob")) == (None, KNOWN["bob"])
    assert left(store) == [("bob", "r1", 1)]
    # The place in the request stays: labels name it.
    assert predictions.collect(store, "local").half_lines == 1
    assert left(store) == [("bob", "r1", 1), ("bob", "r3", 1)]
    assert labels.add(store, CHURN, file, NOON + DAY) is labels.add(store, CHURN, other, NOON + DAY) is None
    with predictions.connect() as connection:
        found = connection.execute(f"SELECT request_id, key FROM ({labels.known(store, NOON)}) ORDER BY ALL").fetchall()
    assert found == [("r1", None), ("r7", None), (None, "bob")]
    assert erase(store, "ann", CHURN) == erasure.Erased(0, 0)


def test_an_erasure_that_was_killed_before_its_end_is_finished_by_the_next(
    storage: Storage, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = storage.store
    file = tmp_path / "labels.csv"
    file.write_text("request_id,label\nr1,stays\n", encoding="utf-8")
    labels.add(store, CHURN, file, NOON)
    write(store, "a.jsonl", line(bundle.version))
    predictions.collect(store, "local")
    real = predictions.replace
    for allowed in range(3):
        left_to_do = [None] * allowed

        def killed(*given: Any, left_to_do: list[None] = left_to_do) -> None:
            if not left_to_do:
                raise KeyboardInterrupt
            left_to_do.pop()
            real(*given)

        monkeypatch.setattr(predictions, "replace", killed)
        with contextlib.suppress(KeyboardInterrupt):
            erase(store, "ann", CHURN)
    assert left(store) == []
    with predictions.connect() as connection:
        assert connection.execute(labels.known(store, NOON)).fetchall() == []


def test_a_whole_number_and_a_key_that_was_called_otherwise_are_erased(storage: Storage) -> None:
    number = replace(CHURN, columns=(Column("account", "key", "integer"), *CHURN.columns[1:2]))
    version = storage.publish(number).version
    rows = {"rows": [{"account": 7.0}, {"account": 77}], "answers": [ANSWER, ANSWER]}
    write(storage.store, "a.jsonl", line(version, **rows))
    predictions.collect(storage.store, "local")
    write(storage.store, "b.jsonl", line(version, **rows))
    assert erase(storage.store, "7", CHURN).rows == 2
    assert erase(storage.store, "it's", CHURN).rows == 0
    assert erase(storage.store, "77", CHURN).rows == 2


def test_erasure_reports_a_segment_that_is_being_written_and_erases_everything_else(
    storage: Storage, bundle: Bundle
) -> None:
    write(storage.store, "a.jsonl", line(bundle.version))
    folder = segments.folder(storage.store, "local")
    with TestClient(create(storage.store, "local", QUICK, Log(flush_seconds=0.02))) as client:
        for key in ("ann", "bob"):
            assert client.post("/predict", json={"customer_id": key}).status_code == 200
        eventually(lambda: sum(len(list(segments.lines(path))) for path in folder.glob("*.open")) == 2)
        with pytest.raises(LifecycleError, match="still writing"):
            erase(storage.store, "ann", CHURN)
        assert b"ann" not in (folder / "a.jsonl").read_bytes()
    assert erase(storage.store, "ann", CHURN).rows == 1
    predictions.collect(storage.store, "local")
    assert [key for key, *_ in left(storage.store)] == ["bob"]
    assert list(folder.iterdir()) == []
