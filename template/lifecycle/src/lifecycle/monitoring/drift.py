"""Compare the rows of a production window with the training rows of the deployed model, column by column.

The measure is the population stability index (PSI). A column has drifted when its PSI exceeds `monitor.psi` and also
what sampling alone explains: for equal distributions, PSI / (1/rows + 1/reference rows) is approximately chi-square
distributed (Yurdakul & Naranjo 2020).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.models.reference import MAX_BINS, Distribution, Profile, population_stability_index
from lifecycle.settings import Monitor

if TYPE_CHECKING:
    import pandas as pd

# Probability that an unchanged window shows drift in any column, whatever `monitor.psi` is.
ALPHA = 0.01
# Standard errors by which a share of nulls or unseen levels must exceed its training share.
STANDARD_ERRORS = 4.0
SCORE = "prediction"


@dataclass(frozen=True)
class ColumnDrift:
    """One column in one window.

    `nulls`, `unseen` and `outside` are shares of the window's rows; `reference` and `current` are shares by bin of the
    training rows and of the window. `seasonal` is the largest PSI of four weeks of the training period against the
    whole of it. `broken` says how the data are broken; a broken column is not tested for drift.
    """

    psi: float = 0.0
    limit: float = 0.0
    seasonal: float = 0.0
    nulls: float = 0.0
    unseen: float = 0.0
    outside: float = 0.0
    drifted: bool = False
    broken: str | None = None
    bins: tuple[str, ...] = ()
    reference: tuple[float, ...] = ()
    current: tuple[float, ...] = ()


def measure_drift(
    contract: Contract,
    profile: Profile,
    levels: Mapping[str, Sequence[str]],
    rows: "pd.DataFrame",
    rules: Monitor,
    violations: Mapping[str, str] | None = None,
) -> dict[str, ColumnDrift]:
    """Measure every profiled input of a window, and the model's scores under the name `prediction`.

    `levels` are the categories the model knows, by column; `violations` says how a column violates the contract. A
    window with fewer than `rules.min_rows` rows never drifts.
    """
    violations = violations or {}
    measured = {}
    for column in contract.inputs:
        if column.name not in profile.columns:
            continue
        problem = violations.get(column.name)
        if column.name not in rows or not _readable(column, rows[column.name]):
            measured[column.name] = ColumnDrift(broken=problem or "does not have the type of the contract")
            continue
        known = set(levels.get(column.name, ()))
        measured[column.name] = _of_column(column, profile, known, rows[column.name], rules, problem)
    scores = scores_of(contract.target, rows)
    if len(scores):
        measured[SCORE] = ColumnDrift(
            **_compare(profile.scores, profile.scored, scores, rules, len(profile.columns) + 1)
        )
    return measured


def psi_limit(bins: int, reference_rows: int, rows: int, columns: int, minimum: float) -> float:
    """Return the PSI above which a column counts as drifted.

    Args:
        bins: number of bins that are not empty on both sides.
        reference_rows: number of training rows.
        rows: number of rows in the window.
        columns: number of columns tested together (Bonferroni's correction of ALPHA).
        minimum: the smallest limit, `monitor.psi`.

    Returns:
        The larger of `minimum` and the quantile 1 - ALPHA / columns of PSI for equal distributions (Yurdakul & Naranjo
        2020). The chi-square quantile is approximated within 3 % (Wilson & Hilferty 1931).
    """
    degrees = max(bins - 1, 1)
    spread = 2 / (9 * degrees)
    quantile: float = degrees * (1 - spread + NormalDist().inv_cdf(1 - ALPHA / columns) * spread**0.5) ** 3
    return max(minimum, quantile * (1 / max(reference_rows, 1) + 1 / max(rows, 1)))


def scores_of(target: Target, rows: "pd.DataFrame") -> "pd.Series[Any]":
    """Return one number for each prediction, without nulls.

    The number is the predicted value (regression), the probability of the positive class (binary) or the probability
    of the predicted class (multiclass).
    """
    if target.task == "multiclass":
        names = [f"probabilities_{name}" for name in target.classes]
        return rows.reindex(columns=names).astype("float64").max(axis=1).dropna()
    name = "prediction" if target.task == "regression" else "probability"
    return rows.reindex(columns=[name])[name].astype("float64").dropna()


def _of_column(
    column: Column, profile: Profile, known: set[str], values: "pd.Series[Any]", rules: Monitor, problem: str | None
) -> ColumnDrift:
    reference = profile.columns[column.name]
    rows, present = len(values), values.dropna()
    nulls = float(values.isna().mean()) if rows else 0.0
    unseen = float((~present.astype(str).isin(known)).mean()) if column.kind == "category" and len(present) else 0.0
    if rows >= rules.min_rows and problem is None:
        if _increased(nulls, reference.nulls, rows, profile.rows, rules.null_change):
            problem = f"{nulls:.1%} of the rows are null, {reference.nulls:.1%} of the training rows were"
        elif _increased(unseen, reference.unseen, rows, profile.rows, rules.unseen_share):
            problem = f"{unseen:.1%} of the rows have a level that training did not contain"
        elif column.kind == "number" and len(reference.edges) >= MAX_BINS - 2 and present.nunique() == 1:
            problem = "every row has the same value"
    compared = _compare(reference, profile.rows, values, rules, len(profile.columns) + 1)
    if problem is not None:
        compared["drifted"] = False
    outside = _outside(column, present, rows)
    return ColumnDrift(**compared, nulls=nulls, unseen=unseen, outside=outside, broken=problem)


def _compare(
    reference: Distribution, reference_rows: int, values: "pd.Series[Any]", rules: Monitor, columns: int
) -> dict[str, Any]:
    rows = len(values)
    bins, before, now = reference.compare(values)
    psi = population_stability_index(before * reference_rows, now) if rows else 0.0
    # A bin that is empty on both sides cannot vary.
    limit = psi_limit(int(((before > 0) | (now > 0)).sum()), reference_rows, rows, columns, rules.psi)
    return {
        "psi": psi,
        "limit": limit,
        "seasonal": reference.seasonal,
        "drifted": rows >= rules.min_rows and psi > limit,
        "bins": bins,
        "reference": tuple(before.tolist()),
        "current": tuple((now / max(rows, 1)).tolist()),
    }


def _increased(share: float, reference: float, rows: int, reference_rows: int, minimum: float) -> bool:
    """Return whether a share grew by more than `minimum` and by more than sampling explains."""
    variance = reference * (1 - reference) * (1 / max(rows, 1) + 1 / max(reference_rows, 1))
    return share - reference > max(minimum, STANDARD_ERRORS * float(np.sqrt(variance)))


def _readable(column: Column, values: "pd.Series[Any]") -> bool:
    kinds = {"number": "iuf", "integer": "iuf"}.get(column.kind)
    return kinds is None or values.dtype.kind in kinds or bool(values.isna().all())


def _outside(column: Column, present: "pd.Series[Any]", rows: int) -> float:
    """Return the share of rows outside `expected`: a range for a number, a list of levels for a category."""
    if not column.expected or not rows:
        return 0.0
    if column.kind in ("number", "integer"):
        low, high = column.expected
        return float(((present < low) | (present > high)).sum()) / rows
    return float((~present.isin(column.expected)).sum()) / rows
