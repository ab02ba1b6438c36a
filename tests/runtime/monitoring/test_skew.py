"""Features of logged requests are recomputed as of their own time, and every difference is found."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from lifecycle import timestamps
from lifecycle.contract.schema import Column
from lifecycle.jobs.promote import logged_skew
from lifecycle.monitoring import monitor
from lifecycle.monitoring.quality import Skew, measure_skew
from lifecycle.settings import Settings
from support.monitored import DAY, NOW, SPAN, Sample, log, log_lookups, one_too_many
from support.storages import CHURN, DISCOUNT, KEY, PLAN, VISITS, Storage
from support.teams import settings_in


def test_equal_features_have_no_skew_and_different_ones_are_an_incident(sample: Sample, settings: Settings) -> None:
    data = log_lookups(sample, settings, lambda rows: rows)
    skew = measure_skew(settings, data, "local", sample.bundle, NOW)
    assert skew is not None
    assert skew.rows > 400
    assert (skew.different, skew.columns) == (0, {})
    document, _ = monitor(settings, data, "local", NOW)
    assert document["skew"] == {"rows": skew.rows, "different": 0, "columns": {}}
    assert document["verdict"] in ("ok", "watch")
    log_lookups(sample, settings, one_too_many)
    document, _ = monitor(settings, data, "local", NOW)
    assert document["verdict"] == "incident"
    assert any(reason["kind"] == "skew" and reason["columns"] == ("visits_30d",) for reason in document["reasons"])


def test_promotion_receives_the_reason_why_features_cannot_be_recomputed(
    sample: Sample, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = log_lookups(sample, settings, lambda rows: rows)
    monkeypatch.setattr(timestamps, "clock", lambda: NOW)
    skew = logged_skew(settings, data, "local", sample.bundle)
    assert skew is not None
    assert skew["rows"] > 400
    renamed: Any = SimpleNamespace(tables=lambda connection, folder: None)
    skew = logged_skew(settings, renamed, "local", sample.bundle)
    assert skew is not None
    assert "features.sql failed" in skew["problem"]


def test_numbers_are_compared_to_nine_digits(sample: Sample, settings: Settings) -> None:
    def nudged(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(days_with_us=rows["days_with_us"] * (1 + 1e-12), spent_30d=rows["spent_30d"] * (1 + 1e-6))

    data = log_lookups(sample, settings, nudged)
    skew = measure_skew(settings, data, "local", sample.bundle, NOW)
    assert skew is not None
    assert list(skew.columns) == ["spent_30d"]


PEOPLE_TABLE = SimpleNamespace(
    tables=lambda connection, folder: connection.execute("CREATE TABLE people (key VARCHAR)")
)
PEOPLE = "SELECT customer_id, ts, 'basic' AS plan, CAST(3 AS BIGINT) AS visits FROM spine WHERE customer_id <> 'gone'"


def small(storage: Storage, rows: list[tuple[str, str, int]], key: Column = KEY, **fallbacks: Any) -> Skew | None:
    """Return the skew of logged rows (key, plan, visits) when features.sql is PEOPLE."""
    columns = [key, DISCOUNT]
    for column in (PLAN, VISITS):
        given = {"fallback": fallbacks[column.name], "has_fallback": True} if fallbacks else {}
        columns.append(replace(column, **given))
    bundle = storage.publish(replace(CHURN, columns=tuple(columns)))
    bundle.__dict__["features_sql"] = PEOPLE
    frame = pd.DataFrame(rows, columns=["customer_id", "plan", "visits"])
    frame = frame.assign(discount=0.0, ts=NOW - SPAN, prediction="stays", probability=0.1)
    log(storage.store, bundle, frame, NOW - DAY, NOW, "small")
    settings = settings_in(storage.drafts).model_copy(update={"storage": storage.store.root})
    data: Any = PEOPLE_TABLE
    return measure_skew(settings, data, "local", bundle, NOW)


def test_a_row_that_features_sql_no_longer_returns_differs_unless_it_holds_the_fallbacks(storage: Storage) -> None:
    skew = small(storage, [("ann", "basic", 3), ("bob", "plus", 3), ("gone", "basic", 3)])
    assert skew == Skew(3, 2, {"plan": 2, "visits": 1})
    skew = small(storage, [("ann", "basic", 3), ("gone", "plus", 0)], plan="plus", visits=0)
    assert skew == Skew(1, 0, {})


def test_without_a_key_in_the_log_nothing_is_recomputed(storage: Storage) -> None:
    assert small(storage, [("ann", "plus", 0)], key=replace(KEY, loggable=False)) is None
