"""Metrics of the service for Prometheus: what this process counts, and gauges that are read from the storage.

Several processes count as one where PROMETHEUS_MULTIPROC_DIR names a directory that they share. All of them read the
same storage, so that each of them returns the same gauges.
"""

import contextlib
import functools
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from lifecycle import timestamps
from lifecycle.contract.rows import Row, days, expected_range
from lifecycle.contract.schema import ORDERED, Column
from lifecycle.errors import LifecycleError
from lifecycle.registry.predictions import segment_folder, size_of_segments
from lifecycle.reports import FORMAT, LATEST, VERDICTS
from lifecycle.serving.deployed import DeployedModel, DeploymentFollower, Header

log = logging.getLogger("lifecycle.serving")
PATH = "/predict"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Any other path or method is the client's own text and would create series without limit.
UNMATCHED = "__unmatched__"
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
PROBABILITIES = tuple(tenth / 10 for tenth in range(1, 11))
REASONS = {401: "unauthorized", 404: "unknown_key", 408: "slow", 413: "too_large", 415: "compressed", 422: "invalid"}
REASONS |= {503: "not_ready"}
OVERLOADED = "overloaded"
# The queue empties within a second.
RETRY_SOON = (b"retry-after", b"1")
# The gauges that are read from the storage: description and labels.
GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "model_info": ("The deployed version.", ("model", "version", "contract", "environment")),
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


class Rejected(Exception):
    """An error response; `reason` is the label of its metric."""

    def __init__(self, status: int, detail: Any, *headers: Header, reason: str = "") -> None:
        self.status, self.detail, self.headers = status, detail, headers
        self.reason = reason or REASONS[status]


class Metrics(Collector):
    """The counters of one process, and the collector of the gauges of its environment."""

    def __init__(self, follower: DeploymentFollower, in_flight: Callable[[], float] = lambda: 0) -> None:
        self.follower = follower
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.is_shared = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        self._counters, self._gauges = CollectorRegistry(), CollectorRegistry()
        self._gauges.register(self)
        if not self.is_shared:
            ProcessCollector(registry=self._gauges)
            # Several processes have no such gauge: one that was killed would leave its value.
            gauge = Gauge("http_requests_in_flight", "Requests without a response yet.", registry=self._gauges)
            gauge.set_function(in_flight)
        counter = functools.partial(Counter, registry=self._counters)
        histogram = functools.partial(Histogram, registry=self._counters)
        by_route = ["method", "route"]
        self.requests = counter("http_requests", "Requests with a response.", [*by_route, "status"])
        self.seconds = histogram("http_request_duration_seconds", "Time to the response.", by_route, buckets=SECONDS)
        self.predictions = counter("model_predictions", "Rows predicted.", ["version", "prediction"])
        score = "Probability of the positive or of the predicted class."
        self.scores = histogram("model_prediction_score", score, buckets=PROBABILITIES)
        self.unusual = counter("model_input_unusual", "Values outside what the contract expects.", ["column"])
        self.refusals = counter("model_requests_refused", "Prediction requests without a prediction.", ["reason"])
        self.dropped = counter("prediction_log_dropped", "Lines of the prediction log that were dropped.")
        # `labels` takes longer than counting, so each series is looked up once.
        self._series = functools.cache(lambda metric, *labels: metric.labels(*labels))
        self._of_route = functools.cache(lambda *of: (self.requests.labels(*of), self.seconds.labels(*of[:2])))
        # One model: a replaced one must not stay in memory, nor its feature table open.
        self._expected = functools.lru_cache(maxsize=1)(self._expected_by)
        # A rate does not see the first event of a series that did not exist before.
        for status in ("200", "500"):
            self.requests.labels("POST", PATH, status)
        for reason in (*REASONS.values(), OVERLOADED):
            self.refusals.labels(reason)

    def count_predictions(self, model: DeployedModel, rows: Sequence[Row], predictions: Sequence[Row]) -> None:
        """Count complete rows, their predictions, and values outside of `expected`."""
        classes = model.contract.target.classes
        values = [each["prediction"] for each in predictions] if classes else ["number"] * len(predictions)
        for value in set(values):
            self._series(self.predictions, model.version, value).inc(values.count(value))
        for each in predictions if classes else ():
            self.scores.observe(each["probability"] if "probability" in each else max(each["probabilities"].values()))
        for name, is_usual in self._expected(model):
            for row in rows:
                value = row.get(name)
                if value is not None and not is_usual(value):
                    self._series(self.unusual, name).inc()

    def _expected_by(self, model: DeployedModel) -> list[tuple[str, Callable[[Any], bool]]]:
        columns = [column for column in model.contract.inputs if column.expected]
        for column in columns:
            self.unusual.labels(column.name)
        return [(column.name, is_expected(column)) for column in columns]

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count and time one request."""
        requests, durations = self._of_route(method, route, status)
        requests.inc()
        durations.observe(seconds)

    def text(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        counters = _SharedCounters(None) if self.is_shared else self._counters  # type: ignore[no-untyped-call]
        return generate_latest(counters) + generate_latest(self._gauges)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield every family, also those without a value: a query for them is no mistake."""
        families = {name: GaugeMetricFamily(name, text, labels=labels) for name, (text, labels) in GAUGES.items()}
        for name, labels, value in self._values():
            families[name].add_metric(labels, value)
        yield from families.values()

    def _values(self) -> Iterator[tuple[str, tuple[str, ...], float]]:
        follower, model = self.follower, self.follower.deployed
        name = model.predictor.bundle.facts.get("name", "model")
        yield "model_info", (name, model.version, str(model.contract.version), follower.environment), 1
        yield "model_deployment_pending", (), float(bool(follower.pending))
        with contextlib.suppress(KeyError, TypeError, LifecycleError):
            yield "model_trained_timestamp_seconds", (), timestamps.parse(model.predictor.bundle.facts["created"])
        if model.features:
            yield "model_features_as_of_timestamp_seconds", (), model.features.as_of
        yield "prediction_log_bytes", (), size_of_segments(segment_folder(follower.store, follower.environment))
        path = follower.store.reports / follower.environment / LATEST
        try:
            report = json.loads(path.read_bytes())
            if report["format"] != FORMAT:
                raise ValueError(f"it has format {report['format']}, this service reads {FORMAT}")
            # All of it before the first value, so that a damaged report has no values.
            yield from list(_monitoring(report, model.version))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, AttributeError, LifecycleError) as error:
            log.error("%s is not a valid monitoring report: %s", path, error)


