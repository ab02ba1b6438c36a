"""Properties of the raw tables and labels that everything else relies on."""

import duckdb

from model import data

MONTH = 30 * data.DAY


def number(tables: duckdb.DuckDBPyConnection, query: str) -> float:
    found = tables.execute(query).fetchone()
    assert found is not None
    return float(found[0])


def test_customers_are_unique(tables: duckdb.DuckDBPyConnection) -> None:
    assert number(tables, "SELECT count(*) - count(DISTINCT customer_id) FROM customers") == 0


def test_labels_are_unique_by_customer_and_time(tables: duckdb.DuckDBPyConnection) -> None:
    labels = data.labels(tables)
    assert number(tables, f"SELECT count(*) - count(DISTINCT (customer_id, ts)) FROM ({labels})") == 0


def test_every_event_and_label_belongs_to_a_customer(tables: duckdb.DuckDBPyConnection) -> None:
    for name in ("events", "labels"):
        assert number(tables, f"SELECT count(*) FROM {name} ANTI JOIN customers USING (customer_id)") == 0


def test_columns_that_the_features_need_are_not_null(tables: duckdb.DuckDBPyConnection) -> None:
    assert number(tables, "SELECT count(*) FROM customers WHERE plan IS NULL OR region IS NULL OR joined IS NULL") == 0
    assert number(tables, "SELECT count(*) FROM events WHERE ts IS NULL OR seen_ts IS NULL OR kind IS NULL") == 0
    assert number(tables, f"SELECT count(*) FROM ({data.labels(tables)}) WHERE churned IS NULL OR seen_ts IS NULL") == 0


def test_no_event_was_seen_before_it_happened(tables: duckdb.DuckDBPyConnection) -> None:
    assert number(tables, "SELECT count(*) FROM events WHERE seen_ts < ts") == 0


def test_labels_become_known_after_their_month_and_before_now(tables: duckdb.DuckDBPyConnection) -> None:
    labels = data.labels(tables)
    # Whether a customer leaves within a month is known only after that month.
    assert number(tables, f"SELECT min(seen_ts - ts) FROM ({labels})") >= MONTH
    assert number(tables, f"SELECT max(seen_ts) FROM ({labels})") <= data.latest(tables)


def test_the_share_that_leaves_is_plausible_every_month(tables: duckdb.DuckDBPyConnection) -> None:
    rates = f"SELECT avg(CAST(churned AS INT)) AS rate FROM ({data.labels(tables)}) GROUP BY ts"
    assert number(tables, f"SELECT min(rate) FROM ({rates})") > 0.02
    assert number(tables, f"SELECT max(rate) FROM ({rates})") < 0.30


def test_the_population_is_everyone_who_is_a_customer_at_that_time(tables: duckdb.DuckDBPyConnection) -> None:
    as_of = int(number(tables, "SELECT max(ts) FROM labels"))
    tables.execute(f"CREATE OR REPLACE TEMP TABLE as_of AS SELECT CAST({as_of} AS BIGINT) AS ts")
    population = tables.execute(f"SELECT customer_id FROM ({data.population(tables)}) ORDER BY ALL").fetchall()
    # The labels contain everyone who was a customer then, and come from another source than our query.
    assert population == tables.execute(f"SELECT customer_id FROM labels WHERE ts = {as_of} ORDER BY ALL").fetchall()
