"""What the service counts, and how Prometheus reads it: requests by route, answers, refusals, unusual inputs.

Several processes count as one where PROMETHEUS_MULTIPROC_DIR names a folder that they share.
"""

import math
import os
import time
from collections import Counter as Tally
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lifecycle.contract.schema import Column, Contract
from lifecycle.serving import SHARED
from lifecycle.serving.live import Follower, Served
from lifecycle.serving.openapi import PATH
from lifecycle.serving.status import Status

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Paths and methods are the caller's own text, of any number: what no route knows is one series.
UNMATCHED = "__unmatched__"
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
# The caller went away before there was an answer: no host has a better number for it.
GONE = 499
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SCORES = tuple(tenth / 10 for tenth in range(1, 11))
REASONS = {401: "unauthorized", 404: "unknown_key", 408: "slow", 413: "too_large", 422: "invalid", 503: "not_ready"}
OVERLOADED = "overloaded"

Rows = Sequence[Mapping[str, Any]]
Range = tuple[str, float, float]
Levels = tuple[str, frozenset[Any]]
Usual = tuple[Contract, list[Range], list[Levels]]


class Metrics:
    """The counters of one application and its status, as text for Prometheus."""

    def __init__(self, live: Follower) -> None:
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.status = Status(live)
        self._counted, self._told = CollectorRegistry(), CollectorRegistry()
        self._told.register(self.status)
        self._told.register(Processes())
        self._make(self._counted)
        # What `labels` gives takes longer to find than to count; as many as there are series.
        self._requests: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._predictions: dict[tuple[str, str], Counter] = {}
        self._usual: Usual | None = None

    def _make(self, registry: CollectorRegistry) -> None:
        by_route = ("method", "route")
        self.requests = Counter("http_requests_total", "Requests answered.", (*by_route, "status"), registry=registry)
        self.seconds = Histogram(
            "http_request_duration_seconds",
            "From a request to its answer.",
            by_route,
            registry=registry,
            buckets=SECONDS,
        )
        self.in_flight = Gauge(
            "http_requests_in_flight", "Requests not yet answered.", registry=registry, multiprocess_mode="livesum"
        )
        self.predictions = Counter(
            "model_predictions_total", "Rows answered.", ("version", "prediction"), registry=registry
        )
        self.scores = Histogram(
            "model_prediction_score",
            "Probability of the positive, or of the answered class.",
            registry=registry,
            buckets=SCORES,
        )
        self.unusual = Counter(
            "model_input_unusual_total", "Values outside what the contract expects.", ("column",), registry=registry
        )
        self.refusals = Counter(
            "model_requests_refused_total", "Requests to predict without an answer.", ("reason",), registry=registry
        )
        self.dropped = Counter(
            "prediction_log_dropped_total",
            "Lines that the log of predictions gave up: it was full, or the disk refused.",
            registry=registry,
        )
        # A rate sees no first event of a series that was not there before it.
        for status in ("200", "500"):
            self.requests.labels("POST", PATH, status)
        for reason in (*REASONS.values(), OVERLOADED):
            self.refusals.labels(reason)

    def answered(self, served: Served, rows: Rows, answers: Rows) -> None:
        """Count completed rows and their answers on the wire."""
        classes, version = served.contract.target.classes, served.version
        words = [answer["prediction"] for answer in answers] if classes else ["number"] * len(answers)
        for word, times in Tally(words).items() if len(words) > 1 else zip(words, (1,), strict=False):
            found = self._predictions.get((version, word))
            if found is None:
                found = self._predictions[version, word] = self.predictions.labels(version, word)
            found.inc(times)
        for answer in answers if classes else ():
            self.scores.observe(
                answer["probability"] if "probability" in answer else max(answer["probabilities"].values())
            )
        # Tests in the loop itself: a call for each value would take three times as long.
        _, ranges, levels = self._usual_of(served.contract)
        odd: list[str] = []
        for row in rows:
            for name, low, high in ranges:
                value = row.get(name)
                if value is not None and not low <= value <= high:
                    odd.append(name)
            for name, known in levels:
                value = row.get(name)
                if value is not None and value not in known:
                    odd.append(name)
        for name, times in Tally(odd).items() if odd else ():
            self.unusual.labels(name).inc(times)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count and time one request, whoever answered it."""
        found = self._requests.get((method, route, status))
        if found is None:
            found = self.requests.labels(method, route, str(status)), self.seconds.labels(method, route)
            self._requests[method, route, status] = found
        counter, histogram = found
        counter.inc()
        histogram.observe(seconds)

    def refused(self, status: int, reason: str = "") -> None:
        """Count a request to predict without an answer under its reason, which may be that of its status."""
        self.refusals.labels(reason or REASONS.get(status, "other")).inc()

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        counted = self._counted
        if SHARED in os.environ:
            counted = CollectorRegistry()
            MultiProcessCollector(counted)  # type: ignore[no-untyped-call]
        return generate_latest(counted) + generate_latest(self._told)

    def _usual_of(self, contract: Contract) -> Usual:
        if self._usual is None or self._usual[0] is not contract:
            self._usual = contract, *usual(contract.inputs)
            for name in [each[0] for kind in self._usual[1:] for each in kind]:
                self.unusual.labels(name)
        return self._usual


class Processes(Collector):
    """Memory, processor time and open files: of this process, or by `pid` of each that counts into the same folder.

    Their sum would fall when one of them ends, and a rate would take that for a new beginning of all.
    """

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        if SHARED not in os.environ:
            yield from ProcessCollector(registry=None).collect()
            return
        families: dict[str, Metric] = {}
        for path in sorted(Path(os.environ[SHARED]).glob("gauge_livesum_*.db")):
            pid = path.stem.rpartition("_")[2]
            for family in ProcessCollector(registry=None, pid=lambda pid=pid: pid).collect():  # type: ignore[misc]
                samples = [each._replace(labels={"pid": pid}) for each in family.samples]
                whole = families.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                whole.samples += samples
        yield from families.values()


def usual(columns: Sequence[Column]) -> tuple[list[Range], list[Levels]]:
    """What `expected` says: the range of a number, the levels of anything else."""
    expected = [column for column in columns if column.expected]
    numbers = [column for column in expected if column.kind in ("number", "integer")]
    ranges = [
        (column.name, -math.inf if low is None else low, math.inf if high is None else high)
        for column in numbers
        for low, high in [column.expected]
    ]
    return ranges, [(column.name, frozenset(column.expected)) for column in expected if column not in numbers]


class CountRequests:
    """Counts and times every request around the application, whoever answers it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See CountRequests."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), GONE

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self.metrics.in_flight.inc()
        try:
            await self.app(scope, receive, watched)
        except Exception:
            status = 500 if status == GONE else status
            raise
        finally:
            self.metrics.in_flight.dec()
            method = scope["method"] if scope["method"] in METHODS else "OTHER"
            route = PATH if scope["path"] == PATH else getattr(scope.get("route"), "path", UNMATCHED)
            self.metrics.request(method, route, status, time.perf_counter() - began)
