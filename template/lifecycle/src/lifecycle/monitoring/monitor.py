"""Look at what the live version was asked and answered, judge it, and write down what was found.

The dated report comes first, then the newest one that the service tells, then the request for a retrain: whatever a
kill leaves, the next run says it again.
"""

import json
import math
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle import timestamps
from lifecycle.contract.schema import Contract
from lifecycle.contract.tables import check_table
from lifecycle.contract.team import Data
from lifecycle.errors import LifecycleError, NotHere
from lifecycle.features import point_in_time
from lifecycle.models import reference
from lifecycle.models.bundle import Bundle, open_version
from lifecycle.monitoring import drift, labels, quality, skew
from lifecycle.monitoring.judge import Findings, Reason, Window, judge
from lifecycle.monitoring.report import page_of
from lifecycle.monitoring.skew import Skew
from lifecycle.registry import deployments, predictions
from lifecycle.reports.files import FORMAT, INCIDENT, LATEST, REQUEST, RETRAIN
from lifecycle.settings import Monitor, Settings
from lifecycle.storage import write_atomically
from lifecycle.timestamps import DAY

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

PAGE = "monitoring.html"
WINDOW = "lifecycle_window"
LEAVES_OUT = ("bins", "reference", "current")
Document = dict[str, Any]


def monitor(settings: Settings, data: Data, environment: str, as_of: int | None = None) -> tuple[Document, Path]:
    """The report on an environment and where it stands; raises LifecycleError before the first promotion.

    Where the team's tables are not, features are not computed again, and the report says so.
    """
    moment = timestamps.now() if as_of is None else as_of
    live = deployments.required(settings.store, environment).current
    bundle = open_version(settings.store, live.version)
    found = examine(settings, data, environment, bundle, moment)
    verdict, reasons = judge(found, settings)
    document = _document(environment, bundle.version, verdict, reasons, found)
    return document, _written(settings, document, found)


def examine(settings: Settings, data: Data, environment: str, bundle: Bundle, moment: int) -> Findings:
    """Everything there is to judge about a version at a moment."""
    import duckdb

    rules, contract, facts = settings.monitor, bundle.contract, bundle.facts
    known: dict[str, Any] = {"trained": timestamps.parse(facts["as_of"]) if "as_of" in facts else None}
    known["profiled"] = reference.read(bundle) is not None
    try:
        connection = point_in_time.connect(data, settings.data)
        known["latest"] = point_in_time.latest(connection, data)
    except LifecycleError as error:
        connection = duckdb.connect()
        known["here"] = False
        # Tables that are here and cannot be read are broken; they may well be elsewhere.
        known["skew_fault"] = "" if isinstance(error, NotHere) else error.problem
    with connection:
        # Whatever is mature within as many days as the windows have counts for quality.
        first = moment - (rules.label_days + rules.windows * rules.window_days) * DAY
        if not predictions.rows(connection, settings.store, environment, first, moment, bundle.version):
            return Findings(moment, _spans(rules, moment), **known)
        windows, newest = _windows(connection, settings, bundle, moment)
        labels.joined(connection, settings.store, contract, moment)
        known["quality"] = _quality(connection, settings, bundle, moment, newest)
        connection.execute(f"DELETE FROM {predictions.LOGGED} WHERE ts < {windows[-1].first}")
        if known.get("here", True):
            known["skew"], known["skew_fault"] = _skew(connection, bundle)
        known["features_age"] = _features_age(connection, contract, known.get("latest"))
        return Findings(moment, windows, **known)


def _spans(rules: Monitor, moment: int) -> list[Window]:
    """The windows without what is in them, oldest first."""
    days = rules.window_days * DAY
    return [Window(moment - back * days, moment - (back - 1) * days, 0) for back in range(rules.windows, 0, -1)]


def _windows(
    connection: "duckdb.DuckDBPyConnection", settings: Settings, bundle: Bundle, moment: int
) -> tuple[list[Window], "pd.Series[Any]"]:
    """The windows, oldest first, and the scores of the last one."""
    rules, shape = settings.monitor, reference.read(bundle)
    found = []
    for span in _spans(rules, moment):
        inside = f"ts >= {span.first} AND ts < {span.last}"
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {WINDOW} AS FROM {predictions.LOGGED} WHERE {inside}")
        rows = connection.execute(f"FROM {WINDOW}").df()
        columns = {}
        if len(rows) and shape is not None:
            faults = _faults(connection, bundle.contract, shape)
            columns = drift.measure(bundle.contract, shape, bundle.facts["levels"], rows, rules, faults)
        found.append(Window(span.first, span.last, len(rows), columns))
    return found, drift.scores_of(bundle.contract.target, rows)


def _faults(connection: "duckdb.DuckDBPyConnection", contract: Contract, shape: reference.Profile) -> dict[str, str]:
    """By column, how the rows of WINDOW break the contract."""
    faults = {}
    for column in contract.inputs:
        if column.name in shape.columns:
            try:
                check_table(connection, WINDOW, (column,), "the log")
            except LifecycleError as error:
                told = error.problem.splitlines()[-1].strip()
                faults[column.name] = told.removeprefix(f"the log: {column.name} ")
    return faults


