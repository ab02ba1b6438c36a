"""A server as a process of its own: pinned to a core, timed from its start to its first answer, measured, ended."""

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
    """A server did not start, did not answer, or answered something else."""


@dataclass(frozen=True)
class Started:
    """A server that has given its first answer: after so many seconds, and so many of CPU."""

    process: "subprocess.Popen[bytes]"
    url: str
    seconds: float
    cpu: float

    def megabytes(self) -> float:
        """Memory of the process and all below it; what they share counts once (proportional set size)."""
        return sum(_megabytes(number) for number in tree(self.process.pid))


@contextlib.contextmanager
def running(
    command: Sequence[str], folder: Path, variables: Mapping[str, str], url: str, body: str, core: int, log: Path
) -> Iterator[Started]:
    """Start a server and wait for its first answer to `body`; end it and whatever it has started afterwards."""
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
        _wait_for_answer(process, url, body, log)
        seconds = time.monotonic() - began
        cpu = sum(_cpu_seconds(number) for number in tree(process.pid))
        yield Started(process, url, seconds, cpu)
    finally:
        _end(process)


def free_port() -> int:
    """A port where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(url: str, body: str) -> Any:
    """POST a body and return the answer; raises ServerFailed with the server's own words."""
    request = urllib.request.Request(url, body.encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise ServerFailed(f"{error.code}: {error.read()[:500].decode(errors='replace')}") from error


def tree(root: int) -> list[int]:
    """A process and all its descendants."""
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
    # The command's name may hold spaces and brackets; what follows it may not.
    return stat.rpartition(")")[2].split()


def _cpu_seconds(number: int) -> float:
    with contextlib.suppress(OSError):
        # User and system time, its own and that of children that have ended.
        return sum(map(int, _fields(Path(f"/proc/{number}/stat").read_text())[11:15])) / TICKS
    return 0.0


def _megabytes(number: int) -> float:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{number}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _wait_for_answer(process: "subprocess.Popen[bytes]", url: str, body: str, log: Path) -> None:
    end, reason = time.monotonic() + START_SECONDS, "nothing listens"
    while time.monotonic() < end and process.poll() is None:
        try:
            ask(url, body)
            return
        except (ServerFailed, OSError) as error:
            reason = str(error)
            time.sleep(0.01)
    ended = "" if process.poll() is None else f"it ended with {process.returncode}; "
    raise ServerFailed(f"no answer ({ended}{reason}); the end of {log}:\n{log.read_text(errors='replace')[-1500:]}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    # Noted first: a supervisor that is gone no longer tells of its workers.
    _, *workers = tree(process.pid)
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    for number in (process.pid, *workers) if process.poll() is None else workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    process.wait()
