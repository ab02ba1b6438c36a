"""The three kinds of models: an ONNX graph, a scikit-learn estimator, and the team's class over frames."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lifecycle.contract.rows import Encoder, Matrix
from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.contract.tables import Batch, Frame, Series
from lifecycle.errors import LifecycleError

# Raw outputs of a model: the positive class's probability or the predicted value, shape (rows,), or for multiclass the
# probability of each class in the order of the contract, shape (rows, classes).
Outputs = npt.NDArray[np.float64]
PROBABILITY_TOLERANCE, VALUE_TOLERANCE = 1e-6, 1e-5
LARGEST_GRAPH = 2**29
# A graph holds the dense result of every step for all its rows: a wide encoding of many rows would take gigabytes.
ROWS_AT_ONCE = 4096
# A graph that loads a tensor from another file, or an operator from elsewhere, contains these bytes; ours never do.
FOREIGN = {b"location": "a tensor in another file", b"com.microsoft": "an operator outside the standard"}
# Types beyond scikit-learn's own that a model file may hold; the list is never extended by what a file contains.
TRUSTED = (
    # The function that a partial calls must be trusted as well.
    "functools.partial",
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
    "sklearn.utils.validation.check_array",
)


def tolerance(target: Target) -> float:
    """Return by how much two outputs for a row may differ; for regression relative to max(1, |value|)."""
    return VALUE_TOLERANCE if target.task == "regression" else PROBABILITY_TOLERANCE


def differences(expected: Outputs, outputs: Outputs, target: Target) -> Outputs:
    """Return how far each row's output is from the expected one, shape (rows,), in the unit of `tolerance`."""
    # Where neither output is finite it is 0: both models refuse such a row.
    with np.errstate(invalid="ignore"):
        distance = np.abs(outputs - expected)
        if target.task == "regression":
            distance = distance / np.maximum(1.0, np.abs(expected))
    distance = np.where(~np.isfinite(outputs) & ~np.isfinite(expected), 0.0, distance)
    return np.asarray(distance.reshape(len(expected), -1).max(axis=1))


class MatrixModel(ABC):
    """A model that reads the contract's matrix; predictions are validated (LifecycleError for invalid outputs)."""

    def __init__(self, encoder: Encoder, target: Target) -> None:
        self.encoder, self.target = encoder, target

    def predict_rows(self, rows: Sequence[Mapping[str, Any]]) -> Outputs:
        """Predict rows as they arrive in requests, with their features."""
        return self.predict_matrix(self.encoder.rows(rows))

    def predict_frame(self, frame: Frame) -> Outputs:
        """Predict a frame that was validated against the contract."""
        return self.predict_matrix(self.encoder.frame(frame))

    def predict_batch(self, batch: Batch) -> Outputs:
        """Predict an Arrow batch that was validated against the contract."""
        return self.predict_matrix(self.encoder.batch(batch))

    def predict_matrix(self, matrix: Matrix) -> Outputs:
        """Predict a float32 matrix, shape (rows, inputs)."""
        return validate_outputs(self.raw_outputs(matrix), self.target, len(matrix))

    def raw_outputs(self, matrix: Matrix) -> Any:
        """Return the outputs for a float32 matrix, shape (rows, inputs), without validating them."""
        outputs = self._run(matrix)
        return outputs[:, 1] if self.target.task == "binary" else outputs

    @abstractmethod
    def _run(self, matrix: Matrix) -> Any:
        """Return what the model computes for a matrix; for binary targets, one column for each class."""


class SkopsModel(MatrixModel):
    """A scikit-learn estimator; it reads float64, so that no digit depends on how many rows are predicted together."""

    def __init__(self, estimator: Any, encoder: Encoder, target: Target) -> None:
        super().__init__(encoder, target)
        self.estimator = estimator

    def move_to_quantile(self, matrix: Outputs, label: Outputs, quantile: float) -> None:
        """Add the quantile of the residuals to a constant or linear model; a model of that quantile does not change.

        It is the best one where residuals do not depend on inputs, and much faster to fit than by linear programming.
        """
        last = self.estimator
        while hasattr(last, "steps"):
            last = last.steps[-1][1]
        gap = np.quantile(label - self.estimator.predict(matrix), quantile)
        for name in {"intercept_", "constant_"} & vars(last).keys():
            setattr(last, name, getattr(last, name) + gap)

    def _run(self, matrix: Matrix) -> Any:
        wide = matrix.astype(np.float64)
        return self.estimator.predict(wide) if self.target.task == "regression" else self.estimator.predict_proba(wide)


def untrusted_types(content: bytes) -> list[str]:
    """Return the types in a skops file that are not on the allow-list, sorted."""
    import skops.io

    return sorted(set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED))


