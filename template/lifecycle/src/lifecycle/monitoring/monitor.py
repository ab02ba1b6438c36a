"""Measure drift, skew and quality of the deployed version and write the monitoring report.

The report is a page, a JSON document that the service reads, and the request for a retrain. The dated report is written
first, then the newest one, then the request, so that a run that is killed at any step leaves whole files and the next
run completes them.
"""

import contextlib
import json
import re
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle import timestamps
from lifecycle.contract.tables import check_table, text
from lifecycle.contract.team import Data
from lifecycle.errors import LifecycleError, NotHere
from lifecycle.features import point_in_time
from lifecycle.models.bundle import Bundle, open_version
from lifecycle.models.reference import Profile, read_profile
from lifecycle.monitoring import clocks, omitted
from lifecycle.monitoring.acceptance import accepted
from lifecycle.monitoring.drift import measure_drift, scores_of
from lifecycle.monitoring.omitted import BATCH
from lifecycle.monitoring.quality import Quality, measure_quality
from lifecycle.monitoring.skew import comparable, compare_logged
from lifecycle.monitoring.verdict import Findings, Window, decide
from lifecycle.registry import deployments, labels, predictions
from lifecycle.reports import FORMAT, INCIDENT, LATEST, REQUEST, RETRAIN, render
from lifecycle.settings import Settings
from lifecycle.storage import Store, write_atomically
from lifecycle.timestamps import DAY

if TYPE_CHECKING:
    import pandas as pd
    from duckdb import DuckDBPyConnection as Connection

