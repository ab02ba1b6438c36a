"""What answers completed rows: an estimator over the matrix, or a class of the team's over frames."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from lifecycle.contract import Answer, Column, Contract
from lifecycle.errors import LifecycleError
from lifecycle.matrix import Encoder, Matrix

if TYPE_CHECKING:
    import pandas as pd

Raw = npt.NDArray[np.float64]
PROBABILITY_TOLERANCE = 1e-6
VALUE_TOLERANCE = 1e-5


class Model(Protocol):
    """What answers completed rows: one probability or number a row, or one probability for each class."""

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> Raw:
        """From rows as they come over the wire, completed."""

    def frame(self, frame: "pd.DataFrame") -> Raw:
        """From a frame that passed the contract's check."""


class MatrixModel(ABC):
    """A model over the matrix: `matrix` is what each kind has its own way for."""

    def __init__(self, encoder: Encoder, answer: Answer) -> None:
        self.encoder, self.answer = encoder, answer

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> Raw:
        """See Model."""
        return self.matrix(self.encoder.rows(rows))

    def frame(self, frame: "pd.DataFrame") -> Raw:
        """See Model."""
        return self.matrix(self.encoder.frame(frame))

    @abstractmethod
    def matrix(self, matrix: Matrix) -> Raw:
        """From the matrix, shape (rows, inputs)."""


class SkopsModel(MatrixModel):
    """A scikit-learn estimator, which reads the matrix as float64.

    In float32 a sum depends, in the seventh digit, on how many rows are answered together.
    """

    def __init__(self, estimator: Any, encoder: Encoder, answer: Answer) -> None:
        super().__init__(encoder, answer)
        self.estimator = estimator

    def matrix(self, matrix: Matrix) -> Raw:
        """See MatrixModel."""
        return raw(self.estimator, matrix.astype(np.float64), self.answer)


class FrameModel:
    """A class of the team's over frames: see `team.PythonModel`."""

    def __init__(self, model: Any, contract: Contract) -> None:
        self.model, self.columns, self.answer = model, contract.columns, contract.answer

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> Raw:
        """See Model."""
        import pandas as pd

        return self.frame(pd.DataFrame.from_records(list(rows), columns=[column.name for column in self.columns]))

    def frame(self, frame: "pd.DataFrame") -> Raw:
        """See Model."""
        return checked(self.model.predict(typed(frame, self.columns)), self.answer, len(frame))


def typed(frame: "pd.DataFrame", columns: Sequence[Column]) -> "pd.DataFrame":
    """The contract's columns with one type each, whether the rows come from a table or from a request.

    Numbers are float64 (int64 where the contract allows no null), times are in UTC, null is NaN or None.
    """
    import pandas as pd

    def column_of(column: Column) -> "pd.Series[Any]":
        values = frame[column.name]
        if column.kind == "time":
            return pd.to_datetime(values, utc=True)
        if column.kind in ("number", "integer"):
            return values.astype("int64" if column.kind == "integer" and not column.nullable else "float64")
        if column.kind == "boolean" and not column.nullable:
            return values.astype("bool")
        return values.astype("object").where(values.notna(), None)

    return pd.DataFrame({column.name: column_of(column) for column in columns}, index=frame.index)


def raw(estimator: Any, matrix: Any, answer: Answer) -> Raw:
    """An estimator's answer: shape (rows,) for two classes and numbers, (rows, classes) for more."""
    if answer.task == "number":
        return checked(estimator.predict(matrix), answer, len(matrix))
    probabilities = estimator.predict_proba(matrix)
    return checked(probabilities[:, 1] if answer.task == "two classes" else probabilities, answer, len(matrix))


def checked(given: Any, answer: Answer, rows: int) -> Raw:
    """What a model gave, when it is an answer; raises LifecycleError for another shape, NaN, or no probability."""
    found = np.asarray(given, dtype=np.float64)
    wanted = (rows, len(answer.classes)) if answer.task == "classes" else (rows,)
    fault = ""
    if found.shape != wanted:
        fault = f"the shape {found.shape} instead of {wanted}"
    elif not np.isfinite(found).all():
        fault = "what is not a finite number"
    elif answer.task != "number" and not ((found >= 0) & (found <= 1)).all():
        fault = "what is not a probability"
    elif answer.task == "classes" and not np.allclose(found.sum(axis=1), 1, atol=PROBABILITY_TOLERANCE):
        fault = "probabilities that do not add up to 1"
    if fault:
        mend = "A number or the positive class's probability for each row, or a row of probabilities for more classes."
        raise LifecycleError(f"the model answers {fault}", mend)
    return found
