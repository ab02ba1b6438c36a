"""Compare models on the same rows: by loss, by the measure of the task, slice by slice, and without a column."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lifecycle.contract.schema import Contract, Target
from lifecycle.contract.tables import Frame
from lifecycle.models import metrics
from lifecycle.models.metrics import Floats, bootstrap, losses, slice_losses, slices, weighted_measure
from lifecycle.models.runtimes import Model
from lifecycle.settings import Settings
from lifecycle.training import Check, checked
from lifecycle.training.dataset import LabelledRows

Slices = dict[str, dict[str, float]]
# Slices of fewer rows would describe individual people.
FEWEST_ROWS = 20
# A column is named if it gives this share of the improvement, and the improvement this share of the trivial loss.
SHARE, IMPROVEMENT, ORDERS = 0.8, 0.3, 5
# The benefit of each input is measured on so many rows, in tables of at most so many inputs.
MOST_PERMUTED, MOST_INPUTS = 2000, 100


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
    """Compare the loss of two models (see `slice_losses`) in each slice of the rows.

    `frame` has the completed rows of `label`; both models' predictions have shape (rows,) or (rows, classes). Returns
    by `column=level`: the number of rows, and mean and standard error of the candidate's loss less the opponent's.
    Levels of fewer than FEWEST_ROWS rows are excluded, and columns as in `metrics.slices`.
    """
    own, other = (slice_losses(contract.target, label, each) for each in (candidate, opponent))
    result: Slices = {}
    for name, places in slices(contract, frame, FEWEST_ROWS):
        result[name] = {"rows": len(places)} | _mean((own - other)[places])
    return result


def measure_slices(contract: Contract, rows: LabelledRows, outputs: Floats, settings: Settings) -> Slices:
    """Return the task's measure with its interval, as `metrics.Interval`, in each slice that the contract declares.

    The bounds are one-sided at the level `gate.confidence`, corrected for the number of slices (Bonferroni; Dunn 1961).
    """
    gate, found = settings.gate, dict(slices(contract, rows.frame, settings.gate.min_slice_rows, declared=True))
    rules = (1 - gate.confidence) / max(len(found), 1), gate.resamples, settings.train.seed
    every = {name: metrics.interval(contract.target, rows.label[at], outputs[at], *rules) for name, at in found.items()}
    return {name: asdict(each) for name, each in every.items() if each}


def fairness(facts: Mapping[str, Any], target: Target, limit: float | None) -> Iterator[Check]:
    """Check that no declared slice is surely worse than all rows by more than the agreement's limit, if it has one."""
    if limit is None:
        return
    measure, name = metrics.measure_names(target)
    every, tested = facts["metrics"]["candidate"].get(name), facts.get("slices", {})
    if every is None or not tested:
        text = "not checked: no column is marked slice=True in the contract, or no level of one has gate.min_slice_rows"
        yield checked("fairness", True, text, {"limit": limit, "tested": 0})
        return
    worse = {name: each for name, each in tested.items() if each["upper"] < every - limit}
    named = ", ".join(f"{name} ({each['value']:.3f}, at most {each['upper']:.3f})" for name, each in worse.items())
    text = f"{measure} is {every:.3f} on all rows, and surely lower by more than {limit:g} (docs/agreement.md) in "
    numbers = {"limit": limit, "tested": len(tested), "worse": worse}
    yield checked("fairness", not worse, f"{text}{named or 'none'}, of {len(tested)} slices", numbers)


def _mean(values: Floats) -> dict[str, float]:
    return {"mean": float(values.mean()), "se": float(values.std(ddof=1) / len(values) ** 0.5)}


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


def benefits(model: Model, contract: Contract, rows: LabelledRows) -> Slices:
    """Return by how much the loss of a row rises where an input has the value of another row, by input.

    This is the permutation importance (Breiman 2001, §10) with its standard error, on at most MOST_PERMUTED held-out
    rows; empty for more than MOST_INPUTS inputs.
    """
    random, found = np.random.default_rng(0), Slices()
    order = random.permutation(len(rows.label))[:MOST_PERMUTED]
    frame, label = rows.frame.iloc[order].reset_index(drop=True), rows.label[order]
    before = losses(contract.target, label, model.predict_frame(frame))
    for name in (column.name for column in contract.inputs if len(contract.inputs) <= MOST_INPUTS):
        mixed = frame.assign(**{name: frame[name].iloc[random.permutation(len(frame))].array})
        found[name] = _mean(losses(contract.target, label, model.predict_frame(mixed)) - before)
    return found
