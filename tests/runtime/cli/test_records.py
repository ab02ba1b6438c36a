"""The commands collect, labels and erase, and a service that is killed while it writes."""

import http.client
import json
import os
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lifecycle import cli, timestamps
from lifecycle.contract import tables
from lifecycle.models.bundle import Bundle
from lifecycle.monitoring.collect import collect
from lifecycle.registry import predictions
from support.logs import DAY, NOON, PREDICTION, ROW, line, write
from support.services import running
from support.storages import Storage
from support.waiting import eventually


@pytest.fixture
def call(storage: Storage, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a command on the storage, two days after NOON."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIFECYCLE_STORAGE", str(storage.store.root))
    monkeypatch.setattr(timestamps, "clock", lambda: NOON + 2 * DAY)
    return lambda *words: cli.main([*words])


def test_collect_prints_rows_incomplete_lines_and_removed_files(
    storage: Storage,
    bundle: Bundle,
    call: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = [line(bundle.version, NOON), line(bundle.version, NOON + 2 * DAY)]
    write(storage.store, "a.jsonl", *lines, b'{"ts": 1767')
    write(storage.store, "b.jsonl", line("20200101T000000-00000000"))
    monkeypatch.setenv("LIFECYCLE_LOG__RETENTION_DAYS", "1")
    assert call("collect") == 1
    output = capsys.readouterr()
    assert "2 rows of 1 segments" in output.out
    assert "1 incomplete lines were skipped" in output.out
    assert "1 files older than 1 days (log.retention_days) were removed" in output.out
    assert "b.jsonl was not collected: bundle 20200101T000000-00000000 is gone" in output.err
    assert call("collect") == 1
    assert "0 rows of 0 segments" in capsys.readouterr().out


def test_labels_are_added_covered_and_erased(
    storage: Storage, bundle: Bundle, call: Callable[..., int], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    both = {"rows": [ROW, ROW | {"customer_id": "bob"}], "predictions": [PREDICTION, PREDICTION]}
    write(storage.store, "a.jsonl", line(bundle.version, NOON - 40 * DAY, **both), line(bundle.version, NOON, id="r2"))
    file = tmp_path / "labels.csv"
    file.write_text("request_id,label\nr1,stays\nr2,churns\nr9,churns\n", encoding="utf-8")
    assert [call("collect"), call("labels", "add", str(file), "--seen", "2026-01-02"), call("labels", "coverage")] == [
        0
    ] * 3
    output = capsys.readouterr().out
    assert f"3 labels of {file} were imported\n1 of them belong to no collected prediction of local" in output
    assert "3 predictions, 2 of them older than 30 days\n1 of the older ones have a label (50.0%)" in output
    assert [call("labels", "add", str(file)), call("labels", "coverage", "--as-of", "2026-01-01T13:00:00Z")] == [0, 0]
    output = capsys.readouterr().out
    assert f"{file} was imported before; nothing changed" in output
    assert "0 of the older ones have a label (0.0%)" in output
    assert call("erase", "ann") == 0
    assert "2 logged or scored rows and 2 labels of ann were erased" in capsys.readouterr().out


def test_erase_fails_while_a_service_writes_rows_of_the_key(
    storage: Storage, bundle: Bundle, call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(storage.store, "a.open", line(bundle.version), line(bundle.version, id="r2"))
    write(storage.store, "b.jsonl", line(bundle.version))
    with predictions.writer_lock(path):
        assert call("erase", "ann") == 1
    printed = capsys.readouterr()
    assert "1 logged or scored rows and 0 labels of ann were erased" in printed.out
    assert "2 rows are in a segment that a service is writing" in printed.err
    assert "after the segment is rotated (at most 60 s)" in printed.err
    assert call("erase", "ann") == 0
    assert "2 logged or scored rows" in capsys.readouterr().out


def test_a_missing_file_and_an_invalid_time_are_reported(
    call: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("labels", "add", "nowhere.csv") == 1
    assert "nowhere.csv is not a file" in capsys.readouterr().err
    assert call("labels", "add", "nowhere.csv", "--seen", "soon") == 1
    assert "'soon' is not a date" in capsys.readouterr().err


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_a_service_that_ends_while_it_writes_loses_at_most_what_was_not_flushed(
    storage: Storage, bundle: Bundle, tmp_path: Path, ending: signal.Signals
) -> None:
    # A repository that has left the template does not have its simulated clock.
    pytest.importorskip("looseleaf")
    clock = tmp_path / "clock"
    clock.write_text("2026-01-03T12:00:00Z", encoding="utf-8")
    with running(storage.store.root, tmp_path, clock=clock, LIFECYCLE_LOG__FLUSH_SECONDS="0.02") as service:
        completed: list[str] = []
        callers = [threading.Thread(target=_call, args=(service, at, completed)) for at in range(3)]
        for caller in callers:
            caller.start()
        eventually(lambda: len(completed) >= 50)
        folder = predictions.segment_folder(storage.store, "local")
        eventually(lambda: [*folder.glob("[!.]*")])
        (path,) = folder.glob("[!.]*")
        eventually(lambda: completed[20] in path.read_text(encoding="utf-8"))
        # The complete lines of the segment that is being written are collected.
        collected = collect(storage.store, "local")
        assert (collected.rows > 0, collected.half_lines, collected.waiting) == (True, 0, {})
        flushed = [*completed]
        eventually(lambda: {*flushed} <= {*re.findall(r'"(r\d-\d+)"', path.read_text(encoding="utf-8"))})
        # The last line is cut below.
        size = path.stat().st_size
        eventually(lambda: path.stat().st_size > size)
        service.end(ending)
        for caller in callers:
            caller.join()
    assert (path.exists(), path.with_suffix(".jsonl").exists()) == (ending == signal.SIGKILL, ending == signal.SIGTERM)
    if ending == signal.SIGKILL:
        # As a kill in the middle of a write leaves it.
        os.truncate(path, path.stat().st_size - 7)
    done = collect(storage.store, "local")
    assert done.half_lines == (ending == signal.SIGKILL)
    with tables.connect() as connection:
        predictions.load_rows(connection, storage.store, "local", 0, 2**40)
        found = connection.execute(f"SELECT lifecycle_request, ts FROM {predictions.LOGGED}").fetchall()
    assert {int(ts) for _, ts in found} == {NOON + 2 * DAY}
    ids = [name for name, _ in found]
    assert len(ids) == len(set(ids)) >= 50
    assert {*(completed if ending == signal.SIGTERM else flushed)} - {*ids} == set()


def _call(service: Any, caller: int, completed: list[str]) -> None:
    connection = service.connect()
    for at in range(100_000):
        name = f"r{caller}-{at}"
        try:
            connection.request("POST", "/predict", json.dumps({"customer_id": "ann"}), {"x-request-id": name})
            if connection.getresponse().read():
                completed.append(name)
        except (OSError, http.client.HTTPException):
            return
