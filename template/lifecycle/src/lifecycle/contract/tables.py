"""SQL helpers, and the check of a DuckDB table against the contract."""

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from lifecycle.contract.schema import Column
from lifecycle.errors import LifecycleError
from lifecycle.storage import Store, explain_disk_errors, replacing

# Types of libraries that are imported only where they are used, because most commands do not need them.
if TYPE_CHECKING:
    import duckdb
    import pandas as pd

    Connection: TypeAlias = duckdb.DuckDBPyConnection
    Frame: TypeAlias = pd.DataFrame
    Series: TypeAlias = pd.Series[Any]
else:
    Connection = Frame = Series = Any
Batch: TypeAlias = Any  # a record batch or a table of Arrow, which has no types

INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
NUMBERS = (*INTEGERS, "FLOAT", "DOUBLE", "DECIMAL")
TYPES = {
    "number": NUMBERS,
    # pandas stores a whole-number column with nulls as DOUBLE, so its values are checked instead of its type.
    "integer": NUMBERS,
    "boolean": ("BOOLEAN",),
    "category": ("VARCHAR", "ENUM"),
    "time": ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "DATE", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"),
}
SQL_TYPES = {"number": "DOUBLE", "integer": "BIGINT", "boolean": "BOOLEAN", "category": "VARCHAR", "time": "TIMESTAMP"}
EXAMPLES = 5
# Begins the message of the error that a value raises which is not written as declared; see `reader`.
UNREADABLE = "unreadable: "
READ_HINT = "Correct the value, or add it to `missing` of the column in src/model/data.py."
# DuckDB's time and memory for a query grow with the square of its aggregates: 6,000 at once took 30 s and 10 GB.
RULES_AT_ONCE = 100
MANY_COLUMNS = 100
PROCESS_MB = 250  # What a job needs in addition to DuckDB: libraries, and the rows that it reads.


def connect(**limits: str) -> Connection:
    """Return a DuckDB connection in UTC; `limits` are settings of DuckDB, such as `memory_limit`."""
    import duckdb

    # With one thread, sums of floating-point numbers repeat exactly and rows keep their order.
    # An extension that a query needs is downloaded by `INSTALL` only, never by itself.
    connection = duckdb.connect(config={"threads": 1, "autoinstall_known_extensions": "false", **limits})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


@contextlib.contextmanager
def bounded(store: Store, folder: Path, megabytes: int) -> Iterator[dict[str, str]]:
    """Yield the limits of DuckDB in a job of at most `megabytes`; it writes what exceeds them to `folder`/.spill.

    One job at a time uses a folder of the storage. What a killed one left there is removed first.
    """
    spill = folder / ".spill"
    with store.exclusive(folder / ".lock"):
        with explain_disk_errors(spill):
            shutil.rmtree(spill, ignore_errors=True)
            spill.mkdir(parents=True)
        try:
            yield {"memory_limit": f"{megabytes - PROCESS_MB}MB", "temp_directory": str(spill)}
        finally:
            shutil.rmtree(spill, ignore_errors=True)


def limit_planning(connection: Connection, columns: int) -> None:
    """Keep DuckDB from planning queries of many columns for minutes, at the price of computing some values twice."""
    # The run time of this optimizer grows with the square of the number of columns.
    if columns > MANY_COLUMNS:
        connection.execute("SET disabled_optimizers = 'common_subexpressions'")


