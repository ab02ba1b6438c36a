"""Losses, metrics and the bootstrap that compares two models on the same rows.

Losses are log loss for classes and squared error for regression, both proper scoring rules (Gneiting & Raftery 2007).
`actual` holds class codes or values, shape (rows,), and `outputs` raw outputs of a model (`models.runtimes.Outputs`).
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lifecycle.contract.schema import Contract, Target
from lifecycle.models.calibration import at_threshold, reliability

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Slices = dict[str, dict[str, float]]
EPSILON = 1e-12
# Slices of fewer rows would describe individual people.
FEWEST_ROWS, MOST_LEVELS = 20, 20
# The measure of each task in which a change of a model is reported; higher is better.
MEASURES = {"binary": "ROC AUC", "multiclass": "accuracy", "regression": "R²"}


def loss_name(target: Target) -> str:
    """Return the name of the target's loss."""
    return "squared error" if target.task == "regression" else "log loss"


def losses(target: Target, actual: Floats, outputs: Floats) -> Floats:
    """Return the loss of each row, shape (rows,): log loss in nats, or squared error."""
    if target.task == "regression":
        return np.asarray((outputs - actual) ** 2)
    if target.task == "binary":
        probability = np.where(actual == 1, outputs, 1 - outputs)
    else:
        probability = outputs[np.arange(len(actual)), actual.astype(int)]
    return np.asarray(-np.log(np.clip(probability, EPSILON, 1.0)))


def squared_errors(target: Target, actual: Floats, outputs: Floats) -> Floats:
    """Return the squared error of each row (Brier 1950): bounded for classes, so that small slices can be tested."""
    if target.task == "multiclass":
        return np.asarray(((outputs - np.eye(len(target.classes))[actual.astype(int)]) ** 2).sum(axis=1))
    return np.asarray((outputs - actual) ** 2)


def metrics(target: Target, actual: Floats, outputs: Floats) -> dict[str, float]:
    """Return the loss and the usual metrics of the task by name, as scikit-learn defines them."""
    from sklearn.metrics import accuracy_score, average_precision_score, mean_absolute_error, r2_score, roc_auc_score

    mean = float(losses(target, actual, outputs).mean())
    if target.task == "regression":
        return {
            "root_mean_squared_error": mean**0.5,
            "mean_absolute_error": float(mean_absolute_error(actual, outputs)),
            "r2": float(r2_score(actual, outputs)),
            "bias": float((outputs - actual).mean()),
        }
    found = {"log_loss": mean, "brier": float(squared_errors(target, actual, outputs).mean())}
    found["expected_calibration_error"] = reliability(*events(target, actual, outputs)).error
    if target.task == "multiclass":
        return found | {"accuracy": float(accuracy_score(actual, outputs.argmax(axis=1)))}
    # With rows of one class only, a ranking has no quality.
    if len(np.unique(actual)) == 2:
        found["roc_auc"] = float(roc_auc_score(actual, outputs))
        found["average_precision"] = float(average_precision_score(actual, outputs))
    return found


def calibration(
    target: Target,
    actual: Floats,
    outputs: Floats,
    thresholds: Mapping[str, float | None],
    costs: tuple[float, float],
) -> dict[str, Any] | None:
    """Return the fields of `calibration.Reliability`, and what each decision threshold leads to; None for a regression.

    The field `thresholds` has, for a binary target and by the name of each threshold that is not None, the fields of
    `calibration.AtThreshold`, and the mean `cost` of a row; `costs` are those of a false positive and negative. The
    threshold `proposed` has the lowest expected cost for calibrated probabilities (Elkan 2001, eq. 2).
    """
    if target.task == "regression":
        return None
    given = {**thresholds, "proposed": costs[0] / sum(costs)} if target.task == "binary" else {}
    found = {
        name: asdict(at_threshold(actual == 1, outputs, each)) | {"cost": mean_cost(actual, outputs, each, *costs)}
        for name, each in given.items()
        if each is not None
    }
    return asdict(reliability(*events(target, actual, outputs))) | {"thresholds": found}


