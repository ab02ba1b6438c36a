"""Drift of rows that are a data frame."""

from collections.abc import Collection
from functools import cache
from typing import Any
from unittest.mock import patch

import pandas as pd

from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.contract.tables import connect
from lifecycle.models.reference import Counts, Distribution, Profile, comparable, share_outside
from lifecycle.monitoring import drift
from lifecycle.monitoring.counts import output_columns
from lifecycle.monitoring.drift import ColumnDrift
from lifecycle.settings import Monitor

TABLE = "measured"


def measure_drift(
    contract: Contract, profile: Profile, levels: Any, rows: pd.DataFrame, rules: Monitor, accepted: Any = ()
) -> dict[str, ColumnDrift]:
    """Do the same as `drift.measure_drift` with a table of the rows."""
    connection = opened()
    connection.register(TABLE, rows)
    return drift.measure_drift(connection, TABLE, contract, profile, levels, rules, accepted)


def measure_in_memory(
    contract: Contract, profile: Profile, levels: Any, rows: pd.DataFrame, rules: Monitor
) -> dict[str, ColumnDrift]:
    """Do the same with counts in memory, which test_counts.py compares with SQL: faster for many small windows."""
    given: Any = {
        "describe": lambda connection, query: {},
        "count_column": lambda connection, table, types, column, bins, known: counted(column, bins, rows, known),
        "count_scores": lambda connection, table, types, target, bins: counted_scores(target, bins, rows),
    }
    with patch.multiple(drift, **given):
        return drift.measure_drift(None, TABLE, contract, profile, levels, rules)


def counted(column: Column, bins: Distribution, rows: pd.DataFrame, known: Collection[str]) -> Counts:
    """Count the values of a column in memory."""
    values = comparable(column, rows[column.name])
    present, found = values.dropna(), bins.count(values)
    unseen = int((~present.astype(str).isin(known)).sum()) if column.kind == "category" else 0
    outside = round(share_outside(column, values) * len(values))
    is_constant = column.kind in ("number", "integer", "time") and present.nunique() == 1
    return Counts(found.rows, found.by_bin, found.other, unseen, outside, is_constant)


def counted_scores(target: Target, bins: Distribution, rows: pd.DataFrame) -> Counts:
    """Count the scores in memory."""
    return bins.count(rows.reindex(columns=output_columns(target)).astype("float64").max(axis=1).dropna())


@cache
def opened() -> Any:
    """Return one connection for all windows: opening one takes longer than measuring a window."""
    return connect()
