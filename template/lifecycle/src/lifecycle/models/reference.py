"""The drift reference in a bundle: distributions of the training rows, a few kilobytes and no row.

A category level is stored only when at least MIN_LEVEL_ROWS training rows have it: no rare value is disclosed, and the
most frequent of many rare levels look more frequent in the training rows than they are.
"""

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from lifecycle.contract.rows import expected_range, seconds_of, time_column
from lifecycle.contract.schema import ORDERED, Column, Contract
from lifecycle.contract.tables import Frame, Series
from lifecycle.models.bundle import Bundle
from lifecycle.models.metrics import Floats
from lifecycle.timestamps import PERIOD

FILE, FORMAT = "profile.json", 1
MAX_BINS, MAX_LEVELS, MIN_LEVEL_ROWS = 10, 20, 30
MIN_PERIOD_ROWS = 200
DIGITS = 7


@dataclass(frozen=True)
class Counts:
    """Numbers of rows of one column: of all `rows`, and of the non-null ones in each bin, shape (bins,).

    `other` is the most frequent level without a bin of its own; of several, the first by name. `unseen` rows have a
    level that the model does not know, `outside` rows a value outside `expected`. `is_constant`: the values are equal.
    """

    rows: int
    by_bin: Floats
    other: tuple[str, int] = ("", 0)
    unseen: int = 0
    outside: int = 0
    is_constant: bool = False

    @property
    def present(self) -> int:
        """The number of rows that are not null."""
        return int(self.by_bin.sum())


@dataclass(frozen=True)
class Distribution:
    """Shares of the non-null values of one column in each bin.

    A number has bins up to and including each of `edges`, and one above the last, as has a time (`is_time`) in days
    since 1970. A category has one bin for each of `levels` and one for all others, of which the most frequent has the
    share `rest`. `nulls` and `outside` are the shares of nulls and of values outside `expected`, `unseen` that of later
    rows with a level that training did not contain, `seasonal` the largest PSI of a four-week period of the training
    rows against all. `newest` describes the last four weeks over the same bins, with their number of `rows`; it is None
    without times, with few rows, and in bundles of earlier releases.
    """

    shares: tuple[float, ...]
    edges: tuple[float, ...] = ()
    levels: tuple[str, ...] = ()
    nulls: float = 0.0
    unseen: float = 0.0
    seasonal: float = 0.0
    outside: float = 0.0
    rest: float | None = None
    rows: int = 0
    newest: "Distribution | None" = None
    is_time: bool = False

    @property
    def bins(self) -> tuple[str, ...]:
        """The label of each bin."""
        if self.levels:
            return (*self.levels, "other")
        edges = [_date(edge) if self.is_time else f"{edge:.4g}" for edge in self.edges]
        return (*(f"≤ {edge}" for edge in edges), f"> {edges[-1]}") if edges else ("any",)

    def count(self, values: Series) -> Counts:
        """Count values, some of them null, by bin."""
        present = values.dropna()
        if not self.levels:
            places = np.searchsorted(self.edges, present.to_numpy(dtype=np.float64), side="left")
            return Counts(len(values), np.bincount(places, minlength=len(self.edges) + 1).astype(np.float64))
        named = present.astype(str).value_counts().sort_index().sort_values(ascending=False, kind="stable")
        own, others = named.reindex(list(self.levels), fill_value=0), named[~named.index.isin(self.levels)]
        other = (str(others.index[0]), int(others.iloc[0])) if len(others) else ("", 0)
        return Counts(len(values), np.append(own.to_numpy(dtype=np.float64), len(present) - own.sum()), other)

    def compare(self, counted: Counts) -> tuple[tuple[str, ...], Floats, Floats]:
        """Return bin labels, training shares and counts of other rows.

        Nulls get their own bin where there are any, and so does a level without one that is more frequent than each of
        the others was in training: a level that takes over must not disappear among the others.
        """
        present = counted.present
        bins, reference, current = self.bins, np.array(self.shares), counted.by_bin
        if self.levels and self.rest is not None:
            name, count = counted.other
            if count >= max(MIN_LEVEL_ROWS, self.rest * present):
                bins, others = (*self.levels, name, "other"), max(reference[-1] - self.rest, 0.0)
                reference = np.array([*reference[:-1], self.rest, others])
                current = np.array([*current[:-1], count, current[-1] - count])
        reference = reference * (1 - self.nulls)
        if not self.nulls and present == counted.rows:
            return bins, reference, current
        return (*bins, "null"), np.append(reference, self.nulls), np.append(current, counted.rows - present)


@dataclass(frozen=True)
class Profile:
    """Distributions of the loggable inputs over `rows` training rows, and of `scored` held-out predictions."""

    rows: int
    columns: dict[str, Distribution]
    scored: int
    scores: Distribution

    def to_json(self) -> str:
        """Return the text of `profile.json`."""
        facts = asdict(self, dict_factory=lambda pairs: {name: value for name, value in pairs if value is not False})
        return json.dumps({"format": FORMAT} | facts, ensure_ascii=False) + "\n"


def population_stability_index(reference: Floats, current: Floats) -> float:
    """Return the population stability index of two samples over the same bins, in nats (Siddiqi 2006, §6).

    Both are counts of rows, shape (bins,). Half a row is added to each bin: an empty one gives a finite index.
    """
    before, now = ((each + 0.5) / (each.sum() + 0.5 * len(each)) for each in (reference, current))
    return float(((now - before) * np.log(now / before)).sum())


