"""One file holds it all: what the caller sends, and what is known of each customer."""

from pathlib import Path

import duckdb


def tables(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Register the table."""
    connection.read_csv(str(folder / "table.csv")).create_view("rows", replace=True)


def labels(connection: duckdb.DuckDBPyConnection) -> str:
    """Every row."""
    return "SELECT customer_id, CAST(0 AS BIGINT) AS ts, discount, churned FROM rows"


def population(connection: duckdb.DuckDBPyConnection) -> str:
    """Everyone: what is looked up is written for all of them."""
    return "SELECT customer_id, discount FROM rows"


def latest(connection: duckdb.DuckDBPyConnection) -> int:
    """The table never changes."""
    return 1_767_225_600
