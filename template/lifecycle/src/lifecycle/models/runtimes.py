# mypy: disable-error-code="import-untyped, import-not-found"
"""What answers completed rows: an estimator over the matrix, or a class of the team's over frames."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from lifecycle.contract.matrix import Encoder, Matrix
from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.errors import LifecycleError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Raw = npt.NDArray[np.float64]
PROBABILITY_TOLERANCE = 1e-6
VALUE_TOLERANCE = 1e-5
LARGEST_GRAPH = 2**29
# A graph holds every step of its rows at once, and dense: a wide encoding of many rows would take gigabytes.
ROWS_AT_ONCE = 4096
# Without these bytes no tensor points to another file and no operator comes from elsewhere; no graph of ours has them.
FOREIGN = {b"location": "a tensor in another file", b"com.microsoft": "an operator outside the standard"}


class Model(Protocol):
    """What answers completed rows: one probability or number a row, or one probability for each class."""

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> Raw:
        """From rows as they come over the wire, completed."""

    def frame(self, frame: "pd.DataFrame") -> Raw:
        """From a frame that passed the contract's check."""

    def batch(self, batch: "pa.RecordBatch") -> Raw:
        """From an Arrow batch whose rows passed the contract's check."""


class MatrixModel(ABC):
    """A model over the matrix: `matrix` is what each kind has its own way for."""

    def __init__(self, encoder: Encoder, target: Target) -> None:
        self.encoder, self.target = encoder, target

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> Raw:
        """See Model."""
        return self.matrix(self.encoder.rows(rows))

    def frame(self, frame: "pd.DataFrame") -> Raw:
        """See Model."""
        return self.matrix(self.encoder.frame(frame))

    def batch(self, batch: "pa.RecordBatch") -> Raw:
        """See Model."""
        return self.matrix(self.encoder.batch(batch))

    @abstractmethod
    def matrix(self, matrix: Matrix) -> Raw:
        """From the matrix, shape (rows, inputs)."""


class SkopsModel(MatrixModel):
    """A scikit-learn estimator, which reads the matrix as float64.

    In float32 a sum depends, in the seventh digit, on how many rows are answered together.
    """

    def __init__(self, estimator: Any, encoder: Encoder, target: Target) -> None:
        super().__init__(encoder, target)
        self.estimator = estimator

    def matrix(self, matrix: Matrix) -> Raw:
        """See MatrixModel."""
        return raw(self.estimator, matrix.astype(np.float64), self.target)

    def given(self, matrix: Matrix) -> Any:
        """What the estimator gives, be it an answer or not."""
        return given(self.estimator, matrix.astype(np.float64), self.target)


class OnnxModel(MatrixModel):
    """An ONNX graph from the matrix to the answers. It is safe in many threads and uses one for each call."""

    def __init__(self, content: bytes, encoder: Encoder, target: Target) -> None:
        """Load a graph; raises LifecycleError, or what the runtime does, for one that is not safe or does not fit."""
        super().__init__(encoder, target)
        self.session = session(content)
        given, made = self.session.get_inputs(), self.session.get_outputs()
        shapes = [(each.type, each.shape[1:]) for each in (*given, *made)]
        width = len(target.classes) or 1
        if len(made) != 1 or shapes != [("tensor(float)", [len(encoder.columns)]), ("tensor(double)", [width])]:
            problem = f"the graph goes from {shapes[: len(given)]} to {shapes[len(given) :]}"
            raise LifecycleError(problem, f"The contract has {len(encoder.columns)} inputs and {width} answers a row.")
        self._name, self._wanted = given[0].name, [made[0].name]

    def matrix(self, matrix: Matrix) -> Raw:
        """See MatrixModel."""
        return checked(self.given(matrix), self.target, len(matrix))

    def given(self, matrix: Matrix) -> Any:
        """What the graph gives, be it an answer or not."""
        if len(matrix) > ROWS_AT_ONCE:
            starts = range(0, len(matrix), ROWS_AT_ONCE)
            return np.concatenate([self.given(matrix[start : start + ROWS_AT_ONCE]) for start in starts])
        [given] = self.session.run(self._wanted, {self._name: matrix})
        if self.target.task == "regression":
            return given.reshape(-1)
        return given[:, 1] if self.target.task == "binary" else given


def session(content: bytes) -> Any:
    """What runs a graph: one thread that does not spin, and no memory kept between calls.

    Raises LifecycleError for a graph that is too large, reads other files, or needs more than the standard's operators.
    """
    import onnxruntime

    if len(content) > LARGEST_GRAPH:
        raise LifecycleError(f"the graph has {len(content):,} bytes", f"At most {LARGEST_GRAPH:,} are loaded.")
    for word, meaning in FOREIGN.items():
        if word in content:
            raise LifecycleError(f"the graph names {word.decode()!r}, as {meaning} does", "A graph is one file.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    # What goes wrong is raised; the rest would be noise in the service's log.
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


class FrameModel:
    """A class of the team's over frames: see `team.PythonModel`."""

    def __init__(self, model: Any, contract: Contract) -> None:
        self.model, self.columns, self.target = model, contract.columns, contract.target

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> Raw:
        """See Model."""
        import pandas as pd

        return self.frame(pd.DataFrame.from_records(list(rows), columns=[column.name for column in self.columns]))

    def frame(self, frame: "pd.DataFrame") -> Raw:
        """See Model."""
        return checked(self.model.predict(typed(frame, self.columns)), self.target, len(frame))

    def batch(self, batch: "pa.RecordBatch") -> Raw:
        """See Model."""
        return self.frame(batch.to_pandas())


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


def raw(estimator: Any, matrix: Any, target: Target) -> Raw:
    """An estimator's answer: shape (rows,) for two classes and numbers, (rows, classes) for more."""
    return checked(given(estimator, matrix, target), target, len(matrix))


def given(estimator: Any, matrix: Any, target: Target) -> Any:
    """The same before it is known to be an answer."""
    if target.task == "regression":
        return estimator.predict(matrix)
    probabilities = estimator.predict_proba(matrix)
    return probabilities[:, 1] if target.task == "binary" else probabilities


def checked(given: Any, target: Target, rows: int) -> Raw:
    """What a model gave, when it is an answer; raises LifecycleError for another shape, NaN, or no probability."""
    found = np.asarray(given, dtype=np.float64)
    # One row is what a request mostly holds, and NumPy's checks of it would cost as much as the model.
    if found.shape == (1,) == (rows,) and target.task != "multiclass":
        value = found.item()
        if math.isfinite(value) if target.task == "regression" else 0.0 <= value <= 1.0:
            return found
    wanted = (rows, len(target.classes)) if target.task == "multiclass" else (rows,)
    fault = ""
    if found.shape != wanted:
        fault = f"the shape {found.shape} instead of {wanted}"
    elif not np.isfinite(found).all():
        fault = "what is not a finite number"
    elif target.task != "regression" and not ((found >= 0) & (found <= 1)).all():
        fault = "what is not a probability"
    elif target.task == "multiclass" and not np.allclose(found.sum(axis=1), 1, atol=PROBABILITY_TOLERANCE):
        fault = "probabilities that do not add up to 1"
    if fault:
        hint = "A number or the positive class's probability for each row, or a row of probabilities for more classes."
        raise LifecycleError(f"the model answers {fault}", hint)
    return found
