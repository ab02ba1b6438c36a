"""The monitor command, the files it writes, and the way from the service's log to the verdict."""

import json
import os
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from starlette.testclient import TestClient

from lifecycle import cli, timestamps
from lifecycle.errors import LifecycleError
from lifecycle.features import table_path
from lifecycle.jobs import materialize
from lifecycle.monitoring import monitor
from lifecycle.monitoring.collect import collect
from lifecycle.monitoring.report import summary
from lifecycle.registry import labels
from lifecycle.serving.app import create
from lifecycle.settings import Settings
from support.monitored import (
    NO_TABLES,
    NOW,
    SPAN,
    Sample,
    fill_windows,
    log_lookups,
    null_spike,
    one_too_many,
    retrain_request,
    run_monitor,
    shifted,
)
from support.teams import sample_team


def test_a_report_of_the_past_does_not_replace_the_newest(sample: Sample, settings: Settings) -> None:
    fill_windows(sample, settings, lambda rows: rows, null_spike)
    newest = run_monitor(settings)
    assert newest["verdict"] == "incident"
    changed = settings.model_copy(update={"monitor": settings.monitor.model_copy(update={"feature_days": 5000.0})})
    past, dated = monitor(changed, NO_TABLES, "local", NOW - SPAN)
    assert past["verdict"] != "incident"
    assert (dated / "monitoring.html").exists()
    path = settings.store.reports / "local/monitoring.json"
    assert json.loads(path.read_bytes())["as_of"] == newest["as_of"]


def test_the_drift_reference_is_small_and_names_no_key(sample: Sample) -> None:
    text = sample.bundle.read("profile.json").decode()
    assert len(text) < 6000
    assert "c-0" not in text
    assert set(json.loads(text)["columns"]) == {column.name for column in sample.bundle.contract.inputs}


def test_monitoring_is_refused_where_nothing_is_deployed(sample: Sample, tmp_path: Path) -> None:
    with pytest.raises(LifecycleError, match="nothing is deployed"):
        monitor(sample.settings.model_copy(update={"storage": tmp_path}), NO_TABLES, "local", NOW)


