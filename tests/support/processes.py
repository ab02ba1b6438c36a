"""A `lifecycle serve` that runs as the processes that people start, and callers of it."""

import http.client
import json
import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lifecycle.models.bundle import Bundle
from support.storages import CHURN, Storage

ROW = {"customer_id": "ann", "discount": 5.0}
POLL = 0.2
# A team's own model; of what is asked, `body` says what becomes.
OWN = """
    import os, time

    class Own:
        seen = []

        @classmethod
        def load(cls, directory):
            return cls()

        def predict(self, frame):
            {body}
            return [0.5] * len(frame)
"""


class Service:
    """A running `lifecycle serve`."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stdout is not None
        self.line = process.stdout.readline()
        self.port = int(self.line.split("127.0.0.1:")[1].split()[0]) if "127.0.0.1:" in self.line else 0

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def ask(self, body: Any, connection: http.client.HTTPConnection | None = None) -> tuple[int, Any, str]:
        """Status, answer and model version."""
        used = connection or self.connect()
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        used.request("POST", "/predict", content)
        reply = used.getresponse()
        found = reply.status, json.loads(reply.read()), reply.headers.get("x-model-version", "")
        if connection is None:
            used.close()
        return found

    def text(self, path: str) -> tuple[int, str]:
        """Status and body."""
        connection = self.connect()
        connection.request("GET", path)
        reply = connection.getresponse()
        found = reply.status, reply.read().decode()
        connection.close()
        return found

    def get(self, path: str) -> tuple[int, Any]:
        """Status and body, of JSON."""
        status, text = self.text(path)
        return status, json.loads(text)

    def told(self, series: str) -> float:
        """The value of one series at /metrics."""
        return next(
            float(line.rpartition(" ")[2])
            for line in self.text("/metrics")[1].splitlines()
            if line.startswith(f"{series} ")
        )

    def workers(self) -> list[int]:
        """The processes that it has started."""
        pid = self.process.pid
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def end(self, sig: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Exit code and log."""
        self.process.send_signal(sig)
        _, log = self.process.communicate(timeout=20)
        return self.process.returncode, log


def start(storage: Storage, folder: Path, *arguments: str, **settings: str) -> "subprocess.Popen[str]":
    """The command, in a folder that the team's model is imported from; a name with two underscores has its section."""
    command = [sys.executable, "-m", "lifecycle", "serve", "--storage", str(storage.store.root), *arguments]
    paths = os.pathsep.join([str(folder), *sys.path])
    named = {name if "__" in name else f"serve__{name}": value for name, value in settings.items()}
    variables = {f"LIFECYCLE_{name.upper()}": value for name, value in named.items()}
    environ = os.environ | {"PYTHONPATH": paths, "LIFECYCLE_SERVE__POLL_SECONDS": str(POLL)} | variables
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environ, stdout=pipe, stderr=pipe, text=True)


@contextmanager
def served(storage: Storage, folder: Path, **settings: str) -> Iterator[Service]:
    """A service of the storage on a free port."""
    process = start(storage, folder, "--port", "0", **settings)
    try:
        service = Service(process)
        assert service.port, f"it did not start: {service.line}{process.communicate(timeout=20)}"
        yield service
    finally:
        process.kill()
        process.communicate(timeout=30)


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Exit code, output and log of a service that ends by itself."""
    out, log = process.communicate(timeout=30)
    return process.returncode, out, log


def deploy_own(storage: Storage, folder: Path, body: str) -> Bundle:
    """A deployed `python` bundle that does this with each frame; without features to look up."""
    (folder / "own_model.py").write_text(textwrap.dedent(OWN.format(body=body)))
    golden = [{"row": ROW, "answer": 0.5}] * 2
    python: dict[str, Any] = {"kind": "python", "class": "own_model:Own", "requires": {}}
    made = storage.publish(replace(CHURN, columns=CHURN.columns[:2]), golden=golden, **python)
    storage.deploy(made)
    return made


class Traffic:
    """Callers that ask without a pause, each on a connection of its own, until told to stop."""

    def __init__(self, service: Service, rows: list[dict[str, Any]]) -> None:
        self.service, self.going = service, True
        self.answers: queue.SimpleQueue[tuple[float, int, Any, str]] = queue.SimpleQueue()
        self.failures: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.callers = [threading.Thread(target=self._call, args=(row,)) for row in rows]
        for caller in self.callers:
            caller.start()

    def _call(self, row: dict[str, Any]) -> None:
        connection = self.service.connect()
        while self.going:
            try:
                status, answer, version = self.service.ask(row, connection)
            except (OSError, http.client.HTTPException) as error:
                self.failures.put(f"{row}: {error!r}")
                connection.close()
                return
            if status != 200:
                self.failures.put(f"{row}: {status} {answer}")
            self.answers.put((time.monotonic(), status, answer, version))
        connection.close()

    def stop(self) -> tuple[list[tuple[float, int, Any, str]], list[str]]:
        """What was answered and what failed."""
        self.going = False
        for caller in self.callers:
            caller.join()
        return _all(self.answers), _all(self.failures)


def _all(found: "queue.SimpleQueue[Any]") -> list[Any]:
    return [found.get() for _ in range(found.qsize())]
