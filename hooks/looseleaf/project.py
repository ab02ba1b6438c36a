"""A rendered repository as a user sees it: its make targets, its service and the request in its README."""

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

from looseleaf.snapshot import GIT_VARIABLES
from looseleaf.steps import StepFailed

READY_SECONDS = 30
STOP_SECONDS = 15
CLOCK = Path(__file__).with_name("year") / "clock.py"
# Variables that the calling process may set and a user's shell would not.
REMOVED = ("CI", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH")


def environment() -> dict[str, str]:
    """Return the environment for commands of a rendered repository."""
    removed = (*REMOVED, *GIT_VARIABLES)
    return {k: v for k, v in os.environ.items() if k not in removed and not k.startswith("PYTEST_")}


def find_uv(*places: Path) -> str:
    """Return the uv of the machine, of one of these places or of this environment."""
    found = [str(place) for place in (*places, Path(sys.prefix) / "bin/uv") if place.exists()]
    return shutil.which("uv") or next(iter(found), "uv")


def make(*goals: str) -> list[str]:
    """Return the command `make GOALS`, with this environment's uv where the machine has none."""
    return ["make", "--no-print-directory", f"UV={find_uv()}", *goals]


def in_process(root: Path, words: Sequence[str], variables: Mapping[str, str]) -> tuple[int, str]:
    """Run a command of the repository at `root` with more `variables`; return its exit code and output."""
    # Not a process for each command: the imports would take most of the time.
    from lifecycle import cli

    output, given = io.StringIO(), environment() | {**variables}
    with patch.dict(os.environ, given, clear=True), chdir(root), redirect_stdout(output), redirect_stderr(output):
        return cli.main([*words]), output.getvalue()


@contextmanager
def service(folder: Path, log: Path, storage: Path | None = None, clock: Path | None = None) -> Iterator[str]:
    """Run the service on a free port and yield its address. At the end it must drain and exit with 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    module = [str(CLOCK), str(clock)] if clock else ["-m", "lifecycle"]
    command = [str(folder / ".venv/bin/python"), *module, "serve", "--port", str(port)]
    command += ["--storage", str(storage)] if storage else []
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=output, stderr=subprocess.STDOUT)
    try:
        address = f"http://127.0.0.1:{port}"
        _wait_until_ready(process, address, log)
        yield address
        process.send_signal(signal.SIGTERM)
        if process.wait(STOP_SECONDS):
            raise StepFailed(f"the service ended with {process.returncode}", f"See {log}.", log.read_text())
    except subprocess.TimeoutExpired as slow:
        raise StepFailed(f"the service still ran {STOP_SECONDS} s after SIGTERM", f"See {log}.") from slow
    finally:
        process.kill()
        process.wait()


def _wait_until_ready(process: "subprocess.Popen[bytes]", address: str, log: Path) -> None:
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=2):
                return
        except OSError:
            time.sleep(0.05)
    raise StepFailed(f"/readyz did not return 200 within {READY_SECONDS} s", f"See {log}.", log.read_text())


def post(url: str, body: Any, **headers: str) -> Any:
    """POST one row or a list of rows; raises StepFailed with the service's message."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"} | headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise StepFailed(f"{url}: {error}", "The response above gives the reason.", error.read().decode()) from error
    except OSError as error:
        raise StepFailed(f"{url}: {error}", "The service is not reachable.") from error
