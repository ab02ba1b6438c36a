"""Count the rows of a window by bin, in SQL: what DuckDB returns does not grow with the number of rows or of levels."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lifecycle.contract.rows import expected_range
from lifecycle.contract.schema import ORDERED, Column, Target
from lifecycle.contract.tables import TYPES, Connection, count, describe, quoted, text
from lifecycle.models.reference import Counts, Distribution
from lifecycle.registry.predictions import prediction_columns

Types = Mapping[str, str]


def count_column(
    connection: Connection, table: str, types: Types, column: Column, bins: Distribution, known: Sequence[str]
) -> Counts | None:
    """Count the values of a column of a table as `Distribution.count` does; a NaN is null.

    `types` are the SQL types of the table's columns, `known` the levels that the model knows. Returns None where the
    values do not have the type of the contract.
    """
    name, sql_type = quoted(column.name), types[column.name]
    if column.kind in ORDERED:
        value = f"epoch_us(CAST({name} AS TIMESTAMP)) / 86400e6" if column.kind == "time" else _number(name)
        if not sql_type.startswith(TYPES[column.kind]):
            if count(connection, f"FROM {table} WHERE {name} IS NOT NULL"):
                return None
            value = "CAST(NULL AS DOUBLE)"
        return _by_edge(connection, table, value, bins, expected_range(column) if column.expected else None)
    value = f"CAST({name} AS VARCHAR)"
    # As Python writes truth values.
    value = f"CASE {name} WHEN TRUE THEN 'True' WHEN FALSE THEN 'False' END" if sql_type == "BOOLEAN" else value
    unseen = f"NOT {_among('value', known)}" if column.kind == "category" else "FALSE"
    outside = f"NOT {_among('value', column.expected)}" if column.expected else "FALSE"
    return _by_level(connection, table, value, bins, unseen, outside)


def count_scores(connection: Connection, table: str, types: Types, target: Target, bins: Distribution) -> Counts:
    """Count one number per prediction, not null: its value, or the probability of the positive or predicted class."""
    counted = _by_edge(connection, table, _score(types, target), bins)
    return replace(counted, rows=counted.present)


def estimated_accuracy(connection: Connection, table: str, target: Target) -> float | None:
    """Return the accuracy that the probabilities imply; None for a regression, and without predictions."""
    score = _score(describe(connection, f"FROM {table}"), target)
    confidence = f"greatest({score}, 1 - {score})" if target.task == "binary" else score
    ((found,),) = connection.execute(f"SELECT avg({confidence}) FROM {table}").fetchall()
    return None if target.task == "regression" else found


def output_columns(target: Target) -> list[str]:
    """Return the columns of logged predictions that hold the raw outputs of a model."""
    return [name for name, sql_type in prediction_columns(target).items() if sql_type == "DOUBLE"]


def _score(types: Types, target: Target) -> str:
    found = [_number(quoted(name)) for name in output_columns(target) if name in types]
    return f"greatest({', '.join(['CAST(NULL AS DOUBLE)', *found])})"


def _number(value: str) -> str:
    return f"nullif(CAST({value} AS DOUBLE), CAST('nan' AS DOUBLE))"


def _double(value: float) -> str:
    # A literal with a point would be a decimal.
    return f"CAST('{float(value)!r}' AS DOUBLE)"


def _among(value: str, levels: Sequence[object]) -> str:
    return f"{value} IN ({', '.join(text(str(level)) for level in levels)})" if levels else "FALSE"


def _by_edge(
    connection: Connection, table: str, value: str, bins: Distribution, expected: tuple[float, float] | None = None
) -> Counts:
    place = " + ".join(["0", *(f"CAST(value > {_double(edge)} AS INTEGER)" for edge in bins.edges)])
    outside = "value NOT BETWEEN {} AND {}".format(*map(_double, expected)) if expected else "FALSE"
    place = f"CASE WHEN value IS NOT NULL THEN {place} END"
    by_bin, rows, far, ends = np.zeros(len(bins.edges) + 1), 0, 0, set[float]()
    for at, number, beyond, low, high in connection.execute(
        f"SELECT {place} AS bin, count(*), count(*) FILTER ({outside}), min(value), max(value) "
        f"FROM (SELECT {value} AS value FROM {table}) GROUP BY bin"
    ).fetchall():
        rows += number
        if at is not None:
            by_bin[at], far, ends = number, far + beyond, ends | {low, high}
    return Counts(rows, by_bin, outside=far, is_constant=len(ends) == 1)


def _by_level(connection: Connection, table: str, value: str, bins: Distribution, unseen: str, outside: str) -> Counts:
    place = f"CASE WHEN {_among('value', bins.levels)} THEN value END"
    totals = ", ".join(f"coalesce(sum(rows) FILTER ({which}), 0)" for which in ("TRUE", unseen, outside))
    counted = f"SELECT {value} AS value, count(*) AS rows FROM {table} GROUP BY value"
    found = connection.execute(
        f"SELECT value IS NULL AS is_null, {place} AS level, {totals}, arg_min(value, (-rows, value)), max(rows) "
        f"FROM ({counted}) GROUP BY is_null, level"
    ).fetchall()
    present = [each for is_null, *each in found if not is_null]
    numbers = {level: number for level, number, *_ in present}
    other = next(((name, most) for level, *_, name, most in present if level is None), ("", 0))
    by_bin = np.array([numbers.get(level, 0) for level in (*bins.levels, None)], dtype=np.float64)
    strange, far = (int(sum(each[at] for each in present)) for at in (2, 3))
    return Counts(int(sum(each[2] for each in found)), by_bin, other, strange, far)
