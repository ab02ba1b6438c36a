"""Keep completed rows in a Parquet file, because they may not fit in memory; DuckDB sorts and joins on disk.

This one file is validated, predicted for and logged, so that a table that changes during the run changes nothing.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import duckdb

from lifecycle.contract import tables
from lifecycle.contract.schema import Column, Contract
from lifecycle.contract.tables import quoted
from lifecycle.errors import LifecycleError
from lifecycle.features.point_in_time import ROWS

GIVEN = "lifecycle_given"
HINT = "Give a Parquet file, or a CSV file with a header."
# How the text of a CSV file is converted; null where it cannot be.
CONVERSIONS = {
    "number": "TRY_CAST({0} AS DOUBLE)",
    "boolean": "TRY_CAST({0} AS BOOLEAN)",
    "time": "CAST(TRY_CAST({0} AS TIMESTAMPTZ) AS TIMESTAMP)",
    # Through a decimal: `3.0` is a whole number, and a key of 18 digits keeps all of them.
    "integer": (
        "CASE WHEN TRY_CAST({0} AS DECIMAL(38, 9)) = trunc(TRY_CAST({0} AS DECIMAL(38, 9))) "
        "THEN TRY_CAST(TRY_CAST({0} AS DECIMAL(38, 9)) AS BIGINT) END"
    ),
    "category": "{0}",
}


@dataclass(frozen=True)
class RowFile:
    """A Parquet file for completed rows, with about `group_rows` in each row group (DuckDB rounds to its blocks)."""

    path: Path
    group_rows: int

    def keep(self, connection: duckdb.DuckDBPyConnection, query: str, where: str) -> None:
        """Write the rows of a query to the file and make ROWS a view of it; `where` names the query in errors."""
        # The file is read once and soon: compression, or dictionaries for values that hardly repeat, would cost more.
        options = "FORMAT parquet, COMPRESSION uncompressed, DICTIONARY_SIZE_LIMIT 1000"
        target = f"{tables.text(str(self.path))} ({options}, ROW_GROUP_SIZE {self.group_rows})"
        with tables.explain_sql_errors(where):
            connection.execute(f"COPY ({query}) TO {target}")
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {ROWS} AS FROM read_parquet({tables.path_literal(self.path)})")


def own_rows(connection: duckdb.DuckDBPyConnection, file: Path, contract: Contract, to: RowFile) -> list[str]:
    """Fill ROWS with the rows of a Parquet or CSV file, in its order.

    Returns:
        The columns of the file that are not in the contract.

    Raises:
        LifecycleError: the file cannot be read, or violates the contract: by column, rule, count and first rows from 0.
    """
    # The file has every column of the contract: none is looked up.
    columns = tuple(replace(column, source="request") for column in contract.columns)
    with tables.explain_sql_errors(f"reading {file}", HINT):
        is_csv = not _is_parquet(file)
        options = ", header = true, all_varchar = true, skip = 0" if is_csv else ", hive_partitioning = false"
        source = f"{'read_csv' if is_csv else 'read_parquet'}({tables.path_literal(file)}{options})"
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {GIVEN} AS FROM {source}")
        known = tables.describe(connection, f"FROM {GIVEN}")
        sent = [column for column in columns if column.name in known or column.required]
        as_read = tuple(replace(column, kind="category") if is_csv else column for column in sent)
        if faults := tables.check_types(known, as_read, str(file)):
            raise LifecycleError("\n  ".join(faults), "Its columns are those of the contract, each under its own name.")
        rules = []
        for column in sent if is_csv else ():
            invalid = f"{_converted(column)} IS NULL AND {_raw(column)} IS NOT NULL"
            rules.append((column.name, f"is not a valid {column.kind}", invalid))
        tables.check_rules(connection, GIVEN, rules, str(file))
    values = ", ".join(_value(column, known, is_csv) for column in columns)
    to.keep(connection, f"SELECT {values} FROM {GIVEN}", str(file))
    tables.check_table(connection, ROWS, columns, str(file))
    return [name for name in known if name not in {column.name for column in columns}]


def _value(column: Column, known: dict[str, str], is_csv: bool) -> str:
    if column.name not in known:
        return tables.cast(tables.literal(column.default), column, "BIGINT")
    if is_csv:
        return f"{_converted(column)} AS {quoted(column.name)}"
    return tables.cast(quoted(column.name), column, known[column.name])


def _converted(column: Column) -> str:
    return CONVERSIONS[column.kind].format(_raw(column))


def _raw(column: Column) -> str:
    # Blank text is null, as in `make contract`, except in a category, where it may be a level.
    name = quoted(column.name)
    return name if column.kind == "category" else f"nullif(trim({name}), '')"


def _is_parquet(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            start = opened.read(4)
    except OSError as error:
        raise LifecycleError(f"{file} cannot be read: {error.strerror}", HINT) from error
    if not start:
        raise LifecycleError(f"{file} is empty", HINT)
    if start != b"PAR1" and tables.is_parquet(file):
        raise LifecycleError(f"{file} is not a valid Parquet file", HINT)
    return start == b"PAR1"
