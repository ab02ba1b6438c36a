"""Rows that nobody sent, invented from a contract: tests run on them where the real ones are not, or are too many.

A hidden cause moves the label and, with noise of its own, each input: any model worth its name finds it. In two bands
the label turns round, which a straight line does not see.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lifecycle.contract.declare import FLOAT32_MAX
from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.contract.tables import quoted

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

Places = npt.NDArray[np.float64]  # from 0 to 1, where 1 is not reached

ROWS = 2000
NOW, HOUR = 1_767_225_600, 3600
FOLLOWS = 0.9  # how often an input is where the cause is; otherwise it is anywhere
NULLS = 0.2
BAND = (0.2, 0.3)  # how far from the middle the label turns round
LEVELS = ("a", "b", "c")
DTYPES: dict[str, Any] = {"number": "float64", "integer": "Int64", "boolean": "boolean", "category": "str"}
AROUND_ZERO, ANYWHERE = (-100.0, 100.0), (-FLOAT32_MAX, FLOAT32_MAX)


@dataclass(frozen=True)
class Table:
    """Invented rows as a `lifecycle.contract.team.Data`, one asked about in each hour; the later ones are held out."""

    contract: Contract
    frame: "pd.DataFrame"

    @classmethod
    def of(cls, contract: Contract, count: int = ROWS, seed: int = 0) -> "Table":
        """A table with so many rows."""
        return cls(contract, rows(contract, count, seed))

    def tables(self, connection: "duckdb.DuckDBPyConnection", folder: Path) -> None:
        """See Data; nothing is read from the folder."""
        asked = NOW - HOUR * np.arange(len(self.frame), 0, -1)
        connection.register("invented", self.frame.assign(ts=asked))

    def labels(self, connection: "duckdb.DuckDBPyConnection") -> str:
        """See Data."""
        return "FROM invented"

    def population(self, connection: "duckdb.DuckDBPyConnection") -> str:
        """See Data."""
        return f"SELECT * EXCLUDE (ts, {quoted(self.contract.target.label)}) FROM invented"

    def latest(self, connection: "duckdb.DuckDBPyConnection") -> int:
        """See Data."""
        return NOW


def rows(contract: Contract, count: int, seed: int) -> "pd.DataFrame":
    """Every column of the contract within its hard limits, and the label; the same for the same arguments.

    Keys are unique where their limits allow. Classes are text, equally frequent; nullable inputs have nulls.
    """
    import pandas as pd

    random = np.random.default_rng(seed)
    cause = random.random(count)

    def places() -> Places:
        return np.where(random.random(count) < FOLLOWS, cause, random.random(count))

    columns: dict[str, Any] = {
        column.name: _keys(column, count) if column.source == "key" else _values(column, places())
        for column in contract.columns
    }
    return pd.DataFrame(columns | {contract.target.label: _label(contract.target, cause)})


def usual(column: Column) -> tuple[float, float]:
    """From where to where an invented number lies: as expected, else around zero, else anywhere its limits allow."""
    for wanted in (column.expected or AROUND_ZERO, AROUND_ZERO, ANYWHERE):
        low, high = (float(each) for each in np.clip((min(wanted), max(wanted)), column.low, column.high))
        if column.kind == "integer":
            low, high = float(np.ceil(low)), float(np.floor(high))
        # One value alone would say nothing about the label.
        if low < high:
            break
    return low, high


def _values(column: Column, places: Places) -> "pd.Series[Any]":
    import pandas as pd

    known = places / (1 - NULLS if column.nullable else 1)
    null, known = known >= 1, np.minimum(known, np.nextafter(1, 0))
    values: Any
    if column.kind == "boolean":
        values = known >= 0.5
    elif column.kind == "category":
        levels = _levels(column)
        values = np.array(levels, dtype=object)[(known * len(levels)).astype(int)]
    else:
        low, high = usual(column)
        values = low + known * (high - low)
        if column.kind == "integer":
            values = low + np.floor(known * (high - low + 1))
    typed: pd.Series[Any] = pd.Series(values).astype(DTYPES[column.kind])
    return typed.mask(null)


def _levels(column: Column) -> list[str]:
    if column.levels:
        return list(column.levels)
    # In the order of their codes, so that they follow the cause as numbers do.
    expected = sorted(level for level in column.expected if len(level) <= (column.max_length or len(level)))
    return expected if len(expected) > 1 else [*expected, *(level[: column.max_length] for level in LEVELS)]


def _keys(column: Column, count: int) -> Any:
    import pandas as pd

    at = np.arange(count)
    if column.kind == "time":
        return pd.Timestamp(NOW - HOUR * count, unit="s") + pd.to_timedelta(at, unit="h")
    if column.kind == "integer":
        return np.clip(at + int(column.low or 0), column.low, column.high)
    return [np.base_repr(int(each), 36)[-(column.max_length or count) :] for each in at]


def _label(target: Target, cause: Places) -> Any:
    aside = np.abs(cause - 0.5)
    turned = np.where((aside > BAND[0]) & (aside < BAND[1]), 1 - cause, cause)
    if target.task == "regression":
        return 100 * turned
    ranks = turned.argsort().argsort()
    return np.array(target.classes, dtype=object)[ranks * len(target.classes) // len(ranks)]
