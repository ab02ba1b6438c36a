"""Grafana's dashboard of a model, as JSON: `make dashboard-json` writes it into the template's zone.

The same file is what `make dashboard` of a rendered repository reads, so its queries are plain PromQL without
variables of Grafana.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = "template/lifecycle/deploy/dashboard.json"
WIDTH, HEIGHT, ACROSS = 8, 8, 3
SOURCE = {"type": "prometheus", "uid": "${source}"}


@dataclass(frozen=True)
class Panel:
    """One question: `queries` are PromQL by their name in the legend; an empty name lets the labels tell."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    about: str = ""
    kind: str = "timeseries"


PREDICT = 'route="/predict"'
SECONDS = f"sum by (le) (rate(http_request_duration_seconds_bucket{{{PREDICT}}}[5m]))"
DAYS = "(time() - max({})) / 86400"
ROWS: dict[str, tuple[Panel, ...]] = {
    "Now": (
        Panel("What answers", {"": "model_info"}, kind="table"),
        Panel("Verdict of monitoring", {"": "model_monitoring_verdict == 1"}, kind="table"),
        Panel("Age", {
            "training": DAYS.format("model_trained_timestamp_seconds"),
            "features": DAYS.format("model_features_as_of_timestamp_seconds"),
            "monitoring": DAYS.format("model_monitoring_last_success_timestamp_seconds"),
        }, "d", "In days. The alerts: 200, 2 and 2."),
    ),
    "Requests": (
        Panel("Requests", {"": "sum by (route) (rate(http_requests_total[5m]))"}, "reqps", "A second."),
        Panel("Errors", {"share of /predict": (
            f'(sum(rate(http_requests_total{{{PREDICT}, status=~"5.."}}[5m])) or vector(0))'
            f" / sum(rate(http_requests_total{{{PREDICT}}}[5m]))"
        )}, "percentunit", "The alert: 1 %."),
        Panel("Duration of /predict", {
            "half": f"histogram_quantile(0.5, {SECONDS})", "99 of 100": f"histogram_quantile(0.99, {SECONDS})",
        }, "s", "In seconds. The alert: half a second."),
        Panel("In flight", {"": "sum(http_requests_in_flight)"}),
        Panel("Refused", {"": "sum by (reason) (rate(model_requests_refused_total[5m]))"}, "reqps", "A second."),
    ),
    "Answers": (
        Panel("Rows answered", {"": "sum by (prediction) (rate(model_predictions_total[5m]))"}, "ops", "A second."),
        Panel("By version", {"": "sum by (version) (rate(model_predictions_total[5m]))"}, "ops", "A second."),
        Panel("Mean score", {
            "score": "sum(rate(model_prediction_score_sum[1h])) / sum(rate(model_prediction_score_count[1h]))",
        }, "percentunit", "Probability of the positive, or of the answered class, in the last hour."),
    ),
    "Inputs": (
        Panel("Drift", {"": "max by (column) (model_drift_score)"}, about="PSI of the newest window."),
        Panel("Drift beyond its limit", {
            "": "max by (column) (model_drift_score) - max by (column) (model_drift_limit)",
        }, about="Above 0, the column has drifted."),
        Panel("Unusual", {"": "sum by (column) (rate(model_input_unusual_total[1h]))"}, "ops",
              "Values outside what the contract expects, a second."),
    ),
    "Quality": (
        Panel("Quality", {
            "value": 'max(model_quality{slice="all"})',
            "bound": "max(model_quality_bound)",
            "upper end": 'max(model_quality_upper{slice="all"})',
        }, about="On mature labels. The upper end of its interval below the bound is the alert."),
        Panel("Quality by slice", {"": 'max by (slice) (model_quality{slice!="all"})'}),
        Panel("Prediction log", {"waiting": "sum(prediction_log_bytes)"}, "bytes", "What no job has collected yet."),
        Panel("Lost lines of the log", {"": "sum(increase(prediction_log_dropped_total[1h]))"}),
    ),
}  # fmt: skip


def dashboard() -> dict[str, Any]:
    """The whole dashboard."""
    panels: list[dict[str, Any]] = []
    top = 0
    for title, inside in ROWS.items():
        panels.append({"type": "row", "title": title, "collapsed": False, "gridPos": _place(0, top, 24, 1)})
        for at, panel in enumerate(inside):
            down, across = divmod(at, ACROSS)
            panels.append(_panel(panel, _place(across * WIDTH, top + 1 + down * HEIGHT, WIDTH, HEIGHT)))
        top += 1 + HEIGHT * -(-len(inside) // ACROSS)
    return {
        "title": "Model",
        "uid": "looseleaf-model",
        "description": "Written by code of the template: an update replaces it. Copy it to change it.",
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "utc",
        "templating": {
            "list": [{"name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus"}]
        },
        "panels": [panel | {"id": number} for number, panel in enumerate(panels, 1)],
    }


def _place(left: int, top: int, width: int, height: int) -> dict[str, int]:
    return {"x": left, "y": top, "w": width, "h": height}


def _panel(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    table = panel.kind == "table"
    targets = [
        {
            "refId": chr(ord("A") + at),
            "expr": expression,
            # Grafana's word for the labels in which the series differ.
            "legendFormat": name or "__auto",
            "instant": table,
            "range": not table,
            "format": "table" if table else "time_series",
            "datasource": SOURCE,
        }
        for at, (name, expression) in enumerate(panel.queries.items())
    ]
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": targets,
    }


def text() -> str:
    """The text of the committed file."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    """Write it where the checkout lies."""
    (ROOT / DASHBOARD).write_text(text(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
