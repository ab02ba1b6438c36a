"""What the training rows looked like, in a few kilobytes: the reference that live rows are compared with.

Shares of bins and of levels, no row: a profile names a level only where training saw it in LEAST rows or more.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lifecycle.contract.schema import Column, Contract
from lifecycle.models.bundle import Bundle

if TYPE_CHECKING:
    import pandas as pd

FILE, FORMAT = "profile.json", 1
BINS, LEVELS, LEAST = 10, 20, 5
WINDOW, WINDOW_ROWS = 28 * 86_400, 200
DIGITS = 7
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """The distribution of one column: shares of the rows that are not null.

    A number has bins: up to each of `edges`, and above the last. A category has `levels`, and what is left over.
    `nulls` is the share of nulls; `unseen` that of later, held-out rows with a level that training did not see. `usual`
    is the largest PSI of four weeks of the training period against the whole of it: a season is no news.
    """

    shares: tuple[float, ...]
    edges: tuple[float, ...] = ()
    levels: tuple[str, ...] = ()
    nulls: float = 0.0
    unseen: float = 0.0
    usual: float = 0.0

    @property
    def bins(self) -> tuple[str, ...]:
        """What each share is of, in words."""
        if self.levels:
            return (*self.levels, "other")
        edges = [f"{edge:.4g}" for edge in self.edges]
        return (*(f"≤ {edge}" for edge in edges), f"> {edges[-1]}") if edges else ("any",)

    def counts(self, values: "pd.Series[Any]") -> Floats:
        """How many of some values, none of them null, fall into each bin."""
        if not self.levels:
            numbers = values.to_numpy(dtype=np.float64)
            return _counted(numbers, self.edges)
        found = values.astype(str).value_counts()
        named = [float(found.get(level, 0)) for level in self.levels]
        return np.array([*named, len(values) - sum(named)])

    def compared(self, values: "pd.Series[Any]") -> tuple[tuple[str, ...], Floats, Floats]:
        """Bins in words, shares of them in training, and counts of some values; what is null is a bin of its own."""
        known = values.dropna()
        before, now = np.array(self.shares) * (1 - self.nulls), self.counts(known)
        if not self.nulls and len(known) == len(values):
            return self.bins, before, now
        return (*self.bins, "null"), np.append(before, self.nulls), np.append(now, len(values) - len(known))


@dataclass(frozen=True)
class Profile:
    """The shapes of the loggable inputs over `rows` training rows, and of the scores of `scored` held-out ones."""

    rows: int
    columns: dict[str, Shape]
    scored: int
    scores: Shape

    def to_json(self) -> str:
        """The text of `profile.json`."""
        return json.dumps({"format": FORMAT} | asdict(self), ensure_ascii=False) + "\n"


def psi(reference: Floats, current: Floats) -> float:
    """Population stability index of two sets of counts over the same bins, half a row added to each."""
    before, now = ((each + 0.5) / (each.sum() + 0.5 * len(each)) for each in (reference, current))
    return float(((now - before) * np.log(now / before)).sum())


def read(bundle: Bundle) -> Profile | None:
    """The profile of a bundle; None for one that an earlier lifecycle wrote without."""
    if FILE not in bundle.facts["files"]:
        return None
    found = json.loads(bundle.read(FILE))
    columns = {name: _shape(each) for name, each in found["columns"].items()}
    return Profile(found["rows"], columns, found["scored"], _shape(found["scores"]))


def measure(contract: Contract, training: "pd.DataFrame", held: "pd.DataFrame", scores: Floats) -> Profile:
    """The profile of training rows; `held` are the held-out ones and `scores` what the model returns to them.

    Only what may be logged is in it: nothing else can be compared later.
    """
    windows = _windows(contract, training)
    columns = {}
    for column in contract.inputs:
        if column.loggable and column.kind != "time":
            shape = _of_column(column, training[column.name], held[column.name])
            columns[column.name] = replace(shape, usual=_usual(shape, training[column.name], windows))
    plain = scores if scores.ndim == 1 else scores.max(axis=1)
    return Profile(len(training), columns, len(plain), _of_numbers(plain, 0.0))


def _windows(contract: Contract, frame: "pd.DataFrame") -> list[Any]:
    """The places of the training rows of each four weeks that have enough of them."""
    name = "ts" if "ts" in frame.columns else contract.time.name if contract.time else None
    if name is None:
        return []
    values = frame[name]
    seconds = values.astype("datetime64[s]").astype("int64") if values.dtype.kind == "M" else values.astype("int64")
    groups = ((seconds - seconds.min()) // WINDOW).to_numpy()
    found = [np.flatnonzero(groups == each) for each in np.unique(groups)]
    return [places for places in found if len(places) >= WINDOW_ROWS]


def _usual(shape: Shape, values: "pd.Series[Any]", windows: list[Any]) -> float:
    rows = len(values)
    found = [psi(before * rows, now) for places in windows for _, before, now in [shape.compared(values.iloc[places])]]
    return _short(max(found, default=0.0))


def _of_column(column: Column, values: "pd.Series[Any]", later: "pd.Series[Any]") -> Shape:
    known, nulls = values.dropna(), _short(float(values.isna().mean()))
    if column.kind in ("number", "integer"):
        return _of_numbers(known.to_numpy(dtype=np.float64), nulls)
    texts = known.astype(str)
    unseen = float((~later.dropna().astype(str).isin(texts.unique())).mean()) if later.notna().any() else 0.0
    counted = texts.value_counts()
    # Equal counts in one order, whatever order the rows came in.
    ordered = sorted(counted[counted >= LEAST].items(), key=lambda each: (-each[1], str(each[0])))[:LEVELS]
    levels = tuple(str(level) for level, _ in ordered) or ("",)
    return _filled(Shape((), levels=levels, nulls=nulls, unseen=_short(unseen)), texts)


def _of_numbers(values: Floats, nulls: float) -> Shape:
    return Shape(_shares(_counted(values, edges := _edges(values))), edges=edges, nulls=nulls)


def _edges(values: Floats) -> tuple[float, ...]:
    """Quantiles, each once; values that all are one lie between two edges, so that another value is seen."""
    if not len(values):
        return ()
    low, high = float(values.min()), float(values.max())
    if low == high:
        return (float(np.nextafter(low, -np.inf)), low)
    # Quantiles that are values of a row: those of a whole number are whole.
    cuts = np.quantile(values, np.arange(1, BINS) / BINS, method="lower")
    return tuple(float(cut) for cut in np.unique(cuts) if cut < high)


def _counted(values: Floats, edges: Sequence[float]) -> Floats:
    return np.bincount(np.searchsorted(edges, values, side="left"), minlength=len(edges) + 1).astype(np.float64)


def _filled(shape: Shape, values: "pd.Series[Any]") -> Shape:
    return replace(shape, shares=_shares(shape.counts(values)))


def _shares(counts: Floats) -> tuple[float, ...]:
    return tuple(_short(float(each)) for each in counts / max(counts.sum(), 1.0))


def _short(value: float) -> float:
    return round(value, DIGITS)


def _shape(found: Mapping[str, Any]) -> Shape:
    shares, edges, levels = (tuple(found[name]) for name in ("shares", "edges", "levels"))
    return Shape(shares, edges, levels, found["nulls"], found["unseen"], found["usual"])
