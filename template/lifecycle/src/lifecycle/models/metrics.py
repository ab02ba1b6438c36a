"""How good answers are: losses by row, metrics, one measure of each task, and whether one set of answers beats another.

Losses: log loss for classes, squared error for a number; lower is better. Both are proper scoring rules (Gneiting &
Raftery 2007), so a model cannot gain by answering anything but what it believes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lifecycle.contract.schema import Target

Floats = npt.NDArray[np.float64]
EPSILON = 1e-12
# What a change of a model is told in; higher is better.
MEASURES = {"binary": "ROC AUC", "multiclass": "accuracy", "regression": "R²"}


def loss_name(target: Target) -> str:
    """The loss of a task."""
    return "squared error" if target.task == "regression" else "log loss"


def losses(target: Target, actual: Floats, given: Floats) -> Floats:
    """Loss of each row; `actual` holds class codes or numbers, `given` is what `predictor.raw` answers."""
    if target.task == "regression":
        return np.asarray((given - actual) ** 2)
    if target.task == "binary":
        chance = np.where(actual == 1, given, 1 - given)
    else:
        chance = given[np.arange(len(actual)), actual.astype(int)]
    return np.asarray(-np.log(np.clip(chance, EPSILON, 1.0)))


def quadratic(target: Target, actual: Floats, given: Floats) -> Floats:
    """Squared error of each row, of probabilities too (Brier 1950): bounded there, so that small slices can be told."""
    if target.task == "multiclass":
        return np.asarray(((given - np.eye(len(target.classes))[actual.astype(int)]) ** 2).sum(axis=1))
    return np.asarray((given - actual) ** 2)


def metrics(target: Target, actual: Floats, given: Floats) -> dict[str, float]:
    """What people read: the loss and the usual metrics of the task (scikit-learn's definitions)."""
    from sklearn.metrics import accuracy_score, average_precision_score, mean_absolute_error, r2_score, roc_auc_score

    mean = float(losses(target, actual, given).mean())
    if target.task == "regression":
        return {
            "root_mean_squared_error": mean**0.5,
            "mean_absolute_error": float(mean_absolute_error(actual, given)),
            "r2": float(r2_score(actual, given)),
        }
    if target.task == "binary":
        both = len(np.unique(actual)) == 2
        ranked = (
            {
                "roc_auc": float(roc_auc_score(actual, given)),
                "average_precision": float(average_precision_score(actual, given)),
            }
            if both
            else {}
        )
        return {"log_loss": mean} | ranked | {"brier": float(((given - actual) ** 2).mean())}
    return {"log_loss": mean, "accuracy": float(accuracy_score(actual, given.argmax(axis=1)))}


@dataclass(frozen=True)
class Improvement:
    """By how much one model is better than another on the same rows, with a one-sided bound each way.

    `error` is the standard deviation of the resampled improvements.
    """

    mean: float
    lower: float
    upper: float
    error: float


def improvement(over: Floats, by: Floats, confidence: float, resamples: int, seed: int = 0) -> Improvement:
    """Of the mean loss: paired bootstrap (Efron & Tibshirani 1993, §16.4), both losses of a row are drawn together."""
    differences = over - by
    random = np.random.default_rng(seed)
    size = len(differences)
    means = np.array([differences[random.integers(0, size, size)].mean() for _ in range(resamples)])
    return _improvement(float(differences.mean()), means, confidence)


def measured_improvement(
    target: Target, actual: Floats, over: Floats, by: Floats, confidence: float, resamples: int, seed: int = 0
) -> Improvement:
    """Of the measure of the task: the same bootstrap; all NaN where the rows do not define the measure."""
    before, after = measuring(target, actual, over), measuring(target, actual, by)

    def gained(weights: Floats) -> float:
        return after(weights) - before(weights)

    return _improvement(gained(np.ones(len(actual))), resampled(gained, len(actual), resamples, seed), confidence)


def resampled(measure: Callable[[Floats], float], rows: int, resamples: int, seed: int) -> Floats:
    """A measure of resampled rows, given how often each is drawn; those that do not define it are left out."""
    random, found = np.random.default_rng(seed), np.empty(resamples)
    for at in range(resamples):
        found[at] = measure(np.bincount(random.integers(0, rows, rows), minlength=rows).astype(np.float64))
    # A resample without one of the classes has no ROC AUC.
    return found[np.isfinite(found)]


def measure(target: Target, actual: Floats, given: Floats) -> float:
    """ROC AUC, accuracy or R²; NaN where the rows do not define it."""
    return measuring(target, actual, given)(np.ones(len(actual)))


def measuring(target: Target, actual: Floats, given: Floats) -> Callable[[Floats], float]:
    """The measure as a function of how often each row counts: scores are sorted once for all resamples."""
    if target.task == "binary":
        return _roc_auc(actual, given)
    if target.task == "multiclass":
        right = (given.argmax(axis=1) == actual).astype(np.float64)
        return lambda weights: float(weights @ right / weights.sum())
    squared = (given - actual) ** 2

    def explained(weights: Floats) -> float:
        total = weights @ (actual - weights @ actual / weights.sum()) ** 2
        return float(1 - weights @ squared / total) if total > 0 else float("nan")

    return explained


def _roc_auc(actual: Floats, given: Floats) -> Callable[[Floats], float]:
    """Share of pairs in the right order, ties counted half (Mann & Whitney 1947)."""
    order = np.argsort(given, kind="stable")
    ranked, positive = given[order], actual[order] == 1
    first = np.searchsorted(ranked, ranked[positive], side="left")
    last = np.searchsorted(ranked, ranked[positive], side="right")

    def auc(weights: Floats) -> float:
        own = weights[order]
        below = np.concatenate([[0.0], np.cumsum(np.where(positive, 0.0, own))])
        wanted = own[positive]
        pairs = wanted.sum() * below[-1]
        return float(wanted @ (below[first] + below[last]) / 2 / pairs) if pairs > 0 else float("nan")

    return auc


def _improvement(mean: float, drawn: Floats, confidence: float) -> Improvement:
    if not len(drawn):
        return Improvement(mean, np.nan, np.nan, np.nan)
    lower, upper = np.quantile(drawn, [1 - confidence, confidence])
    return Improvement(mean, float(lower), float(upper), float(drawn.std()))


def cost(actual: Floats, given: Floats, threshold: float, false_positive: float, false_negative: float) -> float:
    """Mean cost of a row when the positive class is answered from `threshold` on."""
    called = given >= threshold
    return float(np.where(called, (actual != 1) * false_positive, (actual == 1) * false_negative).mean())
