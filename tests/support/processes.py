"""`lifecycle serve` as processes, and callers of it."""

import http.client
import json
import os
import queue
import signal
import socket
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
from support import PATIENCE
from support.storages import CHURN, Storage

ROW = {"customer_id": "ann", "discount": 5.0}
POLL = 0.2
# A model of the team; `body` is executed for each frame.
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

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self.process, self.port = process, port

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def socket(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def predict(self, body: Any, connection: http.client.HTTPConnection | None = None) -> tuple[int, Any, str]:
        """Return status, content and model version of a prediction request."""
        used = connection or self.connect()
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        used.request("POST", "/predict", content)
        reply = used.getresponse()
        found = reply.status, json.loads(reply.read()), reply.headers.get("x-model-version", "")
        if connection is None:
            used.close()
        return found

    def text(self, path: str) -> tuple[int, str]:
        """Return status and body."""
        connection = self.connect()
        connection.request("GET", path)
        reply = connection.getresponse()
        found = reply.status, reply.read().decode()
        connection.close()
        return found

    def get(self, path: str) -> tuple[int, Any]:
        """Return status and JSON body."""
        status, text = self.text(path)
        return status, json.loads(text)

    def metric(self, series: str) -> float:
        """Return the value of one series at /metrics."""
        status, text = self.text("/metrics")
        assert status == 200, text
        [line] = [line for line in text.splitlines() if line.startswith(f"{series} ")]
        return float(line.rpartition(" ")[2])

    def workers(self) -> list[int]:
        """Return the ids of its worker processes."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return [int(each) for each in children if "spawn_main" in Path(f"/proc/{each}/cmdline").read_text()]

    def connections(self) -> dict[int, tuple[int, str]]:
        """Return unread bytes and socket inode of each established connection, by the port of the client."""
        found = {}
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, local, remote, state, queues, *rest = line.split()
            if int(local.partition(":")[2], 16) == self.port and state == "01":
                found[int(remote.partition(":")[2], 16)] = int(queues.partition(":")[2], 16), rest[4]
        return found

    def end(self, sig: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal and return exit code and log."""
        self.process.send_signal(sig)
        _, log = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, log

    def kill(self) -> None:
        """End it and its workers at once."""
        if self.process.poll() is None:
            workers = self.workers()
            self.process.kill()
            for pid in workers:
                os.kill(pid, signal.SIGKILL)
        self.process.communicate(timeout=PATIENCE)


def free_port() -> int:
    """Return a port that no process listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def start(storage: Storage, folder: Path, *arguments: str, **settings: str) -> "subprocess.Popen[str]":
    """Start the command in the folder of the team's model; `log__x` is a setting of another section."""
    named = {name if "__" in name else f"serve__{name}": value for name, value in settings.items()}
    variables = {f"LIFECYCLE_{name.upper()}": value for name, value in named.items()}
    return start_command(storage.store.root, folder, *arguments, LIFECYCLE_SERVE__POLL_SECONDS=str(POLL), **variables)


def start_command(
    storage: Path, folder: Path, *arguments: str, clock: Path | None = None, **variables: str
) -> "subprocess.Popen[str]":
    """Start the command with environment variables; `clock` is a file with a simulated time."""
    module = ["-m", "lifecycle"]
    if clock:
        from looseleaf.project import CLOCK

        module = [str(CLOCK), str(clock)]
    command = [sys.executable, *module, "serve", "--storage", str(storage), *arguments]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])} | variables
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=environ, stdout=pipe, stderr=pipe, text=True)


@contextmanager
def served(storage: Storage, folder: Path, **settings: str) -> Iterator[Service]:
    """A service of the storage on a free port, once it responds."""
    port = free_port()
    with until_killed(start(storage, folder, "--port", str(port), **settings), port) as service:
        yield service


@contextmanager
def until_killed(process: "subprocess.Popen[str]", port: int) -> Iterator[Service]:
    """A service once it responds; it and its workers are killed at the end."""
    service = Service(process, port)
    try:
        end = time.monotonic() + PATIENCE
        while True:
            assert process.poll() is None, f"it did not start: {process.communicate()}"
            assert time.monotonic() < end, "it did not respond in time"
            try:
                service.text("/healthz")
                break
            except OSError:
                time.sleep(0.02)
        yield service
    finally:
        service.kill()


def ended(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Return exit code, output and log of a service that ends by itself."""
    out, log = process.communicate(timeout=PATIENCE)
    return process.returncode, out, log


def deploy_own(storage: Storage, folder: Path, body: str) -> Bundle:
    """Deploy a `python` bundle that executes `body` for each frame and looks up no features."""
    (folder / "own_model.py").write_text(textwrap.dedent(OWN.format(body=body)))
    golden = [{"row": ROW, "answer": 0.5}] * 2
    python: dict[str, Any] = {"kind": "python", "class": "own_model:Own", "requires": {}}
    made = storage.publish(replace(CHURN, columns=CHURN.columns[:2]), golden=golden, **python)
    storage.deploy(made)
    return made


class Traffic:
    """Callers that send requests without a pause, each on one connection, until they are stopped or a request fails."""

    def __init__(self, service: Service, rows: list[dict[str, Any]]) -> None:
        self.service, self.going = service, True
        self.responses: queue.SimpleQueue[tuple[float, int, Any, str]] = queue.SimpleQueue()
        # By the port of the caller.
        self.failures: dict[int, str] = {}
        self.callers = [threading.Thread(target=self._call, args=(row,)) for row in rows]
        for caller in self.callers:
            caller.start()

    def _call(self, row: dict[str, Any]) -> None:
        connection = self.service.connect()
        connection.connect()
        port = connection.sock.getsockname()[1]
        while self.going and port not in self.failures:
            try:
                status, content, version = self.service.predict(row, connection)
            except (OSError, http.client.HTTPException) as error:
                self.failures[port] = f"{row}: {error!r}"
                break
            if status != 200:
                self.failures[port] = f"{row}: {status} {content}"
            self.responses.put((time.monotonic(), status, content, version))
        connection.close()

    def stop(self) -> tuple[list[tuple[float, int, Any, str]], dict[int, str]]:
        """Return time, status, content and version of each response, and the failures by the port of the caller."""
        self.going = False
        for caller in self.callers:
            caller.join()
        return [self.responses.get() for _ in range(self.responses.qsize())], self.failures