def _quality(
    connection: "duckdb.DuckDBPyConnection", settings: Settings, bundle: Bundle, moment: int, newest: "pd.Series[Any]"
) -> quality.Quality:
    """On answers that are old enough: a label that is known early is known for a reason."""
    rules = settings.monitor
    covered = labels.coverage(connection, moment, rules.label_days)
    # A batch of a past day may be answered by a model that has learned the labels of that day.
    learned = (
        timestamps.midnight(timestamps.date_of(timestamps.parse(bundle.facts["as_of"])))
        if "as_of" in bundle.facts
        else 0
    )
    labelled = connection.execute(
        f"FROM {labels.LABELLED} WHERE {labels.LABEL} IS NOT NULL AND ts <= {moment - rules.label_days * DAY} "
        f"AND (ts >= {learned} OR NOT starts_with(lifecycle_request, 'score-')) "
        "ORDER BY ts, lifecycle_request, lifecycle_position"
    ).df()
    return quality.measure(
        bundle.contract, bundle.facts, settings, labelled, covered.predictions, covered.mature, newest.to_numpy()
    )


def _skew(connection: "duckdb.DuckDBPyConnection", bundle: Bundle) -> tuple[Skew | None, str]:
    if not skew.comparable(bundle.contract):
        return None, ""
    try:
        return skew.compare(connection, bundle), ""
    except LifecycleError as error:
        return None, error.problem


def _features_age(connection: "duckdb.DuckDBPyConnection", contract: Contract, latest: int | None) -> int | None:
    """How far the features of the newest answer were behind the data of that moment, in seconds."""
    if not contract.lookups:
        return None
    found = _asked(
        connection, f"SELECT ts, as_of FROM {predictions.LOGGED} WHERE as_of IS NOT NULL ORDER BY ts DESC LIMIT 1"
    )
    if not found:
        return None
    ts, as_of = found[0]
    return int(min(ts, ts if latest is None else latest)) - int(as_of)


def _asked(connection: "duckdb.DuckDBPyConnection", query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query).fetchall()


def _document(environment: str, version: str, verdict: str, reasons: list[Reason], found: Findings) -> Document:
    windows = [
        {
            "from": timestamps.format_utc(window.first),
            "to": timestamps.format_utc(window.last),
            "rows": window.rows,
            "columns": {
                name: {key: each for key, each in asdict(column).items() if key not in LEAVES_OUT}
                for name, column in window.columns.items()
            },
        }
        for window in found.windows
    ]
    return {
        "format": FORMAT,
        "environment": environment,
        "moment": timestamps.format_utc(found.moment),
        "version": version,
        "verdict": verdict,
        "reasons": [asdict(reason) for reason in reasons],
        "windows": windows,
        "quality": _told(found.quality) if found.quality else None,
        "skew": asdict(found.skew) if found.skew else None,
    }


def _told(found: quality.Quality) -> Document:
    whole = (
        {"value": found.whole.value, "lower": found.whole.lower, "upper": found.whole.upper} if found.whole else None
    )
    return {
        "predictions": found.predictions,
        "mature": found.mature,
        "labelled": found.labelled,
        "coverage": found.labelled / found.mature if found.mature else None,
        "metrics": {found.metric: whole} if whole else {},
        "expected": found.expected,
        "bound": found.bound,
        "slices": [{"slice": name} | asdict(each) for name, each in found.slices.items()],
        "estimate": found.estimate,
    }


def _written(settings: Settings, document: Document, found: Findings) -> Path:
    """Write the report, and the request that follows from it; returns the dated report."""
    folder = settings.store.reports / str(document["environment"])
    dated = folder / f"{datetime.fromtimestamp(found.moment, UTC):%Y%m%dT%H%M%SZ}"
    # What was true once changes nothing of what is true now.
    looks_back = found.moment < _newest(folder / LATEST)
    if document["verdict"] == INCIDENT and not looks_back:
        # First of all: nothing learns from broken data.
        _withdraw(folder / REQUEST)
    text = (json.dumps(_plain(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    write_atomically(dated / PAGE, page_of(document, found).encode())
    write_atomically(dated / LATEST, text)
    if looks_back:
        return dated
    write_atomically(folder / LATEST, text)
    if document["verdict"] == RETRAIN:
        reason = document["reasons"][0]
        request = {
            "format": FORMAT,
            "environment": document["environment"],
            "moment": document["moment"],
            "reason": reason["kind"],
            "text": reason["text"],
            "evidence": str(dated / LATEST),
            "version": document["version"],
        }
        write_atomically(folder / REQUEST, (json.dumps(request, indent=2, ensure_ascii=False) + "\n").encode())
    else:
        _withdraw(folder / REQUEST)
    return dated


def _newest(path: Path) -> int:
    """The moment of the report that stands; 0 where none can be read."""
    try:
        return timestamps.parse(json.loads(path.read_bytes())["moment"])
    except (FileNotFoundError, ValueError, KeyError, TypeError, LifecycleError):
        return 0


def _withdraw(path: Path) -> None:
    """Remove a request that is not true any more; one that a person made stands."""
    try:
        manual = json.loads(path.read_bytes()).get("reason") == "manual"
    except FileNotFoundError:
        return
    except (ValueError, AttributeError):
        manual = False
    if not manual:
        path.unlink(missing_ok=True)


def _plain(value: Any) -> Any:
    """What JSON has a word for: no NaN."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
