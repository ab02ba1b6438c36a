"""Fit the candidate on several windows of history, choose a window and an estimator, and fit the choice again.

Windows end before the newest period, and are compared on the selection rows of that period. A shorter window is taken
only where its loss is surely lower: it learns a relation that has changed, and costs precision where none has. The
chosen recipe is then fitted again with the newest rows: that fit is deployed, and the holdout describes the recipe.
"""

import contextlib
import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from lifecycle.contract.rows import Encoder, RowError, learn_levels
from lifecycle.contract.schema import Column, Contract
from lifecycle.contract.tables import Frame
from lifecycle.contract.team import Team, verify_loss
from lifecycle.errors import LifecycleError
from lifecycle.models import metrics
from lifecycle.models.export import predicting_part
from lifecycle.models.runtimes import FrameModel, Model, SkopsModel, typed_frame
from lifecycle.training.dataset import Dataset, LabelledRows, Mask
from lifecycle.training.evidence import CANDIDATE, LINEAR, TRIVIAL

# Standard errors by which the loss of a shorter window must be lower.
STANDARD_ERRORS = 2.0
MIN_WINDOW_ROWS = 200
# With fewer selection rows, candidate and linear model are compared by cross-validation.
MIN_SELECTION_ROWS, FOLDS = 200, 5
MOST_LEVELS, MOST_NAMED, ROWS_AT_ONCE = 50, 5, 200
UNSEEN = "an unseen level"
NULL_HINT = "add an imputer, use an estimator that takes NaN, or forbid the null in src/model/contract.py"
LEVEL_HINT = "use an encoder that takes any code (that of an unseen level is -1), or state other levels in the contract"
LIMIT_HINT = "use an estimator that takes it, or narrow the limits in src/model/contract.py"


@dataclass(frozen=True)
class Fits:
    """What was chosen, and the fitted models.

    `chosen` is CANDIDATE, or LINEAR where the candidate is not better on the selection rows (by cross-validation where
    these are few). `periods` are those of the chosen window before the newest one; None for the whole history. `losses`
    has the candidate's mean loss on the selection rows, by window ("all", or its number of periods), and `evaluated`
    the models fitted before the newest period, by name; CANDIDATE is the chosen one. `rows` is the mask of the rows
    that `deployed` is fitted to, with `encoder`. It does not read `empty`, which are null in the evaluated fit's rows.
    """

    chosen: str
    periods: int | None
    losses: dict[str, float]
    evaluated: dict[str, Model]
    rows: Mask
    encoder: Encoder
    deployed: Model
    empty: tuple[str, ...]


def fit(team: Team, dataset: Dataset, windows: int, seed: int) -> Fits:
    """Choose among windows of 1 to `windows` periods and the whole history, and fit the chosen recipe again.

    Raises LifecycleError where an estimator does not fit or predict, or a class has no rows.
    """
    split, target = dataset.split, team.contract.target
    selection, counts = dataset.rows.take(split.selection), dataset.class_counts(split.training)
    for code, name in enumerate(target.classes):
        if not counts[code]:
            raise dataset.missing_class(name, code)
    names = set(team.estimator.baselines(Encoder(team.contract, {}).inputs, seed))
    if names != {TRIVIAL, LINEAR}:
        problem = f"src/model/estimator.py: baselines() returns {', '.join(sorted(names)) or 'nothing'}"
        raise LifecycleError(problem, f"It returns two estimators, {TRIVIAL!r} and {LINEAR!r}.")

    def fitted(name: str, rows: LabelledRows, empty: Collection[str] = ()) -> Model:
        return _fit(team, name, seed, rows, empty)[0]

    def losses(name: str, model: Model) -> metrics.Floats:
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
    # Every later fit reads the same columns as the evaluated one.
    empty = dataset.rows.take(before).without_values(team.contract)
    own, linear = lowest, losses(LINEAR, models[LINEAR])
    every, counts = dataset.rows.take(before | split.selection), dataset.class_counts(before | split.selection)
    if len(own) < MIN_SELECTION_ROWS and min(counts, default=FOLDS) >= FOLDS:
        own, linear = (_out_of_fold(team, every, partial(fitted, name, empty=empty)) for name in (CANDIDATE, LINEAR))
    # With equal losses the simpler model is chosen (Breck et al. 2017, Model 5).
    chosen = LINEAR if linear.mean() <= own.mean() else CANDIDATE
    rows = split.window(periods)
    deployed, encoder = _fit(team, chosen, seed, dataset.rows.take(rows), empty)
    models |= {CANDIDATE: models[chosen]}
    empty = empty if isinstance(deployed, SkopsModel) else ()
    return Fits(chosen, periods, compared, models, rows, encoder, deployed, empty)


def _windows(dataset: Dataset, most: int) -> Iterator[tuple[int, Mask]]:
    """Yield windows of history before the newest period that differ, from long to short, by their number of periods."""
    before = dataset.split.training
    last = int(before.sum())
    for periods in range(most, 0, -1):
        mask = before & dataset.split.window(periods)
        rows = int(mask.sum())
        if MIN_WINDOW_ROWS <= rows < last and all(dataset.class_counts(mask)):
            last = rows
            yield periods, mask


