"""The drift reference in a bundle: distributions of the training rows, a few kilobytes and no row.

A category level is stored only when at least MIN_LEVEL_ROWS training rows have it, so that no rare value is disclosed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lifecycle.contract.schema import Column, Contract
from lifecycle.models.bundle import Bundle
from lifecycle.timestamps import DAY

if TYPE_CHECKING:
    import pandas as pd

FILE, FORMAT = "profile.json", 1
MAX_BINS, MAX_LEVELS, MIN_LEVEL_ROWS = 10, 20, 5
PERIOD, MIN_PERIOD_ROWS = 28 * DAY, 200
DIGITS = 7
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Distribution:
    """Shares of the non-null values of one column in each bin.

    A number has bins up to and including each of `edges`, and one above the last. A category has one bin for each of
    `levels` and one for all others. `nulls` is the share of nulls, `unseen` the share of held-out rows with a level
    that training did not contain, `seasonal` the largest PSI of a four-week period of the training rows against all.
    """

    shares: tuple[float, ...]
    edges: tuple[float, ...] = ()
    levels: tuple[str, ...] = ()
    nulls: float = 0.0
    unseen: float = 0.0
    seasonal: float = 0.0

    @property
    def bins(self) -> tuple[str, ...]:
        """The label of each bin."""
        if self.levels:
            return (*self.levels, "other")
        edges = [f"{edge:.4g}" for edge in self.edges]
        return (*(f"≤ {edge}" for edge in edges), f"> {edges[-1]}") if edges else ("any",)

    def counts(self, values: "pd.Series[Any]") -> FloatArray:
        """Count values, none of them null, by bin; shape (bins,)."""
        if not self.levels:
            return _count(values.to_numpy(dtype=np.float64), self.edges)
        by_level = values.astype(str).value_counts()
        named = [float(by_level.get(level, 0)) for level in self.levels]
        return np.array([*named, len(values) - sum(named)])

    def compare(self, values: "pd.Series[Any]") -> tuple[tuple[str, ...], FloatArray, FloatArray]:
        """Return bin labels, training shares and counts of `values`; nulls, where there are any, get their own bin."""
        present = values.dropna()
        reference, current = np.array(self.shares) * (1 - self.nulls), self.counts(present)
        if not self.nulls and len(present) == len(values):
            return self.bins, reference, current
        return (*self.bins, "null"), np.append(reference, self.nulls), np.append(current, len(values) - len(present))


@dataclass(frozen=True)
class Profile:
    """Distributions of the loggable inputs over `rows` training rows, and of `scored` held-out predictions."""

    rows: int
    columns: dict[str, Distribution]
    scored: int
    scores: Distribution

    def to_json(self) -> str:
        """Return the text of `profile.json`."""
        return json.dumps({"format": FORMAT} | asdict(self), ensure_ascii=False) + "\n"


def population_stability_index(reference: FloatArray, current: FloatArray) -> float:
    """Return the population stability index of two samples over the same bins (Siddiqi 2006, §6).

    Args:
        reference: counts of the training rows, shape (bins,).
        current: counts of the production rows, shape (bins,).

    Returns:
        Index in nats, 0 for equal shares. Half a row is added to each bin, so that an empty bin gives a finite index.
    """
    before, now = ((each + 0.5) / (each.sum() + 0.5 * len(each)) for each in (reference, current))
    return float(((now - before) * np.log(now / before)).sum())


def read_profile(bundle: Bundle) -> Profile | None:
    """Return the profile of a bundle, or None for a bundle written before there was monitoring."""
    if FILE not in bundle.facts["files"]:
        return None
    content = json.loads(bundle.read(FILE))
    columns = {name: _distribution(each) for name, each in content["columns"].items()}
    return Profile(content["rows"], columns, content["scored"], _distribution(content["scores"]))


def build_profile(contract: Contract, training: "pd.DataFrame", holdout: "pd.DataFrame", scores: FloatArray) -> Profile:
    """Describe the training rows of a model for later comparison.

    Args:
        contract: only loggable inputs enter the profile, because nothing else can be compared later.
        training: completed training rows, one column for each input, and the event time where there is one.
        holdout: completed held-out rows.
        scores: the model's outputs on the held-out rows, shape (rows,) or (rows, classes).
    """
    periods = _periods(contract, training)
    columns = {}
    for column in contract.inputs:
        if column.loggable and column.kind != "time":
            distribution = _of_column(column, training[column.name], holdout[column.name])
            seasonal = _seasonal(distribution, training[column.name], periods)
            columns[column.name] = replace(distribution, seasonal=seasonal)
    highest = scores if scores.ndim == 1 else scores.max(axis=1)
    return Profile(len(training), columns, len(highest), _of_numbers(highest, 0.0))


def _periods(contract: Contract, frame: "pd.DataFrame") -> list[Any]:
    """Return the row positions of each four-week period that has enough rows."""
    name = "ts" if "ts" in frame.columns else contract.time.name if contract.time else None
    if name is None:
        return []
    values = frame[name]
    seconds = values.astype("datetime64[s]").astype("int64") if values.dtype.kind == "M" else values.astype("int64")
    numbers = ((seconds - seconds.min()) // PERIOD).to_numpy()
    positions = [np.flatnonzero(numbers == each) for each in np.unique(numbers)]
    return [each for each in positions if len(each) >= MIN_PERIOD_ROWS]


def _seasonal(distribution: Distribution, values: "pd.Series[Any]", periods: list[Any]) -> float:
    rows, indices = len(values), []
    for positions in periods:
        _, reference, current = distribution.compare(values.iloc[positions])
        indices.append(population_stability_index(reference * rows, current))
    return round(max(indices, default=0.0), DIGITS)


def _of_column(column: Column, values: "pd.Series[Any]", later: "pd.Series[Any]") -> Distribution:
    present, nulls = values.dropna(), round(float(values.isna().mean()), DIGITS)
    if column.kind in ("number", "integer"):
        return _of_numbers(present.to_numpy(dtype=np.float64), nulls)
    texts = present.astype(str)
    unseen = float((~later.dropna().astype(str).isin(texts.unique())).mean()) if later.notna().any() else 0.0
    counted = texts.value_counts()
    # Ties are ordered by name, so that the order of the rows does not change the profile.
    ordered = sorted(counted[counted >= MIN_LEVEL_ROWS].items(), key=lambda each: (-each[1], str(each[0])))
    levels = tuple(str(level) for level, _ in ordered[:MAX_LEVELS]) or ("",)
    distribution = Distribution((), levels=levels, nulls=nulls, unseen=round(unseen, DIGITS))
    return replace(distribution, shares=_shares(distribution.counts(texts)))


def _of_numbers(values: FloatArray, nulls: float) -> Distribution:
    return Distribution(_shares(_count(values, edges := _edges(values))), edges=edges, nulls=nulls)


def _edges(values: FloatArray) -> tuple[float, ...]:
    """Return distinct deciles; a constant lies between two edges, so that any other value falls into another bin."""
    if not len(values):
        return ()
    low, high = float(np.min(values)), float(np.max(values))
    if low == high:
        return (float(np.nextafter(low, -np.inf)), low)
    # "lower" returns values of the column itself, so that edges of an integer column are integers.
    cuts = np.quantile(values, np.arange(1, MAX_BINS) / MAX_BINS, method="lower")
    return tuple(float(cut) for cut in np.unique(cuts) if cut < high)


def _count(values: FloatArray, edges: Sequence[float]) -> FloatArray:
    return np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1).astype(np.float64)


def _shares(counts: FloatArray) -> tuple[float, ...]:
    return tuple(round(float(each), DIGITS) for each in counts / max(counts.sum(), 1.0))


def _distribution(content: Mapping[str, Any]) -> Distribution:
    shares, edges, levels = (tuple(content[name]) for name in ("shares", "edges", "levels"))
    return Distribution(shares, edges, levels, content["nulls"], content["unseen"], content["seasonal"])
