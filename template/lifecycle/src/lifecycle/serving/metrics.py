"""Metrics of the service for Prometheus: requests, predictions, refusals and unusual inputs.

Several processes count as one where PROMETHEUS_MULTIPROC_DIR names a directory that they share.
"""

import functools
import math
import os
from collections import Counter as Tally
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from lifecycle.contract.schema import Column
from lifecycle.serving.deployed import DeployedModel, DeploymentFollower
from lifecycle.serving.openapi import PATH
from lifecycle.serving.storage_metrics import StorageMetrics

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Any other path or method is the client's own text and would create series without limit.
UNMATCHED = "__unmatched__"
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
PROBABILITIES = tuple(tenth / 10 for tenth in range(1, 11))
REASONS = {401: "unauthorized", 404: "unknown_key", 408: "slow", 413: "too_large", 422: "invalid", 503: "not_ready"}
OVERLOADED = "overloaded"

Rows = Sequence[Mapping[str, Any]]
Ranges = list[tuple[str, float, float]]
Levels = list[tuple[str, frozenset[Any]]]


class Metrics:
    """The counters of one process, and the gauges that are read from the storage when they are requested."""

    def __init__(self, follower: DeploymentFollower) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.is_shared = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        self._counters, self._gauges = CollectorRegistry(), CollectorRegistry()
        self._gauges.register(StorageMetrics(follower))
        if not self.is_shared:
            ProcessCollector(registry=self._gauges)
        by_route = ("method", "route")
        self.requests = self._counter("http_requests", "Requests with a response.", *by_route, "status")
        self.seconds = self._histogram("http_request_duration_seconds", "Time to the response.", SECONDS, *by_route)
        self.predictions = self._counter("model_predictions", "Rows predicted.", "version", "prediction")
        score = "Probability of the positive or of the predicted class."
        self.scores = self._histogram("model_prediction_score", score, PROBABILITIES)
        self.unusual = self._counter("model_input_unusual", "Values outside what the contract expects.", "column")
        self.refusals = self._counter("model_requests_refused", "Prediction requests without a prediction.", "reason")
        self.dropped = self._counter("prediction_log_dropped", "Lines of the prediction log that were dropped.")
        # `labels` takes longer than counting, so each series is looked up once.
        self._series = functools.cache(lambda metric, *labels: metric.labels(*labels))
        self._expected: tuple[DeployedModel | None, Ranges, Levels] = (None, [], [])
        # A rate does not see the first event of a series that did not exist before.
        for status in ("200", "500"):
            self.requests.labels("POST", PATH, status)
        for reason in (*REASONS.values(), OVERLOADED):
            self.refusals.labels(reason)

    def add_in_flight(self, in_flight: Callable[[], float]) -> None:
        """Add the gauge of requests in flight; several processes have none: a killed one would leave its value."""
        if not self.is_shared:
            gauge = Gauge("http_requests_in_flight", "Requests without a response yet.", registry=self._gauges)
            gauge.set_function(in_flight)

    def count_predictions(self, model: DeployedModel, rows: Rows, predictions: Rows) -> None:
        """Count complete rows, their predictions, and values outside of `expected`."""
        classes = model.contract.target.classes
        values = [each["prediction"] for each in predictions] if classes else ["number"] * len(predictions)
        for value, times in Tally(values).items() if len(values) > 1 else [(value, 1) for value in values]:
            self._series(self.predictions, model.version, value).inc(times)
        for each in predictions if classes else ():
            self.scores.observe(each["probability"] if "probability" in each else max(each["probabilities"].values()))
        # Compared in the loop itself: a function call for each value would take three times as long.
        ranges, levels = self._expected_of(model)
        for row in rows:
            for name, low, high in ranges:
                value = row.get(name)
                if value is not None and not low <= value <= high:
                    self._series(self.unusual, name).inc()
            for name, usual in levels:
                value = row.get(name)
                if value is not None and value not in usual:
                    self._series(self.unusual, name).inc()

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count and time one request."""
        self._series(self.requests, method, route, str(status)).inc()
        self._series(self.seconds, method, route).observe(seconds)

    def count_refusal(self, reason: str) -> None:
        """Count a prediction request without a prediction."""
        self.refusals.labels(reason).inc()

    def text(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        counters = self._counters
        if self.is_shared:
            counters = CollectorRegistry()
            MultiProcessCollector(counters)  # type: ignore[no-untyped-call]
        return generate_latest(counters) + generate_latest(self._gauges)

    def _expected_of(self, model: DeployedModel) -> tuple[Ranges, Levels]:
        if model is not self._expected[0]:
            ranges, levels = expected_values(model.contract.inputs)
            self._expected = model, ranges, levels
            for name in [name for name, *_ in [*ranges, *levels]]:
                self.unusual.labels(name)
        return self._expected[1:]

    def _counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(name, description, labels, registry=self._counters)

    def _histogram(self, name: str, description: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, description, labels, registry=self._counters, buckets=buckets)


def expected_values(columns: Sequence[Column]) -> tuple[Ranges, Levels]:
    """Return what `expected` declares: the range of each number, the levels of any other column."""
    expected = [column for column in columns if column.expected]
    numbers = [column for column in expected if column.kind in ("number", "integer")]
    ranges = [
        (column.name, -math.inf if low is None else low, math.inf if high is None else high)
        for column in numbers
        for low, high in [column.expected]
    ]
    return ranges, [(column.name, frozenset(column.expected)) for column in expected if column not in numbers]
