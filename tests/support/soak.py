"""Run a service under mixed load: memory and open files must not grow, and every status must be documented.

Valid, invalid, large, slow and abandoned requests; promotions; rotation and collection of log segments; scrapes. It
prints the figures of each run and ends with 1 beyond a bound. `make soak` and `make proof` run it.
"""

import argparse
import http.client
import itertools
import json
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from lifecycle.monitoring.collect import collect
from lifecycle.storage import Store
from support.processes import Service, served
from support.rendering import ROOT
from support.services import KNOWN
from support.storages import Storage

# Beyond what it has once it is warm: what an allocator keeps between two swaps is about a megabyte.
MOST_MEGABYTES, MOST_SHARE = 5.0, 0.05
MOST_FILES = 8
REPORT = ROOT / "build/soak.json"
SWAP_EVERY, COLLECT_EVERY, SAMPLE_EVERY = 20.0, 15.0, 1.0
# The share of a run that warms it up, and the share at either end whose median counts.
WARM, END = 0.3, 0.25
ONE = json.dumps({"customer_id": "ann", "discount": 5}).encode()
ROWS = b"[%b]" % b",".join([ONE] * 100)
# By kind of request: the body that it sends, and the statuses that it may receive.
SENT: dict[str, tuple[bytes, set[int]]] = {
    "right": (ONE, {200, 429, 503}),
    "many": (ROWS, {200, 429, 503}),
    "large": (ROWS[:-1] + b" " * (900_000 - len(ROWS)) + b"]", {200, 429, 503}),
    "too large": (b" " * 1_100_000, {413, 429, 503}),
    "too many": (b"[%b]" % b",".join([ONE] * 1001), {413, 429, 503}),
    "unknown": (b'{"customer_id": "unknown-key"}', {404, 429, 503}),
    "wrong": (b'{"customer_id": 7, "discount": "much", "other": 1}', {422, 429, 503}),
    "no JSON": (b"{", {422, 429, 503}),
}


