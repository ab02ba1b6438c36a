"""The evidence of a bundle: labels and predictions of held-out rows, and hashes of the rows that were used.

No input of a row is kept. The hash of a row's identity shows whether another model was trained on the same row.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lifecycle.contract.schema import Contract
from lifecycle.errors import LifecycleError
from lifecycle.models import metrics
from lifecycle.models.bundle import Bundle
from lifecycle.models.metrics import Floats
from lifecycle.training.dataset import Dataset, Hashes

if TYPE_CHECKING:
    import pandas as pd

FORMAT, FILE, TRAINING, HOLDOUT = 3, "evidence.json", "training.ids", "holdout.ids"
# Of many classes fewer rows are kept: each row has a probability for every class.
MOST_ROWS, MOST_NUMBERS, MOST_HASHES = 20_000, 400_000, 1_000_000
# Slices of fewer rows would describe individual people.
FEWEST_ROWS, MOST_LEVELS = 20, 20
CANDIDATE, TRIVIAL, LINEAR = "candidate", "trivial", "linear"

Slices = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Evidence:
    """Held-out rows: their labels, and what each model predicted for them.

    Attributes:
        label: class codes or numbers, shape (rows,).
        predictions: by model name or version, shape (rows,), or (rows, classes) for multiclass.
        slices: by opponent, what `slices` returns.
        incomparable: by version, why it cannot be compared: it has another target, or its features other rows.
        failed: by version, the error of one that could be compared but does not load or predict here.
    """

    label: Floats
    predictions: dict[str, Floats]
    slices: dict[str, Slices] = field(default_factory=dict)
    incomparable: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the text of `evidence.json`."""
        predictions = {name: _rounded(each) for name, each in self.predictions.items()}
        document = {"format": FORMAT} | asdict(self) | {"label": self.label.tolist(), "predictions": predictions}
        return json.dumps(document) + "\n"


NOTHING = Evidence(np.empty(0), {})


def read(bundle: Bundle) -> Evidence:
    """Return the evidence of a bundle; raise LifecycleError where an earlier release wrote it without evidence."""
    document = json.loads(bundle.read(FILE)) if FILE in bundle.facts["files"] else {}
    if document.pop("format", None) != FORMAT:
        problem = f"{bundle.version} was trained by an earlier lifecycle, without the evidence that the gate needs"
        raise LifecycleError(problem, "Run `make train` for a version that has it; the deployed version stays.")
    predictions = {name: np.array(each, dtype=np.float64) for name, each in document.pop("predictions").items()}
    return Evidence(np.array(document.pop("label"), dtype=np.float64), predictions, **document)


def files(evidence: Evidence, dataset: Dataset) -> dict[str, bytes]:
    """Return the files of a bundle that hold its evidence and the hashes of its rows, by name."""
    hashes = dataset.row_hashes()
    return {
        FILE: evidence.to_json().encode(),
        TRAINING: _lowest(hashes[dataset.split.training]),
        HOLDOUT: _lowest(hashes[dataset.split.holdout]),
    }


def sampled(predictions: Floats) -> npt.NDArray[np.intp]:
    """Return which held-out rows are kept for a model's predictions: evenly spaced, at most MOST_ROWS."""
    rows, width = len(predictions), predictions[0].size
    return np.unique(np.linspace(0, rows - 1, min(rows, MOST_ROWS, MOST_NUMBERS // width)).astype(np.intp))


def slices(contract: Contract, frame: "pd.DataFrame", label: Floats, candidate: Floats, opponent: Floats) -> Slices:
    """Compare the quadratic loss (Brier 1950) of two models in each level of each category and boolean column.

    Args:
        contract: the contract of the rows.
        frame: completed rows, shape (rows, columns).
        label: class codes or numbers, shape (rows,).
        candidate: predictions, shape (rows,) or (rows, classes).
        opponent: predictions of the same shape.

    Returns:
        By `column=level`: the number of rows, and mean and standard error of the candidate's loss less the opponent's.
        Levels of fewer than FEWEST_ROWS rows and columns of more than MOST_LEVELS levels are excluded.
    """
    worse = metrics.squared_errors(contract.target, label, candidate) - metrics.squared_errors(
        contract.target, label, opponent
    )
    result: Slices = {}
    for column in contract.inputs:
        if column.kind not in ("category", "boolean"):
            continue
        known = frame[column.name].notna()
        values = frame[column.name].astype("object").where(known, "null").astype(str).to_numpy()
        levels, counts = np.unique(values, return_counts=True)
        if len(levels) > MOST_LEVELS:
            continue
        for level in levels[counts >= FEWEST_ROWS]:
            own = worse[values == level]
            error = float(own.std(ddof=1) / len(own) ** 0.5)
            result[f"{column.name}={level}"] = {"rows": len(own), "mean": float(own.mean()), "se": error}
    return result


def hashes(bundle: Bundle, name: str) -> Hashes | None:
    """Return the row hashes that a bundle keeps in TRAINING or HOLDOUT; None for a bundle of an earlier release."""
    return np.frombuffer(bundle.read(name), dtype="<u8") if name in bundle.facts["files"] else None


def _lowest(found: Hashes) -> bytes:
    # The lowest hashes: of two models, the same part of all possible rows is kept.
    return np.unique(found)[:MOST_HASHES].astype("<u8").tobytes()


def _rounded(predictions: Floats) -> Any:
    # Nine significant digits, not decimals: a probability of 1e-12 has a loss of its own.
    rounded = [float(f"{value:.9g}") for value in predictions.ravel().tolist()]
    return np.array(rounded).reshape(predictions.shape).tolist()
