"""Gauges that are read from the storage when Prometheus requests them: the deployed version, ages, monitoring results.

All workers read the same storage, so that each of them returns the same values.
"""

import contextlib
import json
import logging
from collections.abc import Iterator
from typing import Any

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lifecycle import timestamps
from lifecycle.errors import LifecycleError
from lifecycle.registry import segments
from lifecycle.reports import FORMAT, LATEST, VERDICTS
from lifecycle.serving.deployed import DeploymentFollower
from lifecycle.serving.prediction_log import segments_bytes

log = logging.getLogger("lifecycle.serving")

GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "model_info": ("The deployed version.", ("version", "contract", "environment")),
    "model_deployment_pending": ("1 while the deployed version cannot be loaded and the one before stays in use.", ()),
    "model_trained_timestamp_seconds": ("When it was trained.", ()),
    "model_features_as_of_timestamp_seconds": ("The time as of which the looked-up features are.", ()),
    "model_monitoring_last_success_timestamp_seconds": ("The time of the newest monitoring report.", ()),
    "model_monitoring_verdict": ("1 for the verdict of the newest monitoring report.", ("verdict",)),
    "model_drift_score": ("PSI of the newest window.", ("column",)),
    "model_drift_limit": ("PSI from which the column drifts.", ("column",)),
    "model_quality": ("Quality on mature labels.", ("metric", "slice")),
    "model_quality_upper": ("Upper end of its confidence interval.", ("metric", "slice")),
    "model_quality_bound": ("Quality below which a retrain is due.", ("metric",)),
    "prediction_log_bytes": ("Bytes of the prediction log that are not collected yet.", ()),
}

Report = dict[str, Any]
# The gauge, its labels and its value.
Value = tuple[str, tuple[str, ...], float]


class StorageMetrics(Collector):
    """The collector of one environment; it never raises, and leaves out what the storage does not contain."""

    def __init__(self, follower: DeploymentFollower) -> None:
        self.follower = follower
        self._report = follower.store.reports / follower.environment / LATEST

    def describe(self) -> Iterator[Metric]:
        """Return nothing: which families have values depends on the storage."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Yield every family, also those without a value: a query for them is no mistake."""
        families = {name: GaugeMetricFamily(name, text, labels=labels) for name, (text, labels) in GAUGES.items()}
        for name, labels, value in self._values():
            families[name].add_metric(labels, value)
        yield from families.values()

    def _values(self) -> Iterator[Value]:
        follower = self.follower
        model = follower.deployed
        yield "model_info", (model.version, str(model.contract.version), follower.environment), 1
        yield "model_deployment_pending", (), float(bool(follower.pending))
        with contextlib.suppress(KeyError, TypeError, LifecycleError):
            yield "model_trained_timestamp_seconds", (), timestamps.parse(model.predictor.bundle.facts["created"])
        if model.features:
            yield "model_features_as_of_timestamp_seconds", (), model.features.as_of
        yield "prediction_log_bytes", (), segments_bytes(segments.folder(follower.store, follower.environment))
        try:
            report = json.loads(self._report.read_bytes())
            if report["format"] != FORMAT:
                raise ValueError(f"it has format {report['format']}, this service reads {FORMAT}")
            # All of it before the first value, so that a damaged report has no values.
            yield from list(_monitoring(report, model.version))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError, LifecycleError) as error:
            log.error("%s is not a valid monitoring report: %s", self._report, error)


def _monitoring(report: Report, version: str) -> Iterator[Value]:
    yield "model_monitoring_last_success_timestamp_seconds", (), timestamps.parse(report["as_of"])
    if report["version"] != version:
        # The results of another version do not describe the deployed one.
        return
    for verdict in VERDICTS:
        yield "model_monitoring_verdict", (verdict,), float(report["verdict"] == verdict)
    yield from _drift(report["windows"][-1]["columns"] if report["windows"] else {})
    if report["quality"]:
        yield from _quality(report["quality"])


def _drift(columns: Report) -> Iterator[Value]:
    for column, found in columns.items():
        # Beyond its limit without a drift: too few rows, or broken data, which the verdict reports.
        if None not in (found["psi"], found["limit"]) and (found["drifted"] or found["psi"] <= found["limit"]):
            yield "model_drift_score", (column,), float(found["psi"])
            yield "model_drift_limit", (column,), float(found["limit"])


def _quality(quality: Report) -> Iterator[Value]:
    metric = quality["metric"]
    if quality["overall"] is None:
        return
    if quality["bound"] is not None:
        yield "model_quality_bound", (metric,), float(quality["bound"])
    for name, interval in ({"all": quality["overall"]} | quality["slices"]).items():
        yield "model_quality", (metric, name), float(interval["value"])
        yield "model_quality_upper", (metric, name), float(interval["upper"])