def read_profile(bundle: Bundle) -> Profile | None:
    """Return the profile of a bundle, or None for a bundle written before there was monitoring."""
    return TypeAdapter(Profile).validate_json(bundle.read(FILE)) if FILE in bundle.facts["files"] else None


def build_profile(contract: Contract, training: Frame, holdout: Frame, scores: Floats) -> Profile:
    """Describe the training rows of a model for later comparison, with the event time where there is one.

    Only loggable inputs enter the profile, because nothing else can be compared later. Rows are completed; `scores` are
    the model's outputs on the held-out rows, shape (rows,) or (rows, classes).
    """
    import pandas as pd

    name, columns = time_column(contract, training), {}
    seconds = None if name is None else seconds_of(training[name])
    newest, periods = None, []
    if seconds is not None:
        newest = seconds > seconds.max() - PERIOD
        # The positions of the rows of each period.
        periods = [*pd.Series(seconds).groupby((seconds - seconds.min()) // PERIOD).indices.values()]
    for column in contract.inputs:
        if column.loggable:
            values, later = (comparable(column, frame[column.name]) for frame in (training, holdout))
            distribution = _described(column, _bins(column, values, later), values)
            longer = [values.iloc[at] for at in periods if len(at) >= MIN_PERIOD_ROWS]
            compared = [distribution.compare(distribution.count(each)) for each in longer]
            indices = [population_stability_index(shares * len(values), counts) for _, shares, counts in compared]
            distribution = replace(distribution, seasonal=round(max(indices, default=0.0), DIGITS))
            if newest is not None and newest.sum() >= MIN_PERIOD_ROWS:
                distribution = replace(distribution, newest=_newest(column, distribution, values, newest))
            columns[column.name] = distribution
    highest = pd.Series(scores if scores.ndim == 1 else scores.max(axis=1))
    by_score = Distribution((), edges=_edges(highest.to_numpy()))
    return Profile(len(training), columns, len(highest), replace(by_score, shares=_shares(by_score.count(highest))))


def comparable(column: Column, values: Series) -> Series:
    """Return the values of a column as distributions count them: times as days since 1970."""
    if column.kind != "time":
        return values
    return (values.astype("datetime64[us]") - np.datetime64(0, "us")) / np.timedelta64(1, "D")


def share_outside(column: Column, values: Series) -> float:
    """Return the share of rows (see `comparable`) outside `expected` of a column; a null is inside."""
    if not column.expected:
        return 0.0
    present = values.dropna()
    inside = present.between(*expected_range(column)) if column.kind in ORDERED else present.isin(column.expected)
    return float((~inside).sum()) / max(len(values), 1)


def _bins(column: Column, values: Series, later: Series) -> Distribution:
    """Return the bins of the training rows, and the share of unseen levels; `later` are the held-out rows."""
    if column.kind in ORDERED:
        edges = _edges(values.dropna().to_numpy(dtype=np.float64))
        return Distribution((), edges=edges, is_time=column.kind == "time")
    counted, held = values.dropna().astype(str).value_counts(), later.dropna().astype(str)
    # Ties are ordered by name, so that the order of the rows does not change the profile.
    ordered = counted[counted >= MIN_LEVEL_ROWS].sort_index().sort_values(ascending=False, kind="stable")
    # The share of rows whose level occurs once estimates that of unseen levels (Good 1953), also where the model was
    # trained on the held-out rows. They are later, so they show a share that grows with time.
    once = float((counted == 1).sum() / max(counted.sum(), 1))
    unseen = max(once, float((~held.isin(counted.index)).mean()) if len(held) else 0.0)
    return Distribution((), levels=tuple(ordered.index[:MAX_LEVELS]) or ("",), unseen=round(unseen, DIGITS))


def _newest(column: Column, all_rows: Distribution, values: Series, is_newest: Any) -> Distribution:
    unseen, own = 0.0, values[is_newest]
    if all_rows.levels and own.notna().any():
        # A frequent new level has a bin of its own; what is new and rare will also be new and rare in the next weeks.
        known = {*values[~is_newest].dropna().astype(str), *all_rows.levels}
        unseen = float((~own.dropna().astype(str).isin(known)).mean())
    return replace(_described(column, all_rows, own), unseen=round(unseen, DIGITS), rows=len(own))


def _described(column: Column, bins: Distribution, values: Series) -> Distribution:
    """Return the distribution of some rows over given bins."""
    counted = bins.count(values)
    rest = counted.other[1] / max(counted.present, 1) if bins.levels else None
    return replace(
        bins,
        shares=_shares(counted),
        nulls=round(float(values.isna().mean()), DIGITS),
        outside=round(share_outside(column, values), DIGITS),
        rest=None if rest is None else round(rest, DIGITS),
    )


def _shares(counted: Counts) -> tuple[float, ...]:
    return tuple(round(float(each), DIGITS) for each in counted.by_bin / max(counted.present, 1))


def _date(days: float) -> str:
    """Return days since 1970 as a date, with hours and minutes where it has any."""
    return str(np.datetime64(round(days * 1440), "m")).removesuffix("T00:00")


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
