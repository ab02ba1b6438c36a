"""What monitoring found in a column can be accepted, and then counts as drift until another version is deployed."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest

from lifecycle import cli, timestamps
from lifecycle.errors import LifecycleError
from lifecycle.monitoring.report import accept, accepted
from lifecycle.registry import Identity, deployments
from lifecycle.registry.deployments import Deployed
from lifecycle.settings import Settings
from support.monitored import NOW, Sample, deploy, fill_windows, run_monitor

ANA = Identity("ana", "git")


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timestamps, "clock", lambda: float(NOW))


def islands(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(region=rows["region"].where(np.arange(len(rows)) % 8 > 0, "islands"))


def test_an_accepted_level_is_lasting_drift_and_requests_a_retrain(sample: Sample, settings: Settings) -> None:
    fill_windows(sample, settings, islands, islands)
    report = run_monitor(settings)
    assert report["verdict"] == "incident"
    assert "`make accept COLUMN=region WHY=…`" in report["reasons"][0]["text"]
    assert "level that training did not contain" in accept(settings.store, "local", "region", ANA, "new islands")
    report = run_monitor(settings)
    assert (report["verdict"], report["reasons"][0]["columns"]) == ("retrain", ("region",))
    [reason] = [each for each in report["reasons"] if each["kind"] == "accepted"]
    assert reason["text"].endswith("accepted by ana on 2026-01-15 (new islands)")
    column = report["windows"][-1]["columns"]["region"]
    assert (column["broken"], column["drifted"]) == (None, True)
    [page] = settings.store.reports.rglob("monitoring.html")
    assert "region: accepted, counts as drifted." in page.read_text(encoding="utf-8")


def test_one_line_of_the_audit_log_says_who_accepted_what_and_why(sample: Sample, settings: Settings) -> None:
    fill_windows(sample, settings, islands)
    run_monitor(settings)
    before = len(deployments.audit_entries(settings.store))
    accept(settings.store, "local", "region", ANA, " new islands ")
    [entry] = deployments.audit_entries(settings.store)[before:]
    named = ("action", "environment", "version", "column", "kind", "who", "why")
    version = sample.bundle.version
    assert [entry[name] for name in named] == ["accept", "local", version, "region", "unseen", "ana", "new islands"]
    assert len(deployments.periods(settings.store, "local")) == 1


def test_an_accepted_column_does_not_hide_another(sample: Sample, settings: Settings) -> None:
    fill_windows(sample, settings, islands)
    run_monitor(settings)
    accept(settings.store, "local", "region", ANA, "new islands")
    assert run_monitor(settings)["verdict"] == "watch"

    def nulls(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(days_since_visit=rows["days_since_visit"].where(np.arange(len(rows)) % 5 > 0))

    fill_windows(sample, settings, lambda rows: nulls(islands(rows)))
    report = run_monitor(settings)
    assert [each["columns"] for each in report["reasons"] if each["kind"] == "broken"] == [("days_since_visit",)]


def test_it_ends_when_another_version_is_deployed(sample: Sample, settings: Settings) -> None:
    fill_windows(sample, settings, islands)
    run_monitor(settings)
    accept(settings.store, "local", "region", ANA, "new islands")
    store, version = settings.store, sample.bundle.version
    assert accepted(store, "local", version, NOW)
    assert accepted(store, "local", version, NOW - 86_400) == [], "a report of an earlier time does not know it"
    assert accepted(store, "staging", version, NOW) == []
    deploy(store, sample.bundle)
    assert accepted(store, "local", version, NOW), "another threshold of the same version"
    other = Deployed("20260101T000000-00000000", 0.5)
    seen = deployments.read(store, "local")
    deployments.swap(store, "local", seen, other, action="promote", who="ana", why="")
    deploy(store, dataclasses.replace(sample.bundle))
    assert accepted(store, "local", version, NOW) == []


@pytest.mark.parametrize(
    ("column", "why", "problem"),
    [
        ("region", " ", "only with a reason"),
        ("regoin", "x", "no input 'regoin'"),
        ("plan", "x", "plan is not broken"),
        ("spent_30d", "x", "spent_30d violates the contract"),
    ],
)
def test_what_cannot_be_accepted_is_refused_with_the_reason(
    column: str, why: str, problem: str, sample: Sample, settings: Settings
) -> None:
    fill_windows(sample, settings, lambda rows: islands(rows).assign(spent_30d=-1.0))
    run_monitor(settings)
    with pytest.raises(LifecycleError, match=problem):
        accept(settings.store, "local", column, ANA, why)
    assert len(deployments.audit_entries(settings.store)) == 1


def test_it_needs_a_report_about_the_deployed_version(settings: Settings) -> None:
    with pytest.raises(LifecycleError, match="is about no version"):
        accept(settings.store, "local", "region", ANA, "x")
    run_monitor(settings)
    path = settings.store.reports / "local/monitoring.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"version": "another"}))
    with pytest.raises(LifecycleError, match="is about another"):
        accept(settings.store, "local", "region", ANA, "x")


def test_the_command_prints_what_was_accepted(
    sample: Sample, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(settings.storage.parent)
    fill_windows(sample, settings, islands)
    run_monitor(settings)
    assert cli.main(["accept", "--why", "new islands", "--", "region"]) == 0
    assert (
        "region: 12.6% of the rows have a level that training did not contain; accepted by" in capsys.readouterr().out
    )
    assert cli.main(["accept", "--why", "new islands"]) == 1
    assert "no input ''" in capsys.readouterr().err
