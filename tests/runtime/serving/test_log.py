"""The prediction log: every prediction once, no field that may not be logged, and no request that fails for it."""

import asyncio
import errno
import json
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from io import FileIO
from typing import Any

import pytest
from fastapi.testclient import TestClient

from lifecycle import timestamps
from lifecycle.contract import tables
from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.models.bundle import Bundle
from lifecycle.monitoring.collect import collect
from lifecycle.registry import predictions
from lifecycle.serving import prediction_log
from lifecycle.serving.app import create
from lifecycle.serving.deployed import DeploymentFollower
from lifecycle.settings import Log
from support.logs import NOON
from support.services import KNOWN, QUICK, eventually
from support.storages import Storage

# Without a look-up and without a field to keep out, what came is logged as it came.
PLAIN = Contract(
    1,
    Target("binary", "late", ("no", "yes")),
    (
        Column("order", "key", "integer"),
        Column("when", "key", "time", required=False, nullable=True),
        Column("weight", "request", "number", required=False, default=2.5),
        Column("express", "request", "boolean"),
    ),
)


@contextmanager
def service(storage: Storage, **limits: Any) -> Iterator[TestClient]:
    """A service that keeps a log."""
    with TestClient(create(storage.store, "local", QUICK, Log(**{"flush_seconds": 0.02} | limits))) as client:
        yield client


