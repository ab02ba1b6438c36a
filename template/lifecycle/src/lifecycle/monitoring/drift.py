"""Compare the rows of a production window with the training rows of the deployed model, column by column.

The measure is the population stability index (PSI). A column has drifted when its PSI exceeds `monitor.psi` and also
what sampling alone explains: for equal distributions, PSI / (1/rows + 1/reference rows) is approximately chi-square
distributed (Yurdakul & Naranjo 2020). It must differ both from all training rows and from the newest four weeks of
them, so that an alarm ends when the model has been trained on its cause.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.models.reference import (
    MAX_BINS,
    Distribution,
    Profile,
    population_stability_index,
    share_outside,
)
from lifecycle.registry.predictions import prediction_columns
from lifecycle.settings import Monitor

if TYPE_CHECKING:
    import pandas as pd

# Probability that an unchanged window shows drift in any column, whatever `monitor.psi` is.
ALPHA = 0.01
# Standard errors by which a share of nulls or unseen levels must exceed its training share.
STANDARD_ERRORS = 4.0
# Fewer rows may have the same value by chance.
CONSTANT_ROWS = 30
SCORE = "prediction"
NULLS, UNSEEN, CONSTANT = "nulls", "unseen", "constant"


@dataclass(frozen=True)
class ColumnDrift:
    """One column in one window.

    `psi` and `limit` are those of the comparison, with all training rows or with their newest four weeks (`newest`), in
    which the column differs less. `nulls`, `unseen` and `outside` are shares of the window's rows; `reference` and
    `current` are shares by bin of the compared training rows and of the window. `seasonal` is the largest PSI of four
    weeks of the training period against the whole of it; `unusual` says that more rows than in training are outside
    `expected`. `broken` says how the data are broken and `kind` what it is (NULLS, UNSEEN, CONSTANT; empty where the
    contract is violated). `accepted` is what would be broken and was accepted; the column then counts as drifted.
    """

    psi: float = 0.0
    limit: float = 0.0
    seasonal: float = 0.0
    nulls: float = 0.0
    unseen: float = 0.0
    outside: float = 0.0
    unusual: bool = False
    drifted: bool = False
    broken: str | None = None
    kind: str = ""
    accepted: str | None = None
    newest: bool = False
    bins: tuple[str, ...] = ()
    reference: tuple[float, ...] = ()
    current: tuple[float, ...] = ()


@dataclass(frozen=True)
class _Reference:
    """Training rows to compare with: a distribution of `rows` rows, whose unseen share is from `held` rows."""

    distribution: Distribution
    rows: int
    held: int
    newest: bool = False


def measure_drift(
    contract: Contract,
    profile: Profile,
    levels: Mapping[str, Sequence[str]],
    rows: "pd.DataFrame",
    rules: Monitor,
    accepted: Collection[tuple[str, str]] = (),
) -> dict[str, ColumnDrift]:
    """Measure every profiled input of a window, and the model's scores under the name `prediction`.

    `levels` are the categories the model knows, by column; `accepted` holds columns with the kind of what was accepted.
    A window has at least one row; it never drifts when it has fewer than `rules.min_rows`.
    """
    tested, measured = len(profile.columns) + 1, {}
    for column in contract.inputs:
        if column.name in profile.columns:
            known, kinds = levels.get(column.name, ()), {kind for name, kind in accepted if name == column.name}
            measured[column.name] = _of_column(column, profile, known, rows[column.name], rules, tested, kinds)
    scores = scores_of(contract.target, rows)
    if len(scores):
        reference = _Reference(profile.scores, profile.scored, profile.scored)
        measured[SCORE] = _compare([reference], scores, rules, tested)
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
    column: Column,
    profile: Profile,
    known: Sequence[str],
    values: "pd.Series[Any]",
    rules: Monitor,
    tested: int,
    accepted: Collection[str],
) -> ColumnDrift:
    if column.kind in ("number", "integer") and values.dtype.kind not in "iuf" and values.notna().any():
        return ColumnDrift(broken="does not have the type of the contract")
    distribution, present = profile.columns[column.name], values.dropna()
    references = [_Reference(distribution, profile.rows, profile.scored)]
    if newest := distribution.of_newest():
        size = distribution.newest.rows if distribution.newest else 0
        references.append(_Reference(newest, size, size, newest=True))
    found = _compare(references, values, rules, tested)
    unseen = 0.0
    if column.kind == "category" and len(present):
        unseen = float((~present.astype(str).isin(known)).mean())
    found = replace(found, nulls=float(values.isna().mean()), unseen=unseen, outside=share_outside(column, values))
    if len(values) < rules.min_rows:
        return found
    unusual = _increased(
        found.outside, [(each.distribution.outside, each.rows) for each in references], len(values), rules.outside_share
    )
    problems = dict(_problems(column, found, references, present, len(values), rules))
    broken = next((kind for kind in problems if kind not in accepted), "")
    taken = next((text for kind, text in problems.items() if kind in accepted), None)
    return replace(
        found,
        unusual=unusual,
        broken=problems.get(broken),
        kind=broken,
        accepted=taken,
        drifted=not broken and (found.drifted or taken is not None),
    )


def _problems(
    column: Column,
    found: ColumnDrift,
    references: list[_Reference],
    present: "pd.Series[Any]",
    rows: int,
    rules: Monitor,
) -> Iterator[tuple[str, str]]:
    """Yield kind and description of each way in which the values of a window are broken."""
    nulls = [(each.distribution.nulls, each.rows) for each in references]
    unseen = [(each.distribution.unseen, each.held) for each in references]
    if _increased(found.nulls, nulls, rows, rules.null_change):
        yield NULLS, f"{found.nulls:.1%} of the rows are null, {max(nulls)[0]:.1%} of the training rows were"
    if _increased(found.unseen, unseen, rows, rules.unseen_share):
        yield UNSEEN, f"{found.unseen:.1%} of the rows have a level that training did not contain"
    varied = len(references[0].distribution.edges) >= MAX_BINS - 2
    if column.kind == "number" and varied and len(present) >= CONSTANT_ROWS and present.nunique() == 1:
        yield CONSTANT, "every row has the same value"


def _compare(references: list[_Reference], values: "pd.Series[Any]", rules: Monitor, tested: int) -> ColumnDrift:
    """Return the comparison in which the values differ less, so that they drift where they differ from each."""
    measured = []
    for each in references:
        bins, before, now = each.distribution.compare(values)
        psi = population_stability_index(before * each.rows, now)
        # A bin that is empty on both sides cannot vary.
        filled = int(((before > 0) | (now > 0)).sum())
        limit = psi_limit(filled, each.rows, len(values), tested, rules.psi)
        drifted = len(values) >= rules.min_rows and psi > limit
        seasonal, shares, current = (
            each.distribution.seasonal,
            tuple(before.tolist()),
            tuple((now / len(values)).tolist()),
        )
        found = ColumnDrift(psi, limit, seasonal, drifted=drifted, bins=bins, reference=shares, current=current)
        measured.append(replace(found, newest=each.newest))
    return min(measured, key=lambda each: each.psi / each.limit)


def _increased(share: float, references: list[tuple[float, int]], rows: int, minimum: float) -> bool:
    """Return whether a share exceeds each reference (a share, of rows) by `minimum` and by what sampling explains."""
    return all(
        share - before
        > max(minimum, STANDARD_ERRORS * math.sqrt(before * (1 - before) * (1 / rows + 1 / max(size, 1))))
        for before, size in references
    )
