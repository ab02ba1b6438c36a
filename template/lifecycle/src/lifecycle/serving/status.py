"""What is true at the moment of a scrape: which model answers, how old its parts are, what monitoring last found.

Read from the storage that all processes of the service share, so that any one of them tells it right.
"""

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lifecycle import moments
from lifecycle.errors import LifecycleError
from lifecycle.serving.live import Follower

log = logging.getLogger("lifecycle.serving")
FORMAT = 1
VERDICTS = ("ok", "watch", "retrain", "incident")

Report = dict[str, Any]


class Log(Protocol):
    """What counts the lines of the prediction log that were given up."""

    dropped: int


class Status(Collector):
    """The collector of one environment; what the storage cannot tell is left out, and nothing raises."""

    def __init__(self, live: Follower) -> None:
        self.live = live
        # Set by whoever opens the log of predictions.
        self.log: Log | None = None
        self._reports = Reports(live.store.reports / live.environment / "monitoring.json")

    def describe(self) -> Iterator[Metric]:
        """Nothing: which families there are depends on the storage."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """See Collector."""
        yield from self._model()
        yield from self._log()
        report = self._reports.latest()
        if report is not None:
            yield from _monitoring(report, self.live.served.version)

    def _model(self) -> Iterator[Metric]:
        served = self.live.served
        labels = (served.version, str(served.contract.version), self.live.environment)
        info = GaugeMetricFamily("model_info", "What answers.", labels=("version", "contract", "environment"))
        info.add_metric(labels, 1)
        yield info
        pending = "Whether what is deployed cannot be loaded, so that another version goes on answering."
        yield GaugeMetricFamily("model_deployment_pending", pending, value=float(bool(self.live.pending)))
        with contextlib.suppress(KeyError, TypeError, LifecycleError):
            trained = moments.parse(served.predictor.bundle.facts["created"])
            yield GaugeMetricFamily("model_trained_timestamp_seconds", "When it was trained.", value=trained)
        if served.table:
            told = "The moment as of which the features are that are looked up."
            yield GaugeMetricFamily("model_features_as_of_timestamp_seconds", told, value=served.table.as_of)

    def _log(self) -> Iterator[Metric]:
        if self.log is not None:
            told = "Lines that the log of predictions gave up: it was full, or the disk refused."
            yield CounterMetricFamily("prediction_log_dropped", told, value=self.log.dropped)
        segments = self.live.store.predictions / self.live.environment / "segments"
        told = "Bytes of the log of predictions that no job has collected yet."
        yield GaugeMetricFamily("prediction_log_bytes", told, value=_bytes(segments))


class Reports:
    """The newest monitoring report: read again when its file is replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int] | None = None
        self._report: Report | None = None

    def latest(self) -> Report | None:
        """The report, or None without one that can be read."""
        try:
            found = self.path.stat()
            if (found.st_ino, found.st_mtime_ns) != self._stamp:
                self._stamp = (found.st_ino, found.st_mtime_ns)
                self._report = None
                self._report = _read(self.path)
        except FileNotFoundError:
            self._stamp, self._report = None, None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, LifecycleError) as error:
            log.error("%s is no monitoring report: %s", self.path, error)
        return self._report


def _read(path: Path) -> Report:
    report: Report = json.loads(path.read_bytes())
    if report["format"] != FORMAT:
        raise ValueError(f"it has format {report['format']}, this service reads {FORMAT}")
    moments.parse(report["moment"])
    # All of it, once: a scrape must not fail later on a part that is missing.
    list(_monitoring(report, report["version"]))
    return report


def _monitoring(report: Report, live: str) -> Iterator[Metric]:
    told = "The moment of the newest monitoring report."
    moment = moments.parse(report["moment"])
    yield GaugeMetricFamily("model_monitoring_last_success_timestamp_seconds", told, value=moment)
    if report["version"] != live:
        # What was found of another version says nothing of the one that answers now.
        return
    verdict = GaugeMetricFamily("model_monitoring_verdict", "What monitoring decided: 1.", labels=("verdict",))
    for each in VERDICTS:
        verdict.add_metric((each,), float(report["verdict"] == each))
    yield verdict
    yield from _drift(report)
    if report["quality"]:
        yield from _quality(report["quality"])


def _drift(report: Report) -> Iterator[Metric]:
    columns = report["windows"][-1]["columns"] if report["windows"] else {}
    score = GaugeMetricFamily("model_drift_score", "PSI of the newest window.", labels=("column",))
    limit = GaugeMetricFamily("model_drift_limit", "PSI from which the column drifts.", labels=("column",))
    for name, found in columns.items():
        for family, value in ((score, found["psi"]), (limit, found["limit"])):
            if value is not None:
                family.add_metric((name,), value)
    yield from (score, limit)


def _quality(quality: Report) -> Iterator[Metric]:
    value = GaugeMetricFamily("model_quality", "On mature labels.", labels=("metric", "slice"))
    upper = GaugeMetricFamily("model_quality_upper", "Upper end of the interval around it.", labels=("metric", "slice"))
    bound = GaugeMetricFamily("model_quality_bound", "Below it, a retrain is due.", labels=("metric",))
    for metric, found in quality["metrics"].items():
        value.add_metric((metric, "all"), found["value"])
        upper.add_metric((metric, "all"), found["upper"])
        bound.add_metric((metric,), quality["bound"])
        for each in quality["slices"]:
            value.add_metric((metric, each["slice"]), each["value"])
            upper.add_metric((metric, each["slice"]), each["upper"])
    yield from (value, upper, bound)


def _bytes(folder: Path) -> int:
    total = 0
    # A segment may be collected while it is counted.
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                total += entry.stat().st_size
    return total
