"""Erasure: removes every trace of a key, keeps other keys, and its labels cannot be imported again."""

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from fastapi.testclient import TestClient

from lifecycle.contract import tables
from lifecycle.contract.schema import Column
from lifecycle.contract.tables import write_parquet
from lifecycle.errors import LifecycleError
from lifecycle.features import FeatureTable, table_path
from lifecycle.models.bundle import Bundle
from lifecycle.monitoring import erasure
from lifecycle.monitoring.collect import collect
from lifecycle.monitoring.erasure import erase
from lifecycle.registry import labels, predictions
from lifecycle.serving.app import create
from lifecycle.settings import Log
from lifecycle.storage import Store
from support.logs import DAY, NOON, PREDICTION, ROW, line, write
from support.services import KNOWN, QUICK, eventually
from support.storages import CHURN, Storage

BOTH = {"rows": [ROW, ROW | {"customer_id": "bob"}], "predictions": [PREDICTION, PREDICTION | {"prediction": "churns"}]}

STORAGES = ("directory", "bucket")


def left(store: Store) -> list[tuple[str, str, int]]:
    """Key, request and position of each collected row."""
    with tables.connect() as connection:
        predictions.load_rows(connection, store, "local", 0, 2**40)
        columns = "customer_id, lifecycle_request, lifecycle_position"
        return connection.execute(f"SELECT {columns} FROM {predictions.LOGGED}").fetchall()


def test_a_key_is_removed_from_log_scores_labels_and_features_and_other_keys_stay(
    storage: Storage, bundle: Bundle, tmp_path: Path
) -> None:
    store, version = storage.store, bundle.version
    write(store, "a.jsonl", line(version, NOON, id="r1", **BOTH), line(version, NOON + DAY, id="r2"))
    write(store, "c.jsonl", line(version, NOON, id="r4"), environment="staging")
    collect(store, "local")
    collect(store, "staging")
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
    with tables.connect() as connection:
        write_parquet(connection, "SELECT unnest(['ann', 'bob']) AS customer_id, 0.5 AS probability", scores)

    done = erase(store, "ann", CHURN)
    assert (done.rows, done.labels) == (5, 3)
    files = [path for path in store.root.rglob("*") if path.is_file() and "bundles" not in path.parts]
    assert not any(b"ann" in path.read_bytes() for path in files)
    table = FeatureTable(table_path(store, bundle.feature_set), bundle.contract)
    assert (table.look_up("ann"), table.look_up("bob")) == (None, KNOWN["bob"])
    # The position in the request stays: labels refer to it.
    assert left(store) == [("bob", "r1", 1), ("bob", "r3", 1)]
    assert labels.add(store, CHURN, file, NOON + DAY) is labels.add(store, CHURN, other, NOON + DAY) is None
    with tables.connect() as connection:
        found = connection.execute(f"SELECT request_id, key FROM ({labels.known(store, NOON)}) ORDER BY ALL").fetchall()
    assert found == [("r1", None), ("r7", None), (None, "bob")]
    assert erase(store, "ann", CHURN) == erasure.Erased(0, 0)


def test_a_killed_erasure_is_completed_by_the_next(
    storage: Storage, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = storage.store
    file = tmp_path / "labels.csv"
    file.write_text("request_id,label\nr1,stays\n", encoding="utf-8")
    labels.add(store, CHURN, file, NOON)
    write(store, "a.jsonl", line(bundle.version))
    collect(store, "local")
    real = write_parquet
    for allowed in range(3):
        left_to_do = [None] * allowed

        def killed(*given: Any, left_to_do: list[None] = left_to_do) -> None:
            if not left_to_do:
                raise KeyboardInterrupt
            left_to_do.pop()
            real(*given)

        monkeypatch.setattr(erasure, "write_parquet", killed)
        with contextlib.suppress(KeyboardInterrupt):
            erase(store, "ann", CHURN)
    assert left(store) == []
    with tables.connect() as connection:
        assert connection.execute(labels.known(store, NOON)).fetchall() == []


def test_an_integer_key_and_a_key_column_of_another_contract_are_erased(storage: Storage) -> None:
    number = replace(CHURN, columns=(Column("account", "key", "integer"), *CHURN.columns[1:2]))
    version = storage.publish(number).version
    rows = {"rows": [{"account": 7.0}, {"account": 77}], "predictions": [PREDICTION, PREDICTION]}
    write(storage.store, "a.jsonl", line(version, **rows))
    collect(storage.store, "local")
    write(storage.store, "b.jsonl", line(version, **rows))
    assert erase(storage.store, "7", CHURN).rows == 2
    assert erase(storage.store, "it's", CHURN).rows == 0
    assert erase(storage.store, "77", CHURN).rows == 2


def test_rows_in_a_segment_that_is_being_written_are_counted_and_all_others_erased(
    storage: Storage, bundle: Bundle
) -> None:
    write(storage.store, "a.jsonl", line(bundle.version))
    folder = predictions.segment_folder(storage.store, "local")
    with TestClient(create(storage.store, "local", QUICK, Log(flush_seconds=0.02))) as client:
        for key in ("ann", "bob"):
            assert client.post("/predict", json={"customer_id": key}).status_code == 200
        eventually(lambda: sum(len(list(predictions.segment_lines(path))) for path in folder.glob("*.open")) == 2)
        assert erase(storage.store, "ann", CHURN) == erasure.Erased(rows=1, being_written=1)
        assert left(storage.store) == [("bob", ANY, 0)]
    assert erase(storage.store, "ann", CHURN).rows == 1
    collect(storage.store, "local")
    assert [key for key, *_ in left(storage.store)] == ["bob"]
    assert list(folder.iterdir()) == []


def test_nothing_is_erased_while_a_segment_cannot_be_read(storage: Storage, bundle: Bundle) -> None:
    write(storage.store, "a.jsonl", line(bundle.version))
    write(storage.store, "b.jsonl", line("20260101T000000-00000000"))
    with pytest.raises(LifecycleError, match=r"bundle 20260101T000000-00000000 is gone\n.*b\.jsonl"):
        erase(storage.store, "ann", CHURN)
    assert [key for key, *_ in left(storage.store)] == ["ann"]
