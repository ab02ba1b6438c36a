# mypy: disable-error-code="import-untyped, import-not-found"
"""What every model sees: one float32 matrix, columns in contract order, categories as codes.

Training, batch and service build it here and nowhere else. A null is NaN; a level never seen is -1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lifecycle.contract.schema import Column, Contract

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Matrix = npt.NDArray[np.float32]
UNSEEN = -1.0


@dataclass(frozen=True)
class Inputs:
    """The matrix by name and position: `numbers` (booleans too) and `categories` are column positions."""

    names: tuple[str, ...]
    numbers: tuple[int, ...]
    categories: tuple[int, ...]


class Encoder:
    """From rows as the contract has them to the matrix; `levels` are the codes of each category column."""

    def __init__(self, contract: Contract, levels: Mapping[str, Sequence[str]]) -> None:
        self.columns = contract.inputs
        self.codes = {name: {level: float(code) for code, level in enumerate(each)} for name, each in levels.items()}
        known = ((column.name, self.codes.get(column.name)) for column in self.columns)
        self._encoding = [(name, None if codes is None else {**codes, None: np.nan}) for name, codes in known]

    @property
    def inputs(self) -> Inputs:
        """Names and positions for the estimator."""
        categories = tuple(at for at, column in enumerate(self.columns) if column.kind == "category")
        numbers = tuple(at for at, column in enumerate(self.columns) if column.kind != "category")
        return Inputs(tuple(column.name for column in self.columns), numbers, categories)

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> Matrix:
        """Shape (rows, inputs) from completed rows as they come from JSON and the feature table."""
        values = [
            row[name] if codes is None else codes.get(row[name], UNSEEN)
            for row in rows
            for name, codes in self._encoding
        ]
        # One call for all values: for one row it is what the time goes into. It reads None as NaN.
        return np.fromiter(values, np.float32, len(values)).reshape(len(rows), len(self._encoding))

    def frame(self, frame: "pd.DataFrame") -> Matrix:
        """Shape (rows, inputs) from a frame that passed the contract's check."""
        matrix = np.empty((len(frame), len(self.columns)), dtype=np.float32)
        for at, column in enumerate(self.columns):
            matrix[:, at] = self._column(frame[column.name], column)
        return matrix

    def batch(self, batch: "pa.RecordBatch") -> Matrix:
        """Shape (rows, inputs) from an Arrow batch whose rows passed the contract's check."""
        matrix = np.empty((len(batch), len(self.columns)), dtype=np.float32)
        for at, column in enumerate(self.columns):
            matrix[:, at] = self._values(batch.column(column.name), column)
        return matrix

    def _values(self, values: "pa.Array", column: Column) -> npt.NDArray[Any]:
        import pyarrow as pa

        codes = self.codes.get(column.name)
        if codes is not None:
            # Each level is looked up once; a row without one takes the last, NaN.
            coded = values.dictionary_encode()
            levels = [codes.get(level, UNSEEN) for level in coded.dictionary.to_pylist()]
            found: npt.NDArray[Any] = np.array([*levels, np.nan], dtype=np.float32)
            found = found[coded.indices.fill_null(-1).to_numpy()]
        elif pa.types.is_boolean(values.type):
            found = values.cast(pa.int8()).to_numpy(zero_copy_only=False)
        else:
            found = values.to_numpy(zero_copy_only=False)
        return found

    def _column(self, values: "pd.Series[Any]", column: Column) -> npt.NDArray[np.float32]:
        codes = self.codes.get(column.name)
        if codes is None:
            return values.to_numpy(dtype=np.float32, na_value=np.nan)
        known = values.map(codes).to_numpy(dtype=np.float32, na_value=np.nan)
        known[np.isnan(known) & values.notna().to_numpy()] = UNSEEN
        return known


def learn_levels(contract: Contract, frame: "pd.DataFrame") -> dict[str, list[str]]:
    """The levels of each category: the contract's for closed sets, those of the training rows for open ones."""
    learned = {}
    for column in contract.inputs:
        if column.kind == "category":
            seen = frame[column.name].dropna().unique() if not column.levels else column.levels
            learned[column.name] = list(column.levels) or sorted(str(level) for level in seen)
    return learned
