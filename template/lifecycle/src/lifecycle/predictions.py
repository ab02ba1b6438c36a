"""What was asked and answered, as dated Parquet."""

from datetime import timedelta
from typing import TYPE_CHECKING

from lifecycle import moments
from lifecycle.frames import text
from lifecycle.store import Store

if TYPE_CHECKING:
    import duckdb

LOGGED = "lifecycle_logged"


def rows(
    connection: "duckdb.DuckDBPyConnection",
    store: Store,
    environment: str,
    first: int,
    last: int,
    version: str | None = None,
) -> int:
    """Fill the table LOGGED with what was answered from `first` until before `last`; returns how many rows."""
    day, files = moments.date_of(first), []
    while moments.midnight(day) < last:
        files += sorted((store.predictions / environment / f"date={day}").glob("*.parquet"))
        day += timedelta(days=1)
    if not files:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {LOGGED} (ts BIGINT)")
        return 0
    listed = ", ".join(text(str(path)) for path in files)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {LOGGED} AS "
        f"SELECT * FROM read_parquet([{listed}], union_by_name = true, hive_partitioning = false) "
        f"WHERE ts >= {int(first)} AND ts < {int(last)}" + (f" AND version = {text(version)}" if version else "")
    )
    ((count,),) = connection.execute(f"SELECT count(*) FROM {LOGGED}").fetchall()
    return int(count)
