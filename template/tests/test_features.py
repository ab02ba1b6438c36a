"""features.sql uses only what was known one second before the time of each row of the spine."""

from pathlib import Path
from typing import Any

import duckdb
import pytest

import model

SQL = (Path(model.__file__).parent / "features.sql").read_text()
DAY = 86_400
NOW = 1_760_000_000
JOINED = NOW - 400 * DAY


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    """Return a connection with two customers without events, and an empty spine."""
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("CREATE TABLE customers (customer_id VARCHAR, plan VARCHAR, region VARCHAR, joined BIGINT)")
    connection.execute(
        "CREATE TABLE events (customer_id VARCHAR, ts BIGINT, seen_ts BIGINT, kind VARCHAR, amount DOUBLE)"
    )
    connection.execute("CREATE TABLE spine (customer_id VARCHAR, ts BIGINT)")
    for key in ("c-1", "c-2"):
        connection.execute("INSERT INTO customers VALUES (?, 'plus', 'north', ?)", [key, JOINED])
    return connection


def add_event(
    connection: duckdb.DuckDBPyConnection, kind: str, ts: int, seen: int | None = None, amount: float | None = None
) -> None:
    connection.execute(
        "INSERT INTO events VALUES ('c-1', ?, ?, ?, ?)", [ts, ts if seen is None else seen, kind, amount]
    )


def compute(connection: duckdb.DuckDBPyConnection, *spine: tuple[str, int]) -> list[dict[str, Any]]:
    connection.execute("DELETE FROM spine")
    connection.executemany("INSERT INTO spine VALUES (?, ?)", spine)
    found = connection.execute(f"FROM ({SQL}) ORDER BY customer_id, ts")
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def test_an_event_at_the_time_of_the_row_does_not_count(connection: duckdb.DuckDBPyConnection) -> None:
    nothing = compute(connection, ("c-1", NOW))
    for kind in ("visit", "purchase", "complaint"):
        add_event(connection, kind, NOW, amount=50.0)
        add_event(connection, kind, NOW + 1, amount=50.0)
    assert compute(connection, ("c-1", NOW)) == nothing


def test_an_event_one_second_before_counts(connection: duckdb.DuckDBPyConnection) -> None:
    add_event(connection, "visit", NOW - 1)
    add_event(connection, "purchase", NOW - 1, amount=50.0)
    add_event(connection, "complaint", NOW - 1)
    (row,) = compute(connection, ("c-1", NOW))
    assert (row["visits_30d"], row["purchases_30d"], row["spent_30d"], row["complaints_90d"]) == (1, 1, 50.0, 1)
    assert row["days_since_visit"] == pytest.approx(1 / DAY)


def test_a_late_event_counts_from_when_it_was_seen(connection: duckdb.DuckDBPyConnection) -> None:
    add_event(connection, "visit", NOW - DAY, seen=NOW + DAY)
    before, after = compute(connection, ("c-1", NOW), ("c-1", NOW + DAY + 1))
    assert (before["visits_30d"], before["days_since_visit"]) == (0, None)
    assert after["visits_30d"] == 1
    # It counts late, with its real age.
    assert after["days_since_visit"] == pytest.approx(2 + 1 / DAY)


@pytest.mark.parametrize(
    ("kind", "column", "days"),
    [("visit", "visits_30d", 30), ("purchase", "purchases_30d", 30), ("complaint", "complaints_90d", 90)],
)
def test_a_window_is_as_long_as_its_name_says(
    connection: duckdb.DuckDBPyConnection, kind: str, column: str, days: int
) -> None:
    add_event(connection, kind, NOW - days * DAY, amount=1.0)
    within, after = compute(connection, ("c-1", NOW), ("c-1", NOW + 1))
    assert (within[column], after[column]) == (1, 0)


def test_a_customer_without_events_gets_a_row(connection: duckdb.DuckDBPyConnection) -> None:
    assert compute(connection, ("c-2", NOW)) == [
        {
            "customer_id": "c-2",
            "ts": NOW,
            "plan": "plus",
            "region": "north",
            "days_with_us": 400.0,
            "visits_30d": 0,
            "purchases_30d": 0,
            "spent_30d": 0.0,
            "complaints_90d": 0,
            "days_since_visit": None,
        }
    ]


def test_each_row_of_the_spine_gets_one_row(connection: duckdb.DuckDBPyConnection) -> None:
    for day in range(60):
        add_event(connection, "visit", NOW - day * DAY)
    spine = [("c-1", NOW - 10 * DAY), ("c-1", NOW), ("c-2", NOW)]
    assert [(row["customer_id"], row["ts"]) for row in compute(connection, *spine)] == spine


def test_events_count_for_their_own_customer_only(connection: duckdb.DuckDBPyConnection) -> None:
    add_event(connection, "complaint", NOW - DAY)
    one, two = compute(connection, ("c-1", NOW), ("c-2", NOW))
    assert (one["complaints_90d"], two["complaints_90d"]) == (1, 0)


def test_a_row_has_the_same_features_alone_and_among_others(connection: duckdb.DuckDBPyConnection) -> None:
    for hour in range(500):
        add_event(connection, "purchase", NOW - hour * 3600, amount=0.1 * hour)
    together = compute(connection, ("c-1", NOW - 3 * DAY), ("c-1", NOW), ("c-2", NOW))[1]
    (alone,) = compute(connection, ("c-1", NOW))
    assert together == {**alone, "spent_30d": pytest.approx(alone["spent_30d"], rel=1e-9)}


def test_an_unknown_customer_gets_no_row(connection: duckdb.DuckDBPyConnection) -> None:
    assert compute(connection, ("unknown", NOW)) == []
