"""Each way for live data to go wrong turns monitoring red for its own reason; nothing wrong keeps it quiet."""

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from starlette.testclient import TestClient

from lifecycle import timestamps
from lifecycle.cli import entry
from lifecycle.cli.model import logged_skew
from lifecycle.contract.schema import Column
from lifecycle.errors import LifecycleError, NotHere
from lifecycle.features import point_in_time
from lifecycle.features.online import table_path
from lifecycle.jobs.materialize import materialize
from lifecycle.monitoring import labels, skew
from lifecycle.monitoring.monitor import monitor
from lifecycle.registry import predictions
from lifecycle.serving.app import create
from lifecycle.settings import Loaded, Settings
from support.monitored import DAY, NOW, Watched, deploy, label, log, watched
from support.storages import CHURN, DISCOUNT, KEY, PLAN, VISITS, Storage
from support.teams import sample_team, settings_in

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


def test_a_look_back_changes_nothing_of_what_stands_now(made: Watched, settings: Settings) -> None:
    live(made, settings, lambda rows: rows, null_spike)
    standing = report(settings)
    assert standing["verdict"] == "incident"
    calm = settings.model_copy(update={"monitor": settings.monitor.model_copy(update={"feature_days": 5000.0})})
    past, dated = monitor(calm, ELSEWHERE, "local", NOW - SPAN)
    assert past["verdict"] != "incident"
    assert (dated / "monitoring.html").exists()
    newest = settings.store.reports / "local/monitoring.json"
    assert json.loads(newest.read_bytes())["moment"] == standing["moment"]


def looked_up(made: Watched, settings: Settings, change: Change, as_of: str = "2026-01-01") -> tuple[Settings, Any]:
    """What the service logs with a feature table of `as_of`, changed between the table and the answer."""
    data, contract = sample_team().data, made.bundle.contract
    connection = point_in_time.connect(data, settings.data)
    moment = timestamps.parse(as_of)
    sql = made.bundle.features_sql
    assert sql is not None
    point_in_time.population_rows(connection, data, contract, sql, moment)
    rows = change(connection.execute(f"FROM {point_in_time.ROWS}").df())
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


def test_promotion_is_told_why_features_cannot_be_computed_again(
    made: Watched, settings: Settings, tmp_path: Path
) -> None:
    own, data = looked_up(made, settings, lambda rows: rows)
    (tmp_path / "now").write_text(timestamps.format_utc(NOW))
    loaded = Loaded("local", own.model_copy(update={"clock": tmp_path / "now"}), {})
    found = logged_skew(loaded, data)
    assert found is not None
    assert found["rows"] > 400
    renamed: Any = SimpleNamespace(tables=lambda connection, folder: None)
    found = logged_skew(loaded, renamed)
    assert found is not None
    assert "features.sql failed" in found["problem"]


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
    assert entry.main(words) == 0
    told = capsys.readouterr().out
    assert f": {made.bundle.version} in local as of 2026-01-15T00:00:00Z" in told
    assert Path(told.splitlines()[-1]).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    looked_up(made, settings, one_too_many)
    assert entry.main(words) == 1
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


