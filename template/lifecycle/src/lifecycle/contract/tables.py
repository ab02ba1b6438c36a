"""Whether a table keeps the contract, asked of DuckDB, whatever the table was made of."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.contract.schema import Column
from lifecycle.errors import LifecycleError

if TYPE_CHECKING:
    import duckdb

INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
NUMBERS = (*INTEGERS, "FLOAT", "DOUBLE", "DECIMAL")
TYPES = {
    "number": NUMBERS,
    # A whole-number column with nulls arrives as DOUBLE from pandas: its values are checked instead.
    "integer": NUMBERS,
    "boolean": ("BOOLEAN",),
    "category": ("VARCHAR", "ENUM"),
    "time": ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE", "DATE", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"),
}
SQL_TYPES = {"number": "DOUBLE", "integer": "BIGINT", "boolean": "BOOLEAN", "category": "VARCHAR", "time": "TIMESTAMP"}
FIRST = 5
# DuckDB's time and memory for a query grow with the square of its aggregates: 6,000 at once took 30 s and 10 GB.
RULES_AT_ONCE = 100


def quoted(name: str) -> str:
    """A column's name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """A text literal in SQL."""
    return "'" + value.replace("'", "''") + "'"


def names_parquet(path: Path) -> bool:
    """Whether a file is called as Parquet files are."""
    return path.suffix.lower() in (".parquet", ".pq")


def only(path: Path) -> str:
    """A file's name in SQL, which DuckDB takes for a pattern: `rows[1].csv` would be `rows1.csv`, and `*` any."""
    return text(re.sub(r"([*?\[])", r"[\1]", str(path)))


def check_types(described: dict[str, str], columns: tuple[Column, ...], where: str) -> list[str]:
    """Faults of a table's columns, in words, by name and SQL type alone."""
    faults = []
    for column in columns:
        found = described.get(column.name)
        if found is None:
            faults.append(f"{where} lacks the column {column.name}")
        # A column of nothing but nulls has no type yet; whether it may be null is a rule of its own.
        elif found != '"NULL"' and not found.startswith(TYPES[column.kind]):
            faults.append(f"{where}: {column.name} is {found}, the contract says {column.kind}")
    return faults


def check_table(connection: "duckdb.DuckDBPyConnection", table: str, columns: tuple[Column, ...], where: str) -> int:
    """The number of rows of `table`; raises LifecycleError naming column, rule, count and first rows (from 0)."""
    faults = check_types(describe(connection, f"FROM {quoted(table)}"), columns, where)
    if faults:
        raise broken(faults)
    rules = [(column.name, rule, sql) for column in columns for rule, sql in _rules(column)]
    faults = broken_rules(connection, table, rules, where)
    if faults:
        raise broken(faults)
    return _count(connection, table)


def broken_rules(
    connection: "duckdb.DuckDBPyConnection", table: str, rules: list[tuple[str, str, str]], where: str
) -> list[str]:
    """What is wrong with a table, in words: a rule is a column, what its values are, and the SQL that says so."""
    faults = []
    for start in range(0, len(rules), RULES_AT_ONCE):
        some = rules[start : start + RULES_AT_ONCE]
        # Counting each takes twice the time of asking whether there is one, and mostly there is none.
        any_of = ", ".join(f"bool_or({sql})" for _, _, sql in some)
        found = connection.execute(f"SELECT {any_of} FROM {quoted(table)}").fetchone() or ()
        for (name, rule, sql), is_broken in zip(some, found, strict=True):
            if is_broken:
                numbered = f"SELECT *, row_number() OVER () - 1 AS lifecycle_row FROM {quoted(table)}"
                first = connection.execute(
                    f"SELECT lifecycle_row FROM ({numbered}) WHERE {sql} ORDER BY lifecycle_row LIMIT {FIRST}"
                ).fetchall()
                count, rows = _count(connection, table, sql), _count(connection, table)
                told = ", ".join(str(row) for (row,) in first)
                faults.append(f"{where}: {name} {rule} in {count} of {rows} rows (first: {told})")
    return faults


def _count(connection: "duckdb.DuckDBPyConnection", table: str, condition: str = "TRUE") -> int:
    ((rows,),) = connection.execute(f"SELECT count(*) FROM {quoted(table)} WHERE {condition}").fetchall()
    return int(rows)


def broken(faults: list[str]) -> LifecycleError:
    """The error for rows that break the contract."""
    hint = "Fix the data where it comes from, or change the contract in src/model/contract.py."
    return LifecycleError("the data break the contract:\n  " + "\n  ".join(faults), hint)


def subquery(sql: str) -> str:
    """A query in parentheses: its last line may be a comment, its end a semicolon."""
    return f"(\n{sql.strip().rstrip(';')}\n)"


def describe(connection: "duckdb.DuckDBPyConnection", query: str) -> dict[str, str]:
    """Column name → SQL type of a query, without running it."""
    return {row[0]: row[1] for row in connection.execute(f"DESCRIBE {subquery(query)}").fetchall()}


def _rules(column: Column) -> Iterator[tuple[str, str]]:
    name = quoted(column.name)
    if not column.nullable:
        yield "is null", f"{name} IS NULL"
    if column.kind in ("number", "integer"):
        yield "is not finite", f"NOT isfinite(CAST({name} AS DOUBLE))"
    if column.kind == "integer":
        yield "is not a whole number", f"isfinite(CAST({name} AS DOUBLE)) AND {name} <> trunc(CAST({name} AS DOUBLE))"
    if column.low is not None:
        yield f"is below {column.low:g}", f"{name} < {column.low!r}"
    if column.high is not None:
        yield f"is above {column.high:g}", f"isfinite(CAST({name} AS DOUBLE)) AND {name} > {column.high!r}"
    if column.levels:
        levels = ", ".join(text(level) for level in column.levels)
        yield "has a level that the contract does not name", f"CAST({name} AS VARCHAR) NOT IN ({levels})"
    if column.max_length is not None and not column.levels:
        yield f"is longer than {column.max_length} characters", f"length({name}) > {column.max_length}"
