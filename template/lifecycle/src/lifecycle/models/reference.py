"""The drift reference in a bundle: distributions of the training rows, a few kilobytes and no row.

A category level is stored only when at least MIN_LEVEL_ROWS training rows have it, so that no rare value is disclosed.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter

from lifecycle.contract.schema import Contract
from lifecycle.models.bundle import Bundle
from lifecycle.models.metrics import Floats
from lifecycle.timestamps import DAY

if TYPE_CHECKING:
    import pandas as pd

FILE, FORMAT = "profile.json", 1
MAX_BINS, MAX_LEVELS, MIN_LEVEL_ROWS = 10, 20, 5
PERIOD, MIN_PERIOD_ROWS = 28 * DAY, 200
DIGITS = 7


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

    def counts(self, values: "pd.Series[Any]") -> Floats:
        """Count values, none of them null, by bin; shape (bins,)."""
        if not self.levels:
            places = np.searchsorted(self.edges, values.to_numpy(dtype=np.float64), side="left")
            return np.bincount(places, minlength=len(self.edges) + 1).astype(np.float64)
        named = values.astype(str).value_counts().reindex(list(self.levels), fill_value=0).to_numpy(dtype=np.float64)
        return np.append(named, len(values) - named.sum())

    def compare(self, values: "pd.Series[Any]") -> tuple[tuple[str, ...], Floats, Floats]:
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


def population_stability_index(reference: Floats, current: Floats) -> float:
    """Return the population stability index of two samples over the same bins, in nats (Siddiqi 2006, §6).

    `reference` and `current` are counts of training and production rows, shape (bins,). Half a row is added to each
    bin, so that an empty bin gives a finite index.
    """
    before, now = ((each + 0.5) / (each.sum() + 0.5 * len(each)) for each in (reference, current))
    return float(((now - before) * np.log(now / before)).sum())


def read_profile(bundle: Bundle) -> Profile | None:
    """Return the profile of a bundle, or None for a bundle written before there was monitoring."""
    return TypeAdapter(Profile).validate_json(bundle.read(FILE)) if FILE in bundle.facts["files"] else None


def build_profile(contract: Contract, training: "pd.DataFrame", holdout: "pd.DataFrame", scores: Floats) -> Profile:
    """Describe the training rows of a model for later comparison, with the event time where there is one.

    Only loggable inputs enter the profile, because nothing else can be compared later. Rows are completed; `scores` are
    the model's outputs on the held-out rows, shape (rows,) or (rows, classes).
    """
    import pandas as pd

    periods, columns = _periods(contract, training), {}
    for column in contract.inputs:
        if column.loggable and column.kind != "time":
            values = training[column.name]
            is_number = column.kind in ("number", "integer")
            distribution = _of_numbers(values) if is_number else _of_levels(values, holdout[column.name])
            compared = [distribution.compare(values.iloc[places]) for places in periods]
            indices = [population_stability_index(shares * len(values), counts) for _, shares, counts in compared]
            columns[column.name] = replace(distribution, seasonal=round(max(indices, default=0.0), DIGITS))
    highest = scores if scores.ndim == 1 else scores.max(axis=1)
    return Profile(len(training), columns, len(highest), _of_numbers(pd.Series(highest)))


def _periods(contract: Contract, frame: "pd.DataFrame") -> list[Any]:
    """Return the row positions of each four-week period that has enough rows."""
    name = "ts" if "ts" in frame.columns else contract.time.name if contract.time else None
    if name is None:
        return []
    seconds = frame[name].astype("datetime64[s]").astype("int64")
    numbers = ((seconds - seconds.min()) // PERIOD).to_numpy()
    return [places for places in frame.groupby(numbers).indices.values() if len(places) >= MIN_PERIOD_ROWS]


def _of_numbers(values: "pd.Series[Any]") -> Distribution:
    return _fill(Distribution((), edges=_edges(values.dropna().to_numpy(dtype=np.float64))), values)


def _of_levels(values: "pd.Series[Any]", later: "pd.Series[Any]") -> Distribution:
    counted, later = values.dropna().astype(str).value_counts(), later.dropna().astype(str)
    unseen = round(float((~later.isin(counted.index)).mean()), DIGITS) if len(later) else 0.0
    # Ties are ordered by name, so that the order of the rows does not change the profile.
    ordered = counted[counted >= MIN_LEVEL_ROWS].sort_index().sort_values(ascending=False, kind="stable")
    return _fill(Distribution((), levels=tuple(ordered.index[:MAX_LEVELS]) or ("",), unseen=unseen), values)


def _fill(distribution: Distribution, values: "pd.Series[Any]") -> Distribution:
    counts = distribution.counts(values.dropna())
    shares = tuple(round(float(each), DIGITS) for each in counts / max(counts.sum(), 1.0))
    return replace(distribution, shares=shares, nulls=round(float(values.isna().mean()), DIGITS))


def _edges(values: Floats) -> tuple[float, ...]:
    """Return distinct deciles; a constant lies between two edges, so that any other value falls into another bin."""
    if not len(values):
        return ()
    low, high = float(np.min(values)), float(np.max(values))
    if low == high:
        return (float(np.nextafter(low, -np.inf)), low)
    # "lower" returns values of the column itself, so that edges of an integer column are integers.
    cuts = np.quantile(values, np.arange(1, MAX_BINS) / MAX_BINS, method="lower")
    return tuple(float(cut) for cut in np.unique(cuts) if cut < high)
