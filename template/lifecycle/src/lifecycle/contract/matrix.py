# mypy: disable-error-code="import-untyped, import-not-found"
"""The input of every model: one float32 matrix, columns in contract order, categories as codes.

Training, batch scoring and the service all build it here. A null is NaN; a level that training did not see is -1.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lifecycle.contract.schema import Contract

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Matrix = npt.NDArray[np.float32]
UNSEEN = -1.0


@dataclass(frozen=True)
class Inputs:
    """Names of the matrix columns, and the positions of `numbers` (with booleans) and `categories` among them."""

    names: tuple[str, ...]
    numbers: tuple[int, ...]
    categories: tuple[int, ...]


class Encoder:
    """An encoder of rows, frames and Arrow batches, which satisfy the contract, to the matrix, shape (rows, inputs).

    `levels` are those of each category column, in the order of their codes 0, 1, …
    """

    def __init__(self, contract: Contract, levels: Mapping[str, Sequence[str]]) -> None:
        self.columns = contract.inputs
        self.codes = {name: {level: float(code) for code, level in enumerate(each)} for name, each in levels.items()}
        known = ((column.name, self.codes.get(column.name)) for column in self.columns)
        self._encoding = [(name, None if codes is None else {**codes, None: np.nan}) for name, codes in known]

    @property
    def inputs(self) -> Inputs:
        """Return the names and positions of the matrix columns."""
        categories = tuple(at for at, column in enumerate(self.columns) if column.kind == "category")
        numbers = tuple(at for at, column in enumerate(self.columns) if column.kind != "category")
        return Inputs(tuple(column.name for column in self.columns), numbers, categories)

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> Matrix:
        """Return the matrix of completed rows: dictionaries of JSON values and features."""
        values = [
            row[name] if codes is None else codes.get(row[name], UNSEEN)
            for row in rows
            for name, codes in self._encoding
        ]
        # One call for all values, because it dominates the time of a single row. It converts None to NaN.
        return np.fromiter(values, np.float32, len(values)).reshape(len(rows), len(self._encoding))

    def frame(self, frame: "pd.DataFrame") -> Matrix:
        """Return the matrix of a frame."""
        import pyarrow as pa

        names = [column.name for column in self.columns]
        return self.batch(pa.Table.from_pandas(frame[names], preserve_index=False))

    def batch(self, batch: "pa.RecordBatch | pa.Table") -> Matrix:
        """Return the matrix of Arrow data."""
        import pyarrow as pa

        matrix = np.empty((len(batch), len(self.columns)), dtype=np.float32)
        for at, column in enumerate(self.columns):
            values, codes = batch.column(column.name), self.codes.get(column.name)
            if isinstance(values, pa.ChunkedArray):
                values = values.combine_chunks()
            if codes is not None:
                # Each level is looked up once; a null takes the last entry, NaN.
                coded = values.dictionary_encode()
                levels = [codes.get(level, UNSEEN) for level in coded.dictionary.to_pylist()]
                matrix[:, at] = np.array([*levels, np.nan])[coded.indices.fill_null(-1).to_numpy()]
            else:
                plain = values.cast(pa.int8()) if pa.types.is_boolean(values.type) else values
                matrix[:, at] = plain.to_numpy(zero_copy_only=False)
        return matrix


def learn_levels(contract: Contract, frame: "pd.DataFrame") -> dict[str, list[str]]:
    """Return the levels of each category column: those of the contract, or of the training rows where it has none."""
    return {
        column.name: list(column.levels) or sorted(str(level) for level in frame[column.name].dropna().unique())
        for column in contract.inputs
        if column.kind == "category"
    }
