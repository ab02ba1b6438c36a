"""Measure drift, skew and quality of the deployed version; write a page, a JSON document and a retrain request."""

from dataclasses import replace
from pathlib import Path

from lifecycle import spark, timestamps
from lifecycle.contract.tables import Connection, bounded, check_table, connect, count, text
from lifecycle.contract.team import Data
from lifecycle.errors import LifecycleError, NotHere
from lifecycle.features import point_in_time
from lifecycle.models.bundle import Bundle, open_version
from lifecycle.models.reference import Profile, read_profile
from lifecycle.monitoring import collect
from lifecycle.monitoring.counts import estimated_accuracy
from lifecycle.monitoring.drift import ColumnDrift, measure_drift
from lifecycle.monitoring.quality import compare_logged, evenly_spaced, measure_quality
from lifecycle.monitoring.report import Document, accepted, build_document, write_report
from lifecycle.monitoring.verdict import Findings, Window
from lifecycle.registry import deployments, labels, predictions
from lifecycle.reports import render
from lifecycle.settings import Monitor, Settings
from lifecycle.timestamps import DAY, format_utc

WINDOW = "lifecycle_window"


def monitor(settings: Settings, data: Data, environment: str, as_of: int | None = None) -> tuple[Document, Path]:
    """Monitor the version deployed in an environment and write the report.

    Returns the report and the dated folder that holds it. Raises LifecycleError where nothing is deployed in the
    environment, or a clock, `as_of` or `latest()` is wrong. Where the team's tables are absent, features are not
    recomputed. Predictions, labels and data after `as_of` (seconds, by default the current time) are ignored.
    """
    as_of = timestamps.now() if as_of is None else as_of
    _check_clock({"AS_OF": as_of}, tolerance=0)
    deployed = deployments.required(settings.store, environment).current
    bundle = open_version(settings.store, deployed.version)
    with bounded(settings.store, settings.store.reports / environment, settings.score.memory_mb) as limits:
        findings = _collect_findings(settings, data, environment, bundle, as_of, deployed.threshold, limits)
    document = build_document(environment, bundle.version, findings, settings)
    units = {column.name: column.unit for column in bundle.contract.inputs}
    return document, write_report(settings.store, document, render("monitoring.html.j2", report=document, units=units))


def _collect_findings(
    settings: Settings,
    data: Data,
    environment: str,
    bundle: Bundle,
    as_of: int,
    threshold: float | None,
    limits: dict[str, str],
) -> Findings:
    """Measure what the verdict depends on, with DuckDB within `limits`; `threshold` is the deployed one.

    LifecycleError for times in the future.
    """
    store, rules, length = settings.store, settings.monitor, settings.monitor.window_days * DAY
    windows = [Window(as_of - back * length, as_of - (back - 1) * length) for back in range(rules.windows, 0, -1)]
    first, profile = windows[0].first, read_profile(bundle)
    findings = Findings(as_of, windows, has_profile=profile is not None, environment=environment)
    findings.accepted = accepted(store, environment, bundle.version, as_of)
    if "as_of" in bundle.facts:
        findings.trained = timestamps.parse(bundle.facts["as_of"])
    try:
        connection = spark.connect(settings, data, **limits)
        # Without latest() the data have no time of their own, and the clock is not one of theirs.
        newest = point_in_time.latest(connection, data) if hasattr(data, "latest") else None
    except LifecycleError as error:
        connection, newest, findings.has_tables = connect(**limits), None, False
        # Absent tables may be on another machine; tables that are present and unreadable are an incident.
        findings.skew_error = "" if isinstance(error, NotHere) else error.problem
    # A batch has the date it was made for, which may be in the future; the service logs the time of the prediction.
    served = [path for path in predictions.files(store, environment) if not path.name.startswith(predictions.BATCH)]
    dates = [timestamps.midnight(predictions.date_of(path)) for path in served]
    _check_clock({"latest() of src/model/data.py": newest, "the newest prediction": max(dates, default=None)})
    with connection:
        # Quality covers as many days of mature predictions as the windows cover of all predictions.
        earliest = first - rules.label_days * DAY
        if predictions.load_rows(connection, store, environment, earliest, as_of, bundle.version):
            for window in windows:
                _measure_window(connection, rules, bundle, profile, window, findings)
            _measure_quality(connection, settings, bundle, findings, threshold)
            ((logged,),) = connection.execute(f"SELECT max(ts) FROM {predictions.LOGGED}").fetchall()
            findings.newest_data = max(logged, min(newest or 0, as_of))
            connection.execute(f"DELETE FROM {predictions.LOGGED} WHERE ts < {windows[-1].first}")
            if findings.has_tables:
                try:
                    findings.skew = compare_logged(connection, bundle)
                except LifecycleError as error:
                    findings.skew_error = error.problem
            findings.features_lag = _features_lag(connection, newest)
        elif newest is not None:
            findings.newest_data = min(newest, as_of)
        findings.left_out |= _outside(connection, settings, environment, bundle, first, as_of)
    return findings


