"""Measure drift, skew and quality of the deployed version and write the monitoring report."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle import timestamps
from lifecycle.contract.schema import Contract
from lifecycle.contract.tables import check_table
from lifecycle.contract.team import Data
from lifecycle.errors import LifecycleError, NotHere
from lifecycle.features import point_in_time
from lifecycle.models.bundle import Bundle, open_version
from lifecycle.models.reference import Profile, read_profile
from lifecycle.monitoring import labels
from lifecycle.monitoring.drift import measure_drift, scores_of
from lifecycle.monitoring.quality import Quality, measure_quality
from lifecycle.monitoring.report import Document, build_document, render_page, write_report
from lifecycle.monitoring.skew import comparable, compare_logged
from lifecycle.monitoring.verdict import Findings, Window, decide
from lifecycle.registry import deployments, predictions
from lifecycle.settings import Monitor, Settings
from lifecycle.timestamps import DAY

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

WINDOW = "lifecycle_window"


def monitor(settings: Settings, data: Data, environment: str, as_of: int | None = None) -> tuple[Document, Path]:
    """Monitor the version deployed in an environment and write the report.

    Args:
        settings: storage, data and the block `monitor`.
        data: the team's tables; where they are absent, features are not recomputed and the report says so.
        environment: its predictions are read.
        as_of: seconds; the current time when None. Predictions, labels and data after it are ignored.

    Returns:
        The report and the dated folder that holds it.

    Raises:
        LifecycleError: nothing is deployed in the environment.
    """
    as_of = timestamps.now() if as_of is None else as_of
    bundle = open_version(settings.store, deployments.required(settings.store, environment).current.version)
    findings = collect_findings(settings, data, environment, bundle, as_of)
    verdict, reasons = decide(findings, settings)
    document = build_document(environment, bundle.version, verdict, reasons, findings)
    page = render_page(document, findings, {column.name: column.unit for column in bundle.contract.inputs})
    return document, write_report(settings.store, document, page, as_of)


def collect_findings(settings: Settings, data: Data, environment: str, bundle: Bundle, as_of: int) -> Findings:
    """Measure everything that the verdict on a version depends on, as of a time in seconds."""
    import duckdb

    rules, contract, facts = settings.monitor, bundle.contract, bundle.facts
    known: dict[str, Any] = {"trained": timestamps.parse(facts["as_of"]) if "as_of" in facts else None}
    known["has_profile"] = read_profile(bundle) is not None
    try:
        connection = point_in_time.connect(data, settings.data)
        known["newest_data"] = point_in_time.latest(connection, data)
    except LifecycleError as error:
        connection = duckdb.connect()
        known["has_tables"] = False
        # Absent tables may be on another machine; tables that are present and unreadable are an incident.
        known["skew_error"] = "" if isinstance(error, NotHere) else error.problem
    with connection:
        # Quality covers as many days of mature predictions as the windows cover of all predictions.
        first = as_of - (rules.label_days + rules.windows * rules.window_days) * DAY
        if not predictions.load_rows(connection, settings.store, environment, first, as_of, bundle.version):
            return Findings(as_of, _empty_windows(rules, as_of), **known)
        windows, newest = _windows(connection, settings, bundle, as_of)
        labels.joined(connection, settings.store, contract, as_of)
        known["quality"] = _quality(connection, settings, bundle, as_of, newest)
        connection.execute(f"DELETE FROM {predictions.LOGGED} WHERE ts < {windows[-1].first}")
        if known.get("has_tables", True):
            try:
                known["skew"] = compare_logged(connection, bundle) if comparable(contract) else None
            except LifecycleError as error:
                known["skew_error"] = error.problem
        known["features_lag"] = _features_lag(connection, contract, known.get("newest_data"))
        return Findings(as_of, windows, **known)


def _empty_windows(rules: Monitor, as_of: int) -> list[Window]:
    length = rules.window_days * DAY
    return [Window(as_of - back * length, as_of - (back - 1) * length, 0) for back in range(rules.windows, 0, -1)]


def _windows(
    connection: "duckdb.DuckDBPyConnection", settings: Settings, bundle: Bundle, as_of: int
) -> tuple[list[Window], "pd.Series[Any]"]:
    """Return the windows, oldest first, and the scores of the last one."""
    rules, profile, contract = settings.monitor, read_profile(bundle), bundle.contract
    windows = []
    for span in _empty_windows(rules, as_of):
        inside = f"ts >= {span.first} AND ts < {span.last}"
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {WINDOW} AS FROM {predictions.LOGGED} WHERE {inside}")
        rows = connection.execute(f"FROM {WINDOW}").df()
        columns = {}
        if len(rows) and profile is not None:
            violations = _violations(connection, contract, profile)
            columns = measure_drift(contract, profile, bundle.facts["levels"], rows, rules, violations)
        windows.append(Window(span.first, span.last, len(rows), columns))
    return windows, scores_of(contract.target, rows)


def _violations(connection: "duckdb.DuckDBPyConnection", contract: Contract, profile: Profile) -> dict[str, str]:
    """Return, for each column of WINDOW that violates the contract, how."""
    violations = {}
    for column in contract.inputs:
        if column.name in profile.columns:
            try:
                check_table(connection, WINDOW, (column,), "the log")
            except LifecycleError as error:
                last_line = error.problem.splitlines()[-1].strip()
                violations[column.name] = last_line.removeprefix(f"the log: {column.name} ")
    return violations


def _quality(
    connection: "duckdb.DuckDBPyConnection", settings: Settings, bundle: Bundle, as_of: int, newest: "pd.Series[Any]"
) -> Quality:
    """Measure quality on mature predictions only, because labels that are known early are not a random sample."""
    days, facts = settings.monitor.label_days, bundle.facts
    covered = labels.coverage(connection, as_of, days)
    # A batch for a past day may have been scored by a model whose training labels include that day.
    trained = timestamps.midnight(timestamps.date_of(timestamps.parse(facts["as_of"]))) if "as_of" in facts else 0
    labelled = connection.execute(
        f"FROM {labels.LABELLED} WHERE {labels.LABEL} IS NOT NULL AND ts <= {as_of - days * DAY} "
        f"AND (ts >= {trained} OR NOT starts_with(lifecycle_request, 'score-')) "
        "ORDER BY ts, lifecycle_request, lifecycle_position"
    ).df()
    scores = newest.to_numpy()
    return measure_quality(bundle.contract, facts, settings, labelled, covered.predictions, covered.mature, scores)


def _features_lag(connection: "duckdb.DuckDBPyConnection", contract: Contract, newest_data: int | None) -> int | None:
    """Return by how many seconds the features of the newest prediction were behind the data of that time."""
    if not contract.lookups:
        return None
    row = connection.execute(
        f"SELECT ts, as_of FROM {predictions.LOGGED} WHERE as_of IS NOT NULL ORDER BY ts DESC LIMIT 1"
    ).fetchone()
    if row is None:
        return None
    ts, as_of = row
    return int(min(ts, ts if newest_data is None else newest_data)) - int(as_of)
