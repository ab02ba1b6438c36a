"""Drift of rows that are a data frame."""

from functools import cache
from typing import Any

import pandas as pd

from lifecycle.contract.schema import Contract
from lifecycle.contract.tables import connect
from lifecycle.models.reference import Profile
from lifecycle.monitoring import drift
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


@cache
def opened() -> Any:
    """Return one connection for all windows: opening one takes longer than measuring a window."""
    return connect()
