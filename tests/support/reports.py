"""Monitoring reports as `make monitor` writes them, for tests that read one."""

from typing import Any


def report(version: str, verdict: str = "ok", **parts: Any) -> dict[str, Any]:
    """A report of one version; `parts` replace its own."""
    column = {"psi": 0.31, "limit": 0.1, "nulls": 0.0, "unseen": 0.0, "outside": 0.0, "drifted": True, "broken": None}
    window = {
        "from": "2026-10-27T00:00:00Z",
        "to": "2026-11-24T00:00:00Z",
        "rows": 900,
        "columns": {"discount": column},
    }
    bounds = {"rows": 700, "value": 0.71, "lower": 0.68, "upper": 0.74}
    quality = {
        "predictions": 900,
        "mature": 800,
        "labelled": 700,
        "metric": "roc_auc",
        "overall": bounds,
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
