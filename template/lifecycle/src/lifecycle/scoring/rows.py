"""More completed rows than the memory holds: they stand in a Parquet file of ours, and DuckDB sorts and joins on disk.

What is checked against the contract, what is answered and what is logged is this one file: a table that changes
meanwhile changes nothing.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.contract.schema import Column, Contract
from lifecycle.contract.tables import (
    cast,
    check_table,
    check_types,
    contract_error,
    describe,
    explain_sql_errors,
    find_violations,
    is_parquet,
    literal,
    path_literal,
    quoted,
    text,
)
from lifecycle.errors import LifecycleError
from lifecycle.features.point_in_time import ROWS
from lifecycle.storage import explain_disk_errors

if TYPE_CHECKING:
    import duckdb

GIVEN = "lifecycle_given"
HINT = "Give a Parquet file, or a CSV file with a header."
LEVELS = "DICTIONARY_SIZE_LIMIT 1000"
# How the text of a CSV becomes a value; null where it cannot.
READ = {
    "number": "TRY_CAST({0} AS DOUBLE)",
    "boolean": "TRY_CAST({0} AS BOOLEAN)",
    "time": "CAST(TRY_CAST({0} AS TIMESTAMPTZ) AS TIMESTAMP)",
    # By way of a decimal: `3.0` is a whole number, and a key of 18 digits keeps them all.
    "integer": (
        "CASE WHEN TRY_CAST({0} AS DECIMAL(38, 9)) = trunc(TRY_CAST({0} AS DECIMAL(38, 9))) "
        "THEN TRY_CAST(TRY_CAST({0} AS DECIMAL(38, 9)) AS BIGINT) END"
    ),
    "category": "{0}",
}


@dataclass(frozen=True)
class RowFile:
    """Where completed rows are kept, and how many make a row group (about: DuckDB rounds to its own blocks)."""

    path: Path
    group_rows: int

    def keep(self, connection: "duckdb.DuckDBPyConnection", query: str, where: str) -> None:
        """Fill the file with what a query selects, and let ROWS be a view of it; raises LifecycleError."""
        import duckdb

        # Read once, and soon: it is not worth compressing, nor looking for values that repeat where hardly any do.
        options = f"FORMAT parquet, COMPRESSION uncompressed, ROW_GROUP_SIZE {self.group_rows}, {LEVELS}"
        with explain_disk_errors(self.path), explain_sql_errors(where):
            try:
                connection.execute(f"COPY ({query}) TO {text(str(self.path))} ({options})")
            except duckdb.IOException as error:
                if "write" not in str(error) and "space" not in str(error):
                    raise
                hint = "Free some space, or set `storage` to another disk."
                raise LifecycleError(f"{self.path} cannot be written ({error})", hint) from error
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {ROWS} AS FROM read_parquet({path_literal(self.path)})")


def own_rows(connection: "duckdb.DuckDBPyConnection", file: Path, contract: Contract, to: RowFile) -> list[str]:
    """Fill ROWS with the rows of a Parquet or CSV file, in its order; returns the columns that nobody reads.

    Raises LifecycleError naming column, rule, count and first rows (from 0), or why it is no such file.
    """
    # The row is complete already: nothing is looked up.
    columns = tuple(replace(column, source="request") for column in contract.columns)
    with _reading(file):
        as_text = not _is_parquet(file)
        options = ", header = true, all_varchar = true, skip = 0" if as_text else ", hive_partitioning = false"
        source = f"{'read_csv' if as_text else 'read_parquet'}({path_literal(file)}{options})"
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {GIVEN} AS FROM {source}")
        known = describe(connection, f"FROM {GIVEN}")
    sent = tuple(column for column in columns if column.name in known or column.required)
    named = tuple(replace(column, kind="category") for column in sent) if as_text else sent
    faults = check_types(known, named, str(file))
    if faults:
        raise LifecycleError("\n  ".join(faults), "Its columns are those of the contract, each under its own name.")
    with _reading(file):
        if as_text:
            rules = [
                (column.name, f"is not what the contract calls {column.kind}", f"{sql} IS NULL AND {name} IS NOT NULL")
                for column in sent
                if column.name in known and (name := _written(column)) and (sql := READ[column.kind].format(name))
            ]
            faults = find_violations(connection, GIVEN, rules, str(file))
            if faults:
                raise contract_error(faults)
        parts = ", ".join(_value(column, known, as_text) for column in columns)
    to.keep(connection, f"SELECT {parts} FROM {GIVEN}", str(file))
    check_table(connection, ROWS, columns, str(file))
    return [name for name in known if name not in {column.name for column in columns}]


def _value(column: Column, known: dict[str, str], as_text: bool) -> str:
    name = quoted(column.name)
    if column.name not in known:
        return cast(literal(column.default), column, "BIGINT")
    if as_text:
        return f"{READ[column.kind].format(_written(column))} AS {name}"
    return cast(name, column, known[column.name])


def _written(column: Column) -> str:
    """What a CSV holds of a value: blanks are none, as in `make contract`, unless they may be a level."""
    name = quoted(column.name)
    return name if column.kind == "category" else f"nullif(trim({name}), '')"


def _is_parquet(file: Path) -> bool:
    with file.open("rb") as opened:
        start = opened.read(4)
    if not start:
        raise LifecycleError(f"{file} is empty", HINT)
    if start != b"PAR1" and is_parquet(file):
        raise LifecycleError(f"{file} is no Parquet file", HINT)
    return start == b"PAR1"


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[None]:
    import duckdb

    try:
        yield
    except OSError as error:
        raise LifecycleError(f"{file} cannot be read ({error.strerror})", HINT) from error
    except duckdb.Error as error:
        raise LifecycleError(f"{file} cannot be read: {error}", HINT) from error
