"""How good the answers of a version were, by the labels that came later; and an estimate that needs none."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from lifecycle.contract.schema import Contract, Target
from lifecycle.models import metrics
from lifecycle.models.metrics import Floats
from lifecycle.monitoring.labels import LABEL
from lifecycle.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

# As `metrics` in bundle.json and the service's metrics call the one measure of a task.
NAMES = {"binary": "roc_auc", "multiclass": "accuracy", "regression": "r2"}
MOST_ROWS, MOST_LEVELS = 20_000, 20


@dataclass(frozen=True)
class Measured:
    """The measure of a task on some rows, between the ends of its interval."""

    rows: int
    value: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Quality:
    """Of `predictions`, `mature` are old enough for a label and `labelled` of these have one.

    `whole` is None with fewer than `monitor.min_labels`, or where these do not define the measure. `expected` is the
    holdout's value, `bound` the least that is good enough. `estimate` is the accuracy that the probabilities of the
    newest answers promise: it cannot see that the truth behind them has changed, and nothing is decided by it.
    """

    predictions: int
    mature: int
    labelled: int
    metric: str
    whole: Measured | None
    expected: float | None
    bound: float | None
    slices: dict[str, Measured] = field(default_factory=dict)
    estimate: float | None = None

    @property
    def decayed(self) -> bool:
        """Whether quality is surely below its bound."""
        return self.whole is not None and self.bound is not None and self.whole.upper < self.bound


def measure(
    contract: Contract,
    facts: dict[str, Any],
    settings: Settings,
    labelled: "pd.DataFrame",
    predictions: int,
    mature: int,
    newest: Floats,
) -> Quality:
    """Quality over mature, labelled rows; `facts` are those of the bundle, `newest` the scores of the last window."""
    target, rules = contract.target, settings.monitor
    metric = NAMES[target.task]
    expected = facts.get("metrics", {}).get(facts.get("estimator", "candidate"), {}).get(metric)
    bound = None if expected is None else expected - rules.quality_drop
    whole, slices = None, {}
    if len(labelled) >= rules.min_labels:
        kept = labelled.iloc[np.unique(np.linspace(0, len(labelled) - 1, min(len(labelled), MOST_ROWS)).astype(int))]
        actual, given = _actual(target, kept), _given(target, kept)
        whole = _measured(target, actual, given, settings)
        for name, rows in _slices(contract, kept, settings.gate.min_slice_rows):
            if (measured := _measured(target, actual[rows], given[rows], settings)) is not None:
                slices[name] = measured
    estimate = None if target.task == "regression" or not len(newest) else _promised(target, newest)
    return Quality(predictions, mature, len(labelled), metric, whole, expected, bound, slices, estimate)


def _promised(target: Target, scores: Floats) -> float:
    return float((np.maximum(scores, 1 - scores) if target.task == "binary" else scores).mean())


def _measured(target: Target, actual: Floats, given: Floats, settings: Settings) -> Measured | None:
    """The percentile bootstrap of Efron & Tibshirani (1993, §13.3); None where the rows do not define the measure."""
    measure = metrics.weighted_measure(target, actual, given)
    size = len(actual)
    known = metrics.bootstrap(measure, size, settings.gate.resamples, settings.train.seed)
    value = measure(np.ones(size))
    if not np.isfinite(value) or not len(known):
        return None
    tail = (1 - settings.monitor.confidence) / 2
    lower, upper = np.quantile(known, [tail, 1 - tail])
    return Measured(size, value, float(lower), float(upper))


def _actual(target: Target, rows: "pd.DataFrame") -> Floats:
    if target.task == "regression":
        return rows[LABEL].to_numpy(dtype=np.float64)
    codes = {name: float(at) for at, name in enumerate(target.classes)}
    return np.asarray(rows[LABEL].map(codes).to_numpy(dtype=np.float64))


def _given(target: Target, rows: "pd.DataFrame") -> Floats:
    if target.task == "multiclass":
        return rows[[f"probabilities_{name}" for name in target.classes]].to_numpy(dtype=np.float64)
    return rows["prediction" if target.task == "regression" else "probability"].to_numpy(dtype=np.float64)


def _slices(contract: Contract, rows: "pd.DataFrame", least: int) -> list[tuple[str, Any]]:
    """The rows of each level of the categories and booleans that have few, by `column=level`."""
    found = []
    for column in contract.inputs:
        if column.kind in ("category", "boolean") and column.name in rows:
            levels = rows[column.name].value_counts()
            if len(levels) <= MOST_LEVELS:
                named = sorted((str(level), level) for level in levels[levels >= least].index)
                found += [(f"{column.name}={told}", (rows[column.name] == level).to_numpy()) for told, level in named]
    return found