def test_the_command_prints_the_verdict_and_fails_on_an_incident(
    sample: Sample, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(settings.storage.parent)
    monkeypatch.setenv("LIFECYCLE_DATA", str(settings.data))
    log_lookups(sample, settings, lambda rows: rows)
    arguments = ["monitor", "--as-of", "2026-01-15"]
    assert cli.main(arguments) == 0
    output = capsys.readouterr().out
    assert f": {sample.bundle.version} in local as of 2026-01-15T00:00:00Z" in output
    assert Path(output.splitlines()[-1]).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    log_lookups(sample, settings, one_too_many)
    assert cli.main(arguments) == 1
    assert "the data of the last window are broken" in capsys.readouterr().err


@pytest.mark.usefixtures("drawn_charts")
def test_the_page_has_a_chart_for_every_column(sample: Sample, settings: Settings) -> None:
    fill_windows(sample, settings, lambda rows: null_spike(shifted(rows)))
    run_monitor(settings)
    [page] = settings.store.reports.rglob("monitoring.html")
    text = page.read_text(encoding="utf-8")
    names = [column.name for column in sample.bundle.contract.inputs] + ["prediction"]
    for name in names:
        assert re.search(f'aria-label="{name}. (newest )?training rows and last window: ', text)
        assert f"<figcaption>{name}: " in text
    # One more shows quality.
    assert text.count('role="img"') == len(names) + 1


@pytest.mark.usefixtures("drawn_charts")
def test_calibration_is_in_report_terminal_and_page(sample: Sample, settings: Settings) -> None:
    fill_windows(sample, settings)
    document = run_monitor(settings)
    quality = document["quality"]
    calibration, at = quality["calibration"], quality["at_threshold"]
    assert sum(each["rows"] for each in calibration["bins"]) == quality["overall"]["rows"]
    assert calibration["error"] < 3 * calibration["chance"]
    assert 0 < quality["brier"] < 0.25
    assert at["threshold"] == 0.5
    assert 0 < at["recall"] < at["precision"] <= 1
    [line] = [each for each in summary(document) if each.startswith("Brier score")]
    assert f"expected calibration error {calibration['error']:.3f}" in line
    assert f"at the threshold 0.5: precision {at['precision']:.2f}, recall {at['recall']:.2f}" in line
    [page] = settings.store.reports.rglob("monitoring.html")
    text = page.read_text(encoding="utf-8")
    assert "Calibration on labelled predictions" in text
    assert f"Precision:\n{at['precision']:.3f}." in text


def test_probabilities_that_are_too_high_are_visible(sample: Sample, settings: Settings) -> None:
    fill_windows(sample, settings)
    good = run_monitor(settings)["quality"]
    for path in settings.store.predictions.rglob("*.parquet"):
        frame = pd.read_parquet(path)
        frame.assign(probability=frame["probability"] ** 0.3).to_parquet(path)
    bad = run_monitor(settings)["quality"]
    assert bad["overall"]["value"] == pytest.approx(good["overall"]["value"], abs=0.001), "the order is the same"
    assert bad["calibration"]["error"] > 0.2 > 5 * good["calibration"]["error"]


def test_a_retrain_requested_by_a_person_is_not_withdrawn(settings: Settings) -> None:
    path = settings.store.reports / "local" / "retrain_request.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"format": 1, "reason": "manual"}))
    run_monitor(settings)
    assert retrain_request(settings) == {"format": 1, "reason": "manual"}


class Killed(BaseException):
    """Ends the code as a kill does."""


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", ["os.fsync", "os.replace"])
@pytest.mark.parametrize("nth", range(4))
def test_a_kill_at_any_step_leaves_whole_files_and_the_next_run_completes_them(
    call: str, nth: int, after: bool, sample: Sample, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_windows(sample, settings, shifted, shifted)
    real, calls = getattr(os, call.partition(".")[2]), iter(range(99))

    def killing(*given: Any) -> Any:
        last = next(calls) == nth
        if last and not after:
            raise Killed
        done = real(*given)
        if last:
            raise Killed
        return done

    with monkeypatch.context() as patched:
        patched.setattr(call, killing)
        with pytest.raises(Killed):
            run_monitor(settings)
    for path in settings.store.reports.rglob("[!.]*.json"):
        json.loads(path.read_bytes())
    assert run_monitor(settings)["verdict"] == "retrain"
    request = retrain_request(settings)
    assert request is not None
    assert Path(request["evidence"]).exists()


@pytest.mark.usefixtures("drawn_charts")
def test_from_the_service_to_the_verdict(
    sample: Sample, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that the service logs are collected, labelled by key, recomputed and judged."""
    data, requested = sample_team().data, timestamps.parse("2025-12-02")
    materialize(settings, data, timestamps.parse("2025-12-01"))
    with closing(sqlite3.connect(table_path(settings.store, sample.bundle.feature_set))) as features_table:
        keys = [key for (key,) in features_table.execute("SELECT customer_id FROM features ORDER BY customer_id")]
    app = create(settings.store, "local", settings.serve, settings.log)
    with monkeypatch.context() as patched, TestClient(app) as client:
        patched.setattr(timestamps, "clock", lambda: float(requested))
        for start in range(0, len(keys), 100):
            rows = [{"customer_id": key, "discount": 0} for key in keys[start : start + 100]]
            assert client.post("/predict", json=rows).status_code == 200
    assert collect(settings.store, "local").rows == len(keys) > 400
    delivery = tmp_path / "labels.csv"
    # Every customer with an odd number churns.
    lines = [f"{key},2025-12-02,{int(key[-1]) % 2}" for key in keys]
    delivery.write_text("customer_id,ts,churned\n" + "\n".join(lines), encoding="utf-8")
    assert labels.add(settings.store, sample.bundle.contract, delivery, timestamps.parse("2026-01-02")) == len(keys)
    changed = settings.model_copy(update={"monitor": settings.monitor.model_copy(update={"feature_days": 60.0})})
    document, _ = monitor(changed, data, "local", timestamps.parse("2026-01-02"))
    assert document["quality"]["labelled"] == document["quality"]["mature"] == len(keys)
    assert document["quality"]["overall"]["upper"] < document["quality"]["bound"]
    document, _ = monitor(changed, data, "local", timestamps.parse("2025-12-20"))
    assert document["windows"][-1]["rows"] == document["skew"]["rows"] == len(keys)
    assert document["skew"]["different"] == 0
    assert document["quality"]["labelled"] == 0, "no label was known then"
    assert document["verdict"] in ("ok", "watch"), document["reasons"]
