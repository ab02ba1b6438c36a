"""Monitoring reports and pages with known content, for tests that read one."""

from typing import Any

from lifecycle import reports
from lifecycle.monitoring.drift import ColumnDrift
from lifecycle.monitoring.quality import Interval, Quality, Skew
from lifecycle.monitoring.report import build_document
from lifecycle.monitoring.verdict import Findings, Window
from lifecycle.settings import Settings
from lifecycle.training import FAILED, NOT_COMPARED, PASSED, Check, Decision, Record, page

DAY = 86_400
FIRST = 1_764_000_000


def report(version: str, verdict: str = "ok", **parts: Any) -> dict[str, Any]:
    """Return the document of a monitoring report of one version; `parts` replace its own."""
    column = {"psi": 0.31, "limit": 0.1, "nulls": 0.0, "unseen": 0.0, "outside": 0.0, "drifted": True, "broken": None}
    window = {
        "from": "2026-10-27T00:00:00Z",
        "to": "2026-11-24T00:00:00Z",
        "rows": 900,
        "columns": {"discount": column},
    }
    quality = {
        "predictions": 900,
        "mature": 800,
        "labelled": 700,
        "metric": "roc_auc",
        "overall": {"rows": 700, "value": 0.71, "lower": 0.68, "upper": 0.74},
        "expected": 0.8,
        "bound": 0.75,
        "slices": {"plan=basic": {"rows": 300, "value": 0.6, "lower": 0.5, "upper": 0.7}},
        "estimate": 0.77,
    }
    whole = {
        "format": 1,
        "environment": "local",
        "as_of": "2026-11-24T06:00:00Z",
        "version": version,
        "verdict": verdict,
        "reasons": [],
        "windows": [window],
        "quality": quality,
        "skew": None,
    }
    return whole | parts


def monitoring_page() -> str:
    """Return the page of a monitoring report that has every section."""
    plan = ColumnDrift(
        psi=0.3,
        limit=0.1,
        drifted=True,
        bins=("basic", "plus", "null"),
        reference=(0.4, 0.35, 0.25),
        current=(0.5, 0.25, 0.25),
    )
    columns = {"plan <b>": plan, "lost": ColumnDrift(broken="does not have the type of the contract")}
    windows = [Window(FIRST + number * 28 * DAY, FIRST + (number + 1) * 28 * DAY, 700, columns) for number in range(3)]
    slices = {"plan=basic": Interval(300, 0.6, 0.55, 0.65)}
    quality = Quality(2100, 1400, 1200, "roc_auc", Interval(1200, 0.71, 0.69, 0.735), 0.8, 0.75, slices, 0.77)
    findings = Findings(windows[-1].last, windows, quality, Skew(600, 12, {"visits": 12}), trained=FIRST)
    document = build_document("local", "v1", findings, Settings())
    return reports.render("monitoring.html.j2", report=document, units={"plan <b>": "plan"})


def decision_page() -> str:
    """Return the page of a gate decision that has every section; its failed checks are overridden."""
    numbers = {"mean": 0.02, "lower": 0.01, "upper": 0.03, "error": 0.005}
    checks = (
        Check("rows", PASSED, "1,000 held-out rows", {"rows": 1000}),
        Check("linear", PASSED, "mean log loss 0.4 against 0.42", numbers),
        Check("champion", NOT_COMPARED, "v1 has another target", hint="Compare <i>both</i>."),
        Check("size", FAILED, "the bundle has 12 MB", hint="Use a smaller estimator."),
    )
    about = ("local", "v2", "v1", "drift", FIRST, "ana", "it is <b>better")
    bins = [{"rows": 500, "predicted": 0.1, "observed": 0.08}, {"rows": 500, "predicted": 0.6, "observed": 0.7}]
    at = {"threshold": 0.5, "predicted": 0, "precision": None, "recall": 0.0, "cost": 0.25}
    curve = [[0.1, -0.4], [0.5, -0.25], [0.9, -0.3]]
    calibration = {"bins": bins, "error": 0.06, "chance": 0.013, "thresholds": {"requested": at}, "curve": curve}
    slices = {"plan <b>=basic": {"rows": 400, "value": 0.7, "lower": 0.65, "upper": 0.75}}
    return page(Record(*about, Decision(checks), "a <b>reason", calibration, slices))
