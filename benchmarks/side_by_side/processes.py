"""Run a server as a process: pin it to a core, time its start, measure its memory, and end it."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

START_SECONDS = 120.0
STOP_SECONDS = 15.0
TICKS = os.sysconf("SC_CLK_TCK")


class ServerFailed(Exception):
    """A server did not start, did not respond, or returned other predictions."""


@dataclass(frozen=True)
class Started:
    """A server that has responded; wall and CPU seconds until its first response."""

    process: "subprocess.Popen[bytes]"
    url: str
    seconds: float
    cpu: float

    def megabytes(self) -> float:
        """Return the memory of the process and its descendants (proportional set size: shared memory counts once)."""
        return sum(_megabytes(number) for number in tree(self.process.pid))


@contextlib.contextmanager
def running(
    command: Sequence[str], folder: Path, variables: Mapping[str, str], url: str, body: str, core: int, log: Path
) -> Iterator[Started]:
    """Start a server and wait for its first response to `body`; end it and its descendants afterwards."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LIFECYCLE_", "UV_"))}
    with log.open("wb") as output:
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**environment, **variables},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
    try:
        _wait_for_response(process, url, body, log)
        seconds = time.monotonic() - began
        cpu = sum(_cpu_seconds(number) for number in tree(process.pid))
        yield Started(process, url, seconds, cpu)
    finally:
        _end(process)


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def post(url: str, body: str) -> Any:
    """POST a body and return the response; raises ServerFailed with the server's message."""
    request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise ServerFailed(f"{error.code}: {error.read()[:500].decode(errors='replace')}") from error


def tree(root: int) -> list[int]:
    """Return a process and all its descendants."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            children.setdefault(int(_fields(path.read_text())[1]), []).append(int(path.parent.name))
    found, waiting = [], [root]
    while waiting:
        number = waiting.pop()
        found.append(number)
        waiting += children.get(number, [])
    return found


def _fields(stat: str) -> list[str]:
    # The name of the command may contain spaces and brackets; the fields after it do not.
    return stat.rpartition(")")[2].split()


def _cpu_seconds(number: int) -> float:
    with contextlib.suppress(OSError):
        # User and system time of the process and of its children that have ended.
        return sum(map(int, _fields(Path(f"/proc/{number}/stat").read_text())[11:15])) / TICKS
    return 0.0


def _megabytes(number: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{number}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _wait_for_response(process: "subprocess.Popen[bytes]", url: str, body: str, log: Path) -> None:
    end, reason = time.monotonic() + START_SECONDS, "nothing listens"
    while time.monotonic() < end and process.poll() is None:
        try:
            post(url, body)
            return
        except (ServerFailed, OSError) as error:
            reason = str(error)
            time.sleep(0.01)
    ended = "" if process.poll() is None else f"it ended with {process.returncode}; "
    raise ServerFailed(f"no response ({ended}{reason}); the end of {log}:\n{log.read_text(errors='replace')[-1500:]}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    # Read first: the workers of a supervisor that has ended cannot be found.
    _, *workers = tree(process.pid)
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    for number in (process.pid, *workers) if process.poll() is None else workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    process.wait()