PAGE = "monitoring.html"
WINDOW = "lifecycle_window"
Document = dict[str, Any]


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
        LifecycleError: nothing is deployed in the environment, or a clock, `as_of` or `latest()` is wrong.
    """
    as_of = timestamps.now() if as_of is None else as_of
    clocks.check({"AS_OF": as_of}, tolerance=0)
    deployed = deployments.required(settings.store, environment).current
    bundle = open_version(settings.store, deployed.version)
    findings = collect_findings(settings, data, environment, bundle, as_of, deployed.threshold)
    document = build_document(environment, bundle.version, findings, settings)
    units = {column.name: column.unit for column in bundle.contract.inputs}
    page = render("monitoring.html.j2", report=document, units=units)
    return document, write_report(settings.store, document, page)


def collect_findings(
    settings: Settings, data: Data, environment: str, bundle: Bundle, as_of: int, threshold: float | None = None
) -> Findings:
    """Measure everything that the verdict on a version depends on, as of a time in seconds.

    `threshold` is the deployed one. LifecycleError where data or predictions are from the future.
    """
    import duckdb

    rules, length = settings.monitor, settings.monitor.window_days * DAY
    windows = [Window(as_of - back * length, as_of - (back - 1) * length) for back in range(rules.windows, 0, -1)]
    profile = read_profile(bundle)
    findings = Findings(as_of, windows, has_profile=profile is not None, environment=environment)
    findings.accepted = accepted(settings.store, environment, bundle.version, as_of)
    if "as_of" in bundle.facts:
        findings.trained = timestamps.parse(bundle.facts["as_of"])
    try:
        connection = point_in_time.connect(data, settings.data)
        # Without latest() the data have no time of their own, and the clock is not one of theirs.
        newest = point_in_time.latest(connection, data) if hasattr(data, "latest") else None
    except LifecycleError as error:
        connection, newest = duckdb.connect(), None
        findings.has_tables = False
        # Absent tables may be on another machine; tables that are present and unreadable are an incident.
        findings.skew_error = "" if isinstance(error, NotHere) else error.problem
    # A batch has the date it was made for, which may be in the future; the service logs the time of the prediction.
    served = [path for path in predictions.files(settings.store, environment) if not path.name.startswith(BATCH)]
    dates = [timestamps.midnight(predictions.date_of(path)) for path in served]
    clocks.check({"latest() of src/model/data.py": newest, "the newest prediction": max(dates, default=None)})
    with connection:
        # Quality covers as many days of mature predictions as the windows cover of all predictions.
        first = windows[0].first - rules.label_days * DAY
        if predictions.load_rows(connection, settings.store, environment, first, as_of, bundle.version):
            for window in windows:
                rows = _measure_window(connection, settings, bundle, profile, window, findings)
            labels.joined(connection, settings.store, bundle.contract, as_of)
            findings.quality = _quality(connection, settings, bundle, findings, rows, threshold)
            ((logged,),) = connection.execute(f"SELECT max(ts) FROM {predictions.LOGGED}").fetchall()
            findings.newest_data = max(logged, min(newest or 0, as_of))
            connection.execute(f"DELETE FROM {predictions.LOGGED} WHERE ts < {windows[-1].first}")
            if findings.has_tables and comparable(bundle.contract):
                try:
                    findings.skew = compare_logged(connection, bundle)
                except LifecycleError as error:
                    findings.skew_error = error.problem
            findings.features_lag = clocks.features_lag(connection, newest)
        elif newest is not None:
            findings.newest_data = min(newest, as_of)
        findings.left_out |= omitted.outside_the_report(
            connection, settings.store, environment, bundle.contract, bundle.version, windows[0].first, as_of
        )
    return findings


def _measure_window(
    connection: "Connection",
    settings: Settings,
    bundle: Bundle,
    profile: Profile | None,
    window: Window,
    findings: Findings,
) -> "pd.DataFrame":
    """Set the number of rows and the drift of a window, and return its rows."""
    contract = bundle.contract
    known = {(each.column, each.kind) for each in findings.accepted}
    query = f"FROM {predictions.LOGGED} WHERE ts >= {window.first} AND ts < {window.last}"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {WINDOW} AS {query}")
    rows = connection.execute(f"FROM {WINDOW}").df()
    window.rows = len(rows)
    if window.rows and profile is not None:
        window.columns = measure_drift(contract, profile, bundle.facts["levels"], rows, settings.monitor, known)
        for column in contract.inputs:
            if column.name in profile.columns:
                try:
                    check_table(connection, WINDOW, (column,), "the log")
                except LifecycleError as error:
                    how = error.problem.splitlines()[-1].strip().removeprefix(f"the log: {column.name} ")
                    found = replace(window.columns[column.name], broken=how, kind="", accepted=None, drifted=False)
                    window.columns[column.name] = found
    return rows


def _quality(
    connection: "Connection",
    settings: Settings,
    bundle: Bundle,
    findings: Findings,
    last: "pd.DataFrame",
    threshold: float | None,
) -> Quality:
    """Measure quality on mature predictions only, because labels that are known early are not a random sample."""
    days = settings.monitor.label_days
    covered = labels.coverage(connection, findings.as_of, days)
    # A batch for a past day may have been scored by a model whose training labels include that day.
    trained = timestamps.midnight(timestamps.date_of(findings.trained or 0))
    eligible = f"(ts >= {trained} OR NOT starts_with(lifecycle_request, {text(BATCH)}))"
    findings.left_out |= omitted.unusable(connection, findings.as_of, days, eligible)
    labelled = connection.execute(
        f"FROM {labels.LABELLED} WHERE {labels.LABEL} IS NOT NULL AND ts <= {findings.as_of - days * DAY} "
        f"AND {eligible} ORDER BY ts, lifecycle_request, lifecycle_position"
    ).df()
    counts, newest = (covered.predictions, covered.mature), scores_of(bundle.contract.target, last).to_numpy()
    return measure_quality(bundle.contract, bundle.facts, settings, labelled, *counts, newest, threshold)


def build_document(environment: str, version: str, findings: Findings, settings: Settings) -> Document:
    """Return the report as a document for `monitoring.json`: the verdict, its reasons and every figure behind them."""
    verdict, reasons = decide(findings, settings)
    measured, utc = asdict(findings), timestamps.format_utc
    return {
        "format": FORMAT,
        "environment": environment,
        "as_of": utc(findings.as_of),
        "version": version,
        "verdict": verdict,
        "reasons": [asdict(reason) for reason in reasons],
        "windows": [
            {"from": utc(window.first), "to": utc(window.last), "rows": window.rows}
            | {"state": window.state(settings.monitor.min_rows), "columns": measured["windows"][place]["columns"]}
            for place, window in enumerate(findings.windows)
        ],
        "left_out": omitted.described(findings.left_out, settings.monitor.label_days),
        "quality": measured["quality"],
        "skew": {"problem": findings.skew_error} if findings.skew_error else measured["skew"],
    }


def write_report(store: Store, document: Document, page: str) -> Path:
    """Write the report, add or withdraw the request for a retrain, and return the dated folder of the report.

    A report about an earlier time than the newest one changes neither the newest report nor the request.
    """
    folder = store.reports / str(document["environment"])
    dated = folder / re.sub("[-:]", "", document["as_of"])
    is_newest = document["as_of"] >= str(_read(folder / LATEST).get("as_of", ""))
    if document["verdict"] == INCIDENT and is_newest:
        # Before anything else, so that no model is trained on broken data.
        _withdraw(folder / REQUEST)
    write_atomically(dated / PAGE, page.encode())
    _write(dated / LATEST, document)
    if is_newest:
        _write(folder / LATEST, document)
        if document["verdict"] == RETRAIN:
            reason = document["reasons"][0]
            request = {name: document[name] for name in ("format", "environment", "as_of", "version")}
            request |= {"reason": reason["kind"], "text": reason["text"], "evidence": str(dated / LATEST)}
            _write(folder / REQUEST, request)
        else:
            _withdraw(folder / REQUEST)
    return dated


def _read(path: Path) -> Document:
    """Return a JSON object; it is empty where none can be read."""
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
        return dict(json.loads(path.read_bytes()))
    return {}


def _withdraw(path: Path) -> None:
    """Remove a request that monitoring wrote; a request made by a person stays."""
    if _read(path).get("reason") != "manual":
        path.unlink(missing_ok=True)


def _write(path: Path, document: Document) -> None:
    write_atomically(path, (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())
