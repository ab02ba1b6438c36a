"""What the tests of the service share: whom it knows, how it is set, and how to wait for it."""

import http.client
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from lifecycle.settings import Serve

KNOWN = {
    "ann": {"plan": "basic", "visits": 3},
    "bob": {"plan": "plus", "visits": 0},
    "zoë": {"plan": "plus", "visits": 40},
}
QUICK = Serve(poll_seconds=0.05, max_rows=1000)


def eventually(check: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until something comes true."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)


def counted(client: TestClient) -> dict[str, Any]:
    """What the service has counted."""
    found: dict[str, Any] = client.get("/info").json()["counted"]
    return found


class Process:
    """A `lifecycle serve` that runs."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "127.0.0.1:" in line, line
        self.port = int(line.split("127.0.0.1:")[1].split()[0])

    def connect(self) -> http.client.HTTPConnection:
        """A connection of a caller."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def end(self, sig: signal.Signals) -> int:
        """End it; returns its exit code."""
        self.process.send_signal(sig)
        self.process.communicate(timeout=20)
        return self.process.returncode


@contextmanager
def running(
    storage: Path, folder: Path, port: int = 0, clock: Path | None = None, **variables: str
) -> Iterator[Process]:
    """Run a service as a process, with settings as environment variables; `clock` is a file with a simulated time."""
    module = ["lifecycle.sample.clock", str(clock)] if clock else ["lifecycle"]
    command = [sys.executable, "-m", *module, "serve", "--storage", str(storage), "--port", str(port)]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])} | variables
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=folder, env=environ, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield Process(process)
        finally:
            process.kill()
            process.communicate()
