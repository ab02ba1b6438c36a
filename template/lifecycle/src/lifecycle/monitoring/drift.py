"""Compare the rows of a production window with the training rows of the deployed model, column by column.

The measure is the population stability index (PSI). A column has drifted when its PSI exceeds `monitor.psi` and also
what sampling alone explains: for equal distributions, PSI / (1/rows + 1/reference rows) is approximately chi-square
distributed (Yurdakul & Naranjo 2020).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.models.reference import MAX_BINS, Distribution, Profile, population_stability_index
from lifecycle.registry.predictions import prediction_columns
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
    contract: Contract, profile: Profile, levels: Mapping[str, Sequence[str]], rows: "pd.DataFrame", rules: Monitor
) -> dict[str, ColumnDrift]:
    """Measure every profiled input of a window, and the model's scores under the name `prediction`.

    `levels` are the categories the model knows, by column. A window has at least one row; it never drifts when it has
    fewer than `rules.min_rows`.
    """
    tested, measured = len(profile.columns) + 1, {}
    for column in contract.inputs:
        if column.name in profile.columns:
            known = levels.get(column.name, ())
            measured[column.name] = _of_column(column, profile, known, rows[column.name], rules, tested)
    scores = scores_of(contract.target, rows)
    if len(scores):
        measured[SCORE] = _compare(profile.scores, profile.scored, scores, rules, tested)
    return measured


def psi_limit(bins: int, reference_rows: int, rows: int, columns: int, minimum: float) -> float:
    """Return the PSI above which one of `columns` tested together (Bonferroni's correction of ALPHA) has drifted.

    `bins` counts those that are not empty on both sides. The limit is the larger of `minimum`, which is `monitor.psi`,
    and the quantile 1 - ALPHA / columns of PSI for equal distributions (Yurdakul & Naranjo 2020). The chi-square
    quantile is approximated within 3 % (Wilson & Hilferty 1931).
    """
    degrees = max(bins - 1, 1)
    spread = 2 / (9 * degrees)
    quantile: float = degrees * (1 - spread + NormalDist().inv_cdf(1 - ALPHA / columns) * spread**0.5) ** 3
    return max(minimum, quantile * (1 / max(reference_rows, 1) + 1 / max(rows, 1)))


def output_columns(target: Target) -> list[str]:
    """Return the columns of logged predictions that hold the raw outputs of a model."""
    return [name for name, sql_type in prediction_columns(target).items() if sql_type == "DOUBLE"]


def scores_of(target: Target, rows: "pd.DataFrame") -> "pd.Series[Any]":
    """Return one number per prediction, not null: its value, or the probability of the positive or predicted class."""
    return rows.reindex(columns=output_columns(target)).astype("float64").max(axis=1).dropna()


def _of_column(
    column: Column, profile: Profile, known: Sequence[str], values: "pd.Series[Any]", rules: Monitor, tested: int
) -> ColumnDrift:
    is_number = column.kind in ("number", "integer")
    if is_number and values.dtype.kind not in "iuf" and values.notna().any():
        return ColumnDrift(broken="does not have the type of the contract")
    reference, rows, present = profile.columns[column.name], len(values), values.dropna()
    nulls, unseen, outside, problem = float(values.isna().mean()), 0.0, 0.0, None
    if column.kind == "category" and len(present):
        unseen = float((~present.astype(str).isin(known)).mean())
    if column.expected:
        inside = present.between(*column.expected) if is_number else present.isin(column.expected)
        outside = float((~inside).sum()) / rows
    if rows >= rules.min_rows:
        variance = 1 / rows + 1 / profile.rows
        if _increased(nulls, reference.nulls, variance, rules.null_change):
            problem = f"{nulls:.1%} of the rows are null, {reference.nulls:.1%} of the training rows were"
        elif _increased(unseen, reference.unseen, variance, rules.unseen_share):
            problem = f"{unseen:.1%} of the rows have a level that training did not contain"
        elif column.kind == "number" and len(reference.edges) >= MAX_BINS - 2 and present.nunique() == 1:
            problem = "every row has the same value"
    compared = _compare(reference, profile.rows, values, rules, tested)
    drifted = compared.drifted and problem is None
    return replace(compared, nulls=nulls, unseen=unseen, outside=outside, broken=problem, drifted=drifted)


def _compare(
    reference: Distribution, reference_rows: int, values: "pd.Series[Any]", rules: Monitor, tested: int
) -> ColumnDrift:
    rows = len(values)
    bins, before, now = reference.compare(values)
    psi = population_stability_index(before * reference_rows, now)
    # A bin that is empty on both sides cannot vary.
    limit = psi_limit(int(((before > 0) | (now > 0)).sum()), reference_rows, rows, tested, rules.psi)
    drifted = rows >= rules.min_rows and psi > limit
    trained, current = tuple(before.tolist()), tuple((now / rows).tolist())
    seasonal = reference.seasonal
    return ColumnDrift(psi, limit, seasonal, drifted=drifted, bins=bins, reference=trained, current=current)


def _increased(share: float, reference: float, variance: float, minimum: float) -> bool:
    """Return whether a share grew by more than `minimum` and by more than sampling explains."""
    return share - reference > max(minimum, STANDARD_ERRORS * math.sqrt(reference * (1 - reference) * variance))
