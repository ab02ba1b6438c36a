"""Each way for live data to go wrong turns monitoring red for its own reason; nothing wrong keeps it quiet."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle import cli, features, moments, skew
from lifecycle.errors import LifecycleError, NotHere
from lifecycle.monitoring.monitor import monitor
from lifecycle.settings import Settings
from monitored import DAY, NOW, Watched, deploy, label, log, watched
from teams import sample_team

ROWS = 700
TOLD_ELSEWHERE = "the tables are not where this ran: no features were computed again"
SPAN = 28 * DAY
Change = Callable[[pd.DataFrame], pd.DataFrame]


def absent(connection: Any, folder: Path) -> None:
    raise NotHere("the tables are elsewhere")


# Rows of the past were looked up as of their own moment: what needs the tables has tests of its own.
ELSEWHERE: Any = SimpleNamespace(tables=absent)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    return watched(tmp_path_factory.mktemp("watched"))


@pytest.fixture
def settings(made: Watched, tmp_path: Path) -> Settings:
    """The same version and data; the log and the labels of the test's own."""
    own = made.settings.model_copy(update={"storage": tmp_path / "storage"})
    own.storage.mkdir()
    (own.storage / "bundles").symlink_to(made.settings.storage / "bundles")
    deploy(own.store, made.bundle)
    return own


def live(made: Watched, settings: Settings, *changes: Change, flip: bool = False, types: Any = None) -> None:
    """Four windows of answers and their labels; `changes` are of the newest ones, the last change of the last."""
    for back in range(4):
        rows = made.draw(ROWS, seed=back)
        if back < len(changes):
            rows = changes[-1 - back](rows)
        try:
            rows = made.answer(rows)
        except (TypeError, ValueError, KeyError):
            rows = rows.assign(prediction="stays", probability=0.1)
        if flip:
            random = np.random.default_rng(back)
            rows["churned"] = random.permutation(rows["churned"].to_numpy())
        last = NOW - back * SPAN
        log(settings.store, made.bundle, rows, last - SPAN, last, f"w{back}", types if back == 0 else None)
        label(settings.store, rows, f"w{back}", last)


def report(settings: Settings, **rules: Any) -> dict[str, Any]:
    """What monitoring says where the tables are not."""
    given = {"feature_days": 5000.0} | rules
    own = settings.model_copy(update={"monitor": settings.monitor.model_copy(update=given)})
    document, dated = monitor(own, ELSEWHERE, "local", NOW)
    assert json.loads((dated / "monitoring.json").read_text()) == json.loads(
        (settings.store.reports / "local" / "monitoring.json").read_text()
    )
    assert document["verdict"] in (dated / "monitoring.html").read_text()
    told = [reason for reason in document["reasons"] if reason["text"] == TOLD_ELSEWHERE]
    assert len(told) == 1
    document["reasons"].remove(told[0])
    return document


def request_of(settings: Settings) -> dict[str, Any] | None:
    path = settings.store.reports / "local" / "retrain_request.json"
    return json.loads(path.read_text()) if path.exists() else None


def test_nothing_wrong_is_quiet(made: Watched, settings: Settings) -> None:
    live(made, settings)
    found = report(settings)
    assert (found["verdict"], found["reasons"]) == ("ok", [])
    assert request_of(settings) is None
    assert [window["rows"] for window in found["windows"]] == [ROWS] * 3
    quality = found["quality"]
    assert quality["labelled"] == quality["mature"] > 2 * ROWS
    measured = quality["metrics"]["roc_auc"]
    assert measured["lower"] < measured["value"] < measured["upper"]
    assert {"plan=basic", "region=north"} < {each["slice"] for each in quality["slices"]}
    assert 0.8 < quality["estimate"] < 1


