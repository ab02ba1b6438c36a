"""Compare the rows of a production window with the training rows of the deployed model, column by column.

The measure is the population stability index (PSI). A column has drifted when its PSI exceeds `monitor.psi` and also
what sampling alone explains: for equal distributions, PSI / (1/rows + 1/reference rows) is approximately chi-square
distributed (Yurdakul & Naranjo 2020). It must differ both from all training rows and from the newest four weeks of
them, so that an alarm ends when the model has been trained on its cause.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

from lifecycle.contract.schema import Column, Contract
from lifecycle.contract.tables import Connection, describe
from lifecycle.models import reference
from lifecycle.models.reference import Counts, Distribution, Profile
from lifecycle.monitoring.counts import count_column, count_scores
from lifecycle.settings import Monitor

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


def measure_drift(
    connection: Connection,
    table: str,
    contract: Contract,
    profile: Profile,
    levels: Mapping[str, Sequence[str]],
    rules: Monitor,
    accepted: Collection[tuple[str, str]] = (),
) -> dict[str, ColumnDrift]:
    """Measure every profiled input of the window in `table`, and the model's scores under the name `prediction`.

    `levels` are the categories the model knows, by column; `accepted` holds columns with the kind of what was accepted.
    A window has at least one row; it never drifts when it has fewer than `rules.min_rows`.
    """
    measured, types = {}, describe(connection, f"FROM {table}")
    for column in contract.inputs:
        if column.name in profile.columns:
            kinds = {kind for name, kind in accepted if name == column.name}
            bins, known = profile.columns[column.name], levels.get(column.name, ())
            counted = count_column(connection, table, types, column, bins, known)
            measured[column.name] = _of_column(column, profile, counted, rules, kinds)
    scores = count_scores(connection, table, types, contract.target, profile.scores)
    if scores.rows:
        measured[SCORE] = _compare(profile, [(profile.scores, profile.scored)], scores, rules)
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


def _of_column(
    column: Column, profile: Profile, counted: Counts | None, rules: Monitor, accepted: Collection[str]
) -> ColumnDrift:
    if counted is None:
        return ColumnDrift(broken="does not have the type of the contract")
    distribution, present, rows = profile.columns[column.name], counted.present, counted.rows
    references = [(distribution, profile.rows)]
    if distribution.newest:
        references.append((distribution.newest, distribution.newest.rows))
    unseen, nulls = counted.unseen / max(present, 1), (rows - present) / rows
    found = _compare(profile, references, counted, rules)
    found = replace(found, nulls=nulls, unseen=unseen, outside=counted.outside / rows)
    if rows < rules.min_rows:
        return found

    def increased(name: str, minimum: float) -> bool:
        """Return whether a share exceeds that of each reference by `minimum` and by what sampling explains."""
        for each, size in references:
            # The share of unseen levels among all training rows is estimated on the held-out ones.
            size, before = (each.rows or profile.scored) if name == UNSEEN else size, getattr(each, name)
            error = math.sqrt(before * (1 - before) * (1 / rows + 1 / max(size, 1)))
            if getattr(found, name) - before <= max(minimum, STANDARD_ERRORS * error):
                return False
        return True

    problems = {}
    if increased(NULLS, rules.null_change):
        before = max(each.nulls for each, _ in references)
        problems[NULLS] = f"{found.nulls:.1%} of the rows are null, {before:.1%} of the training rows were"
    if increased(UNSEEN, rules.unseen_share):
        problems[UNSEEN] = f"{unseen:.1%} of the rows have a level that training did not contain"
    varied = column.kind == "number" and len(distribution.edges) >= reference.MAX_BINS - 2
    if varied and present >= CONSTANT_ROWS and counted.is_constant:
        problems[CONSTANT] = "every row has the same value"
    kind = next((each for each in problems if each not in accepted), "")
    taken = next((text for each, text in problems.items() if each in accepted), None)
    broken = problems.get(kind)
    found = replace(found, broken=broken, kind=kind, accepted=taken, unusual=increased("outside", rules.outside_share))
    return replace(found, drifted=not kind and (found.drifted or taken is not None))


def _compare(profile: Profile, sources: list[tuple[Distribution, int]], counted: Counts, rules: Monitor) -> ColumnDrift:
    """Return the comparison in which the values differ less: they drift where they differ from each reference."""
    measured, rows, tested = [], counted.rows, len(profile.columns) + 1
    for distribution, size in sources:
        bins, before, now = distribution.compare(counted)
        psi = reference.population_stability_index(before * size, now)
        # A bin that is empty on both sides cannot vary.
        limit = psi_limit(int(((before > 0) | (now > 0)).sum()), size, rows, tested, rules.psi)
        drifted = rows >= rules.min_rows and psi > limit
        found = ColumnDrift(psi, limit, distribution.seasonal, drifted=drifted, newest=distribution.rows > 0, bins=bins)
        shares = tuple(before.tolist()), tuple((now / rows).tolist())
        measured.append(replace(found, reference=shares[0], current=shares[1]))
    return min(measured, key=lambda each: each.psi / each.limit)