def predict(client: TestClient, body: Any, **headers: str) -> Any:
    """Send a request and return the predictions."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    reply = client.post("/predict", content=content, headers=headers)
    assert reply.status_code == 200, reply.text
    return reply.json()


def lines(storage: Storage, pattern: str = "*.jsonl") -> list[Any]:
    """Every line of the segments."""
    found = sorted(predictions.segment_folder(storage.store, "local").glob(pattern))
    return [line for path in found for line in predictions.segment_lines(path)]


def dropped(client: TestClient) -> int:
    """Return how many lines were dropped."""
    text = client.get("/metrics").text
    return int(float(re.findall(r"^prediction_log_dropped_total (\S+)$", text, re.MULTILINE)[0]))


@pytest.fixture(autouse=True)
def _at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timestamps, "now", lambda: NOON)


def test_a_complete_row_is_logged_with_its_prediction_and_version(storage: Storage, bundle: Bundle) -> None:
    with service(storage) as client:
        one = predict(client, {"customer_id": "ann", "discount": 1.5}, **{"x-request-id": 'a"\\b'})
        many = predict(client, [{"customer_id": "bob"}, {"customer_id": "zoë"}])
        assert predict(client, []) == []
        assert client.post("/predict", json={}).status_code == 422
    first, second = lines(storage)
    assert first == {
        "ts": NOON,
        "id": 'a"\\b',
        "version": bundle.version,
        "threshold": 0.3,
        "as_of": 1_767_225_600,
        "rows": [{"customer_id": "ann", "discount": 1.5} | KNOWN["ann"]],
        "predictions": [one],
    }
    assert [row["customer_id"] for row in second["rows"]] == ["bob", "zoë"]
    assert (second["predictions"], second["rows"][0]["discount"]) == (many, 0.0)
    assert re.fullmatch("[0-9a-f]{32}", second["id"])
    assert collect(storage.store, "local").rows == 3


def test_bytes_in_hand_are_logged_as_they_came_and_mean_the_same(storage: Storage) -> None:
    storage.deploy(storage.publish(PLAIN))
    odd = b'{"express": true , "order":1.0, "express" :false, "when": "2026-01-01T01:00:00+02:00"}'
    with service(storage) as client:
        sent = [
            predict(client, odd),
            *predict(client, b" [" + odd + b"]"),
            predict(client, odd.replace(b" :", b"\r\n:")),
        ]
    (path,) = predictions.segment_folder(storage.store, "local").glob("[!.]*")
    assert path.read_bytes().count(odd) == 2
    assert sent[0] == sent[1] == sent[2]
    assert collect(storage.store, "local").rows == 3
    with tables.connect() as connection:
        predictions.load_rows(connection, storage.store, "local", 0, 2**40)
        columns = '"order", CAST("when" AS VARCHAR), weight, express, probability'
        found = set(connection.execute(f"SELECT {columns} FROM {predictions.LOGGED}").fetchall())
    assert found == {(1, "2025-12-31 23:00:00", 2.5, False, sent[0]["probability"])}


@pytest.mark.parametrize("where", ["key", "request"])
def test_what_may_not_be_logged_never_reaches_the_disk(storage: Storage, where: Any) -> None:
    secret = Column("contact", where, "category", loggable=False)
    other = replace(PLAIN, columns=(*PLAIN.columns[2:], secret, replace(secret, name="next", source="request")))
    storage.deploy(storage.publish(other, made="20260101T000000"))
    storage.deploy(storage.publish(replace(PLAIN, columns=(*PLAIN.columns[2:], secret))))
    row = {"contact": "eve7123@example.org", "express": True}
    with service(storage) as client:
        predict(client, row)
        # A field of the contract before is not a field of this one.
        predict(client, [row | {"next": "eve7123@example.org"}])
    collect(storage.store, "local")
    with service(storage) as client:
        predict(client, row)
    files = [path for path in storage.store.predictions.rglob("*") if path.is_file()]
    assert sum(path.suffix in (".parquet", ".jsonl") for path in files) == 2
    assert not any(b"7123" in path.read_bytes() for path in files)


def test_an_ignored_field_of_the_version_before_is_not_logged(storage: Storage) -> None:
    newer = replace(PLAIN, columns=(*PLAIN.columns, Column("mail", "request", "category", loggable=False)))
    storage.deploy(storage.publish(newer, made="20260101T000000"))
    storage.deploy(storage.publish(PLAIN))
    with service(storage) as client:
        predict(client, {"order": 1, "express": True, "mail": "eve7123@example.org"})
    assert "7123" not in json.dumps(lines(storage))


def test_a_segment_is_closed_by_size_by_age_and_at_the_end(storage: Storage, bundle: Bundle) -> None:
    folder = predictions.segment_folder(storage.store, "local")
    with service(storage, segment_bytes=1000, segment_seconds=0.3) as client:
        predict(client, [{"customer_id": "ann"}] * 20)
        eventually(lambda: len(list(folder.glob("*.jsonl"))) == 1)
        predict(client, {"customer_id": "ann"})
        eventually(lambda: len(list(folder.glob("*.open"))) == 1)
        assert predictions.open_segments(folder) == list(folder.glob("*.open"))
        eventually(lambda: len(list(folder.glob("*.jsonl"))) == 2)
        predict(client, {"customer_id": "ann"})
    assert [path.suffix for path in folder.iterdir()] == [".jsonl"] * 3
    assert len(lines(storage)) == 3


def test_a_write_never_waits_for_an_upload_and_the_end_uploads_once(storage: Storage, bundle: Bundle) -> None:
    model = DeploymentFollower(storage.store, "local", 10).deployed
    folder, uploads = storage.store.root / "log", list[int]()

    def upload() -> None:
        uploads.append(len([*folder.glob("*.jsonl")]))

    written = prediction_log.PredictionLog(folder, Log(segment_bytes=1000), lambda lines: None, upload)
    for number in range(3):
        for _ in range(20):
            written.add(model, b"one", b"", [{}], b'[{"prediction":"stays","probability":0.1}]')
        written.flush()
        assert (number + 1, uploads) == (len([*folder.glob("*.jsonl")]), [])
    written.close()
    assert uploads == [3]


def test_a_flush_that_is_cancelled_before_its_thread_starts_loses_no_line(storage: Storage, bundle: Bundle) -> None:
    model = DeploymentFollower(storage.store, "local", 10).deployed
    written = prediction_log.PredictionLog(storage.store.root / "log", Log(flush_seconds=0.01), lambda lines: None)
    started, busy = threading.Event(), threading.Event()

    async def cancel_a_flush() -> None:
        loop = asyncio.get_running_loop()
        # The one thread is occupied, so that the flush cannot start.
        loop.set_default_executor(executor)
        loop.run_in_executor(None, lambda: (started.set(), busy.wait()))
        started.wait()
        written.add(model, b"one", b"", [{"customer_id": "ann"}], b"[1]")
        flushing = asyncio.create_task(written.run())
        while not executor._work_queue.qsize():
            await asyncio.sleep(0.01)
        flushing.cancel()
        await asyncio.wait([flushing])
        busy.set()

    with ThreadPoolExecutor(1) as executor:
        asyncio.run(cancel_a_flush())
    written.close()
    (segment,) = predictions.closed_segments(storage.store.root / "log")
    assert [line["id"] for line in predictions.segment_lines(segment)] == ["one"]


def test_beyond_the_cap_whole_lines_are_dropped_and_counted_until_the_log_is_collected(
    storage: Storage, bundle: Bundle
) -> None:
    with service(storage, max_bytes=2000, segment_bytes=1000) as client:
        predict(client, {"customer_id": "ann"})
        # On a busy machine all lines could wait for one write, which is dropped as a whole.
        eventually(lambda: len(lines(storage, "[!.]*")) == 1)
        for at in range(29):
            predict(client, {"customer_id": "ann"}, **{"x-request-id": f"r{at}"})
        eventually(lambda: len(lines(storage, "[!.]*")) + dropped(client) == 30)
        kept = 30 - dropped(client)
        assert 0 < kept < 30
        assert sum(path.stat().st_size for path in predictions.segment_folder(storage.store, "local").iterdir()) <= 2000
        eventually(lambda: collect(storage.store, "local").rows > 0)
        predict(client, {"customer_id": "ann"})
        eventually(lambda: len(lines(storage, "[!.]*")) > 0)
        assert dropped(client) == 30 - kept
    assert None not in lines(storage)


def test_a_full_disk_costs_lines_and_no_predictions_and_leaves_no_half_line(
    storage: Storage, bundle: Bundle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    room = [500]

    class SmallDisk(FileIO):
        def write(self, content: Any) -> int:
            if room[0] <= 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            written = super().write(content[: room[0]])
            room[0] -= written
            return written

    monkeypatch.setattr(predictions, "FileIO", SmallDisk)
    with service(storage) as client:
        for at in range(20):
            predict(client, {"customer_id": "ann"}, **{"x-request-id": f"r{at}"})
        eventually(lambda: len(lines(storage, "*.open")) + dropped(client) == 20)
        kept = 20 - dropped(client)
        assert kept < 5
        room[0] = 10**6
        predict(client, {"customer_id": "bob"})
        eventually(lambda: len(lines(storage, "*.open")) == kept + 1)
    assert None not in lines(storage)
    assert caplog.text.count("not logged") == 1
    assert collect(storage.store, "local").half_lines == 0


def test_a_directory_that_cannot_be_written_costs_no_predictions(storage: Storage, bundle: Bundle) -> None:
    storage.store.predictions.write_text("not a directory")
    with service(storage) as client:
        predict(client, {"customer_id": "ann"})
        eventually(lambda: dropped(client) == 1)
        storage.store.predictions.unlink()
        predict(client, {"customer_id": "bob"})
        eventually(lambda: len(lines(storage, "*.open")) == 1)
    assert [line["rows"][0]["customer_id"] for line in lines(storage)] == ["bob"]


def test_lines_that_wait_for_a_disk_that_hangs_are_bounded(
    storage: Storage, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction_log, "MAX_WAITING_BYTES", 1000)
    with service(storage, flush_seconds=10) as client:
        for _ in range(20):
            predict(client, {"customer_id": "ann"})
        assert 10 < dropped(client) < 20
        kept = 20 - dropped(client)
    assert len(lines(storage)) == kept


def test_without_the_setting_nothing_is_logged(storage: Storage, bundle: Bundle) -> None:
    with service(storage, enabled=False) as client:
        predict(client, {"customer_id": "ann"})
    assert not storage.store.predictions.exists()


def test_a_request_does_not_wait_for_the_disk(
    storage: Storage, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes, finish = threading.Event(), threading.Event()

    class HangingDisk(FileIO):
        def write(self, content: Any) -> int:
            writes.set()
            assert finish.wait(20)
            return super().write(content)

    monkeypatch.setattr(predictions, "FileIO", HangingDisk)
    with service(storage) as client:
        predict(client, {"customer_id": "ann"})
        assert writes.wait(20)
        predict(client, {"customer_id": "bob"})
        finish.set()
    assert len(lines(storage)) == 2
