"""Synthetic rows that satisfy a contract, for tests on machines without the real tables.

A hidden cause determines the label and, with noise, each input, so that every reasonable model finds it. In two bands
of the cause the label is reversed, which a linear model cannot represent.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lifecycle.contract.declare import FLOAT32_MAX
from lifecycle.contract.rows import FIRST_DAY, LAST_DAY, MICROSECONDS_A_DAY, expected_range
from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.contract.tables import Connection, Frame, Series, quoted

Places = npt.NDArray[np.float64]  # in [0, 1)

ROWS = 2000
NOW, HOUR = 1_767_225_600, 3600
FOLLOWS = 0.9  # share of the rows in which an input follows the cause; in the others it is random
NULLS = 0.2
BAND = (0.2, 0.3)  # distances from the middle between which the label is reversed
LEVELS = ("a", "b", "c")
DTYPES: dict[str, Any] = {"number": "float64", "integer": "Int64", "boolean": "boolean", "category": "str"}
DTYPES["time"] = "datetime64[us]"
AROUND_ZERO, RECENT, ANYWHERE = (-100.0, 100.0), (19_000.0, 20_000.0), (-FLOAT32_MAX, FLOAT32_MAX)


@dataclass(frozen=True)
class Table:
    """Synthetic rows as a `lifecycle.contract.team.Data`, one row per hour; the latest are held out."""

    contract: Contract
    frame: Frame

    @classmethod
    def of(cls, contract: Contract, count: int = ROWS, seed: int = 0) -> "Table":
        """Return a table of `count` rows."""
        return cls(contract, rows(contract, count, seed))

    def tables(self, connection: Connection, folder: Path) -> None:
        """Register the rows; the folder is not read."""
        ts = NOW - HOUR * np.arange(len(self.frame), 0, -1)
        connection.register("synthetic", self.frame.assign(ts=ts))

    def labels(self, connection: Connection) -> str:
        """Return the query of all rows."""
        return "FROM synthetic"

    def population(self, connection: Connection) -> str:
        """Return the query of all rows without label and time."""
        return f"SELECT * EXCLUDE (ts, {quoted(self.contract.target.label)}) FROM synthetic"

    def latest(self, connection: Connection) -> int:
        """Return the fixed time that these rows end at."""
        return NOW


def rows(contract: Contract, count: int, seed: int) -> Frame:
    """Return a frame with every column of the contract, within its limits, and the label.

    Equal arguments give equal rows. Keys are unique where their limits allow, classes are text and equally frequent.
    """
    random = np.random.default_rng(seed)
    cause = random.random(count)

    def places() -> Places:
        return np.where(random.random(count) < FOLLOWS, cause, random.random(count))

    columns: dict[str, Any] = {
        column.name: _keys(column, count) if column in contract.identifiers else _values(column, places())
        for column in contract.columns
    }
    return pd.DataFrame(columns | {contract.target.label: _label(contract.target, cause)})


def usual(column: Column) -> tuple[float, float]:
    """Return the range of a synthetic number: `expected`, else around zero, else anything within the limits."""
    for wanted in (column.expected or AROUND_ZERO, AROUND_ZERO, ANYWHERE):
        low, high = (float(each) for each in np.clip((min(wanted), max(wanted)), column.low, column.high))
        if column.kind == "integer":
            low, high = float(np.ceil(low)), float(np.floor(high))
        # A range of one value would carry no information about the label.
        if low < high:
            break
    return low, high


def _values(column: Column, places: Places) -> Series:
    known = places / (1 - NULLS if column.nullable else 1)
    null, known = known >= 1, np.minimum(known, np.nextafter(1, 0))
    values: Any
    if column.kind == "boolean":
        values = known >= 0.5
    elif column.kind == "category":
        levels = _levels(column)
        values = np.array(levels, dtype=object)[(known * len(levels)).astype(int)]
    elif column.kind == "time":
        low, high = np.clip(expected_range(column) if column.expected else RECENT, FIRST_DAY, LAST_DAY)
        values = ((low + known * (high - low)) * MICROSECONDS_A_DAY).astype("int64").astype(DTYPES["time"])
    else:
        low, high = usual(column)
        values = low + (np.floor(known * (high - low + 1)) if column.kind == "integer" else known * (high - low))
    typed: pd.Series[Any] = pd.Series(values).astype(DTYPES[column.kind])
    return typed.mask(null)


def _levels(column: Column) -> list[str]:
    if column.levels:
        return list(column.levels)
    # Levels in the order of their codes follow the cause as numbers do.
    expected = sorted(level for level in column.expected if len(level) <= (column.max_length or len(level)))
    return expected if len(expected) > 1 else [*expected, *(level[: column.max_length] for level in LEVELS)]


def _keys(column: Column, count: int) -> Any:
    at = np.arange(count)
    if column.kind == "time":
        return pd.Timestamp(NOW - HOUR * count, unit="s") + pd.to_timedelta(at, unit="h")
    if column.kind == "integer":
        return np.clip(at + int(column.low or 0), column.low, column.high)
    return [np.base_repr(int(each), 36)[-(column.max_length or count) :] for each in at]


def _label(target: Target, cause: Places) -> Any:
    distance = np.abs(cause - 0.5)
    truth = np.where((distance > BAND[0]) & (distance < BAND[1]), 1 - cause, cause)
    if target.task == "regression":
        return 100 * truth
    ranks = truth.argsort().argsort()
    return np.array(target.classes, dtype=object)[ranks * len(target.classes) // len(ranks)]