@dataclass
class Run:
    """The observations of one service."""

    service: Service
    storage: Storage
    statuses: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    # By process: megabytes and open files at each sample.
    samples: dict[int, list[tuple[float, int]]] = field(default_factory=dict)
    stopped: threading.Event = field(default_factory=threading.Event)

    def send_requests(self) -> None:
        """Send every kind of request on one connection."""
        connection = self.service.connect()
        for name, (body, expected) in itertools.cycle(SENT.items()):
            if self.stopped.is_set():
                return
            try:
                connection.request("POST", "/predict", body)
                reply = connection.getresponse()
                reply.read()
            except (OSError, http.client.HTTPException) as error:
                # A body that is refused early may find its connection closed.
                if name != "too large":
                    self.faults[f"{name}: {error!r}"] += 1
                connection.close()
                continue
            self.statuses[f"{name} {reply.status}"] += 1
            if reply.status not in expected or (reply.status in (429, 503) and "retry-after" not in reply.headers):
                self.faults[f"{name}: {reply.status}"] += 1
            time.sleep(0.01)

    def send_slowly(self) -> None:
        """Send half a request and disconnect; now and then, finish one slowly."""
        head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(ONE)
        for part in itertools.cycle((b"POST /pre", head, head + ONE[:9], head + ONE)):
            with socket.create_connection(("127.0.0.1", self.service.port)) as caller:
                for at in range(0, len(part), 9):
                    caller.sendall(part[at : at + 9])
                    if self.stopped.wait(0.05):
                        return

    def read_pages(self) -> None:
        """Request what people and programs read."""
        for path in itertools.cycle(("/metrics", "/info", "/readyz", "/healthz", "/docs", "/openapi.json")):
            if self.stopped.wait(0.2):
                return
            status = self.service.text(path)[0]
            self.statuses[f"{path} {status}"] += 1
            if status != 200:
                self.faults[f"{path}: {status}"] += 1

    def deploy_versions(self) -> None:
        """Deploy one version, then the other; often at first, so that both have been loaded."""
        versions = [self.storage.publish(made=f"2026010{day}T000000", kind="onnx") for day in (2, 3)]
        for each in versions:
            self.storage.fill(each, KNOWN)
        for at, each in enumerate(itertools.cycle(versions)):
            self.storage.deploy(each)
            if self.stopped.wait(1.0 if at < 4 else SWAP_EVERY):
                return

    def collect_log(self) -> None:
        """Collect the prediction log, as the nightly job does."""
        while not self.stopped.wait(COLLECT_EVERY):
            done = collect(self.storage.store, "local")
            self.statuses["rows collected"] += done.rows
            if done.half_lines or done.waiting:
                self.faults[f"collect: {done.half_lines} half lines, waiting: {done.waiting}"] += 1

    def watch(self, seconds: float) -> None:
        """Run all kinds of load at once for so many seconds."""
        tasks: list[Callable[[], None]] = [*[self.send_requests] * 3, *[self.send_slowly] * 2]
        tasks += [self.read_pages, self.deploy_versions, self.collect_log]
        threads = [threading.Thread(target=task) for task in tasks]
        for thread in threads:
            thread.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for pid in self.service.workers() or [self.service.process.pid]:
                self.samples.setdefault(pid, []).append((_megabytes(pid), len(list(Path(f"/proc/{pid}/fd").iterdir()))))
            time.sleep(SAMPLE_EVERY)
        self.stopped.set()
        for thread in threads:
            thread.join()

    def figures(self) -> list[str]:
        """Return the figures of each process, and the number of responses by status."""
        lines = []
        for pid, samples in self.samples.items():
            (before, files), (after, files_after) = _ends(samples)
            bound = MOST_MEGABYTES + MOST_SHARE * before
            lines.append(
                f"process {pid}: {before:.1f} MB when warm, {after:.1f} MB at the end "
                f"({after - before:+.1f}, bound {bound:.1f}); {files} files, {files_after} at the end"
            )
            if after - before > bound:
                self.faults[f"process {pid} grew by {after - before:.1f} MB"] += 1
            if files_after - files > MOST_FILES:
                self.faults[f"process {pid} holds {files_after - files} more files"] += 1
        return [*lines, ", ".join(f"{name}: {times}" for name, times in sorted(self.statuses.items()))]


def _megabytes(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def _ends(samples: list[tuple[float, int]]) -> list[tuple[float, int]]:
    warm = samples[int(len(samples) * WARM) :]
    count = max(1, int(len(warm) * END))
    return [
        (statistics.median(megabytes for megabytes, _ in part), int(statistics.median(files for _, files in part)))
        for part in (warm[:count], warm[-count:])
    ]


def soak(folder: Path, workers: int, seconds: float) -> Run:
    """Run one service under load."""
    storage = Storage(Store(folder / "storage"), folder / "drafts")
    first = storage.publish(kind="onnx")
    storage.fill(first, KNOWN)
    storage.deploy(first)
    settings = {"workers": str(workers), "log__segment_bytes": "200000", "timeout_seconds": "5"}
    with served(storage, folder, **settings) as service:
        run = Run(service, storage)
        run.watch(seconds)
        code, log = service.end()
    if code or '"exception"' in log:
        run.faults[f"it ended with {code}:\n{log}"] += 1
    return run


def main() -> int:
    """Run each number of workers for its part of the time; 1 beyond a bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("minutes", nargs="?", type=float, default=10.0)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args()
    faults: Counter[str] = Counter()
    figures = {}
    for workers in given.workers:
        with tempfile.TemporaryDirectory(prefix="soak-") as folder:
            run = soak(Path(folder), workers, given.minutes * 60 / len(given.workers))
        name = f"{workers} worker(s), {given.minutes / len(given.workers):g} minutes"
        figures[name] = run.figures()
        print(name, *figures[name], sep="\n  ", flush=True)
        faults += run.faults
    REPORT.parent.mkdir(exist_ok=True)
    REPORT.write_text(json.dumps({"figures": figures, "faults": dict(faults)}), encoding="utf-8")
    for fault, times in faults.items():
        print(f"{fault} ({times} times)", file=sys.stderr)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