def _check_clock(times: dict[str, int | None], tolerance: int = DAY) -> None:
    """Raise LifecycleError, which names the time, where one of `times` (seconds, by name) is later than the clock."""
    # The tolerance is a day, because the midnight after the last event is a usual definition of the latest time.
    now = timestamps.now()
    for name, time in times.items():
        if time is not None and time > now + tolerance:
            problem = f"{name} is {format_utc(time)}, and the clock of this machine shows {format_utc(now)}"
            hint = "Set the clock, or correct the time that is in the future. No report was written."
            raise LifecycleError(problem, hint)


def _features_lag(connection: Connection, newest: int | None) -> int | None:
    """Return how many seconds the looked-up features of the newest logged prediction were behind the data of its time.

    `newest` is the latest time in the tables, if any. LifecycleError where the features are later than the prediction.
    """
    query = f"SELECT ts, as_of FROM {predictions.LOGGED} WHERE as_of IS NOT NULL ORDER BY ts DESC LIMIT 1"
    found = connection.execute(query).fetchone()
    if found is None:
        return None
    ts, as_of = found
    if as_of > ts + DAY:
        problem = f"the newest prediction is from {format_utc(ts)}, and its features are as of {format_utc(as_of)}"
        hint = "Set the clock of the service, or correct latest() of src/model/data.py. No report was written."
        raise LifecycleError(f"{problem}, later", hint)
    return int(min(ts, ts if newest is None else newest) - as_of)


def _measure_window(
    connection: Connection, rules: Monitor, bundle: Bundle, profile: Profile | None, window: Window, findings: Findings
) -> None:
    """Set the number of rows and the drift of a window, which is then the view WINDOW."""
    query = f"FROM {predictions.LOGGED} WHERE ts >= {window.first} AND ts < {window.last}"
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {WINDOW} AS {query}")
    window.rows = count(connection, f"FROM {WINDOW}")
    if window.rows and profile is not None:
        known = {(each["column"], each["kind"]) for each in findings.accepted}
        levels = bundle.facts["levels"]
        window.columns = measure_drift(connection, WINDOW, bundle.contract, profile, levels, rules, known)
        for column in bundle.contract.inputs:
            if column.name in profile.columns:
                try:
                    check_table(connection, WINDOW, (column,), "the log")
                except LifecycleError as error:
                    how = error.problem.splitlines()[-1].strip().removeprefix(f"the log: {column.name} ")
                    found: ColumnDrift = window.columns[column.name]
                    window.columns[column.name] = replace(found, broken=how, kind="", accepted=None, drifted=False)


def _measure_quality(
    connection: Connection, settings: Settings, bundle: Bundle, findings: Findings, threshold: float | None
) -> None:
    """Set quality on mature predictions, count what it does not use; WINDOW is the last window."""
    # Labels that are known early are not a random sample.
    as_of, days, contract = findings.as_of, settings.monitor.label_days, bundle.contract
    labels.joined(connection, settings.store, contract, as_of)
    covered = labels.coverage(connection, as_of, days)
    # A batch for a past day may have been scored by a model whose training labels include that day.
    trained = timestamps.midnight(timestamps.date_of(findings.trained or 0))
    labelled = (
        f"FROM {labels.LABELLED} WHERE {labels.LABEL} IS NOT NULL AND ts <= {as_of - days * DAY} "
        f"AND (ts >= {trained} OR NOT starts_with(lifecycle_request, {text(predictions.BATCH)}))"
    )
    used = count(connection, labelled)
    findings.left_out |= {
        "immature": covered.predictions - covered.mature,
        "unlabelled": covered.mature - covered.labelled - covered.other,
        "other_classes": covered.other,
        "trained_on": covered.labelled - used,
    }
    rows, numbers = evenly_spaced(connection, labelled, used), (covered.predictions, covered.mature, used)
    estimate = estimated_accuracy(connection, WINDOW, contract.target)
    findings.quality = measure_quality(contract, bundle.facts, settings, rows, *numbers, estimate, threshold)


def _outside(
    connection: Connection, settings: Settings, environment: str, bundle: Bundle, first: int, as_of: int
) -> dict[str, int]:
    """Count what is not in the table of the version's predictions from `first` until before `as_of`, in seconds."""
    store, paths = settings.store, predictions.files(settings.store, environment)
    queries = {"unmatched": f"FROM ({labels.known(store, as_of)}) l WHERE l.seen_ts >= {first}"}
    if paths:
        source = predictions.table_of(paths)
        for condition in labels.conditions(connection, bundle.contract, source):
            # One for each way to match: a single condition with OR could not be a hash join.
            queries["unmatched"] += f" AND NOT EXISTS (SELECT 1 FROM {source} p WHERE {condition})"
        is_batch = f"starts_with(lifecycle_request, {text(predictions.BATCH)})"
        queries["later"] = f"FROM {source} WHERE ts >= {as_of} AND {is_batch}"
        others = f"ts >= {first} AND ts < {as_of} AND version <> {text(bundle.version)}"
        queries["other_versions"] = f"FROM {source} WHERE {others}"
    counts = {kind: count(connection, query) for kind, query in queries.items()}
    return counts | {"damaged": collect.damaged_lines(store, environment, first, as_of)}
