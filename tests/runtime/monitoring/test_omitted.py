"""What a report leaves out is counted in the document, in the terminal and on the page."""

import json
from pathlib import Path

import duckdb
import pytest

from lifecycle import timestamps
from lifecycle.monitoring.collect import DAMAGED_LINES, collect, damaged_lines, prune
from lifecycle.monitoring.report import summary
from lifecycle.registry import predictions
from lifecycle.settings import Settings
from support.logs import line, write
from support.monitored import NOW, ROWS, SPAN, Sample, fill_windows, label, log, run_monitor
from support.storages import Storage

DAY = 86_400


def counts(document: dict[str, list[dict[str, object]]]) -> dict[object, object]:
    return {each["kind"]: each["count"] for each in document["left_out"]}


def test_every_prediction_and_label_that_is_not_used_is_counted(sample: Sample, settings: Settings) -> None:
    store = settings.store
    fill_windows(sample, settings)
    strays = sample.draw(9)
    label(store, strays, "nowhere", NOW - DAY)
    label(store, strays, "long-ago", NOW - 5 * SPAN)
    rows = sample.predict(sample.draw(70))
    log(store, sample.bundle, rows, NOW - 2 * SPAN, NOW - SPAN - 7 * DAY, "no-label")
    scored = sample.predict(sample.draw(40))
    log(store, sample.bundle, scored, timestamps.parse("2025-10-20"), timestamps.parse("2025-10-25"), "score-1")
    label(store, scored, "score-1", NOW - SPAN)
    other = rows.head(30)
    log(store, sample.bundle, other, NOW - SPAN, NOW, "other")
    files = f"{store.predictions}/local/*/other.parquet"
    for path in map(
        Path, duckdb.sql(f"SELECT DISTINCT filename FROM read_parquet('{files}', filename = true)").df()["filename"]
    ):
        duckdb.sql(f"COPY (SELECT * REPLACE ('old' AS version) FROM '{path}') TO '{path}.new' (FORMAT parquet)")
        Path(f"{path}.new").replace(path)
    damaged = {"a": {"ts": NOW, "lines": 3}, "b": {"ts": 0, "lines": 5}}
    (store.predictions / "local" / DAMAGED_LINES).write_text(json.dumps(damaged))
    document = run_monitor(settings)
    found = counts(document)
    assert found.pop("immature") == ROWS
    assert found == {"unmatched": 9, "unlabelled": 70, "trained_on": 40, "other_versions": 30, "damaged": 3}
    [page] = store.reports.rglob("monitoring.html")
    for each in document["left_out"]:
        assert f"<li>{each['text']}</li>" in page.read_text(encoding="utf-8")
        assert each["text"] in summary(document)[-1]


def test_labels_of_other_classes_than_the_deployed_ones_are_left_out_and_counted(
    sample: Sample, settings: Settings
) -> None:
    fill_windows(sample, settings)
    rows = sample.predict(sample.draw(60))
    log(settings.store, sample.bundle, rows, NOW - 2 * SPAN, NOW - SPAN - 7 * DAY, "renamed")
    before = counts(run_monitor(settings))
    label(settings.store, rows, "renamed", NOW - DAY, classes=("no", "yes"))
    document = run_monitor(settings)
    assert before["unlabelled"] == 60
    assert counts(document) == {"immature": ROWS, "other_classes": 60}
    assert document["quality"]["labelled"] == 3 * ROWS


def test_nothing_left_out_is_said(sample: Sample, settings: Settings) -> None:
    document = run_monitor(settings)
    assert document["left_out"] == []
    assert summary(document)[-1] == "left out: nothing"


def test_damaged_lines_are_counted_once_and_forgotten_with_their_date(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timestamps, "clock", lambda: float(NOW))
    segment = write(storage.store, "a.open", line(storage.publish().version), b"half a line\n")
    with predictions.writer_lock(segment):
        for _ in range(2):
            assert collect(storage.store, "local").half_lines == 1
            assert damaged_lines(storage.store, "local", NOW - DAY, NOW) == 1
    assert damaged_lines(storage.store, "local", NOW + 1, NOW + DAY) == 0
    prune(storage.store, "local", NOW + 9 * DAY, days=8)
    assert json.loads((storage.store.predictions / "local" / DAMAGED_LINES).read_bytes()) == {}
    write(storage.store, "b.jsonl", b"half a line\n")
    (storage.store.predictions / "local" / DAMAGED_LINES).write_text("{")
    collect(storage.store, "local")
    assert damaged_lines(storage.store, "local", NOW - DAY, NOW) == 2, "both segments are closed now"