def events(target: Target, actual: Floats, outputs: Floats) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Return whether the event of `models.calibration` happened, and its predicted probability."""
    if target.task == "binary":
        return actual == 1, outputs
    return outputs.argmax(axis=1) == actual, outputs.max(axis=1)


@dataclass(frozen=True)
class Improvement:
    """By how much one model is better than another on the same rows, with one-sided bounds and the standard error."""

    mean: float
    lower: float
    upper: float
    error: float


def improvement(before: Floats, after: Floats, confidence: float, resamples: int, seed: int = 0) -> Improvement:
    """Return the improvement of the mean loss by a paired bootstrap (Efron & Tibshirani 1993, §16.4).

    Args:
        before: losses of the model to compare with, shape (rows,).
        after: losses of the other model on the same rows, shape (rows,).
        confidence: of each one-sided bound, below 1.
        resamples: how often the rows are drawn.
        seed: of the draws.
    """
    differences, size = before - after, len(before)
    resampled = bootstrap(lambda weights: float(weights @ differences / size), size, resamples, seed)
    return _improvement(float(differences.mean()), resampled, confidence)


def measure_improvement(
    target: Target, actual: Floats, before: Floats, after: Floats, confidence: float, resamples: int
) -> Improvement:
    """Return the improvement of the task's measure (see `MEASURES`) by the same bootstrap.

    `before` and `after` are the raw outputs of the two models; the other arguments are those of `improvement`.
    """
    old, new = weighted_measure(target, actual, before), weighted_measure(target, actual, after)
    all_rows, size = np.ones(len(actual)), len(actual)
    resampled = bootstrap(lambda weights: new(weights) - old(weights), size, resamples, seed=0)
    return _improvement(new(all_rows) - old(all_rows), resampled, confidence)


def bootstrap(measure: Callable[[Floats], float], rows: int, resamples: int, seed: int) -> Floats:
    """Return the values of a measure, a function of how often each row is drawn, on resampled rows.

    A resample that does not define the measure is dropped, such as one class for ROC AUC.
    """
    random = np.random.default_rng(seed)
    drawn = (np.bincount(random.integers(0, rows, rows), minlength=rows).astype(np.float64) for _ in range(resamples))
    found: Floats = np.array([measure(weights) for weights in drawn])
    return found[np.isfinite(found)]


def weighted_measure(target: Target, actual: Floats, outputs: Floats) -> Callable[[Floats], float]:
    """Return the task's measure (see `MEASURES`) as a function of row weights; it returns NaN where it is not defined.

    The rows are sorted once, so that a bootstrap can call the function often.
    """
    if target.task == "binary":
        return _roc_auc(actual, outputs)
    if target.task == "multiclass":
        right = (outputs.argmax(axis=1) == actual).astype(np.float64)
        return lambda weights: float(weights @ right / weights.sum())
    squared = (outputs - actual) ** 2

    def r2(weights: Floats) -> float:
        total = weights @ (actual - weights @ actual / weights.sum()) ** 2
        return float(1 - weights @ squared / total) if total > 0 else float("nan")

    return r2


def _roc_auc(actual: Floats, outputs: Floats) -> Callable[[Floats], float]:
    """Count the pairs in the right order, ties half (Mann & Whitney 1947)."""
    order = np.argsort(outputs, kind="stable")
    ranked, positive = outputs[order], actual[order] == 1
    first = np.searchsorted(ranked, ranked[positive], side="left")
    last = np.searchsorted(ranked, ranked[positive], side="right")

    def auc(weights: Floats) -> float:
        own = weights[order]
        below = np.concatenate([[0.0], np.cumsum(np.where(positive, 0.0, own))])
        of_positive = own[positive]
        pairs = of_positive.sum() * below[-1]
        return float(of_positive @ (below[first] + below[last]) / 2 / pairs) if pairs > 0 else float("nan")

    return auc


def _improvement(mean: float, resampled: Floats, confidence: float) -> Improvement:
    if not len(resampled):
        return Improvement(mean, np.nan, np.nan, np.nan)
    lower, upper = np.quantile(resampled, [1 - confidence, confidence])
    return Improvement(mean, float(lower), float(upper), float(resampled.std()))


def mean_cost(actual: Floats, outputs: Floats, threshold: float, false_positive: float, false_negative: float) -> float:
    """Return the mean cost of a row when the positive class is predicted from `threshold` on.

    `false_positive` and `false_negative` are the costs of the two errors, in the unit of the result.
    """
    called = outputs >= threshold
    return float(np.where(called, (actual != 1) * false_positive, (actual == 1) * false_negative).mean())


def compare_slices(
    contract: Contract, frame: "pd.DataFrame", label: Floats, candidate: Floats, opponent: Floats
) -> Slices:
    """Compare the quadratic loss (Brier 1950) of two models in each level of each category and boolean column.

    `frame` has the completed rows of `label`; both models' predictions have shape (rows,) or (rows, classes).

    Returns:
        By `column=level`: the number of rows, and mean and standard error of the candidate's loss less the opponent's.
        Levels of fewer than FEWEST_ROWS rows and columns of more than MOST_LEVELS levels are excluded.
    """
    own, other = (squared_errors(contract.target, label, each) for each in (candidate, opponent))
    result: Slices = {}
    for name in (column.name for column in contract.inputs if column.kind in ("category", "boolean")):
        values = frame[name].astype("object").where(frame[name].notna(), "null").astype(str).to_numpy()
        levels, counts = np.unique(values, return_counts=True)
        for level in levels[counts >= FEWEST_ROWS] if len(levels) <= MOST_LEVELS else ():
            worse = (own - other)[values == level]
            error = float(worse.std(ddof=1) / len(worse) ** 0.5)
            result[f"{name}={level}"] = {"rows": len(worse), "mean": float(worse.mean()), "se": error}
    return result
