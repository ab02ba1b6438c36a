"""What the gate decides on: labels and answers of held-out rows, and marks of the questions that a model has seen.

No input of a row is kept. A question is kept as a hash, so that it can be found again in another model's training.
"""

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lifecycle.contract.schema import Contract, Target
from lifecycle.errors import LifecycleError
from lifecycle.models import metrics
from lifecycle.models.bundle import Bundle
from lifecycle.models.metrics import Floats

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 2
MOST_ROWS = 20_000
# Of many classes fewer rows are kept: each has a probability for every class.
MOST_NUMBERS = 400_000
MOST_IDS = 1_000_000
MOST_LEVELS = 20
# Fewer rows would say something about people one by one.
FEWEST_ROWS = 20
DIGITS = 9
CANDIDATE, TRIVIAL, LINEAR = "candidate", "trivial", "linear"
FILE, TRAINING, HOLDOUT = "evidence.json", "training.ids", "holdout.ids"

Ids = npt.NDArray[np.uint64]
Slices = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Evidence:
    """Held-out rows: `label` as codes or numbers, `given` as each model answered, by its name or version.

    `slices`: by opponent and `column=level`, rows, mean and standard error of the quadratic loss of the candidate less
    the opponent's. Of versions that answered when this was made: `incomparable` is why one is of another question or
    other rows, `silent` why one could have been compared but does not answer here.
    """

    label: Floats
    given: dict[str, Floats]
    slices: dict[str, Slices] = field(default_factory=dict)
    incomparable: dict[str, str] = field(default_factory=dict)
    silent: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text of `evidence.json`."""
        document = {
            "format": FORMAT,
            "label": self.label.tolist(),
            "given": {name: _short(each) for name, each in self.given.items()},
            "slices": self.slices,
            "incomparable": self.incomparable,
            "silent": self.silent,
        }
        return json.dumps(document) + "\n"


NOTHING = Evidence(np.empty(0), {})


def read(bundle: Bundle) -> Evidence:
    """The evidence of a bundle; raises LifecycleError for one that an earlier lifecycle wrote."""
    document = json.loads(bundle.read(FILE)) if FILE in bundle.facts["files"] else {}
    if document.get("format") != FORMAT:
        problem = f"{bundle.version} was trained by an earlier lifecycle: it does not hold what the gate asks for"
        raise LifecycleError(problem, "`make train` makes one that does; what answers goes on answering.")
    given = {name: np.array(each, dtype=np.float64) for name, each in document["given"].items()}
    label = np.array(document["label"], dtype=np.float64)
    # An earlier lifecycle told every version without answers as incomparable.
    return Evidence(label, given, document["slices"], document["incomparable"], document.get("silent", {}))


def taken(given: Floats) -> npt.NDArray[np.intp]:
    """Which held-out rows are kept, by a model's answers to them: at most MOST_ROWS, evenly taken."""
    rows, width = len(given), given[0].size
    return np.unique(np.linspace(0, rows - 1, min(rows, MOST_ROWS, MOST_NUMBERS // width)).astype(np.intp))


def slices(contract: Contract, frame: "pd.DataFrame", label: Floats, candidate: Floats, opponent: Floats) -> Slices:
    """The candidate's quadratic loss less the opponent's, in each level of each category and boolean column."""
    worse = metrics.squared_errors(contract.target, label, candidate) - metrics.squared_errors(
        contract.target, label, opponent
    )
    found: Slices = {}
    for column in contract.inputs:
        if column.kind not in ("category", "boolean"):
            continue
        there = frame[column.name].notna()
        values = frame[column.name].astype("object").where(there, "null").astype(str).to_numpy()
        levels, counts = np.unique(values, return_counts=True)
        if len(levels) > MOST_LEVELS:
            continue
        for level in levels[counts >= FEWEST_ROWS]:
            own = worse[values == level]
            error = float(own.std(ddof=1) / len(own) ** 0.5)
            found[f"{column.name}={level}"] = {"rows": len(own), "mean": float(own.mean()), "se": error}
    return found


def ids(frame: "pd.DataFrame", identity: tuple[str, ...]) -> Ids:
    """A hash of each row's question; of its place where nothing identifies one."""
    import pandas as pd

    of = frame[list(identity)] if identity else pd.DataFrame({"place": range(len(frame))})
    return np.asarray(pd.util.hash_pandas_object(of, index=False).to_numpy(dtype=np.uint64))


def to_bytes(found: Ids) -> bytes:
    """The lowest hashes, sorted: of two models the same part of all possible questions is kept."""
    return np.unique(found)[:MOST_IDS].astype("<u8").tobytes()


def seen(bundle: Bundle) -> Ids | None:
    """The questions that a bundle was trained on; None where an earlier lifecycle did not keep them."""
    return _ids(bundle, TRAINING)


def held(bundle: Bundle) -> Ids | None:
    """The questions that were held out."""
    return _ids(bundle, HOLDOUT)


def identity(bundle: Bundle) -> list[str] | None:
    """The columns that a bundle's questions are known by."""
    found: list[str] | None = bundle.facts.get("identity")
    return found


def comparable(one: Target, other: Target) -> bool:
    """Whether two models answer the same question."""
    return (one.task, one.label, one.classes) == (other.task, other.label, other.classes)


def _ids(bundle: Bundle, name: str) -> Ids | None:
    return np.frombuffer(bundle.read(name), dtype="<u8") if name in bundle.facts["files"] else None


def _short(given: Floats) -> Any:
    # Significant digits, not decimals: a probability of 1e-12 has a loss of its own.
    rounded = [float(f"{value:.{DIGITS}g}") for value in given.ravel().tolist()]
    return np.array(rounded).reshape(given.shape).tolist()
