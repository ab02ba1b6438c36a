"""What is true at the moment of a scrape: which model answers, how old its parts are, what monitoring last found.

Read from the storage that all processes of the service share, so that any one of them tells it right.
"""

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lifecycle import timestamps
from lifecycle.errors import LifecycleError
from lifecycle.reports.verdicts import FORMAT, LATEST, VERDICTS
from lifecycle.serving.live import Follower

log = logging.getLogger("lifecycle.serving")

GAUGES: dict[str, tuple[str, tuple[str, ...]]] = {
    "model_info": ("What answers.", ("version", "contract", "environment")),
    "model_deployment_pending": ("Whether what is deployed cannot be loaded: another version goes on answering.", ()),
    "model_trained_timestamp_seconds": ("When it was trained.", ()),
    "model_features_as_of_timestamp_seconds": ("The moment as of which the features are that are looked up.", ()),
    "model_monitoring_last_success_timestamp_seconds": ("The moment of the newest monitoring report.", ()),
    "model_monitoring_verdict": ("What monitoring decided: 1.", ("verdict",)),
    "model_drift_score": ("PSI of the newest window.", ("column",)),
    "model_drift_limit": ("PSI from which the column drifts.", ("column",)),
    "model_quality": ("On mature labels.", ("metric", "slice")),
    "model_quality_upper": ("Upper end of the interval around it.", ("metric", "slice")),
    "model_quality_bound": ("Below it, a retrain is due.", ("metric",)),
    "prediction_log_bytes": ("Bytes of the log of predictions that no job has collected yet.", ()),
}

Report = dict[str, Any]
# The gauge, its labels and its value.
Value = tuple[str, tuple[str, ...], float]


class Status(Collector):
    """The collector of one environment; what the storage cannot tell is left out, and nothing raises."""

    def __init__(self, live: Follower) -> None:
        self.live = live
        self._reports = Reports(live.store.reports / live.environment / LATEST)

    def describe(self) -> Iterator[Metric]:
        """Nothing: which families there are depends on the storage."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """See Collector. A family without a value is told of, too: what asks for it is no slip."""
        families = {name: GaugeMetricFamily(name, about, labels=labels) for name, (about, labels) in GAUGES.items()}
        for name, labels, value in self._values():
            families[name].add_metric(labels, value)
        yield from families.values()

    def _values(self) -> Iterator[Value]:
        served = self.live.served
        yield "model_info", (served.version, str(served.contract.version), self.live.environment), 1
        yield "model_deployment_pending", (), float(bool(self.live.pending))
        with contextlib.suppress(KeyError, TypeError, LifecycleError):
            yield "model_trained_timestamp_seconds", (), timestamps.parse(served.predictor.bundle.facts["created"])
        if served.table:
            yield "model_features_as_of_timestamp_seconds", (), served.table.as_of
        yield "prediction_log_bytes", (), _bytes(self.live.store.predictions / self.live.environment / "segments")
        report = self._reports.latest()
        if report is not None:
            yield from _monitoring(report, served.version)


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
    timestamps.parse(report["as_of"])
    # All of it, once: a scrape must not fail later on a part that is missing.
    list(_monitoring(report, report["version"]))
    return report


def _monitoring(report: Report, live: str) -> Iterator[Value]:
    yield "model_monitoring_last_success_timestamp_seconds", (), timestamps.parse(report["as_of"])
    if report["version"] != live:
        # What was found of another version says nothing of the one that answers now.
        return
    for verdict in VERDICTS:
        yield "model_monitoring_verdict", (verdict,), float(report["verdict"] == verdict)
    yield from _drift(report["windows"][-1]["columns"] if report["windows"] else {})
    if report["quality"]:
        yield from _quality(report["quality"])


def _drift(columns: Report) -> Iterator[Value]:
    for column, found in columns.items():
        # Beyond its limit and yet no drift: too few rows, or broken data, and then the verdict tells.
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


def _bytes(folder: Path) -> int:
    total = 0
    # A segment may be collected while it is counted.
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                total += entry.stat().st_size
    return total
