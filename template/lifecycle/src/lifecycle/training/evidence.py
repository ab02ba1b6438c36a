"""The evidence of a bundle: labels, predictions of all models on the same held-out rows, and hashes of the used rows.

No input of a row is kept. The hash of a row's identity shows whether another model was trained on the same row.
"""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lifecycle import timestamps
from lifecycle.contract.schema import Contract
from lifecycle.contract.team import Data, Team
from lifecycle.errors import LifecycleError
from lifecycle.features import point_in_time
from lifecycle.models import metrics
from lifecycle.models.bundle import Bundle, open_version
from lifecycle.models.metrics import Floats
from lifecycle.models.predictor import Predictor
from lifecycle.settings import Settings
from lifecycle.storage import Store
from lifecycle.training.dataset import Dataset, Hashes, codes, load_dataset

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
        incomparable: by version, why it cannot be compared: it has another target, or completes other rows.
        failed: by version, the error of one that could be compared but does not load or predict here.
    """

    label: Floats
    predictions: dict[str, Floats]
    slices: dict[str, Slices] = field(default_factory=dict)
    incomparable: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)


NOTHING = Evidence(np.empty(0), {})


class Incomparable(LifecycleError):
    """A version with another target or other rows than the candidate; the version itself is sound."""


def compare(store: Store, dataset: Dataset, predictions: dict[str, Floats], versions: Iterable[str]) -> Evidence:
    """Let other versions predict the held-out rows, and return the evidence of all models on them.

    `predictions` has those of the candidate and its baselines, by name, for all held-out rows of the dataset.
    """
    incomparable, failed, predictions = dict[str, str](), dict[str, str](), dict(predictions)
    for version in versions:
        try:
            predictions[version] = _predict(open_version(store, version), dataset)
        except Incomparable as error:
            incomparable[version] = error.problem
        except LifecycleError as error:
            failed[version] = error.problem
    kept = sampled(predictions[CANDIDATE])
    sample = {name: each[kept] for name, each in predictions.items()}
    label, frame = dataset.holdout.label[kept], dataset.holdout.frame.iloc[kept]
    contract, own = dataset.team.contract, sample[CANDIDATE]
    others = {name: each for name, each in sample.items() if name != CANDIDATE}
    compared = {name: slices(contract, frame, label, own, each) for name, each in others.items()}
    return Evidence(label, sample, compared, incomparable, failed)


def with_champion(settings: Settings, data: Data, bundle: Bundle, champion: Bundle | None) -> Evidence:
    """Return the evidence of a bundle, with the champion's predictions added where training did not compare the two.

    Raises:
        LifecycleError: an earlier release wrote the bundle, or the tables have changed since its training.
    """
    found = read(bundle)
    if champion is None or champion.version in {*found.predictions, *found.incomparable, *found.failed}:
        return found
    connection = point_in_time.connect(data, settings.data)
    team = Team(bundle.facts["name"], bundle.contract, bundle.features_sql, data, None)
    as_of, share = timestamps.parse(bundle.facts["as_of"]), bundle.facts["settings"]["holdout"]
    try:
        dataset = load_dataset(connection, team, as_of, share)
    except LifecycleError:
        dataset = None
    if dataset is None or dataset.digest != bundle.facts["data"]:
        problem = f"{bundle.version} was never compared with {champion.version}, and the tables have changed since then"
        raise LifecycleError(problem, "Run `make train`: the new version is compared with the deployed one.")
    own = {CANDIDATE: Predictor(bundle).predict_raw(dataset.holdout.frame)}
    added = compare(settings.store, dataset, own, [champion.version])
    names = ("predictions", "slices", "incomparable", "failed")
    return Evidence(added.label, **{name: getattr(found, name) | getattr(added, name) for name in names})


def _predict(version: Bundle, dataset: Dataset) -> Floats:
    """Return the predictions of a version on the held-out rows, completed by its own contract and features."""
    own, other = dataset.team.contract, version.contract
    if replace(own.target, unit="") != replace(other.target, unit=""):
        raise Incomparable(f"{version.version} has another target")
    if (other.columns, version.features_sql) == (own.columns, dataset.team.features_sql):
        return Predictor(version).predict_raw(dataset.holdout.frame)
    team = replace(dataset.team, contract=other, features_sql=version.features_sql)
    try:
        point_in_time.training_rows(dataset.connection, team, dataset.as_of)
        frame = dataset.connection.execute(f"FROM {point_in_time.ROWS}").df()
        label = codes(frame.pop(other.target.label), other.target)
    except LifecycleError as error:
        raise Incomparable(error.problem, error.hint) from error
    sent = {column.name for column in (*own.request, *other.request)} | point_in_time.TIMES
    shared = [name for name in frame.columns if name in sent and name in dataset.rows.frame.columns]
    if not (frame[shared].equals(dataset.rows.frame[shared]) and np.array_equal(label, dataset.rows.label)):
        raise Incomparable(f"{version.version} does not complete the same rows")
    return Predictor(version).predict_raw(frame[dataset.split.holdout])


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
    # Nine significant digits, not decimals: a probability of 1e-12 has a loss of its own.
    rounded = np.vectorize(lambda value: float(f"{value:.9g}"), otypes=[float])
    predictions = {name: rounded(each).tolist() for name, each in evidence.predictions.items()}
    document = {"format": FORMAT} | asdict(evidence) | {"label": evidence.label.tolist(), "predictions": predictions}
    result, hashes = {FILE: (json.dumps(document) + "\n").encode()}, dataset.row_hashes()
    for name, mask in {TRAINING: dataset.split.training, HOLDOUT: dataset.split.holdout}.items():
        # The lowest hashes: of two models, the same part of all possible rows is kept.
        result[name] = np.unique(hashes[mask])[:MOST_HASHES].astype("<u8").tobytes()
    return result


def sampled(predictions: Floats) -> npt.NDArray[np.intp]:
    """Return which held-out rows are kept for a model's predictions: evenly spaced, at most MOST_ROWS."""
    rows, width = len(predictions), predictions[0].size
    return np.unique(np.linspace(0, rows - 1, min(rows, MOST_ROWS, MOST_NUMBERS // width)).astype(np.intp))


def slices(contract: Contract, frame: "pd.DataFrame", label: Floats, candidate: Floats, opponent: Floats) -> Slices:
    """Compare the quadratic loss (Brier 1950) of two models in each level of each category and boolean column.

    `frame` has the completed rows of `label`; both models' predictions have shape (rows,) or (rows, classes).

    Returns:
        By `column=level`: the number of rows, and mean and standard error of the candidate's loss less the opponent's.
        Levels of fewer than FEWEST_ROWS rows and columns of more than MOST_LEVELS levels are excluded.
    """
    own, other = (metrics.squared_errors(contract.target, label, each) for each in (candidate, opponent))
    result: Slices = {}
    for name in (column.name for column in contract.inputs if column.kind in ("category", "boolean")):
        values = frame[name].astype("object").where(frame[name].notna(), "null").astype(str).to_numpy()
        levels, counts = np.unique(values, return_counts=True)
        for level in levels[counts >= FEWEST_ROWS] if len(levels) <= MOST_LEVELS else ():
            worse = (own - other)[values == level]
            error = float(worse.std(ddof=1) / len(worse) ** 0.5)
            result[f"{name}={level}"] = {"rows": len(worse), "mean": float(worse.mean()), "se": error}
    return result


def hashes(bundle: Bundle, name: str) -> Hashes | None:
    """Return the row hashes that a bundle keeps in TRAINING or HOLDOUT; None for a bundle of an earlier release."""
    return np.frombuffer(bundle.read(name), dtype="<u8") if name in bundle.facts["files"] else None
