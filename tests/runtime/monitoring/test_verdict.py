"""Each way in which production data go wrong leads to its own verdict and reason; unchanged data lead to `ok`."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle import cli, timestamps
from lifecycle.monitoring import monitor
from lifecycle.monitoring.verdict import Findings, Window, decide
from lifecycle.settings import Settings
from support.monitored import (
    NO_TABLES,
    NOW,
    ROWS,
    SPAN,
    Change,
    Sample,
    fill_windows,
    log,
    log_lookups,
    null_spike,
    retrain_request,
    run_monitor,
    shifted,
)
from support.storages import Storage
from support.teams import settings_in


def test_unchanged_data_give_ok(sample: Sample, settings: Settings) -> None:
    fill_windows(sample, settings)
    report = run_monitor(settings)
    assert (report["verdict"], report["reasons"]) == ("ok", [])
    assert retrain_request(settings) is None
    assert [window["rows"] for window in report["windows"]] == [ROWS] * 3
    quality = report["quality"]
    assert quality["labelled"] == quality["mature"] > 2 * ROWS
    assert quality["metric"] == "roc_auc"
    assert quality["overall"]["lower"] < quality["overall"]["value"] < quality["overall"]["upper"]
    assert {"plan=basic", "region=north"} < {*quality["slices"]}
    assert 0.8 < quality["estimate"] < 1


def new_region(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(region=rows["region"].where(np.arange(len(rows)) % 10 > 0, "islands"))


BROKEN: dict[str, tuple[Change, str]] = {
    "poisoned": (lambda rows: rows.assign(spent_30d=-rows["spent_30d"] - 1), "spent_30d: is below 0"),
    "null in a required column": (lambda rows: rows.assign(spent_30d=np.nan), "spent_30d: is null in"),
    "null spike": (null_spike, "% of the rows are null"),
    "unseen level": (new_region, "region: 10.0% of the rows have a level that training did not contain"),
    "unknown level": (lambda rows: rows.assign(plan="gold"), "plan: has a level that the contract does not name"),
    "constant": (lambda rows: rows.assign(days_with_us=100.0), "days_with_us: every row has the same value"),
    "missing column": (lambda rows: rows.drop(columns="visits_30d"), "visits_30d: is null in 700 of 700"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_data_are_an_incident_and_never_request_a_retrain(name: str, sample: Sample, settings: Settings) -> None:
    change, text = BROKEN[name]
    # Lasting drift of another column would request a retrain.
    fill_windows(sample, settings, shifted, lambda rows: change(shifted(rows)))
    assert settings.store.reports.exists() is False
    report = run_monitor(settings)
    assert report["verdict"] == "incident"
    assert any(text in reason["text"] for reason in report["reasons"] if reason["kind"] == "broken"), report["reasons"]
    assert retrain_request(settings) is None


def test_a_changed_type_is_an_incident(sample: Sample, settings: Settings) -> None:
    fill_windows(sample, settings, types={"spent_30d": "VARCHAR"})
    report = run_monitor(settings)
    assert report["verdict"] == "incident"
    assert "spent_30d: is VARCHAR, the contract says number" in str(report["reasons"])


def test_drift_is_watched_once_and_requests_a_retrain_when_it_lasts(sample: Sample, settings: Settings) -> None:
    fill_windows(sample, settings, shifted)
    once = run_monitor(settings)
    assert once["verdict"] == "watch"
    assert once["reasons"][0]["columns"] == ("complaints_90d",)
    assert retrain_request(settings) is None
    fill_windows(sample, settings, shifted, shifted)
    again = run_monitor(settings)
    assert (again["verdict"], again["reasons"][0]["kind"]) == ("retrain", "drift")
    request = retrain_request(settings)
    assert request is not None
    assert (request["reason"], request["version"]) == ("drift", sample.bundle.version)
    assert Path(request["evidence"]).exists()
    fill_windows(sample, settings)
    assert run_monitor(settings)["verdict"] == "ok"
    assert retrain_request(settings) is None, "a request is withdrawn when its reason no longer holds"


def test_an_incident_withdraws_a_request(sample: Sample, settings: Settings) -> None:
    fill_windows(sample, settings, shifted, shifted)
    run_monitor(settings)
    assert retrain_request(settings)
    fill_windows(sample, settings, shifted, lambda rows: null_spike(shifted(rows)))
    run_monitor(settings)
    assert retrain_request(settings) is None


def test_drift_outside_the_expected_range_is_watched(sample: Sample, settings: Settings) -> None:
    def in_cents(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(spent_30d=rows["spent_30d"] * 100)

    fill_windows(sample, settings, in_cents, in_cents)
    report = run_monitor(settings)
    assert report["verdict"] == "watch"
    assert any("outside what the contract expects" in reason["text"] for reason in report["reasons"])


def test_labels_that_contradict_the_predictions_are_decay(sample: Sample, settings: Settings) -> None:
    fill_windows(sample, settings, shuffle_labels=True)
    report = run_monitor(settings)
    assert (report["verdict"], report["reasons"][0]["kind"]) == ("retrain", "decay")
    request = retrain_request(settings)
    assert request is not None
    assert request["reason"] == "decay"
    assert report["quality"]["overall"]["upper"] < report["quality"]["bound"]


def test_immature_labels_do_not_count_for_quality(sample: Sample, settings: Settings) -> None:
    fill_windows(sample, settings, shuffle_labels=True)
    report = run_monitor(settings, label_days=200)
    assert report["verdict"] == "ok"
    assert report["quality"]["mature"] == 0
    assert report["quality"]["overall"] is None


def test_a_stale_model_requests_a_retrain(sample: Sample, settings: Settings) -> None:
    fill_windows(sample, settings)
    report = run_monitor(settings, stale_days=60)
    assert (report["verdict"], report["reasons"][0]["kind"]) == ("retrain", "stale")
    assert "the newest data are 68.0 days newer" in report["reasons"][0]["text"]


def test_a_model_is_not_stale_without_newer_data(
    sample: Sample, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_windows(sample, settings)
    monkeypatch.setattr(timestamps, "clock", lambda: float(NOW + 2000 * 86_400))
    changed = settings.model_copy(update={"monitor": settings.monitor.model_copy(update={"stale_days": 100})})
    document, _ = monitor(changed, NO_TABLES, "local")
    assert (document["verdict"], [reason["kind"] for reason in document["reasons"]]) == ("no data", ["rows", "rows"])


def test_too_few_rows_decide_nothing(sample: Sample, settings: Settings) -> None:
    rows = shifted(sample.draw(100)).assign(prediction="stays", probability=0.1)
    log(settings.store, sample.bundle, rows, NOW - 2 * SPAN, NOW, "few")
    report = run_monitor(settings)
    assert (report["verdict"], report["reasons"][0]["kind"]) == ("ok", "rows")
    log(settings.store, sample.bundle, sample.predict(sample.draw(ROWS)), NOW - 2 * SPAN, NOW - SPAN, "before")
    assert run_monitor(settings)["verdict"] == "watch", "traffic that stops is watched"


def test_windows_without_requests_are_no_data(
    sample: Sample, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log(settings.store, sample.bundle, sample.predict(sample.draw(ROWS)), NOW - 3 * SPAN, NOW - 2 * SPAN, "old")
    report = run_monitor(settings)
    assert report["verdict"] == "watch", "requests have stopped"
    assert "no data: the last window has no prediction" in report["reasons"][0]["text"]
    assert [window["state"] for window in report["windows"]] == ["as in training", "no data", "no data"]
    shutil.rmtree(settings.store.predictions)
    report = run_monitor(settings)
    assert (report["verdict"], report["windows"][-1]["state"]) == ("no data", "no data")
    [page] = settings.store.reports.rglob("monitoring.html")
    assert "<strong>no data</strong>: The last window has no prediction of this version" in page.read_text(
        encoding="utf-8"
    )
    assert page.read_text(encoding="utf-8").count("<td>no data</td>") == 3
    monkeypatch.chdir(settings.storage.parent)
    monkeypatch.setenv("LIFECYCLE_DATA", str(settings.data))
    assert cli.main(["monitor", "--as-of", "2026-01-15"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("no data: ")
    assert "windows: 2025-10-23 to 2025-11-20: no data; " in output


def test_features_far_behind_the_data_are_an_incident(sample: Sample, settings: Settings) -> None:
    data = log_lookups(sample, settings, lambda rows: rows, as_of="2025-12-01")
    document, _ = monitor(settings, data, "local", NOW)
    assert document["verdict"] == "incident"
    assert "31.0 days older than the data" in str(document["reasons"])


def test_a_version_without_a_drift_reference_is_watched(storage: Storage) -> None:
    bundle = storage.publish()
    storage.deploy(bundle)
    row: dict[str, Any] = {"customer_id": "ann", "discount": 0.0, "plan": "basic", "visits": 3, "ts": NOW - SPAN // 4}
    rows = pd.DataFrame(row | {"prediction": "stays", "probability": 0.1}, index=range(400))
    log(storage.store, bundle, rows, NOW - SPAN, NOW, "old")
    settings = settings_in(storage.drafts).model_copy(update={"storage": storage.store.root})
    document, _ = monitor(settings, NO_TABLES, "local", NOW)
    assert document["verdict"] == "watch"
    assert document["reasons"][0]["text"].startswith("this version has no drift reference")
    assert document["windows"][-1]["columns"] == {}


def test_a_reason_suggests_commands_for_its_environment() -> None:
    found = Findings(0, [Window(0, 1)], features_lag=10 * 86_400, environment="staging")
    verdict, reasons = decide(found, Settings())
    assert verdict == "incident"
    texts = " ".join(reason.text for reason in reasons)
    assert "`make features ENVIRONMENT=staging`" in texts
    assert "`make collect ENVIRONMENT=staging`" in texts
