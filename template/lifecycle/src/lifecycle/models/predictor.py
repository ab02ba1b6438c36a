# mypy: disable-error-code="import-untyped, import-not-found"
"""A bundle that answers: loaded, proved by its golden rows, the same for service and batch."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lifecycle.contract import team
from lifecycle.contract.matrix import Encoder
from lifecycle.contract.schema import Target
from lifecycle.models.bundle import Bundle, BundleError, check_environment
from lifecycle.models.runtimes import (
    PROBABILITY_TOLERANCE,
    VALUE_TOLERANCE,
    FrameModel,
    Model,
    OnnxModel,
    Raw,
    SkopsModel,
)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# Types beyond scikit-learn's own that a model file may hold. Never extended by what a file asks for.
TRUSTED = (
    # What it calls has to be trusted, too.
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
    """One verified bundle, ready to answer."""

    def __init__(self, bundle: Bundle) -> None:
        """Load and prove a bundle; raises BundleError when it cannot be loaded here or answers otherwise."""
        check_environment(bundle)
        self.bundle = bundle
        self.contract = bundle.contract
        self._model = _load(bundle)
        self.replay()

    def answers(self, rows: Sequence[Mapping[str, Any]], threshold: float | None) -> list[dict[str, Any]]:
        """Answers on the wire for completed rows."""
        return told(self._model.rows(rows), self.contract.target, threshold)

    def frame_answers(self, frame: "pd.DataFrame", threshold: float | None) -> list[dict[str, Any]]:
        """The same answers for a frame that passed the contract's check."""
        return told(self._model.frame(frame), self.contract.target, threshold)

    def raw(self, frame: "pd.DataFrame") -> Raw:
        """Answers as numbers (see Model) for a frame that passed the contract's check."""
        return self._model.frame(frame)

    def batch(self, batch: "pa.RecordBatch") -> Raw:
        """Answers as numbers for an Arrow batch whose rows passed the contract's check."""
        return self._model.batch(batch)

    @property
    def is_fast(self) -> bool:
        """Whether a row is answered in microseconds, so that no thread or queue is worth its cost."""
        return self.bundle.kind == "onnx"

    def replay(self) -> None:
        """Target the golden rows; raises BundleError when the trained estimator's own answers do not come back."""
        golden = [json.loads(line) for line in self.bundle.read("golden.jsonl").splitlines()]
        if not golden:
            raise BundleError(f"bundle {self.bundle.version} has no golden rows", "Train again.")
        wanted = np.array([each["answer"] for each in golden], dtype=np.float64)
        try:
            given = self._model.rows([each["row"] for each in golden])
        except Exception as error:
            problem = f"bundle {self.bundle.version} cannot answer its golden rows ({type(error).__name__}: {error})"
            raise BundleError(problem, "Use the versions that its bundle.json lists, or train again.") from error
        number = self.contract.target.task == "regression"
        limit = VALUE_TOLERANCE * np.maximum(1.0, np.abs(wanted)) if number else PROBABILITY_TOLERANCE
        wrong = np.flatnonzero(~(np.abs(given - wanted) <= limit).reshape(len(golden), -1).all(axis=1))
        if given.shape != wanted.shape or len(wrong):
            first = f"golden row {wrong[0] + 1} of {len(golden)}" if len(wrong) else "the shape of the answers"
            problem = f"bundle {self.bundle.version} does not answer as it did in training: {first} differs"
            raise BundleError(problem, "Use the versions that its bundle.json lists, or train again.")


def told(given: Raw, target: Target, threshold: float | None) -> list[dict[str, Any]]:
    """Raw answers in the words of the contract."""
    if target.task == "regression":
        return [{"prediction": value} for value in given.tolist()]
    if target.task == "binary":
        limit = 0.5 if threshold is None else threshold
        return [{"prediction": target.classes[p >= limit], "probability": p} for p in given.tolist()]
    best = given.argmax(axis=1)
    return [
        {"prediction": target.classes[at], "probabilities": dict(zip(target.classes, row, strict=True))}
        for at, row in zip(best, given.tolist(), strict=True)
    ]


def _load(bundle: Bundle) -> Model:
    if bundle.kind in ("onnx", "skops"):
        encoder = Encoder(bundle.contract, bundle.facts["levels"])
        if bundle.kind == "onnx":
            return _load_onnx(bundle, encoder)
        return SkopsModel(_load_skops(bundle), encoder, bundle.contract.target)
    if bundle.kind == "python":
        return FrameModel(_load_python(bundle, bundle.path / "model"), bundle.contract)
    raise BundleError(
        f"bundle {bundle.version} is of kind {bundle.kind!r}, which this lifecycle cannot load",
        "Update the repository, or promote another version.",
    )


def _load_onnx(bundle: Bundle, encoder: Encoder) -> OnnxModel:
    try:
        return OnnxModel(bundle.read("model.onnx"), encoder, bundle.contract.target)
    except Exception as error:
        raise _unreadable(bundle, "model.onnx", error) from error


def untrusted(content: bytes) -> list[str]:
    """The types that a file of skops holds and no bundle may; raises what skops does for what is no such file."""
    import skops.io

    return sorted(set(skops.io.get_untrusted_types(data=content)) - set(TRUSTED))


def _load_skops(bundle: Bundle) -> Any:
    import skops.io

    content = bundle.read("model.skops")
    try:
        unknown = untrusted(content)
    except Exception as error:
        raise _unreadable(bundle, "model.skops", error) from error
    if unknown:
        raise BundleError(
            f"bundle {bundle.version}: model.skops holds {', '.join(unknown)}, which is not trusted",
            "Return a `python` model from src/model/estimator.py for code of your own.",
        )
    return skops.io.loads(content, trusted=list(TRUSTED))


def _unreadable(bundle: Bundle, name: str, error: Exception) -> BundleError:
    first = str(error).strip().splitlines()[:1]
    problem = f"bundle {bundle.version}: {name} does not load ({type(error).__name__}: {''.join(first)})"
    return BundleError(problem, "Promote another version, or train again.")


def _load_python(bundle: Bundle, directory: Path) -> Any:
    try:
        return team.python_class(bundle.facts["class"]).load(directory)
    except Exception as error:
        problem = f"bundle {bundle.version}: {bundle.facts['class']} does not load ({type(error).__name__}: {error})"
        raise BundleError(problem, f"It needs {json.dumps(bundle.facts['requires'])}.") from error
