"""Fit the candidate and its baselines, measure them on held-out rows, write the bundle."""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lifecycle import evaluation, features, holdout, moments, profile, provenance
from lifecycle.bundle import Bundle
from lifecycle.contract import Answer
from lifecycle.errors import LifecycleError
from lifecycle.evaluation import Floats
from lifecycle.matrix import Encoder, learn_levels
from lifecycle.owners import repository
from lifecycle.pipelines import pack
from lifecycle.predictor import FrameModel, Model, SkopsModel, typed
from lifecycle.settings import Settings
from lifecycle.team import Team

if TYPE_CHECKING:
    import pandas as pd

CANDIDATE, TRIVIAL, LINEAR = "candidate", "trivial", "linear"
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True)
class Rows:
    """One side of the split: a frame, and its label as codes or numbers."""

    frame: "pd.DataFrame"
    label: Floats


def train(team: Team, settings: Settings, root: Path, as_of: int | None = None) -> Bundle:
    """From raw tables to a new bundle in the storage, proved by its golden rows; raises LifecycleError.

    Only labels known at `as_of` count (the data's own latest moment, or the clock, when None).
    """
    connection = features.connect(team.data, settings.data)
    moment = features.latest(connection, team.data) if as_of is None else as_of
    if not features.training_rows(connection, team, moment):
        raise LifecycleError(f"no label is known at {moments.told(moment)}", "Give a later --as-of, or more labels.")
    frame = connection.execute(f"FROM {features.ROWS}").df()
    answer = team.contract.answer
    label = codes(frame.pop(answer.label), answer)
    divided = holdout.split(frame, team.contract, settings.train.holdout)
    rows, test = (Rows(frame[side], label[side]) for side in (divided.training, divided.held))
    _enough_classes(answer, rows.label)

    encoder = Encoder(team.contract, learn_levels(team.contract, rows.frame))
    models = fit(team, encoder, rows, settings.train.seed)
    given = {name: answers(name, model, test) for name, model in models.items()}
    lost = {name: evaluation.losses(answer, test.label, each) for name, each in given.items()}
    # The simpler model wins a draw: what the candidate does not beat replaces it (Breck et al. 2017, Model 5).
    chosen = LINEAR if lost[LINEAR].mean() <= lost[CANDIDATE].mean() else CANDIDATE
    facts = {
        "name": team.name,
        "created": datetime.now(UTC).isoformat(timespec="microseconds"),
        "as_of": moments.told(moment),
        "estimator": chosen,
        "threshold": DEFAULT_THRESHOLD if answer.task == "two classes" else None,
        "levels": {name: list(each) for name, each in encoder.codes.items()},
        "rows": {"training": len(rows.frame), "holdout": len(test.frame)},
        "holdout": {"rule": divided.told, "entities_also_in_training": divided.entities_also_in_training},
        "metrics": {name: evaluation.metrics(answer, test.label, each) for name, each in given.items()},
        "data": _data_hash(frame, label),
        "code": provenance.code(root),
        "owners": repository.roles(root),
        "settings": settings.train.model_dump(),
    }
    evidence = pack.evidence(answer, lost | {CANDIDATE: lost[chosen]})
    rows_to_replay = pack.golden(team.contract, test.frame, settings.train)
    shape = profile.measure(team.contract, rows.frame, test.frame, given[chosen])
    return pack.pack(team, settings.store, models[chosen], facts, rows_to_replay, evidence, shape)


def codes(label: "pd.Series[Any]", answer: Answer) -> Floats:
    """The label as class codes 0, 1, … or as numbers; raises LifecycleError naming what is neither."""
    if label.isna().any():
        problem = f"the label {answer.label} is null in {int(label.isna().sum())} of {len(label)} rows"
        raise LifecycleError(problem, "Leave rows without a label out in labels() (src/model/data.py).")
    numeric = label.dtype.kind in "buif"
    if answer.task == "number" and not numeric:
        raise LifecycleError(f"the label {answer.label} is {label.dtype}, and the answer is a number", "Cast it.")
    if answer.task != "classes" and numeric:
        found = label.to_numpy(dtype=np.float64)
        wrong = ~np.isfinite(found) if answer.task == "number" else ~np.isin(found, (0.0, 1.0))
    else:
        found = label.astype(str).map({name: float(at) for at, name in enumerate(answer.classes)}).to_numpy(np.float64)
        wrong = np.isnan(found)
    if wrong.any():
        raise LifecycleError(
            f"the label {answer.label} holds values that ANSWER does not name, in {int(wrong.sum())} rows",
            f"ANSWER in src/model/contract.py says: {answer.task} {', '.join(answer.classes)}".strip(),
        )
    return np.asarray(found)


def fit(team: Team, encoder: Encoder, rows: Rows, seed: int) -> dict[str, Model]:
    """The fitted candidate and baselines, by name."""
    answer = team.contract.answer
    estimators = {CANDIDATE: team.estimator.candidate(encoder.inputs, seed)}
    baselines = team.estimator.baselines(encoder.inputs, seed)
    if set(baselines) != {TRIVIAL, LINEAR}:
        problem = f"src/model/estimator.py: baselines() returns {', '.join(sorted(baselines)) or 'nothing'}"
        raise LifecycleError(problem, f"It returns two estimators, {TRIVIAL!r} and {LINEAR!r}.")
    matrix = encoder.frame(rows.frame).astype(np.float64)
    target = rows.label if answer.task == "number" else rows.label.astype(int)
    fitted: dict[str, Model] = {}
    for name, estimator in (estimators | baselines).items():
        with blaming(name):
            if hasattr(estimator, "save"):
                estimator.fit(typed(rows.frame, team.contract.columns), target)
                fitted[name] = FrameModel(estimator, team.contract)
            else:
                fitted[name] = SkopsModel(estimator.fit(matrix, target), encoder, answer)
    return fitted


def answers(name: str, model: Model, rows: Rows) -> Floats:
    """What a fitted estimator answers; raises LifecycleError naming the estimator when that is no answer."""
    with blaming(name):
        return model.frame(rows.frame)


@contextlib.contextmanager
def blaming(name: str) -> Iterator[None]:
    """Name the estimator whose code fails."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, KeyError, LifecycleError) as error:
        told = error.problem if isinstance(error, LifecycleError) else f"{type(error).__name__}: {error}"
        problem = f"src/model/estimator.py: the {name} estimator does not fit or answer ({told})"
        mend = "Numbers may be NaN where the contract allows null; categories are codes; classes have predict_proba."
        raise LifecycleError(problem, mend) from error


def _enough_classes(answer: Answer, label: Floats) -> None:
    missing = [name for at, name in enumerate(answer.classes) if not (label == at).any()]
    if missing:
        raise LifecycleError(f"no training row is labelled {', '.join(missing)}", "Give labelled rows of every class.")


def _data_hash(frame: "pd.DataFrame", label: npt.NDArray[np.float64]) -> str:
    import pandas as pd

    rows = pd.util.hash_pandas_object(frame, index=False).to_numpy()
    return hashlib.sha256(rows.tobytes() + label.tobytes()).hexdigest()
