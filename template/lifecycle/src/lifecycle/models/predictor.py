# mypy: disable-error-code="import-untyped, import-not-found"
"""Load a model bundle, verify it against its golden rows, and predict rows, frames or Arrow batches."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lifecycle import renamed_property
from lifecycle.contract.rows import Encoder
from lifecycle.contract.schema import Target
from lifecycle.models.bundle import INSTALL, RETRAIN, Bundle, BundleError, check_environment
from lifecycle.models.bundled_code import load_class
from lifecycle.models.runtimes import FrameModel, Model, OnnxModel, Outputs, SkopsModel, differences, tolerance

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Response = dict[str, Any]
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


class Predictor:
    """A loaded bundle; BundleError when this environment cannot load it or does not reproduce its golden rows."""

    def __init__(self, bundle: Bundle) -> None:
        check_environment(bundle)
        self.bundle = bundle
        self.contract = bundle.contract
        self._model = _load(bundle)
        # Of one row alone, and of each of many.
        self._times = math.inf, math.inf
        self.verify_golden_rows()

    def predict(self, rows: Sequence[Mapping[str, Any]], threshold: float | None = None) -> list[Response]:
        """Return one response object for each validated row, which has every column of the contract.

        The positive class is predicted from the probability `threshold` on; 0.5 when None, unused for other tasks.
        """
        return format_predictions(self._model.predict_rows(rows), self.contract.target, threshold)

    def predict_frame(self, frame: "pd.DataFrame", threshold: float | None = None) -> list[Response]:
        """Do the same as `predict` for a validated frame."""
        return format_predictions(self._model.predict_frame(frame), self.contract.target, threshold)

    def predict_raw(self, frame: "pd.DataFrame") -> Outputs:
        """Return the raw outputs (see `Outputs`) for a validated frame."""
        return self._model.predict_frame(frame)

    def predict_batch(self, batch: "pa.RecordBatch") -> Outputs:
        """Return the raw outputs (see `Outputs`) for a validated Arrow batch."""
        return self._model.predict_batch(batch)

    # Names of releases before 0.3.0.
    answers = renamed_property("Predictor.answers", "Predictor.predict")
    frame_answers = renamed_property("Predictor.frame_answers", "Predictor.predict_frame")

    def seconds(self, rows: int) -> float:
        """Return how long a graph predicts so many rows, estimated from the golden rows; infinite for other kinds."""
        return max(self._times[0], rows * self._times[1])

    def verify_golden_rows(self) -> None:
        """Raise BundleError unless the golden rows get the outputs of the trained estimator, within the tolerance."""
        version, hint = self.bundle.version, "Install the versions that its bundle.json lists, or train again."
        golden = [json.loads(line) for line in self.bundle.read("golden.jsonl").splitlines()]
        if not golden:
            raise BundleError(f"bundle {version} has no golden rows", "Train again.")
        expected = np.array([each["answer"] for each in golden], dtype=np.float64)
        rows = [each["row"] for each in golden]
        try:
            outputs = self._model.predict_rows(rows)
            if self.bundle.kind == "onnx":
                self._times = self._time(rows[:1]), self._time(rows) / len(rows)
        # A model of the team or of a library raises its own types.
        except Exception as error:
            problem = f"bundle {version} cannot predict its golden rows ({type(error).__name__}: {error})"
            raise BundleError(problem, hint) from error
        problem, target = f"bundle {version} does not reproduce its training outputs", self.contract.target
        if outputs.shape != expected.shape:
            raise BundleError(f"{problem}: their shape differs", hint)
        wrong = np.flatnonzero(~(differences(expected, outputs, target) <= tolerance(target)))
        if len(wrong):
            raise BundleError(f"{problem}: golden row {wrong[0] + 1} of {len(golden)} differs", hint)

    def _time(self, rows: list[dict[str, Any]]) -> float:
        times = []
        # The least of several: another process may take the processor for a while.
        for _ in range(3):
            began = time.perf_counter()
            self._model.predict_rows(rows)
            times.append(time.perf_counter() - began)
        return min(times)


def format_predictions(raw: Outputs, target: Target, threshold: float | None) -> list[Response]:
    """Convert raw model outputs (see `Outputs`) to response objects; `threshold` as in `Predictor.predict`.

    Returns:
        For each row `prediction`, and `probability` (of the positive class) or `probabilities` (by class).
    """
    if target.task == "regression":
        return [{"prediction": value} for value in raw.tolist()]
    if target.task == "binary":
        limit = 0.5 if threshold is None else threshold
        return [{"prediction": target.classes[p >= limit], "probability": p} for p in raw.tolist()]
    best = raw.argmax(axis=1)
    return [
        {"prediction": target.classes[at], "probabilities": dict(zip(target.classes, row, strict=True))}
        for at, row in zip(best, raw.tolist(), strict=True)
    ]


def untrusted_types(content: bytes) -> list[str]:
    """Return the types in a skops file that are not on the allow-list, sorted."""
    import skops.io

    return sorted(set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED))


def _load(bundle: Bundle) -> Model:
    if bundle.kind not in INSTALL:
        problem = f"bundle {bundle.version} is of kind {bundle.kind!r}, which this lifecycle cannot load"
        raise BundleError(problem, "Update the repository, or promote another version.")
    target, name = bundle.contract.target, f"model.{bundle.kind}"
    try:
        if bundle.kind == "python":
            name = bundle.facts["class"]
            return FrameModel(load_class(bundle).load(bundle.path / "model"), bundle.contract)
        encoder, content = Encoder(bundle.contract, bundle.facts["levels"]), bundle.read(name)
        if bundle.kind == "onnx":
            return OnnxModel(content, encoder, target)
        import skops.io

        if unknown := untrusted_types(content):
            problem = f"bundle {bundle.version}: {name} holds {', '.join(unknown)}, which is not trusted"
            raise BundleError(problem, "Return a `python` model from src/model/estimator.py for code of your own.")
        return SkopsModel(skops.io.loads(content, trusted=list(TRUSTED)), encoder, target)
    except BundleError:
        raise
    # A runtime, skops and the team's code raise their own types.
    except Exception as error:
        first = "".join(str(error).strip().splitlines()[:1])
        problem = f"bundle {bundle.version}: {name} does not load ({type(error).__name__}: {first})"
        raise BundleError(problem, f"It needs {json.dumps(bundle.facts['requires'])}. {RETRAIN}") from error