def _out_of_fold(team: Team, rows: LabelledRows, fitted: Callable[[LabelledRows], Model]) -> metrics.Floats:
    """Return the loss of each row by a model that is fitted to the other folds (Stone 1974), shape (rows,)."""
    found, fold = np.empty(len(rows.label)), np.arange(len(rows.label)) % FOLDS
    # Every class is in each fold, in the order of the labels.
    order = np.argsort(rows.label, kind="stable")
    for each in range(FOLDS):
        held = np.isin(np.arange(len(order)), order[fold == each])
        model, part = fitted(rows.take(~held)), rows.take(held)
        found[held] = metrics.losses(team.contract.target, part.label, model.predict_frame(part.frame))
    return found


def _fit(team: Team, name: str, seed: int, rows: LabelledRows, empty: Collection[str] = ()) -> tuple[Model, Encoder]:
    """Return a model fitted to rows without the `empty` inputs, and the encoder with the levels of these rows."""
    contract, target, empty = team.contract, team.contract.target, {*empty, *rows.without_values(team.contract)}
    encoder = Encoder(contract, learn_levels(contract, rows.frame), empty)
    label = rows.label if target.task == "regression" else rows.label.astype(int)
    own, given = team.estimator, (encoder.inputs, seed)
    # The team may return one object from all calls.
    estimator = copy.deepcopy(own.candidate(*given) if name == CANDIDATE else own.baselines(*given)[name])
    if name != TRIVIAL:
        verify_loss(name, estimator, target)
    matrix = encoder.frame(rows.frame).astype(np.float64)
    nulls = [column for at, column in enumerate(encoder.inputs.names) if np.isnan(matrix[:, at]).any()]
    with naming(name, nulls):
        if hasattr(estimator, "save"):
            estimator.fit(typed_frame(rows.frame, contract.framed), label)
            return FrameModel(estimator, contract), encoder
        model = SkopsModel(predicting_part(estimator.fit(matrix, label)), encoder, target)
        if target.quantile is not None and name != CANDIDATE:
            model.move_to_quantile(matrix, label, target.quantile)
        return model, encoder


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


def verify_allowed_rows(model: Model, contract: Contract, frame: Frame) -> None:
    """Let a fitted model predict a row of `frame` alone, and with each value that the contract allows in one column.

    The values are null, levels (an unseen one where the contract states none) and the limits of the column. Otherwise
    the service would return status 500 for such a row, possibly months after the training. Raises LifecycleError where
    the model raises or returns an invalid output; the message names the first such columns.
    """
    first = frame[[column.name for column in contract.columns]].head(1).astype("object")
    row = {str(name): value for name, value in first.where(first.notna(), None).iloc[0].items()}
    if reason := _failure(model, [row]):
        problem = f"src/model/estimator.py: the estimator {reason} a single row"
        raise LifecycleError(problem, "The service predicts rows one by one: accept any number of rows.")
    if faults := [*islice(_faults(model, contract, row), MOST_NAMED)]:
        problem = "src/model/estimator.py: the estimator fails on rows that the contract allows:\n  "
        raise LifecycleError(problem + "\n  ".join(faults), "Then run `make train` again.")


def _faults(model: Model, contract: Contract, row: dict[str, Any]) -> Iterator[str]:
    """Return a message for each column in which a value makes the model fail."""
    named, probes = set[str](), [(column.name, *each) for column in contract.inputs for each in _values(column)]
    for start in range(0, len(probes), ROWS_AT_ONCE):
        some = probes[start : start + ROWS_AT_ONCE]
        # One call for all of them, because there is usually no fault to find.
        if _failure(model, [row | {column: value} for column, value, _, _ in some]):
            for column, value, text, hint in some:
                if column not in named and (reason := _failure(model, [row | {column: value}])):
                    named.add(column)
                    yield f"column {column} may be {text} in the contract, and the estimator {reason} {text}: {hint}"


def _values(column: Column) -> Iterator[tuple[Any, str, str]]:
    """Return values that the contract allows in a column, each with its text and the hint for a model that fails."""
    if column.nullable:
        yield None, "null", NULL_HINT
    if column.kind == "category" and not column.levels:
        yield UNSEEN[: column.max_length], UNSEEN, LEVEL_HINT
    for level in column.levels[:MOST_LEVELS]:
        yield level, repr(level), LEVEL_HINT
    for limit in (False, True) if column.kind == "boolean" else (column.low, column.high):
        if limit is not None:
            yield int(limit) if column.kind == "integer" else limit, f"{limit}", LIMIT_HINT


def _failure(model: Model, rows: list[dict[str, Any]]) -> str:
    """Return how the model fails on rows, as part of a sentence; empty where it predicts them."""
    try:
        with np.errstate(all="ignore"):
            model.predict_rows(rows)
    except RowError:
        return "refuses some of" if len(rows) > 1 else ""  # The service refuses such a row with status 422.
    except LifecycleError as error:
        return f"has an invalid output ({error.problem}) on"
    except Exception as error:  # Estimators of any library are possible, and so are their exceptions.
        return f"raises ({type(error).__name__}: {next(iter(str(error).splitlines()), '')}) on"
    return ""
