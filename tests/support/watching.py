"""Prometheus and Alertmanager as separate processes, and a receiver of alerts."""

import contextlib
import json
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support import PATIENCE

PROMETHEUS, ALERTMANAGER = "prometheus", "prometheus-alertmanager"


def free_port() -> int:
    """Return a port that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def get_json(url: str) -> Any:
    """Return the JSON at an address, or None where there is none."""
    try:
        with urllib.request.urlopen(url, timeout=30) as reply:
            return json.load(reply)
    except (OSError, ValueError):
        return None


def wait(check: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """Return the first result of `check` that is true."""
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, f"{what} did not happen within {seconds:g} s"
        time.sleep(0.2)
    return found


@contextlib.contextmanager
def running(log: Path, *command: str) -> Iterator[None]:
    """Run a program and terminate it afterwards."""
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, cwd=log.parent)
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE)


@contextlib.contextmanager
def prometheus(folder: Path, config: Path) -> Iterator[str]:
    """Run a Prometheus with a configuration and return its address."""
    port = free_port()
    options = (
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    with running(folder / "prometheus.log", PROMETHEUS, *options):
        url = f"http://127.0.0.1:{port}"
        wait(lambda: get_json(f"{url}/api/v1/status/runtimeinfo"), "Prometheus")
        yield url


@contextlib.contextmanager
def alertmanager(folder: Path, config: Path) -> Iterator[str]:
    """Run an Alertmanager with a configuration and return its address."""
    port = free_port()
    options = (
        f"--config.file={config}",
        f"--storage.path={folder / 'alerts'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    )
    with running(folder / "alertmanager.log", ALERTMANAGER, *options):
        url = f"http://127.0.0.1:{port}"
        wait(lambda: get_json(f"{url}/api/v2/status"), "Alertmanager")
        yield url


@contextlib.contextmanager
def inbox() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Return an address and the list of what is posted to it."""
    got: list[dict[str, Any]] = []

    class Inbox(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Inbox)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/alerts", got
    finally:
        server.shutdown()
        server.server_close()


def value(url: str, query: str) -> float | None:
    """Return the current result of a query, or None where there is none."""
    found = get_json(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': query})}")
    result = found["data"]["result"] if found else []
    return float(result[0]["value"][1]) if result else None
