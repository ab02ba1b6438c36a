"""Losses, metrics and calibration of predictions, and their bootstrap.

Losses are log loss for classes and squared error for regression, both proper scoring rules (Gneiting & Raftery 2007),
and the pinball loss for the regression of a quantile (Koenker & Bassett 1978).
`actual` holds class codes or values, shape (rows,), and `outputs` raw outputs of a model (`models.runtimes.Outputs`).
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lifecycle.contract.schema import Contract, Target
from lifecycle.contract.tables import Frame

Floats = npt.NDArray[np.float64]
Costs = tuple[float, float, str]
EPSILON, MOST_LEVELS, POINTS = 1e-12, 20, 60
MEASURES = {"binary": ("ROC AUC", "roc_auc"), "multiclass": ("accuracy", "accuracy"), "regression": ("R²", "r2")}


def measure_names(target: Target) -> tuple[str, str]:
    """Return the measure in which a change of a model is reported, and its name in `metrics`; higher is better."""
    return MEASURES[target.task] if target.quantile is None else ("D²", "d2_pinball")


def loss_name(target: Target) -> str:
    """Return the name of the target's loss."""
    if target.quantile is not None:
        return "pinball loss"
    return "squared error" if target.task == "regression" else "log loss"


def losses(target: Target, actual: Floats, outputs: Floats) -> Floats:
    """Return the loss of each row, shape (rows,): log loss in nats, squared error, or pinball loss."""
    if target.quantile is not None:
        above = actual - outputs
        return np.asarray(np.maximum(target.quantile * above, (target.quantile - 1) * above))
    if target.task == "regression":
        return np.asarray((outputs - actual) ** 2)
    if target.task == "binary":
        probability = np.where(actual == 1, outputs, 1 - outputs)
    else:
        probability = outputs[np.arange(len(actual)), actual.astype(int)]
    return np.asarray(-np.log(np.clip(probability, EPSILON, 1.0)))


def slice_losses(target: Target, actual: Floats, outputs: Floats) -> Floats:
    """Return the loss of each row that compares slices: squared error (Brier 1950), or pinball loss for a quantile."""
    # The log loss is not bounded, so that small slices could not be tested.
    if target.quantile is not None:
        return losses(target, actual, outputs)
    if target.task == "multiclass":
        return np.asarray(((outputs - np.eye(len(target.classes))[actual.astype(int)]) ** 2).sum(axis=1))
    return np.asarray((outputs - actual) ** 2)


def metrics(target: Target, actual: Floats, outputs: Floats) -> dict[str, float]:
    """Return the loss and the usual metrics of the task by name, as scikit-learn defines them."""
    from sklearn.metrics import accuracy_score, average_precision_score, mean_absolute_error, r2_score, roc_auc_score

    mean = float(losses(target, actual, outputs).mean())
    if target.quantile is not None:
        d2 = weighted_measure(target, actual, outputs)(np.ones(len(actual)))
        return {"pinball_loss": mean, "d2_pinball": d2, "coverage": float((actual <= outputs).mean())}
    if target.task == "regression":
        return {
            "root_mean_squared_error": mean**0.5,
            "mean_absolute_error": float(mean_absolute_error(actual, outputs)),
            "r2": float(r2_score(actual, outputs)),
            "bias": float((outputs - actual).mean()),
        }
    found = {"log_loss": mean, "brier": float(slice_losses(target, actual, outputs).mean())}
    found["expected_calibration_error"] = reliability(*events(target, actual, outputs))["error"]
    if target.task == "multiclass":
        return found | {"accuracy": float(accuracy_score(actual, outputs.argmax(axis=1)))}
    # With rows of one class only, a ranking has no quality.
    if len(np.unique(actual)) == 2:
        found["roc_auc"] = float(roc_auc_score(actual, outputs))
        found["average_precision"] = float(average_precision_score(actual, outputs))
    return found


