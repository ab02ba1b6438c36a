"""Compare two models on the same rows: by loss, by the measure of the task, and slice by slice."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lifecycle.contract.schema import Contract, Target
from lifecycle.contract.tables import Frame
from lifecycle.models.metrics import Floats, bootstrap, losses, slice_losses, weighted_measure
from lifecycle.models.runtimes import Model
from lifecycle.training.dataset import LabelledRows

Slices = dict[str, dict[str, float]]
# Slices of fewer rows would describe individual people.
FEWEST_ROWS, MOST_LEVELS = 20, 20
# A column is named if it gives this share of the improvement, and the improvement this share of the trivial loss.
SHARE, IMPROVEMENT, ORDERS = 0.8, 0.3, 5


@dataclass(frozen=True)
class Improvement:
    """By how much one model is better than another on the same rows, with one-sided bounds and the standard error."""

    mean: float
    lower: float
    upper: float
    error: float


def improvement(before: Floats, after: Floats, confidence: float, resamples: int, seed: int = 0) -> Improvement:
    """Return the improvement of the mean loss by a paired bootstrap (Efron & Tibshirani 1993, §16.4).

    `before` and `after` are losses of two models on the same rows, shape (rows,). `confidence` is that of each
    one-sided bound, below 1; the rows are drawn `resamples` times with the `seed`.
    """
    differences, size = before - after, len(before)
    return _improvement(lambda weights: float(weights @ differences / size), size, confidence, resamples, seed)


def measure_improvement(
    target: Target, actual: Floats, before: Floats, after: Floats, confidence: float, resamples: int
) -> Improvement:
    """Return the improvement of the task's measure (see `measure_names`) by the same bootstrap.

    `before` and `after` are the raw outputs of the two models; the other arguments are those of `improvement`.
    """
    old, new = weighted_measure(target, actual, before), weighted_measure(target, actual, after)
    return _improvement(lambda weights: new(weights) - old(weights), len(actual), confidence, resamples, seed=0)


def compare_slices(contract: Contract, frame: Frame, label: Floats, candidate: Floats, opponent: Floats) -> Slices:
    """Compare the loss of two models (see `slice_losses`) in each level of each category and boolean column.

    `frame` has the completed rows of `label`; both models' predictions have shape (rows,) or (rows, classes). Returns
    by `column=level`: the number of rows, and mean and standard error of the candidate's loss less the opponent's.
    Levels of fewer than FEWEST_ROWS rows and columns of more than MOST_LEVELS levels are excluded.
    """
    own, other = (slice_losses(contract.target, label, each) for each in (candidate, opponent))
    result: Slices = {}
    for name in (column.name for column in contract.inputs if column.kind in ("category", "boolean")):
        values = frame[name].astype("object").where(frame[name].notna(), "null").astype(str).to_numpy()
        levels, counts = np.unique(values, return_counts=True)
        for level in levels[counts >= FEWEST_ROWS] if len(levels) <= MOST_LEVELS else ():
            worse = (own - other)[values == level]
            error = float(worse.std(ddof=1) / len(worse) ** 0.5)
            result[f"{name}={level}"] = {"rows": len(worse), "mean": float(worse.mean()), "se": error}
    return result


def _improvement(gain: Callable[[Floats], float], rows: int, level: float, resamples: int, seed: int) -> Improvement:
    mean, resampled = gain(np.ones(rows)), bootstrap(gain, rows, resamples, seed)
    if not len(resampled):
        return Improvement(mean, np.nan, np.nan, np.nan)
    lower, upper = np.quantile(resampled, [1 - level, level])
    return Improvement(mean, float(lower), float(upper), float(resampled.std()))


def dominant(model: Model, contract: Contract, rows: LabelledRows, predicted: Floats, trivial: Floats) -> str:
    """Return a warning that names the column which dominates a model; empty if none does.

    What some columns give is the loss of their partial dependence (Friedman 2001): the mean prediction where all others
    have the values of other rows. Groups of columns are halved, so that a wide table takes few predictions. `predicted`
    and `trivial` are what the model and the trivial baseline predict for the held-out `rows`.
    """
    names, random = [column.name for column in contract.inputs], np.random.default_rng(0)
    orders = [random.permutation(len(rows.label)) for _ in range(ORDERS)]
    worst, best = (losses(contract.target, rows.label, each).mean() for each in (trivial, predicted))
    if len(names) < 2 or worst - best < IMPROVEMENT * worst:
        return ""

    def share(kept: list[str]) -> float:
        own = {name: rows.frame[name].array for name in kept}
        mixed = [rows.frame.iloc[order].reset_index(drop=True).assign(**own) for order in orders]
        mean = np.mean([model.predict_frame(each) for each in mixed], axis=0)
        return float((worst - losses(contract.target, rows.label, mean).mean()) / (worst - best))

    while len(names) > 1:
        names = max(names[: len(names) // 2], names[len(names) // 2 :], key=share)
    found = share(names)
    improvement = f"`{names[0]}` alone gives {found:.0%} of the model's improvement over the trivial baseline"
    return f"{improvement}: is it known before the label?" if found >= SHARE else ""