def null_spike(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(days_since_visit=rows["days_since_visit"].where(np.arange(len(rows)) % 5 > 0))


def new_region(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(region=rows["region"].where(np.arange(len(rows)) % 10 > 0, "islands"))


BROKEN: dict[str, tuple[Change, str]] = {
    "poisoned": (lambda rows: rows.assign(spent_30d=-rows["spent_30d"] - 1), "spent_30d: is below 0"),
    "null where none may be": (lambda rows: rows.assign(spent_30d=np.nan), "spent_30d: is null in"),
    "null spike": (null_spike, "days_since_visit: null in"),
    "unseen level": (new_region, "region: 10.0% of the rows hold a level that training never saw"),
    "unknown level": (lambda rows: rows.assign(plan="gold"), "plan: has a level that the contract does not name"),
    "stuck": (lambda rows: rows.assign(days_with_us=100.0), "days_with_us: one and the same value"),
    "lost": (lambda rows: rows.drop(columns="visits_30d"), "visits_30d: is null in 700 of 700"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_data_are_an_incident_and_never_retrain(name: str, made: Watched, settings: Settings) -> None:
    change, told = BROKEN[name]
    # Drift of another column, now and before, would ask for a retrain.
    live(made, settings, shifted, lambda rows: change(shifted(rows)))
    assert settings.store.reports.exists() is False
    found = report(settings)
    assert found["verdict"] == "incident"
    assert any(told in reason["text"] for reason in found["reasons"] if reason["kind"] == "broken"), found["reasons"]
    assert request_of(settings) is None


def shifted(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(complaints_90d=rows["complaints_90d"] + 1)


def test_a_type_break_is_an_incident(made: Watched, settings: Settings) -> None:
    live(made, settings, types={"spent_30d": "VARCHAR"})
    found = report(settings)
    assert found["verdict"] == "incident"
    assert "spent_30d: is VARCHAR, the contract says number" in str(found["reasons"])


def test_drift_is_watched_once_and_asks_for_a_retrain_when_it_lasts(made: Watched, settings: Settings) -> None:
    live(made, settings, shifted)
    once = report(settings)
    assert once["verdict"] == "watch"
    assert once["reasons"][0]["columns"] == ("complaints_90d",)
    assert request_of(settings) is None
    live(made, settings, shifted, shifted)
    again = report(settings)
    assert (again["verdict"], again["reasons"][0]["kind"]) == ("retrain", "drift")
    asked = request_of(settings)
    assert asked is not None
    assert (asked["reason"], asked["version"]) == ("drift", made.bundle.version)
    assert Path(asked["evidence"]).exists()
    live(made, settings)
    assert report(settings)["verdict"] == "ok"
    assert request_of(settings) is None, "what is not true any more is asked for no longer"


def test_an_incident_withdraws_a_request(made: Watched, settings: Settings) -> None:
    live(made, settings, shifted, shifted)
    report(settings)
    assert request_of(settings)
    live(made, settings, shifted, lambda rows: null_spike(shifted(rows)))
    report(settings)
    assert request_of(settings) is None


def test_drift_to_what_nobody_expects_is_looked_at_first(made: Watched, settings: Settings) -> None:
    def in_cents(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(spent_30d=rows["spent_30d"] * 100)

    live(made, settings, in_cents, in_cents)
    found = report(settings)
    assert found["verdict"] == "watch"
    assert any("outside what the contract expects" in reason["text"] for reason in found["reasons"])


def test_labels_that_disagree_are_decay(made: Watched, settings: Settings) -> None:
    live(made, settings, flip=True)
    found = report(settings)
    assert (found["verdict"], found["reasons"][0]["kind"]) == ("retrain", "decay")
    asked = request_of(settings)
    assert asked is not None
    assert asked["reason"] == "decay"
    assert found["quality"]["metrics"]["roc_auc"]["upper"] < found["quality"]["bound"]


def test_labels_that_are_not_mature_say_nothing(made: Watched, settings: Settings) -> None:
    live(made, settings, flip=True)
    found = report(settings, label_days=200)
    assert found["verdict"] == "ok"
    assert found["quality"]["mature"] == 0
    assert found["quality"]["metrics"] == {}


def test_a_stale_model_asks_for_a_retrain(made: Watched, settings: Settings) -> None:
    live(made, settings)
    found = report(settings, stale_days=60)
    assert (found["verdict"], found["reasons"][0]["kind"]) == ("retrain", "stale")
    assert "75 days ago" in found["reasons"][0]["text"]


def test_few_rows_decide_nothing(made: Watched, settings: Settings) -> None:
    assert report(settings)["verdict"] == "ok"
    rows = shifted(made.draw(100)).assign(prediction="stays", probability=0.1)
    log(settings.store, made.bundle, rows, NOW - 2 * SPAN, NOW, "few")
    found = report(settings)
    assert (found["verdict"], found["reasons"][0]["kind"]) == ("ok", "rows")
    log(settings.store, made.bundle, made.answer(made.draw(ROWS)), NOW - 2 * SPAN, NOW - SPAN, "before")
    assert report(settings)["verdict"] == "watch", "traffic that ends is looked at"


@pytest.mark.parametrize(("section", "kind"), [({"every_days": 70}, "schedule"), ({"new_labels": 500}, "labels")])
def test_config_asks_for_retrains(section: dict[str, int], kind: str, made: Watched, settings: Settings) -> None:
    live(made, settings)
    own = settings.model_copy(update={"retrain": settings.retrain.model_copy(update=section)})
    found = report(own)
    assert (found["verdict"], found["reasons"][0]["kind"]) == ("retrain", kind)


def looked_up(made: Watched, settings: Settings, change: Change, as_of: str = "2026-01-01") -> tuple[Settings, Any]:
    """What the service logs with a feature table of `as_of`, changed between the table and the answer."""
    data, contract = sample_team().data, made.bundle.contract
    connection = features.connect(data, settings.data)
    moment = moments.parse(as_of)
    sql = made.bundle.features_sql
    assert sql is not None
    features.population_rows(connection, data, contract, sql, moment)
    rows = change(connection.execute(f"FROM {features.ROWS}").df())
    log(settings.store, made.bundle, made.answer(rows), NOW - SPAN, NOW, "looked")
    return settings, data


def one_too_many(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(visits_30d=rows["visits_30d"] + (np.arange(len(rows)) % 20 == 0))


def test_features_are_computed_again(made: Watched, settings: Settings) -> None:
    same, data = looked_up(made, settings, lambda rows: rows)
    found = skew.measure(same, data, "local", made.bundle, NOW)
    assert found is not None
    assert found.rows > 400
    assert (found.different, found.columns) == (0, {})
    document, _ = monitor(same, data, "local", NOW)
    assert document["skew"] == {"rows": found.rows, "different": 0, "columns": {}}
    assert document["verdict"] in ("ok", "watch")
    looked_up(made, settings, one_too_many)
    document, _ = monitor(settings, data, "local", NOW)
    assert document["verdict"] == "incident"
    assert any(reason["kind"] == "skew" and reason["columns"] == ("visits_30d",) for reason in document["reasons"])


def test_a_double_is_the_same_to_nine_digits(made: Watched, settings: Settings) -> None:
    def nudged(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(days_with_us=rows["days_with_us"] * (1 + 1e-12), spent_30d=rows["spent_30d"] * (1 + 1e-6))

    own, data = looked_up(made, settings, nudged)
    found = skew.measure(own, data, "local", made.bundle, NOW)
    assert found is not None
    assert list(found.columns) == ["spent_30d"]


def test_stale_features_are_an_incident(made: Watched, settings: Settings) -> None:
    own, data = looked_up(made, settings, lambda rows: rows, as_of="2025-12-01")
    document, _ = monitor(own, data, "local", NOW)
    assert document["verdict"] == "incident"
    assert "31 days behind the data" in str(document["reasons"])


def test_the_profile_is_small_and_nobodys(made: Watched) -> None:
    text = made.bundle.read("profile.json").decode()
    assert len(text) < 6000
    assert "c-0" not in text
    assert set(json.loads(text)["columns"]) == {column.name for column in made.bundle.contract.inputs}


def test_monitoring_nothing_that_answers_is_refused(made: Watched, tmp_path: Path) -> None:
    with pytest.raises(LifecycleError, match="nothing is deployed"):
        monitor(made.settings.model_copy(update={"storage": tmp_path}), ELSEWHERE, "local", NOW)


def test_the_command_tells_the_verdict_and_an_incident_is_a_refusal(
    made: Watched, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(settings.storage.parent)
    monkeypatch.setenv("LIFECYCLE_DATA", str(settings.data))
    looked_up(made, settings, lambda rows: rows)
    words = ["monitor", "--as-of", "2026-01-15"]
    assert cli.main(words) == 0
    told = capsys.readouterr().out
    assert f": {made.bundle.version} in local as of 2026-01-15T00:00:00Z" in told
    assert Path(told.splitlines()[-1]).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    looked_up(made, settings, one_too_many)
    assert cli.main(words) == 1
    assert "the data of the last window are broken" in capsys.readouterr().err


def test_the_page_shows_every_column_and_needs_nothing_from_outside(made: Watched, settings: Settings) -> None:
    live(made, settings, lambda rows: new_region(shifted(rows)))
    report(settings)
    [page] = settings.store.reports.rglob("monitoring.html")
    text = page.read_text(encoding="utf-8")
    for column in made.bundle.contract.inputs:
        assert f"<h3>{column.name}</h3>" in text
    assert text.count('role="img"') == len(made.bundle.contract.inputs) + 1
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")


def test_a_retrain_that_a_person_asked_for_is_not_withdrawn(made: Watched, settings: Settings) -> None:
    path = settings.store.reports / "local" / "retrain_request.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"format": 1, "reason": "manual"}))
    report(settings)
    assert request_of(settings) == {"format": 1, "reason": "manual"}
