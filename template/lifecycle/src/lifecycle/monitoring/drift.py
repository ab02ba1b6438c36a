"""How far live rows are from the training rows of the model that answered them, column by column.

Population stability index with half a row added to each bin. A column drifts above `monitor.psi` and above what chance
does to so few rows: PSI of equal distributions is about chi-square, times 1/rows + 1/reference (Yurdakul
& Naranjo 2020).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.models.reference import BINS, Profile, Shape, psi
from lifecycle.settings import Monitor

if TYPE_CHECKING:
    import pandas as pd

# Of one column of a window being told to drift by chance alone, whatever `monitor.psi` is.
ALPHA = 0.01
# Standard errors from which a share has grown and not only been drawn.
SURE = 4.0
SCORE = "prediction"


@dataclass(frozen=True)
class Found:
    """One column in one window; shares are of its rows, `reference` and `current` of the bins of its shape.

    `usual` is what four weeks of the training period differed from the whole of it, at most.
    """

    psi: float = 0.0
    limit: float = 0.0
    usual: float = 0.0
    nulls: float = 0.0
    unseen: float = 0.0
    outside: float = 0.0
    drifted: bool = False
    broken: str | None = None
    bins: tuple[str, ...] = ()
    reference: tuple[float, ...] = ()
    current: tuple[float, ...] = ()


def measure(
    contract: Contract,
    profile: Profile,
    levels: Mapping[str, Sequence[str]],
    rows: "pd.DataFrame",
    rules: Monitor,
    faults: Mapping[str, str] | None = None,
) -> dict[str, Found]:
    """Every profiled column of a window, and its scores as `prediction`.

    `levels` are the model's own; `faults` say by column what breaks the contract. Fewer than `monitor.min_rows` rows
    drift from nothing.
    """
    faults = faults or {}
    count = len(profile.columns) + 1
    found = {}
    for column in contract.inputs:
        shape = profile.columns.get(column.name)
        if shape is None:
            continue
        fault = faults.get(column.name)
        if column.name not in rows or not _readable(column, rows[column.name]):
            found[column.name] = Found(broken=fault or "cannot be read as the contract has it")
            continue
        known = set(levels.get(column.name, ()))
        found[column.name] = _of_column(column, shape, profile.rows, known, rows[column.name], rules, count, fault)
    scores = scores_of(contract.target, rows)
    if len(scores):
        found[SCORE] = Found(**_shares(profile.scores, profile.scored, scores, rules, count))
    return found


def limit(bins: int, reference: int, rows: int, columns: int, least: float) -> float:
    """The PSI from which a column drifts, when `columns` are looked at."""
    degrees = max(bins - 1, 1)
    # The quantile of chi-square, to 3 % for one degree and better for more (Wilson & Hilferty 1931).
    spread = 2 / (9 * degrees)
    quantile: float = degrees * (1 - spread + NormalDist().inv_cdf(1 - ALPHA / columns) * spread**0.5) ** 3
    return max(least, quantile * (1 / max(reference, 1) + 1 / max(rows, 1)))


def scores_of(target: Target, rows: "pd.DataFrame") -> "pd.Series[Any]":
    """The answered number, the probability of the positive class, or that of the class answered; nulls left out."""
    if target.task == "multiclass":
        names = [f"probabilities_{name}" for name in target.classes]
        return rows.reindex(columns=names).astype("float64").max(axis=1).dropna()
    name = "prediction" if target.task == "regression" else "probability"
    return rows.reindex(columns=[name])[name].astype("float64").dropna()


def _of_column(
    column: Column,
    shape: Shape,
    reference: int,
    known: set[str],
    values: "pd.Series[Any]",
    rules: Monitor,
    columns: int,
    fault: str | None,
) -> Found:
    there = values.dropna()
    nulls = float(values.isna().mean()) if len(values) else 0.0
    unseen = float((~there.astype(str).isin(known)).mean()) if column.kind == "category" and len(there) else 0.0
    if len(values) >= rules.min_rows and fault is None:
        if _risen(nulls, shape.nulls, len(values), reference, rules.null_change):
            fault = f"null in {nulls:.1%} of the rows; in training it was {shape.nulls:.1%}"
        elif _risen(unseen, shape.unseen, len(values), reference, rules.unseen_share):
            fault = f"{unseen:.1%} of the rows hold a level that training never saw"
        elif column.kind == "number" and len(shape.edges) >= BINS - 2 and there.nunique() == 1:
            fault = "one and the same value in every row"
    measured = _shares(shape, reference, values, rules, columns)
    if fault is not None:
        measured["drifted"] = False
    return Found(**measured, nulls=nulls, unseen=unseen, outside=_outside(column, there, len(values)), broken=fault)


def _shares(shape: Shape, reference: int, values: "pd.Series[Any]", rules: Monitor, columns: int) -> dict[str, Any]:
    rows = len(values)
    bins, before, now = shape.compared(values)
    index = psi(before * reference, now) if rows else 0.0
    # A bin that is empty on both sides cannot vary.
    most = limit(int(((before > 0) | (now > 0)).sum()), reference, rows, columns, rules.psi)
    return {
        "psi": index,
        "limit": most,
        "usual": shape.usual,
        "drifted": rows >= rules.min_rows and index > most,
        "bins": bins,
        "reference": tuple(before.tolist()),
        "current": tuple((now / max(rows, 1)).tolist()),
    }


def _risen(share: float, reference: float, rows: int, reference_rows: int, least: float) -> bool:
    """Whether a share has grown by more than `least`, and by more than chance does to so few rows."""
    spread = reference * (1 - reference) * (1 / max(rows, 1) + 1 / max(reference_rows, 1))
    return share - reference > max(least, SURE * float(np.sqrt(spread)))


def _readable(column: Column, values: "pd.Series[Any]") -> bool:
    kinds = {"number": "iuf", "integer": "iuf"}.get(column.kind)
    return kinds is None or values.dtype.kind in kinds or bool(values.isna().all())


def _outside(column: Column, there: "pd.Series[Any]", rows: int) -> float:
    """The share of rows outside `expected`: a range of a number, or levels."""
    if not column.expected or not rows:
        return 0.0
    if column.kind in ("number", "integer"):
        low, high = column.expected
        return float(((there < low) | (there > high)).sum()) / rows
    return float((~there.isin(column.expected)).sum()) / rows