def calibration(
    target: Target, actual: Floats, outputs: Floats, thresholds: Mapping[str, float | None], costs: Costs
) -> dict[str, Any] | None:
    """Return what `reliability` returns, and what each decision threshold leads to; None for a regression.

    `thresholds` has, for a binary target and by the name of each threshold that is not None, what `at_threshold`
    returns, and the mean `cost` of a row. `costs`, of a false positive and negative and where they are stated, are
    returned, too. The threshold `proposed` has the lowest expected cost for calibrated probabilities (Elkan 2001,
    eq. 2). `curve` has, for a binary target, thresholds with the expected value of a row: its mean cost below zero.
    """
    if target.task == "regression":
        return None
    given = {**thresholds, "proposed": costs[0] / (costs[0] + costs[1])} if target.task == "binary" else {}
    found = {
        name: at_threshold(actual == 1, outputs, each) | {"cost": mean_cost(actual, outputs, each, *costs[:2])}
        for name, each in given.items()
        if each is not None
    }
    tried = np.unique(np.quantile(outputs, np.linspace(0, 1, POINTS))).tolist() if target.task == "binary" else []
    curve = [[each, -mean_cost(actual, outputs, each, *costs[:2])] for each in tried]
    return reliability(*events(target, actual, outputs)) | {"thresholds": found, "curve": curve, "costs": costs}


