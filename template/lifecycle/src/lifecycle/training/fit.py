"""Fit the candidate on several windows of history, choose a window and an estimator, and fit the choice again.

Windows end before the newest period, and are compared on the selection rows of that period. A shorter window is taken
only where its loss is surely lower: it learns a relation that has changed, and costs precision where none has. The
chosen recipe is then fitted again with the newest rows: that fit is deployed, and the holdout describes the recipe.
"""

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from lifecycle.contract.rows import Encoder, learn_levels
from lifecycle.contract.team import Team
from lifecycle.errors import LifecycleError
from lifecycle.models import metrics
from lifecycle.models.metrics import Floats
from lifecycle.models.runtimes import FrameModel, Model, SkopsModel, typed_frame
from lifecycle.training.allowed import NULL_HINT
from lifecycle.training.dataset import Dataset, LabelledRows, Mask
from lifecycle.training.evidence import CANDIDATE, LINEAR, TRIVIAL

# Standard errors by which the loss of a shorter window must be lower.
STANDARD_ERRORS = 2.0
MIN_WINDOW_ROWS = 200
# With fewer selection rows, candidate and linear model are compared by cross-validation.
MIN_SELECTION_ROWS, FOLDS = 200, 5


@dataclass(frozen=True)
class Fits:
    """What was chosen, and the fitted models.

    Attributes:
        chosen: CANDIDATE, or LINEAR where the candidate is not better on the selection rows (by cross-validation
            where these are few).
        periods: those of the chosen window before the newest one; None for the whole history.
        losses: the candidate's mean loss on the selection rows, by window ("all", or its number of periods).
        evaluated: the models fitted before the newest period, by name; CANDIDATE is the chosen one.
        rows: the rows that the deployed fit is fitted to, a mask of shape (rows,).
        encoder: of the deployed fit.
        deployed: the deployed fit.
    """

    chosen: str
    periods: int | None
    losses: dict[str, float]
    evaluated: dict[str, Model]
    rows: Mask
    encoder: Encoder
    deployed: Model


def fit(team: Team, dataset: Dataset, windows: int, seed: int) -> Fits:
    """Choose among windows of 1 to `windows` periods and the whole history, and fit the chosen recipe again.

    Raises:
        LifecycleError: an estimator does not fit or predict, or a class has no rows.
    """
    split, target = dataset.split, team.contract.target
    selection, counts = dataset.rows.take(split.selection), _class_counts(dataset, split.training)
    if missing := [name for name, count in zip(target.classes, counts, strict=True) if not count]:
        problem = f"no training row is labelled {', '.join(missing)}"
        raise LifecycleError(problem, "Give labelled rows of every class.")
    baselines = team.estimator.baselines
    names = set(baselines(Encoder(team.contract, {}).inputs, seed))
    if names != {TRIVIAL, LINEAR}:
        problem = f"src/model/estimator.py: baselines() returns {', '.join(sorted(names)) or 'nothing'}"
        raise LifecycleError(problem, f"It returns two estimators, {TRIVIAL!r} and {LINEAR!r}.")
    makers: dict[str, Callable[[Any], Any]] = {
        CANDIDATE: lambda inputs: team.estimator.candidate(inputs, seed),
        TRIVIAL: lambda inputs: baselines(inputs, seed)[TRIVIAL],
        LINEAR: lambda inputs: baselines(inputs, seed)[LINEAR],
    }

    def fitted(name: str, rows: LabelledRows) -> Model:
        return _fit(team, name, makers[name], rows)

    def losses(name: str, model: Model) -> Floats:
        with naming(name):
            return metrics.losses(target, selection.label, model.predict_frame(selection.frame))

    best, periods = fitted(CANDIDATE, dataset.rows.take(split.training)), None
    lowest = losses(CANDIDATE, best)
    compared = {"all": float(lowest.mean())}
    for shorter, mask in _windows(dataset, windows):
        model = fitted(CANDIDATE, dataset.rows.take(mask))
        own = losses(CANDIDATE, model)
        compared[str(shorter)] = float(own.mean())
        gain = lowest - own
        if gain.mean() > STANDARD_ERRORS * gain.std() / len(gain) ** 0.5:
            best, periods, lowest = model, shorter, own
    before = split.training & split.window(periods)
    models = {CANDIDATE: best} | {name: fitted(name, dataset.rows.take(before)) for name in (TRIVIAL, LINEAR)}
    own, linear = lowest, losses(LINEAR, models[LINEAR])
    every, counts = dataset.rows.take(before | split.selection), _class_counts(dataset, before | split.selection)
    if len(own) < MIN_SELECTION_ROWS and min(counts, default=FOLDS) >= FOLDS:
        own, linear = (_out_of_fold(team, every, partial(fitted, name)) for name in (CANDIDATE, LINEAR))
    # With equal losses the simpler model is chosen (Breck et al. 2017, Model 5).
    chosen = LINEAR if linear.mean() <= own.mean() else CANDIDATE
    rows = split.window(periods)
    deployed = fitted(chosen, dataset.rows.take(rows))
    encoder = Encoder(team.contract, learn_levels(team.contract, dataset.rows.frame[rows]))
    return Fits(chosen, periods, compared, models | {CANDIDATE: models[chosen]}, rows, encoder, deployed)


