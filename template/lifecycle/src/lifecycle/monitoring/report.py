"""Write the monitoring report: a page, a JSON document that the service reads, and the request for a retrain.

The dated report is written first, then the newest one, then the request, so that a run that is killed at any step
leaves whole files and the next run completes them.
"""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lifecycle import timestamps
from lifecycle.errors import LifecycleError
from lifecycle.monitoring.verdict import Findings, Reason
from lifecycle.reports import pages
from lifecycle.reports.verdicts import FORMAT, INCIDENT, LATEST, REQUEST, RETRAIN
from lifecycle.storage import Store, write_atomically

PAGE = "monitoring.html"
MAX_CHARTS = 24
Document = dict[str, Any]


def build_document(environment: str, version: str, verdict: str, reasons: list[Reason], findings: Findings) -> Document:
    """Return the report as a document for `monitoring.json`."""
    return {
        "format": FORMAT,
        "environment": environment,
        "as_of": timestamps.format_utc(findings.as_of),
        "version": version,
        "verdict": verdict,
        "reasons": [asdict(reason) for reason in reasons],
        "windows": [
            {
                "from": timestamps.format_utc(window.first),
                "to": timestamps.format_utc(window.last),
                "rows": window.rows,
                "columns": {name: asdict(column) for name, column in window.columns.items()},
            }
            for window in findings.windows
        ],
        "quality": asdict(findings.quality) if findings.quality else None,
        "skew": asdict(findings.skew) if findings.skew else None,
    }


def write_report(store: Store, document: Document, page: str, as_of: int) -> Path:
    """Write the report, add or withdraw the request for a retrain, and return the dated folder of the report.

    A report about an earlier time than the newest one changes neither the newest report nor the request.
    """
    folder = store.reports / str(document["environment"])
    dated = folder / f"{datetime.fromtimestamp(as_of, UTC):%Y%m%dT%H%M%SZ}"
    is_newest = as_of >= _newest(folder / LATEST)
    if document["verdict"] == INCIDENT and is_newest:
        # Before anything else, so that no model is trained on broken data.
        _withdraw(folder / REQUEST)
    content = _encode(document)
    write_atomically(dated / PAGE, page.encode())
    write_atomically(dated / LATEST, content)
    if not is_newest:
        return dated
    write_atomically(folder / LATEST, content)
    if document["verdict"] == RETRAIN:
        reason = document["reasons"][0]
        request = {name: document[name] for name in ("format", "environment", "as_of", "version")}
        request |= {"reason": reason["kind"], "text": reason["text"], "evidence": str(dated / LATEST)}
        write_atomically(folder / REQUEST, _encode(request))
    else:
        _withdraw(folder / REQUEST)
    return dated


def render_page(document: Document, findings: Findings, units: Mapping[str, str]) -> str:
    """Return the report as a page: the verdict, its reasons, and every figure behind them; `units` by column."""
    last, quality = findings.windows[-1], findings.quality
    # Broken columns first, then by descending PSI.
    columns = sorted(last.columns.items(), key=lambda each: (each[1].broken is None, -each[1].psi))
    measured = {"all rows": quality.overall} | quality.slices if quality and quality.overall else {}
    lines = {"bound": quality.bound, "holdout": quality.expected} if quality else {}
    return pages.render(
        "monitoring.html.j2",
        report=document,
        skew_error=findings.skew_error,
        last=last,
        columns=columns,
        charted=[(name, column) for name, column in columns if column.bins][:MAX_CHARTS],
        units=units,
        quality=quality,
        measured={name: (each.value, each.lower, each.upper) for name, each in measured.items() if each},
        lines={name: value for name, value in lines.items() if value is not None},
        day=timestamps.date_of,
        percent="{:.1%}".format,
    )


def _newest(path: Path) -> int:
    """Return the time of the newest report in seconds, 0 where none can be read."""
    try:
        return timestamps.parse(json.loads(path.read_bytes())["as_of"])
    except (FileNotFoundError, ValueError, KeyError, TypeError, LifecycleError):
        return 0


def _withdraw(path: Path) -> None:
    """Remove a request that monitoring wrote; a request made by a person stays."""
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
        if json.loads(path.read_bytes())["reason"] == "manual":
            return
    path.unlink(missing_ok=True)


def _encode(document: Document) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