def events(target: Target, actual: Floats, outputs: Floats) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Return whether the event (the positive class, or a right predicted class) happened, and its probability."""
    if target.task == "binary":
        return actual == 1, outputs
    return outputs.argmax(axis=1) == actual, outputs.max(axis=1)


def reliability(label: npt.NDArray[Any], probability: Floats, bins: int = 10) -> dict[str, Any]:
    """Compare predicted probabilities with observed shares in at most `bins` bins of about equally many rows.

    Equal probabilities are never split between bins, so that the order of the rows does not matter; with few distinct
    probabilities there are fewer bins. `label` is whether the event happened and `probability` its predicted
    probability, both of shape (rows,); raises ValueError where there is no row, or the shapes differ.

    Returns `bins` from the lowest to the highest probability, each with its `rows`, their mean probability `predicted`
    and the share `observed`; `error`, the mean distance of the two weighted by rows: the expected calibration error
    (Naeini et al. 2015) with bins of equal frequency (Nixon et al. 2019); and `chance`, the error that perfectly
    calibrated probabilities have on average with so few rows.
    """
    happened = label.astype(np.float64)
    if not len(happened) or happened.shape != probability.shape:
        raise ValueError(f"labels {happened.shape} and probabilities {probability.shape} must be as many, and not none")
    edges = np.unique(np.quantile(probability, np.arange(1, bins) / bins, method="inverted_cdf"))
    places = np.searchsorted(edges, probability, side="left")
    rows = np.bincount(places)
    filled = rows > 0
    sums = (np.bincount(places, each)[filled] for each in (probability, happened, probability * (1 - probability)))
    predicted, observed, variance = (each / rows[filled] for each in sums)
    shares = rows[filled] / len(happened)
    # The mean of the absolute value of a normal variable is its standard deviation times sqrt(2 / pi).
    chance = shares @ np.sqrt(2 / np.pi * variance / rows[filled])
    columns = zip(rows[filled].tolist(), predicted.tolist(), observed.tolist(), strict=True)
    found = [{"rows": count, "predicted": mean, "observed": share} for count, mean, share in columns]
    return {"bins": found, "error": float(shares @ abs(predicted - observed)), "chance": float(chance)}


def at_threshold(label: npt.NDArray[Any], probability: Floats, threshold: float) -> dict[str, Any]:
    """Return `threshold`, how many rows are `predicted` to have the event from it on, `precision` and `recall`.

    Precision is the share of events in the predicted rows, recall that of predicted rows in the events, or None.
    """
    happened, called = label.astype(bool), probability >= threshold
    right, predicted, actual = (int(each.sum()) for each in (happened & called, called, happened))
    shares = {"precision": right / predicted if predicted else None, "recall": right / actual if actual else None}
    return {"threshold": threshold, "predicted": predicted} | shares


@dataclass(frozen=True)
class Interval:
    """A metric over some rows with its confidence interval."""

    rows: int
    value: float
    lower: float
    upper: float


def interval(
    target: Target, actual: Floats, outputs: Floats, tail: float, resamples: int, seed: int
) -> Interval | None:
    """Return the task's measure and its percentile bootstrap interval (Efron & Tibshirani 1993, §13.3).

    `tail` is the share of the resamples beyond each bound. None where the measure is not defined on these rows.
    """
    measure, size = weighted_measure(target, actual, outputs), len(actual)
    value, resampled = measure(np.ones(size)), bootstrap(measure, size, resamples, seed)
    if not np.isfinite(value) or not len(resampled):
        return None
    lower, upper = np.quantile(resampled, [tail, 1 - tail])
    return Interval(size, value, float(lower), float(upper))


def slices(
    contract: Contract, frame: Frame, fewest: int, declared: bool = False
) -> Iterator[tuple[str, npt.NDArray[np.intp]]]:
    """Yield, as `column=level`, the positions of the rows of each level that has at least `fewest` rows.

    The columns are those that the contract marks as slices and, unless only the `declared` ones are wanted, all
    categories and booleans. A column of more than MOST_LEVELS levels is excluded.
    """
    for column in contract.inputs:
        is_slice = column.slice or (not declared and column.kind in ("category", "boolean"))
        if is_slice and column.name in frame:
            given = frame[column.name]
            values = given.astype("object").where(given.notna(), "null").astype(str).to_numpy()
            levels, counts = np.unique(values, return_counts=True)
            for level in levels[counts >= fewest] if len(levels) <= MOST_LEVELS else ():
                yield f"{column.name}={level}", np.flatnonzero(values == level)


def bootstrap(measure: Callable[[Floats], float], rows: int, resamples: int, seed: int) -> Floats:
    """Return a measure, a function of how often each row is drawn, on the resamples that define it."""
    random = np.random.default_rng(seed)
    drawn = (np.bincount(random.integers(0, rows, rows), minlength=rows).astype(np.float64) for _ in range(resamples))
    found: Floats = np.array([measure(weights) for weights in drawn])
    return found[np.isfinite(found)]


def weighted_measure(target: Target, actual: Floats, outputs: Floats) -> Callable[[Floats], float]:
    """Return the task's measure (see `measure_names`) as a function of row weights, which is NaN where not defined."""
    # The rows are sorted once, so that a bootstrap can call the function often.
    if target.task == "binary":
        return _roc_auc(actual, outputs)
    if target.task == "multiclass":
        right = (outputs.argmax(axis=1) == actual).astype(np.float64)
        return lambda weights: float(weights @ right / weights.sum())
    own, order = losses(target, actual, outputs), np.argsort(actual)

    def share(weights: Floats) -> float:
        """Return the share by which the loss is below the best constant's: R², or D² (Koenker & Machado 1999)."""
        constant = weights @ actual / weights.sum()
        if target.quantile is not None:
            below = np.cumsum(weights[order])
            constant = actual[order[np.searchsorted(below, target.quantile * below[-1])]]
        total = weights @ losses(target, actual, np.full(len(actual), constant))
        return float(1 - weights @ own / total) if total > 0 else float("nan")

    return share


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


def mean_cost(actual: Floats, outputs: Floats, threshold: float, false_positive: float, false_negative: float) -> float:
    """Return the mean cost of a row, in the unit of the two costs, if `threshold` and above is called positive."""
    called = outputs >= threshold
    return float(np.where(called, (actual != 1) * false_positive, (actual == 1) * false_negative).mean())