def overloaded(status: int, problem: str) -> Rejected:
    """Return the error response to a request that has to wait for its turn too long."""
    return Rejected(status, problem, RETRY_SOON, reason=OVERLOADED)


class _SharedCounters(MultiProcessCollector):
    """The counters of all processes; the library alone fails on the empty file of one that is just starting."""

    def collect(self) -> Iterable[Metric]:
        paths = [each.path for each in os.scandir(self._path) if each.name.endswith(".db") and each.stat().st_size]
        return list(self.merge(paths))  # type: ignore[no-untyped-call]


def is_expected(column: Column) -> Callable[[Any], bool]:
    """Return a function that reports whether a value is in the column's `expected` range or one of its levels."""
    if column.kind not in ORDERED:
        return frozenset(column.expected).__contains__
    least, most = expected_range(column)
    if column.kind == "time":
        return lambda value: least <= days(value) <= most
    return lambda value: least <= value <= most


def _monitoring(report: dict[str, Any], version: str) -> Iterator[tuple[str, tuple[str, ...], float]]:
    yield "model_monitoring_last_success_timestamp_seconds", (), timestamps.parse(report["as_of"])
    # The results of another version do not describe the deployed one.
    if report["version"] != version:
        return
    for verdict in VERDICTS:
        yield "model_monitoring_verdict", (verdict,), float(report["verdict"] == verdict)
    for column, found in (report["windows"][-1]["columns"] if report["windows"] else {}).items():
        # Beyond its limit without a drift: too few rows, or broken data, which the verdict reports.
        if None not in (found["psi"], found["limit"]) and (found["drifted"] or found["psi"] <= found["limit"]):
            yield "model_drift_score", (column,), float(found["psi"])
            yield "model_drift_limit", (column,), float(found["limit"])
    quality = report["quality"]
    if not quality or quality["overall"] is None:
        return
    if quality["bound"] is not None:
        yield "model_quality_bound", (quality["metric"],), float(quality["bound"])
    for name, interval in ({"all": quality["overall"]} | quality["slices"]).items():
        yield "model_quality", (quality["metric"], name), float(interval["value"])
        yield "model_quality_upper", (quality["metric"], name), float(interval["upper"])
