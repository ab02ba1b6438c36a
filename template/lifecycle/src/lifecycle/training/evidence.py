"""The evidence of a bundle: labels, and predictions of all models on the same held-out rows that none of them has seen.

No input of a row is kept. The hash of a row's identity shows whether another model was fitted to the same row.
"""

import json
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from lifecycle import timestamps
from lifecycle.contract.rows import Seconds
from lifecycle.contract.team import TIMES
from lifecycle.errors import LifecycleError
from lifecycle.features import point_in_time
from lifecycle.models.bundle import Bundle, open_version
from lifecycle.models.metrics import Floats
from lifecycle.models.predictor import Predictor
from lifecycle.settings import Settings
from lifecycle.training.comparison import Slices, compare_slices
from lifecycle.training.dataset import Dataset, Hashes, Mask, codes

FORMAT, FILE, IDS = 4, "evidence.json", "evidence.ids"
# Hashes of the rows that the deployed fit, and the evaluated fit, were fitted to or chosen with; and of the holdout.
DEPLOYED, EVALUATED, HOLDOUT = "training.ids", "evaluation.ids", "holdout.ids"
# Of many classes fewer rows are kept: each row has a probability for every class.
MOST_ROWS, MOST_NUMBERS, MOST_HASHES = 20_000, 400_000, 1_000_000
CANDIDATE, TRIVIAL, LINEAR, REFIT = "candidate", "trivial", "linear", "refit"
FITS, UNKNOWN = "fits", "unknown"
# Nine digits of a prediction are kept.
DIGITS, SAME = 9, 1e-8

Positions = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Evidence:
    """Held-out rows: their `label` (class codes or numbers), and what each model predicted for them.

    `ids` are hashes of the rows' identities, shape (rows,). `predictions` are by model name or version, shape (rows,),
    or (rows, classes) for multiclass; REFIT is the fit that is deployed, which was also fitted to these rows. The
    others are by version. `rows` has the positions of the rows that it is compared on and has predictions for; without
    an entry, as for models of the candidate's own training, these are all. `basis` is FITS where it was fitted to too
    many of the rows, and is compared by the fit that evaluated it, and UNKNOWN where an earlier release does not record
    what it was fitted to. `same` are those whose predictions equal the REFIT's. `slices` has by opponent what
    `compare_slices` returns, `incomparable` why it cannot be compared (it has another target, or completes other rows),
    and `failed` the error of one that could be compared but does not load or predict here.
    """

    label: Floats
    ids: Hashes
    predictions: dict[str, Floats]
    rows: dict[str, list[int]] = field(default_factory=dict)
    basis: dict[str, str] = field(default_factory=dict)
    same: list[str] = field(default_factory=list)
    slices: dict[str, Slices] = field(default_factory=dict)
    incomparable: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def pair(self, opponent: str) -> tuple[Floats, Floats, Floats]:
        """Return labels, and the predictions of CANDIDATE and an opponent, on the rows that both are compared on."""
        rows = self.rows.get(opponent, slice(None))
        return self.label[rows], self.predictions[CANDIDATE][rows], self.predictions[opponent]


NOTHING = Evidence(np.empty(0), np.empty(0, np.uint64), {})


class Incomparable(LifecycleError):
    """A version with another target or other rows than the candidate; the version itself is sound."""


def evaluate(dataset: Dataset, predictions: dict[str, Floats]) -> Evidence:
    """Return the evidence of a candidate: what its models, by name, predict for all held-out rows of the dataset."""
    ids = dataset.row_hashes[dataset.split.holdout]
    kept = sampled(ids, predictions[CANDIDATE][0].size)
    sample = {name: each[kept] for name, each in predictions.items()}
    return Evidence(dataset.holdout.label[kept], ids[kept], sample)


def with_version(settings: Settings, found: Evidence, dataset: Dataset, version: str) -> Evidence:
    """Return the evidence with the predictions of a deployed version for the held-out rows that it has not seen.

    Where these are fewer than `gate.min_rows`, the fits that evaluated the two are compared on their common holdout.
    """
    try:
        bundle = open_version(settings.store, version)
        if DEPLOYED in bundle.facts["files"] and tuple(bundle.facts["identity"]) != dataset.split.identity:
            raise Incomparable(f"{version} identifies rows in another way, so that the rows it has seen are not known")
        kept = sampled(dataset.row_hashes[dataset.split.holdout], found.predictions[CANDIDATE][0].size)
        predicted = _predict(bundle, dataset)[kept]
    except Incomparable as error:
        return replace(found, incomparable=found.incomparable | {version: error.problem})
    except Exception as error:  # A model of the team or of a library raises its own types.
        text = error.problem if isinstance(error, LifecycleError) else f"{type(error).__name__}: {error}"
        return replace(found, failed=found.failed | {version: text})
    same = [version] if np.allclose(predicted, found.predictions[REFIT], rtol=SAME, atol=0) else []
    seconds = dataset.split.seconds[dataset.split.holdout][kept]
    known = np.isfinite(predicted.reshape(len(predicted), -1)).all(axis=1)
    rows: Positions = np.flatnonzero(known & ~_seen(bundle, found.ids, seconds))
    predicted, basis = predicted[rows], dict[str, str]()
    if len(rows) < settings.gate.min_rows and (other := _of_fits(bundle, found.ids, len(rows))):
        (rows, predicted), basis = other, {version: FITS}
    elif DEPLOYED not in bundle.facts["files"]:
        basis = {version: UNKNOWN}
    label, frame = found.label[rows], dataset.holdout.frame.iloc[kept].iloc[rows]
    compared = compare_slices(dataset.team.contract, frame, label, found.predictions[CANDIDATE][rows], predicted)
    return replace(
        found,
        predictions=found.predictions | {version: predicted},
        rows=found.rows | {version: rows.tolist()},
        basis=found.basis | basis,
        same=found.same + same,
        slices=found.slices | {version: compared},
    )


