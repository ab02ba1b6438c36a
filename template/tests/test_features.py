"""features.sql looks back only on what was known one second before each ask."""

from pathlib import Path
from typing import Any

import duckdb
import pytest

import model

SQL = (Path(model.__file__).parent / "features.sql").read_text()
DAY = 86_400
ASKED = 1_760_000_000
JOINED = ASKED - 400 * DAY


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    """Two customers without events, and nobody asked about."""
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("CREATE TABLE customers (customer_id VARCHAR, plan VARCHAR, region VARCHAR, joined BIGINT)")
    connection.execute(
        "CREATE TABLE events (customer_id VARCHAR, ts BIGINT, seen_ts BIGINT, kind VARCHAR, amount DOUBLE)"
    )
    connection.execute("CREATE TABLE spine (customer_id VARCHAR, ts BIGINT)")
    for key in ("c-1", "c-2"):
        connection.execute("INSERT INTO customers VALUES (?, 'plus', 'north', ?)", [key, JOINED])
    return connection


def happen(
    connection: duckdb.DuckDBPyConnection, kind: str, ts: int, seen: int | None = None, amount: float | None = None
) -> None:
    connection.execute(
        "INSERT INTO events VALUES ('c-1', ?, ?, ?, ?)", [ts, ts if seen is None else seen, kind, amount]
    )


def ask(connection: duckdb.DuckDBPyConnection, *spine: tuple[str, int]) -> list[dict[str, Any]]:
    connection.execute("DELETE FROM spine")
    connection.executemany("INSERT INTO spine VALUES (?, ?)", spine)
    found = connection.execute(f"FROM ({SQL}) ORDER BY customer_id, ts")
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def test_an_event_at_the_moment_of_the_ask_does_not_count(connection: duckdb.DuckDBPyConnection) -> None:
    nothing = ask(connection, ("c-1", ASKED))
    for kind in ("visit", "purchase", "complaint"):
        happen(connection, kind, ASKED, amount=50.0)
        happen(connection, kind, ASKED + 1, amount=50.0)
    assert ask(connection, ("c-1", ASKED)) == nothing


def test_an_event_one_second_before_the_ask_counts(connection: duckdb.DuckDBPyConnection) -> None:
    happen(connection, "visit", ASKED - 1)
    happen(connection, "purchase", ASKED - 1, amount=50.0)
    happen(connection, "complaint", ASKED - 1)
    (row,) = ask(connection, ("c-1", ASKED))
    assert (row["visits_30d"], row["purchases_30d"], row["spent_30d"], row["complaints_90d"]) == (1, 1, 50.0, 1)
    assert row["days_since_visit"] == pytest.approx(1 / DAY)


def test_a_late_event_counts_only_from_when_it_was_seen(connection: duckdb.DuckDBPyConnection) -> None:
    happen(connection, "visit", ASKED - DAY, seen=ASKED + DAY)
    before, after = ask(connection, ("c-1", ASKED), ("c-1", ASKED + DAY + 1))
    assert (before["visits_30d"], before["days_since_visit"]) == (0, None)
    assert after["visits_30d"] == 1
    # It is counted late, and as old as it is.
    assert after["days_since_visit"] == pytest.approx(2 + 1 / DAY)


@pytest.mark.parametrize(
    ("kind", "column", "days"),
    [("visit", "visits_30d", 30), ("purchase", "purchases_30d", 30), ("complaint", "complaints_90d", 90)],
)
def test_a_window_is_as_long_as_its_name_says(
    connection: duckdb.DuckDBPyConnection, kind: str, column: str, days: int
) -> None:
    happen(connection, kind, ASKED - days * DAY, amount=1.0)
    within, after = ask(connection, ("c-1", ASKED), ("c-1", ASKED + 1))
    assert (within[column], after[column]) == (1, 0)


def test_a_customer_without_events_gets_a_row(connection: duckdb.DuckDBPyConnection) -> None:
    assert ask(connection, ("c-2", ASKED)) == [
        {
            "customer_id": "c-2",
            "ts": ASKED,
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


def test_each_ask_gets_one_row_whatever_happened(connection: duckdb.DuckDBPyConnection) -> None:
    for day in range(60):
        happen(connection, "visit", ASKED - day * DAY)
    spine = [("c-1", ASKED - 10 * DAY), ("c-1", ASKED), ("c-2", ASKED)]
    assert [(row["customer_id"], row["ts"]) for row in ask(connection, *spine)] == spine


def test_nobody_s_events_count_for_somebody_else(connection: duckdb.DuckDBPyConnection) -> None:
    happen(connection, "complaint", ASKED - DAY)
    one, two = ask(connection, ("c-1", ASKED), ("c-2", ASKED))
    assert (one["complaints_90d"], two["complaints_90d"]) == (1, 0)


def test_an_ask_is_answered_alike_alone_and_among_others(connection: duckdb.DuckDBPyConnection) -> None:
    for hour in range(500):
        happen(connection, "purchase", ASKED - hour * 3600, amount=0.1 * hour)
    together = ask(connection, ("c-1", ASKED - 3 * DAY), ("c-1", ASKED), ("c-2", ASKED))[1]
    (alone,) = ask(connection, ("c-1", ASKED))
    assert together == {**alone, "spent_30d": pytest.approx(alone["spent_30d"], rel=1e-9)}


def test_an_unknown_customer_gets_no_row(connection: duckdb.DuckDBPyConnection) -> None:
    assert ask(connection, ("nobody", ASKED)) == []
