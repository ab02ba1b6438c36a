"""A wrong clock, AS_OF or latest() is a configuration error with exit code 1, and not an incident."""

from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from lifecycle import cli, timestamps
from lifecycle.errors import LifecycleError
from lifecycle.models.bundle import Bundle
from lifecycle.monitoring import monitor
from lifecycle.scoring import score
from lifecycle.settings import Settings
from support.monitored import NO_TABLES, NOW, SPAN, Sample, fill_windows, log, log_lookups, run_monitor
from support.teams import sample_team

DAY = 86_400


def at(monkeypatch: pytest.MonkeyPatch, time: int) -> None:
    monkeypatch.setattr(timestamps, "clock", lambda: float(time))


def test_as_of_in_the_future_exits_with_1_and_writes_no_report(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at(monkeypatch, NOW)
    monkeypatch.chdir(settings.storage.parent)
    assert cli.main(["monitor", "--as-of", "2026-01-16"]) == 1
    problem = "error: AS_OF is 2026-01-16T00:00:00Z, and the clock of this machine shows 2026-01-15T00:00:00Z"
    assert problem in capsys.readouterr().err
    assert not settings.store.reports.exists()


def test_predictions_of_the_future_are_an_error(
    sample: Sample, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_windows(sample, settings)
    at(monkeypatch, NOW - 2 * SPAN)
    with pytest.raises(LifecycleError, match="the newest prediction is 2026-01-08T00:00:00Z, and the clock"):
        monitor(settings, NO_TABLES, "local")


def test_a_batch_of_a_future_date_is_left_out_until_its_date(
    sample: Sample, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tomorrow's scores say nothing about the clock; what they looked up then cannot be recomputed afterwards."""
    data = sample_team().data
    at(monkeypatch, NOW)
    days = [timestamps.date_of(time) for time in (NOW - DAY, NOW + DAY)]
    past, ahead = (pq.read_metadata(path).num_rows for path in score(settings, data, "local", days, progress=False))
    document, _ = monitor(settings, data, "local")
    assert document["windows"][-1]["rows"] == past > 400
    assert [each["count"] for each in document["left_out"] if each["kind"] == "later"] == [ahead]
    batch = settings.store.predictions / "local" / f"date={days[1]}" / f"score-{sample.bundle.version}.parquet"
    assert pq.read_table(batch, columns=["as_of"])["as_of"].null_count == ahead
    at(monkeypatch, NOW + 8 * DAY)
    document, _ = monitor(settings, data, "local")
    assert document["windows"][-1]["rows"] == past + ahead
    assert "later" not in {each["kind"] for each in document["left_out"]}
    assert document["skew"] == {"rows": past, "different": 0, "columns": {}}


def test_the_drift_reference_is_read_once(sample: Sample, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    fill_windows(sample, settings)
    read, whole = [], Bundle.read

    def counting(bundle: Bundle, name: str) -> bytes:
        read.append(name)
        return whole(bundle, name)

    monkeypatch.setattr(Bundle, "read", counting)
    run_monitor(settings)
    assert read.count("profile.json") == 1


def test_tables_of_the_future_are_an_error(sample: Sample, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    team = sample_team()
    data: Any = SimpleNamespace(tables=team.data.tables, latest=lambda connection: NOW + 30 * DAY)
    at(monkeypatch, NOW)
    with pytest.raises(LifecycleError, match=r"latest\(\) of src/model/data.py is 2026-02-14"):
        monitor(settings, data, "local")
    data.latest = lambda connection: NOW + DAY
    assert monitor(settings, data, "local")[0]["verdict"] == "no data", "the midnight after the last event"


def test_features_of_the_future_are_an_error(
    sample: Sample, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, NOW)
    rows = sample.predict(sample.draw(400)).assign(ts=NOW + 5 * DAY)
    log(settings.store, sample.bundle, rows, NOW - SPAN, NOW, "ahead")
    with pytest.raises(LifecycleError, match="its features are as of 2026-01-20T00:00:00Z, later"):
        monitor(settings, NO_TABLES, "local")


def test_data_without_latest_are_not_compared_with_the_clock(
    sample: Sample, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without latest(), the time in use would be that of the clock, years after the training data."""
    data = log_lookups(sample, settings, lambda rows: rows)
    without = SimpleNamespace(**{name: getattr(data, name) for name in ("tables", "labels", "population")})
    at(monkeypatch, NOW + 3000 * DAY)
    document, _ = monitor(settings, without, "local")
    assert document["verdict"] == "no data"
    assert "stale" not in {reason["kind"] for reason in document["reasons"]}