def sampled(hashes: Hashes, width: int) -> Positions:
    """Return which rows are kept, the same of two models: those with the lowest hashes, by `width` numbers each."""
    return np.sort(np.argsort(hashes, kind="stable")[: min(MOST_ROWS, MOST_NUMBERS // width)])


def _seen(bundle: Bundle, ids: Hashes, seconds: Seconds) -> Mask:
    """Return which rows, by hash and time, a version was fitted to, or may have been.

    A bundle of a release before 0.3.0 has no hashes: only the rows after its training are surely unseen. Where there
    are none, all rows are compared, which can only favour that version.
    """
    known = hashes(bundle, DEPLOYED)
    if known is None:
        before = seconds <= timestamps.parse(bundle.facts.get("as_of") or bundle.facts["created"])
        return np.asarray(before & (not before.all()))
    beyond = ids > known[-1] if len(known) == MOST_HASHES else np.full(len(ids), False)
    return np.asarray(np.isin(ids, known) | beyond)


def _of_fits(bundle: Bundle, ids: Hashes, least: int) -> tuple[Positions, Floats] | None:
    """Return the positions of more than `least` rows that a version holds out, too, and its evaluated predictions."""
    try:
        other = read(bundle)
    except LifecycleError:
        return None
    _, rows, places = np.intersect1d(ids, other.ids, return_indices=True)
    order = np.argsort(rows)
    return (rows[order], other.predictions[CANDIDATE][places[order]]) if len(rows) > least else None


def _predict(version: Bundle, dataset: Dataset) -> Floats:
    """Return a version's predictions on the held-out rows; under another contract, NaN for those not of `labels()`."""
    own, other = dataset.team.contract, version.contract
    if not own.target.has_labels_of(other.target) or own.target.quantile != other.target.quantile:
        raise Incomparable(f"{version.version} has another target")
    if (other.columns, version.features_sql) == (own.columns, dataset.team.features_sql):
        return Predictor(version).predict_raw(dataset.holdout.frame)
    team = replace(dataset.team, contract=other, features_sql=version.features_sql)
    try:
        point_in_time.training_rows(dataset.connection, team, dataset.as_of, defaults=True)
        frame = dataset.connection.execute(f"FROM {point_in_time.ROWS}").df()
        label = codes(frame.pop(other.target.label), other.target)
    except LifecycleError as error:
        raise Incomparable(error.problem, error.hint) from error
    sent = {column.name for column in (*own.request, *other.request)} | TIMES
    rows, count, held_out = dataset.rows, dataset.from_labels, dataset.split.holdout
    shared = [name for name in frame.columns if name in sent and name in rows.frame.columns]
    if not (frame[shared].equals(rows.frame[shared][:count]) and np.array_equal(label, rows.label[:count])):
        raise Incomparable(f"{version.version} does not complete the same rows")
    if not held_out[:count].any():
        raise Incomparable(f"no held-out row is one of labels(), and only these can be completed for {version.version}")
    found = Predictor(version).predict_raw(frame[held_out[:count]])
    return np.concatenate([found, np.full((held_out[count:].sum(), *found.shape[1:]), np.nan)])


def read(bundle: Bundle) -> Evidence:
    """Return the evidence of a bundle; raise LifecycleError where an earlier release wrote it without evidence."""
    document = json.loads(bundle.read(FILE)) if FILE in bundle.facts["files"] else {}
    if document.pop("format", None) != FORMAT:
        problem = f"{bundle.version} was trained by an earlier lifecycle, without the evidence that the gate needs"
        raise LifecycleError(problem, "Run `make train` for a version that has it; the deployed version stays.")
    predictions = {name: np.array(each, dtype=np.float64) for name, each in document.pop("predictions").items()}
    label, ids = np.array(document.pop("label"), dtype=np.float64), hashes(bundle, IDS)
    assert ids is not None, "it is written with the evidence"
    return Evidence(label, ids, predictions, **document)


def files(evidence: Evidence, dataset: Dataset, deployed: Mask) -> dict[str, bytes]:
    """Return the files with the evidence and the hashes of the rows; the deployed model is fitted to `deployed`."""
    # Nine significant digits, not decimals: a probability of 1e-12 has a loss of its own.
    rounded = np.vectorize(lambda value: float(f"{value:.{DIGITS}g}"), otypes=[float])
    predictions = {name: rounded(each).tolist() for name, each in evidence.predictions.items()}
    document = {"format": FORMAT} | vars(evidence) | {"label": evidence.label.tolist(), "predictions": predictions}
    del document["ids"]
    result = {FILE: (json.dumps(document) + "\n").encode(), IDS: evidence.ids.astype("<u8").tobytes()}
    every, split = dataset.row_hashes, dataset.split
    for name, mask in {DEPLOYED: deployed, EVALUATED: split.training | split.selection, HOLDOUT: split.holdout}.items():
        # The lowest hashes: of two models, the same part of all possible rows is kept.
        result[name] = np.unique(every[mask])[:MOST_HASHES].astype("<u8").tobytes()
    return result


def hashes(bundle: Bundle, name: str) -> Hashes | None:
    """Return hashes that a bundle keeps: DEPLOYED, EVALUATED, HOLDOUT or IDS; None where an older release made it."""
    return np.frombuffer(bundle.read(name), dtype="<u8") if name in bundle.facts["files"] else None
