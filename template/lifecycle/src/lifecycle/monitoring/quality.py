"""Measure the quality of a version's predictions with labels that arrived later, and the skew of their features.

Skew: the features of logged requests are recomputed as of their own time and compared with what the service used. This
detects that the online feature table differs from the SQL of the training rows (Breck et al. 2017, Monitor 3).
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lifecycle import spark
from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.contract.tables import Connection, Frame, bounded, count, literal, quoted
from lifecycle.contract.team import Data
from lifecycle.features import point_in_time
from lifecycle.models import metrics
from lifecycle.models.bundle import Bundle
from lifecycle.models.metrics import Floats, Interval, at_threshold, reliability
from lifecycle.monitoring.counts import output_columns
from lifecycle.registry import predictions
from lifecycle.registry.labels import LABEL, PLACE
from lifecycle.settings import Settings
from lifecycle.timestamps import DAY

MAX_ROWS, MAX_RECOMPUTED = 20_000, 2000
TOLERANCE = 1e-9  # relative, because a sum of floating-point numbers depends on their order
SAMPLE = "lifecycle_sampled"


@dataclass(frozen=True)
class Quality:
    """Quality over `labelled` of `mature` predictions, those old enough for a label, among all `predictions`.

    `overall` is None with fewer labels than `monitor.min_labels`, or where the rows do not define the metric.
    `expected` is the holdout's value and `bound` the lowest acceptable one. `estimate` is the accuracy implied by the
    probabilities of the last window; it cannot detect a changed relation between inputs and label, so no decision
    depends on it. `brier` and `calibration` are measured on the same rows as `overall`, for classes; `at_threshold` at
    the deployed threshold, for binary classification; `coverage` is the share of labels up to a predicted quantile.
    """

    predictions: int
    mature: int
    labelled: int
    metric: str
    overall: Interval | None
    expected: float | None
    bound: float | None
    slices: dict[str, Interval] = field(default_factory=dict)
    estimate: float | None = None
    brier: float | None = None
    calibration: dict[str, Any] | None = None
    at_threshold: dict[str, Any] | None = None
    coverage: float | None = None

    @property
    def decayed(self) -> bool:
        """Whether the whole confidence interval lies below the bound."""
        return self.overall is not None and self.bound is not None and self.overall.upper < self.bound


@dataclass(frozen=True)
class Skew:
    """The number of logged rows that were recomputed, how many differ, and in which columns."""

    rows: int
    different: int
    columns: dict[str, int] = field(default_factory=dict)


def measure_quality(
    contract: Contract,
    facts: dict[str, Any],
    settings: Settings,
    rows: Frame,
    predictions: int,
    mature: int,
    labelled: int,
    estimate: float | None = None,
    threshold: float | None = None,
) -> Quality:
    """Measure quality over `rows`, those of `evenly_spaced` of the `labelled` mature predictions.

    `facts` is the content of `bundle.json`, `threshold` the deployed one; see Quality for the other numbers.
    """
    target, rules = contract.target, settings.monitor
    _, metric = metrics.measure_names(target)
    expected = facts.get("metrics", {}).get(facts.get("estimator", "candidate"), {}).get(metric)
    # JSON has no NaN, and no prediction can be compared with it.
    expected = expected if expected is not None and np.isfinite(expected) else None
    bound = None if expected is None else expected - rules.quality_drop
    overall, slices, more = None, {}, {}
    if labelled >= rules.min_labels:
        codes = rows[LABEL].map(target.classes.index) if target.classes else rows[LABEL]
        actual, outputs = (each.to_numpy(dtype=np.float64) for each in (codes, rows[output_columns(target)]))
        outputs = outputs if target.task == "multiclass" else outputs[:, 0]
        overall = _interval(target, actual, outputs, settings)
        for name, of_slice in metrics.slices(contract, rows, settings.gate.min_slice_rows):
            if measured := _interval(target, actual[of_slice], outputs[of_slice], settings):
                slices[name] = measured
        more = _more(target, actual, outputs, threshold)
    return Quality(predictions, mature, labelled, metric, overall, expected, bound, slices, estimate, **more)


def evenly_spaced(connection: Connection, query: str, rows: int) -> Frame:
    """Return at most MAX_ROWS evenly spaced ones, oldest first, of the `rows` rows of a query of LABELLED."""
    # They keep the bootstrap fast and cover the whole period. LOGGED is ordered by time.
    at = np.unique(np.linspace(0, rows - 1, min(rows, MAX_ROWS)).astype(int))
    numbered = f"SELECT {PLACE}, row_number() OVER (ORDER BY {PLACE}) - 1 AS number {query}"
    chosen = f"SELECT {PLACE} FROM ({numbered}) WHERE number IN (SELECT unnest(?))"
    found: Frame = connection.execute(f"{query} AND {PLACE} IN ({chosen}) ORDER BY {PLACE}", [at.tolist()]).df()
    return found


def measure_skew(settings: Settings, data: Data, environment: str, bundle: Bundle, as_of: int) -> Skew | None:
    """Compare the newest rows that a version predicted for within one window before `as_of` (seconds).

    Returns None where nothing can be compared: no looked-up column, no key in the log, or no row. Raises LifecycleError
    where the tables cannot be read, or `features.sql` does not run on them.
    """
    if not _recomputable(bundle.contract):
        return None
    store, first = settings.store, as_of - settings.monitor.window_days * DAY
    with (
        bounded(store, store.reports / environment, settings.score.memory_mb) as limits,
        spark.connect(settings, data, **limits) as connection,
    ):
        predictions.load_rows(connection, store, environment, first, as_of, bundle.version)
        return compare_logged(connection, bundle)


def compare_logged(connection: Connection, bundle: Bundle) -> Skew | None:
    """Compare the newest rows of the table that `predictions.load_rows` filled; None as in `measure_skew`.

    The connection has the team's tables. The bundle's own `features.sql` is run; LifecycleError when it fails.
    """
    contract, sql, columns = bundle.contract, bundle.features_sql, _recomputable(bundle.contract)
    looked_up = f"FROM {predictions.LOGGED} WHERE as_of IS NOT NULL"
    if contract.fallback is not None:
        # A row of fallback values was not looked up, so there is nothing to compare.
        same = (f"{quoted(column.name)} IS NOT DISTINCT FROM {literal(column.fallback)}" for column in columns)
        looked_up += f" AND NOT ({' AND '.join(same)})"
    if not columns or contract.key is None or sql is None or not count(connection, looked_up):
        return None
    key = quoted(contract.key.name)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {SAMPLE} AS SELECT * {looked_up} "
        f"ORDER BY ts DESC, lifecycle_request, lifecycle_position LIMIT {MAX_RECOMPUTED}"
    )
    spine = f"SELECT DISTINCT {key}, as_of AS ts FROM {SAMPLE}"
    recomputed = point_in_time.recompute_query(connection, contract, sql, spine)
    different = {column.name: _different(column) for column in columns}
    counts = ", ".join(f"count(*) FILTER ({each})" for each in (" OR ".join(different.values()), *different.values()))
    ((rows, differing, *found),) = connection.execute(
        f"SELECT count(*), {counts} FROM {SAMPLE} l LEFT JOIN ({recomputed}) f ON f.{key} = l.{key} AND f.ts = l.as_of"
    ).fetchall()
    return Skew(rows, differing, {name: each for name, each in zip(different, found, strict=True) if each})


def _more(target: Target, actual: Floats, outputs: Floats, threshold: float | None) -> dict[str, Any]:
    """Return the fields of Quality about probabilities, for classes, and about a quantile."""
    if target.task == "regression":
        return {} if target.quantile is None else {"coverage": float((actual <= outputs).mean())}
    brier = float(metrics.slice_losses(target, actual, outputs).mean())
    found: dict[str, Any] = {"brier": brier, "calibration": reliability(*metrics.events(target, actual, outputs))}
    if target.task == "multiclass" or threshold is None:
        return found
    return found | {"at_threshold": at_threshold(actual, outputs, threshold)}


def _interval(target: Target, actual: Floats, outputs: Floats, settings: Settings) -> Interval | None:
    tail = (1 - settings.monitor.confidence) / 2
    return metrics.interval(target, actual, outputs, tail, settings.gate.resamples, settings.train.seed)


def _recomputable(contract: Contract) -> tuple[Column, ...]:
    """Return the looked-up columns of the log; none where the log lacks the key they were looked up by."""
    is_logged = contract.key is not None and contract.key.loggable
    return tuple(column for column in contract.lookups if is_logged and column.loggable)


def _different(column: Column) -> str:
    logged, again = f"l.{quoted(column.name)}", f"f.{quoted(column.name)}"
    if column.kind != "number":
        return f"{logged} IS DISTINCT FROM {again}"
    far = f"abs({logged} - {again}) > {TOLERANCE} * greatest(abs({logged}), abs({again}))"
    return f"(({logged} IS NULL) <> ({again} IS NULL) OR coalesce({far}, FALSE))"
