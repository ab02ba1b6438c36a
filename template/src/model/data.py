"""Where tables, labels and the population come from: here, from the Parquet files of the sample.

Times are whole seconds since 1970 UTC. The queries run on the connection in which `tables` registered the tables.
"""

from pathlib import Path

import duckdb

from lifecycle import sample
from lifecycle.errors import LifecycleError

TABLES = ("customers", "events", "labels")
DAY = 86_400


def tables(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Register every table that features.sql and the queries below read; without a data folder, write the sample."""
    if not folder.exists():
        sample.write(folder)
    for name in TABLES:
        path = folder / f"{name}.parquet"
        if not path.exists():
            raise LifecycleError(f"{path} is missing", "`make sample` writes the tables of the sample.")
        connection.read_parquet(str(path)).create_view(name, replace=True)


def labels(connection: duckdb.DuckDBPyConnection) -> str:
    """Return SQL with one row per past request; `seen_ts` is when its label became known."""
    return "SELECT customer_id, ts, discount, churned, seen_ts FROM labels"


def population(connection: duckdb.DuckDBPyConnection) -> str:
    """Return SQL with everyone who is a customer at the time `as_of`, without a discount."""
    return """
        SELECT c.customer_id, CAST(0 AS DOUBLE) AS discount
        FROM customers AS c, as_of AS a
        WHERE c.joined < a.ts AND NOT EXISTS (
            SELECT 1 FROM events AS e
            WHERE e.customer_id = c.customer_id AND e.kind = 'cancel' AND e.seen_ts < a.ts
        )
    """


def latest(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the midnight after the last event, which jobs use as now. Without this function they use the clock."""
    ((last,),) = connection.execute("SELECT max(seen_ts) FROM events").fetchall()
    if last is None:
        raise LifecycleError("the table events is empty", "`make sample` writes the tables of the sample.")
    return (int(last) // DAY + 1) * DAY
