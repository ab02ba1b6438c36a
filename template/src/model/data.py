"""Where tables, labels and the people asked about come from: here, the sample's Parquet files.

Times are whole seconds since 1970 (UTC). The queries run on the connection that `tables` has filled.
"""

from pathlib import Path

import duckdb

from lifecycle import sample
from lifecycle.errors import LifecycleError

TABLES = ("customers", "events", "labels")
DAY = 86_400


def tables(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Register every table that features.sql and the queries below read; the first time, write the sample."""
    if not folder.exists():
        sample.write(folder)
    for name in TABLES:
        path = folder / f"{name}.parquet"
        if not path.exists():
            raise LifecycleError(f"{path} is missing", "`make sample` writes the tables of the sample.")
        connection.read_parquet(str(path)).create_view(name, replace=True)


def labels(connection: duckdb.DuckDBPyConnection) -> str:
    """One row for each past question; `seen_ts` says when its label became known."""
    return "SELECT customer_id, ts, discount, churned, seen_ts FROM labels"


def population(connection: duckdb.DuckDBPyConnection) -> str:
    """Everyone who is a customer at the moment, asked about without a discount."""
    return """
        SELECT c.customer_id, CAST(0 AS DOUBLE) AS discount
        FROM customers AS c, as_of AS m
        WHERE c.joined < m.ts AND NOT EXISTS (
            SELECT 1 FROM events AS e
            WHERE e.customer_id = c.customer_id AND e.kind = 'cancel' AND e.seen_ts < m.ts
        )
    """


def latest(connection: duckdb.DuckDBPyConnection) -> int:
    """The moment that stands for now: the midnight after the last event. Without this function it is the clock."""
    ((last,),) = connection.execute("SELECT max(seen_ts) FROM events").fetchall()
    if last is None:
        raise LifecycleError("the table events is empty", "`make sample` writes the tables of the sample.")
    return (int(last) // DAY + 1) * DAY