def quoted(name: str) -> str:
    """Return a column name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + value.replace("'", "''") + "'"


def literal(value: object) -> str:
    """Return a value of a contract as an SQL literal."""
    if isinstance(value, str):
        return text(value)
    return "NULL" if value is None else repr(value)


def path_literal(path: Path) -> str:
    """Return a path as an SQL literal that DuckDB does not expand as a glob pattern (`*`, `?`, `[1]`)."""
    return text(re.sub(r"([*?\[])", r"[\1]", str(path)))


def check_types(described: dict[str, str], columns: tuple[Column, ...], where: str) -> list[str]:
    """Return one message per column that a table, `described` as by `describe`, lacks or has with another type."""
    faults = []
    for column in columns:
        found = described.get(column.name)
        if found is None:
            faults.append(f"{where} lacks the column {column.name}")
        # A column that contains only nulls has no type; `rules_of` checks whether it may be null.
        elif found != '"NULL"' and not found.startswith(TYPES[column.kind]):
            faults.append(f"{where}: {column.name} is {found}, the contract says {column.kind}")
    return faults


def verify_seconds(known: dict[str, str], names: set[str], where: str) -> dict[str, str]:
    """Return columns with their SQL types; raise LifecycleError where one of `names` is not in whole seconds."""
    for name in names & known.keys():
        if not known[name].startswith((*INTEGERS, '"NULL"')):
            hint = f"Select whole seconds since 1970 UTC, for example CAST(epoch({name}) AS BIGINT) AS {name}."
            raise LifecycleError(f"{where}: {name} is {known[name]}", hint)
    return known


def check_table(connection: Connection, table: str, columns: tuple[Column, ...], where: str) -> int:
    """Check every value against the contract as `check_rules` does, and the types; return the number of rows."""
    if faults := check_types(describe(connection, f"FROM {quoted(table)}"), columns, where):
        raise contract_error(faults)
    check_rules(connection, table, [(each.name, rule, sql) for each in columns for rule, sql in rules_of(each)], where)
    return count(connection, f"FROM {quoted(table)}")


def count(connection: Connection, query: str) -> int:
    """Return the number of rows of a query that begins with FROM."""
    ((rows,),) = connection.execute(f"SELECT count(*) {query}").fetchall()
    return int(rows)


def check_rules(connection: Connection, table: str, rules: list[tuple[str, str, str]], where: str) -> None:
    """Check the rows of a table: each rule is a column name, a description, and the SQL condition of a violation.

    The LifecycleError names `where`, column, rule, the number of rows that violate it, and the first, counted from 0.
    """
    faults = []
    for start in range(0, len(rules), RULES_AT_ONCE):
        some = rules[start : start + RULES_AT_ONCE]
        # Counting takes twice as long as finding out whether there is one, and there is usually none.
        any_of = ", ".join(f"bool_or({sql})" for _, _, sql in some)
        found = connection.execute(f"SELECT {any_of} FROM {quoted(table)}").fetchone() or ()
        for (name, rule, sql), is_broken in zip(some, found, strict=True):
            if is_broken:
                numbered = f"SELECT {sql} AS wrong, row_number() OVER () - 1 AS row FROM {quoted(table)}"
                counts = f"count(*) FILTER (wrong), min(row, {EXAMPLES}) FILTER (wrong), count(*)"
                ((broken, first, rows),) = connection.execute(f"SELECT {counts} FROM ({numbered})").fetchall()
                examples = ", ".join(str(row) for row in first)
                faults.append(f"{where}: {name} {rule} in {broken} of {rows} rows (first: {examples})")
    if faults:
        raise contract_error(faults)


def contract_error(faults: list[str]) -> LifecycleError:
    """Return the error about data that violate the contract."""
    hint = "Fix the data at its source, or change the contract in src/model/contract.py."
    return LifecycleError("the data violate the contract:\n  " + "\n  ".join(faults), hint)


def cast(expression: str, column: Column, sql_type: str) -> str:
    """Return SQL that casts an expression of type `sql_type` to the type of a column, under the column's name."""
    # A whole number that arrives as DOUBLE keeps its fraction until the contract is checked.
    kind = "DOUBLE" if column.kind == "integer" and not sql_type.startswith(INTEGERS) else SQL_TYPES[column.kind]
    return f"CAST({expression} AS {kind}) AS {quoted(column.name)}"


@contextlib.contextmanager
def explain_sql_errors(where: str, hint: str = "DuckDB's message names the place in the SQL.") -> Iterator[None]:
    """Convert an error of DuckDB to a LifecycleError that names `where` the SQL comes from."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        if UNREADABLE in str(error):
            raise LifecycleError(str(error).partition(UNREADABLE)[2], READ_HINT) from None
        if isinstance(error, duckdb.IOException):
            hint = "Where the disk is full, free some space, or set `storage` or `data` to another place."
        if isinstance(error, duckdb.OutOfMemoryException):
            hint = "Raise score.memory_mb, or free disk space at `storage`, where DuckDB writes what exceeds it."
        raise LifecycleError(f"{where} failed: {error}", hint) from error


def write_parquet(connection: Connection, query: str, path: Path) -> int:
    """Write the result of a query in one step, and return its rows; raise LifecycleError where the disk refuses."""
    with explain_sql_errors(f"writing {path}"), replacing(path) as temporary:
        ((rows,),) = connection.execute(f"COPY ({query}) TO {text(str(temporary))} (FORMAT parquet)").fetchall()
    return int(rows)


def subquery(sql: str) -> str:
    """Return a query in parentheses; it may end with a comment or a semicolon."""
    return f"(\n{sql.strip().rstrip(';')}\n)"


def describe(connection: Connection, query: str) -> dict[str, str]:
    """Return column name → SQL type of a query, without running it."""
    return {row[0]: row[1] for row in connection.execute(f"DESCRIBE {subquery(query)}").fetchall()}


def rules_of(column: Column) -> Iterator[tuple[str, str]]:
    """Yield each rule of a column: what is wrong with a value, and SQL that is true for it."""
    name = quoted(column.name)
    finite = f"isfinite(CAST({name} AS DOUBLE))"
    if not column.nullable:
        yield "is null", f"{name} IS NULL"
    if column.kind in ("number", "integer"):
        yield "is not finite", f"NOT {finite}"
    if column.kind == "time":
        # As in Python and JSON; DuckDB has an infinite time as well.
        ends = "TIMESTAMP '0001-01-01' AND TIMESTAMP '9999-12-31 23:59:59.999999'"
        yield "is not in the years 1 to 9999", f"CAST({name} AS TIMESTAMP) NOT BETWEEN {ends}"
    if column.kind == "integer":
        yield "is not a whole number", f"{finite} AND {name} <> floor(CAST({name} AS DOUBLE))"
    if column.low is not None:
        yield f"is below {column.low:g}", f"{name} < {column.low!r}"
    if column.high is not None:
        yield f"is above {column.high:g}", f"{finite} AND {name} > {column.high!r}"
    if column.levels:
        levels = ", ".join(text(level) for level in column.levels)
        yield "has a level that the contract does not name", f"CAST({name} AS VARCHAR) NOT IN ({levels})"
    if column.max_length is not None:
        yield f"is longer than {column.max_length} characters", f"length({name}) > {column.max_length}"