class OnnxModel(MatrixModel):
    """An ONNX graph from the matrix to the outputs; thread-safe, and each call uses one thread."""

    def __init__(self, content: bytes, encoder: Encoder, target: Target) -> None:
        super().__init__(encoder, target)
        self.session = session(content)
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        shapes = [(each.type, each.shape[1:]) for each in (*inputs, *outputs)]
        width = len(target.classes) or 1
        if len(outputs) != 1 or shapes != [("tensor(float)", [len(encoder.columns)]), ("tensor(double)", [width])]:
            problem = f"the graph goes from {shapes[: len(inputs)]} to {shapes[len(inputs) :]}"
            raise LifecycleError(problem, f"The contract has {len(encoder.columns)} inputs and {width} outputs a row.")
        self._input = inputs[0].name

    def _run(self, matrix: Matrix) -> Any:
        if len(matrix) > ROWS_AT_ONCE:
            starts = range(0, len(matrix), ROWS_AT_ONCE)
            return np.concatenate([self._run(matrix[start : start + ROWS_AT_ONCE]) for start in starts])
        [outputs] = self.session.run(None, {self._input: matrix})
        return outputs.reshape(-1) if self.target.task == "regression" else outputs


def session(content: bytes) -> Any:
    """Return an ONNX Runtime session of one thread; raise LifecycleError for a graph that is too large or not safe."""
    import onnxruntime

    if len(content) > LARGEST_GRAPH:
        raise LifecycleError(f"the graph has {len(content):,} bytes", f"At most {LARGEST_GRAPH:,} are loaded.")
    for mark, meaning in FOREIGN.items():
        if mark in content:
            raise LifecycleError(f"the graph contains {mark.decode()!r}, as {meaning} does", "A graph is one file.")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    # Errors are raised; lesser messages would only be noise in the service's log.
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


class FrameModel:
    """The team's own class over frames (`lifecycle.contract.team.PythonModel`), with the methods of `MatrixModel`."""

    def __init__(self, model: Any, contract: Contract) -> None:
        self.model, self.columns, self.target = model, contract.framed, contract.target

    def predict_rows(self, rows: Sequence[Mapping[str, Any]]) -> Outputs:
        """Predict rows as they arrive in requests."""
        import pandas as pd

        return self.predict_frame(pd.DataFrame(list(rows), columns=[column.name for column in self.columns]))

    def predict_frame(self, frame: Frame) -> Outputs:
        """Predict a validated frame."""
        return validate_outputs(self.model.predict(typed_frame(frame, self.columns)), self.target, len(frame))

    def predict_batch(self, batch: Batch) -> Outputs:
        """Predict a validated Arrow batch."""
        return self.predict_frame(batch.to_pandas())


Model: TypeAlias = SkopsModel | OnnxModel | FrameModel


def typed_frame(frame: Frame, columns: Sequence[Column]) -> Frame:
    """Return columns of the contract with one dtype each, whether the rows come from a table or from a request.

    Numbers are float64 (int64 where the contract forbids null), times are in UTC, null is NaN or None.
    """
    import pandas as pd

    def converted(column: Column) -> Series:
        values = frame[column.name]
        if column.kind == "time":
            return pd.to_datetime(values, utc=True, format="ISO8601")
        if column.kind in ("number", "integer"):
            return values.astype("int64" if column.kind == "integer" and not column.nullable else "float64")
        if column.kind == "boolean" and not column.nullable:
            return values.astype("bool")
        return values.astype("object").where(values.notna(), None)

    return pd.DataFrame({column.name: converted(column) for column in columns}, index=frame.index)


def validate_outputs(outputs: Any, target: Target, rows: int) -> Outputs:
    """Return outputs for `rows` rows as float64; LifecycleError for another shape, or numbers that are not valid."""
    found = np.asarray(outputs, dtype=np.float64)
    # Most requests hold one row, for which NumPy's checks would take as long as the model.
    if found.shape == (1,) == (rows,) and target.task != "multiclass":
        value = found.item()
        if math.isfinite(value) if target.task == "regression" else 0.0 <= value <= 1.0:
            return found
    expected = (rows, len(target.classes)) if target.task == "multiclass" else (rows,)
    if found.shape != expected:
        fault = f"an array of the shape {found.shape} instead of {expected}"
    elif not np.isfinite(found).all():
        fault = "a value that is not a finite number"
    elif target.task != "regression" and not ((found >= 0) & (found <= 1)).all():
        fault = "a value that is not a probability"
    elif target.task == "multiclass" and not np.allclose(found.sum(axis=1), 1, atol=PROBABILITY_TOLERANCE):
        fault = "probabilities that do not add up to 1"
    else:
        return found
    hint = "Return a value or the positive class's probability for each row, or one probability for each class."
    raise LifecycleError(f"the model returns {fault}", hint)