class Killed(BaseException):
    """What a kill is to the code that it ends."""


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("call", ["os.fsync", "os.replace"])
@pytest.mark.parametrize("nth", range(4))
def test_a_kill_at_any_step_leaves_whole_files_and_the_next_run_says_it_again(
    call: str, nth: int, after: bool, made: Watched, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    live(made, settings, shifted, shifted)
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
            report(settings)
    for path in settings.store.reports.rglob("[!.]*.json"):
        json.loads(path.read_bytes())
    assert report(settings)["verdict"] == "retrain"
    asked = request_of(settings)
    assert asked is not None
    assert Path(asked["evidence"]).exists()


SOMEWHERE = SimpleNamespace(tables=lambda connection, folder: connection.execute("CREATE TABLE people (key VARCHAR)"))
PEOPLE = "SELECT customer_id, ts, 'basic' AS plan, CAST(3 AS BIGINT) AS visits FROM spine WHERE customer_id <> 'gone'"


def small(storage: Storage, rows: list[tuple[str, str, int]], key: Column = KEY, **fallbacks: Any) -> skew.Skew | None:
    """What is found of logged rows (key, plan, visits), where PEOPLE says what training would see."""
    columns = [key, DISCOUNT]
    for column in (PLAN, VISITS):
        given = {"fallback": fallbacks[column.name], "has_fallback": True} if fallbacks else {}
        columns.append(replace(column, **given))
    bundle = storage.publish(replace(CHURN, columns=tuple(columns)))
    bundle.__dict__["features_sql"] = PEOPLE
    frame = pd.DataFrame(rows, columns=["customer_id", "plan", "visits"])
    frame = frame.assign(discount=0.0, ts=NOW - SPAN, prediction="stays", probability=0.1)
    log(storage.store, bundle, frame, NOW - DAY, NOW, "small")
    own = settings_in(storage.drafts).model_copy(update={"storage": storage.store.root})
    data: Any = SOMEWHERE
    return skew.measure(own, data, "local", bundle, NOW)


def test_a_row_without_features_of_its_own_is_told_unless_it_holds_the_fallbacks(storage: Storage) -> None:
    found = small(storage, [("ann", "basic", 3), ("bob", "plus", 3), ("gone", "basic", 3)])
    assert found == skew.Skew(3, 2, {"plan": 2, "visits": 1})
    found = small(storage, [("ann", "basic", 3), ("gone", "plus", 0)], plan="plus", visits=0)
    assert found == skew.Skew(1, 0, {})


def test_without_a_key_in_the_log_nothing_is_computed_again(storage: Storage) -> None:
    assert small(storage, [("ann", "plus", 0)], key=replace(KEY, loggable=False)) is None


def test_from_the_service_to_the_verdict(made: Watched, settings: Settings, tmp_path: Path) -> None:
    """What the service logs is collected, labelled by key, computed again and judged."""
    data, asked_at = sample_team().data, timestamps.parse("2025-12-02")
    table = timestamps.parse("2025-12-01")
    materialize(settings, data, table)
    with closing(sqlite3.connect(table_path(settings.store, made.bundle.feature_set))) as features_table:
        keys = [key for (key,) in features_table.execute("SELECT customer_id FROM features ORDER BY customer_id")]
    app = create(settings.store, "local", settings.serve, settings.log, lambda: float(asked_at))
    with TestClient(app) as client:
        for at in range(0, len(keys), 100):
            asked = [{"customer_id": key, "discount": 0} for key in keys[at : at + 100]]
            assert client.post("/predict", json=asked).status_code == 200
    assert predictions.collect(settings.store, "local").rows == len(keys) > 400
    told = tmp_path / "labels.csv"
    # Whoever has an odd number leaves.
    lines = [f"{key},2025-12-02,{int(key[-1]) % 2}" for key in keys]
    told.write_text("customer_id,ts,churned\n" + "\n".join(lines), encoding="utf-8")
    assert labels.add(settings.store, made.bundle.contract, told, timestamps.parse("2026-01-02")) == len(keys)
    own = settings.model_copy(update={"monitor": settings.monitor.model_copy(update={"feature_days": 60.0})})
    document, _ = monitor(own, data, "local", timestamps.parse("2026-01-02"))
    assert document["quality"]["labelled"] == document["quality"]["mature"] == len(keys)
    assert document["quality"]["metrics"]["roc_auc"]["upper"] < document["quality"]["bound"]
    document, _ = monitor(own, data, "local", timestamps.parse("2025-12-20"))
    assert document["windows"][-1]["rows"] == document["skew"]["rows"] == len(keys)
    assert document["skew"]["different"] == 0
    assert document["quality"]["labelled"] == 0, "no label was known then"
    assert document["verdict"] in ("ok", "watch"), document["reasons"]


def test_a_version_of_before_there_was_monitoring_is_watched(storage: Storage) -> None:
    bundle = storage.publish()
    storage.deploy(bundle)
    rows = pd.DataFrame(
        {"customer_id": "ann", "discount": 0.0, "plan": "basic", "visits": 3, "ts": NOW}, index=range(400)
    )
    log(storage.store, bundle, rows.assign(prediction="stays", probability=0.1), NOW - SPAN, NOW, "old")
    own = settings_in(storage.drafts).model_copy(update={"storage": storage.store.root})
    document, _ = monitor(own, ELSEWHERE, "local", NOW)
    assert document["verdict"] == "watch"
    assert document["reasons"][0]["text"].startswith("this version was trained before there was monitoring")
    assert document["windows"][-1]["columns"] == {}
