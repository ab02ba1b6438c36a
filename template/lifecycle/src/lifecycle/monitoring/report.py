"""The report of monitoring: its document, its summary, the request for a retrain, and the acceptance of findings.

The dated report is written first, then the newest one, then the request, so that a run that is killed at any step
leaves whole files and the next run completes them. What is accepted is one line of the audit log: the column counts as
drifted instead of broken, until another version is deployed.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lifecycle import timestamps
from lifecycle.errors import LifecycleError
from lifecycle.models.bundle import open_version
from lifecycle.monitoring.verdict import Findings, decide
from lifecycle.registry import Identity, deployments
from lifecycle.reports import FORMAT, INCIDENT, LATEST, REQUEST, RETRAIN
from lifecycle.settings import Settings
from lifecycle.storage import Store, read_json, write_atomically, write_json

PAGE = "monitoring.html"
ACCEPT = "accept"  # the action in the audit log
LEFT_OUT = {
    "other_versions": "predictions of the windows were made by other versions",
    "later": "batch predictions are for a time after this report and belong to a window of a later one",
    "immature": "predictions are younger than {days} days (monitor.label_days), too young for a label",
    "unlabelled": "older predictions have no label",
    "other_classes": "older predictions have a label that is not a value of the deployed target",
    "trained_on": "labelled predictions are for days that the training data contain",
    "unmatched": "labels that became known in the windows match no collected prediction",
    "damaged": "lines of the prediction log could not be read",
}
Document = dict[str, Any]


def build_document(environment: str, version: str, findings: Findings, settings: Settings) -> Document:
    """Return the report as a document for `monitoring.json`: the verdict, its reasons and every figure behind them."""
    verdict, reasons = decide(findings, settings)
    measured, utc, rules = asdict(findings), timestamps.format_utc, settings.monitor
    windows = [
        {"from": utc(each.first), "to": utc(each.last), "rows": each.rows, "state": each.state(rules.min_rows)}
        | {"columns": {name: asdict(column) for name, column in each.columns.items()}}
        for each in findings.windows
    ]
    left_out = [
        {"kind": kind, "count": count, "text": f"{count:,} {text.format(days=rules.label_days)}"}
        for kind, text in LEFT_OUT.items()
        if (count := findings.left_out.get(kind))
    ]
    return {
        "format": FORMAT,
        "environment": environment,
        "as_of": utc(findings.as_of),
        "version": version,
        "verdict": verdict,
        "reasons": [asdict(reason) for reason in reasons],
        "windows": windows,
        "left_out": left_out,
        "quality": measured["quality"],
        "skew": {"problem": findings.skew_error} if findings.skew_error else measured["skew"],
    }


def summary(document: Document) -> list[str]:
    """Return the figures of a report in a few lines: windows, quality, calibration, and what was left out."""
    quality, left = document["quality"] or {}, "; ".join(each["text"] for each in document["left_out"])
    lines = ["windows: " + "; ".join(map(_window, document["windows"]))]
    if overall := quality.get("overall"):
        text = "{value:.3f} ({lower:.3f} to {upper:.3f}) on {rows:,} labelled predictions".format(**overall)
        known = quality["bound"] is not None
        limits = "; holdout {expected:.3f}, bound {bound:.3f}".format(**quality) if known else ""
        lines.append(f"{quality['metric']} {text}{limits}")
    if quality.get("coverage") is not None:
        lines.append(f"{quality['coverage']:.1%} of the labels do not exceed the predicted quantile")
    if found := quality.get("calibration"):
        text = f"expected calibration error {found['error']:.3f} (perfect probabilities: about {found['chance']:.3f} by"
        lines.append(f"Brier score {quality['brier']:.3f}, {text} chance)")
        if at := quality["at_threshold"]:
            parts = ("undefined" if at[key] is None else f"{at[key]:.2f}" for key in ("precision", "recall"))
            lines[-1] += "; at the threshold {:g}: precision {}, recall {}".format(at["threshold"], *parts)
    return [*lines, f"left out: {left or 'nothing'}"]


def _window(window: Mapping[str, Any]) -> str:
    rows = f"{window['rows']:,} rows, " if window["rows"] else ""
    return f"{window['from'][:10]} to {window['to'][:10]}: {rows}{window['state']}"


def write_report(store: Store, document: Document, page: str) -> Path:
    """Write the report, add or withdraw the request for a retrain, and return the dated folder of the report.

    A report about an earlier time than the newest one changes neither the newest report nor the request.
    """
    folder = store.reports / str(document["environment"])
    dated = folder / re.sub("[-:]", "", document["as_of"])
    is_newest = document["as_of"] >= str(read_json(folder / LATEST).get("as_of", ""))
    if document["verdict"] == INCIDENT and is_newest:
        # Before anything else, so that no model is trained on broken data.
        _withdraw(folder / REQUEST)
    write_atomically(dated / PAGE, page.encode())
    write_json(dated / LATEST, document)
    if is_newest:
        write_json(folder / LATEST, document)
        if document["verdict"] == RETRAIN:
            reason = document["reasons"][0]
            request = {name: document[name] for name in ("format", "environment", "as_of", "version")}
            request |= {"reason": reason["kind"], "text": reason["text"], "evidence": str(dated / LATEST)}
            write_json(folder / REQUEST, request)
        else:
            _withdraw(folder / REQUEST)
    return dated


def accepted(store: Store, environment: str, version: str, as_of: int) -> list[dict[str, Any]]:
    """Return the audit entries up to `as_of` (seconds) by which people accepted findings of the deployed version."""
    found: list[dict[str, Any]] = []
    for entry in deployments.audit_entries(store):
        if entry.get("environment") != environment:
            continue
        if "live" in entry and entry["live"]["version"] != version:
            found = []
        elif entry["action"] == ACCEPT and entry["version"] == version and timestamps.parse(entry["changed"]) <= as_of:
            found.append(entry)
    return found


def accept(store: Store, environment: str, name: str, who: Identity, why: str) -> str:
    """Accept what the newest report found in a column, and return that finding; `who` and `why` go to the audit log.

    Raises LifecycleError where the reason is missing, the column is unknown or not broken, the rows violate the
    contract, or the report does not describe the deployed version.
    """
    if not why.strip():
        problem = f"{name} is accepted only with a reason, which the audit log and later reports state"
        raise LifecycleError(problem, f'Run `make accept COLUMN={name} WHY="…"`.')
    version = deployments.required(store, environment).current.version
    names = [column.name for column in open_version(store, version).contract.inputs]
    if name not in names:
        raise LifecycleError(f"the contract of {version} has no input {name!r}", f"Its inputs are: {', '.join(names)}.")
    report = read_json(store.reports / environment / LATEST)
    if (about := report.get("version", "no version")) != version:
        problem = f"the newest report of {environment} is about {about}, and {version} is deployed"
        raise LifecycleError(problem, "Run `make monitor` first.")
    column = report["windows"][-1]["columns"].get(name, {})
    finding, kind = column.get("broken"), column.get("kind")
    if not finding:
        raise LifecycleError(f"{name} is not broken in the newest report", "Drift needs no acceptance.")
    if not kind:
        hint = 'Fix the data, or change src/model/contract.py and run `make train promote FORCE=1 WHY="…"`.'
        raise LifecycleError(f"{name} violates the contract of the deployed version: it {finding}", hint)
    entry = {"action": ACCEPT, "environment": environment, "version": version, "column": name, "kind": kind}
    entry |= {"finding": finding, "who": who.name, "source": who.source, "why": why.strip()}
    deployments.append_audit(store, entry | {"changed": timestamps.format_utc(timestamps.now())})
    return str(finding)


def _withdraw(path: Path) -> None:
    """Remove a request that monitoring wrote; a request made by a person stays."""
    if read_json(path).get("reason") != "manual":
        path.unlink(missing_ok=True)
