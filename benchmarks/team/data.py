"""One file holds it all."""

from pathlib import Path

import duckdb


def tables(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Register the table."""
    connection.read_csv(str(folder / "table.csv")).create_view("rows", replace=True)


def labels(connection: duckdb.DuckDBPyConnection) -> str:
    """Every row."""
    return "SELECT * EXCLUDE (customer_id) FROM rows"


def population(connection: duckdb.DuckDBPyConnection) -> str:
    """No one is scored."""
    return "SELECT * EXCLUDE (customer_id, churned) FROM rows"