def _windows(dataset: Dataset, most: int) -> Iterator[tuple[int, Mask]]:
    """Yield windows of history before the newest period that differ, from long to short, by their number of periods."""
    before = dataset.split.training
    last = int(before.sum())
    for periods in range(most, 0, -1):
        mask = before & dataset.split.window(periods)
        rows = int(mask.sum())
        if MIN_WINDOW_ROWS <= rows < last and all(_class_counts(dataset, mask)):
            last = rows
            yield periods, mask


def _class_counts(dataset: Dataset, mask: Mask) -> list[int]:
    """Return the number of rows of each class among some rows; empty for a regression."""
    label, classes = dataset.rows.label[mask], range(len(dataset.team.contract.target.classes))
    return [int((label == code).sum()) for code in classes]


def _out_of_fold(team: Team, rows: LabelledRows, fitted: Callable[[LabelledRows], Model]) -> Floats:
    """Return the loss of each row by a model that is fitted to the other folds (Stone 1974), shape (rows,)."""
    found, fold = np.empty(len(rows.label)), np.arange(len(rows.label)) % FOLDS
    # Every class is in each fold, in the order of the labels.
    order = np.argsort(rows.label, kind="stable")
    for each in range(FOLDS):
        held = np.isin(np.arange(len(order)), order[fold == each])
        model, part = fitted(rows.take(~held)), rows.take(held)
        found[held] = metrics.losses(team.contract.target, part.label, model.predict_frame(part.frame))
    return found


def _fit(team: Team, name: str, make: Callable[[Any], Any], rows: LabelledRows) -> Model:
    """Return a model fitted to rows, with the levels of these rows."""
    target, encoder = team.contract.target, Encoder(team.contract, learn_levels(team.contract, rows.frame))
    label = rows.label if target.task == "regression" else rows.label.astype(int)
    # The team may return one object from all calls.
    estimator = copy.deepcopy(make(encoder.inputs))
    matrix = encoder.frame(rows.frame).astype(np.float64)
    nulls = [column for at, column in enumerate(encoder.inputs.names) if np.isnan(matrix[:, at]).any()]
    with naming(name, nulls):
        if hasattr(estimator, "save"):
            estimator.fit(typed_frame(rows.frame, team.contract.columns), label)
            return FrameModel(estimator, team.contract)
        return SkopsModel(estimator.fit(matrix, label), encoder, target)


@contextlib.contextmanager
def naming(name: str, nulls: Sequence[str] = ()) -> Iterator[None]:
    """Name the estimator, and the columns that contain `nulls`, in the error when its code fails."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, LookupError, LifecycleError) as error:
        cause = error.problem if isinstance(error, LifecycleError) else f"{type(error).__name__}: {error}"
        problem = f"src/model/estimator.py: the {name} estimator does not fit or predict ({cause})"
        hint = "Numbers may be NaN where the contract allows null; categories are codes; classes have predict_proba."
        hint += f" Null occurs in {', '.join(nulls)}: {NULL_HINT}." if nulls else ""
        raise LifecycleError(problem, hint) from error
