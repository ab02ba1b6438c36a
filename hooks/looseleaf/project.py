"""A rendered repository as a user sees it: its make targets, its service and the request in its README."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from looseleaf.snapshot import GIT_VARIABLES
from looseleaf.steps import StepFailed

READY_SECONDS = 30
STOP_SECONDS = 15
CLOCK = Path(__file__).with_name("year") / "clock.py"
# Variables that the calling process may set and a user's shell would not.
REMOVED = ("CI", "MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MFLAGS", "PYTHONDONTWRITEBYTECODE", "PYTHONPATH")
SCORED = """
import sys, duckdb
query = "SELECT prediction, probability FROM read_parquet($1) WHERE customer_id = $2"
print(duckdb.sql(query, params=sys.argv[1:3]).df().to_json(orient="records", double_precision=15))
"""


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


def readme_request(folder: Path) -> dict[str, Any]:
    """Return the body of the curl command in the README, so that the documented request is the tested one."""
    readme = folder / "README.md"
    body = readme.exists() and re.search(r"-d '(\{.*?\})'", readme.read_text(encoding="utf-8"), re.DOTALL)
    if not body:
        raise StepFailed("README.md has no curl with -d '{…}'", "Add one.")
    return dict(json.loads(body[1]))


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


def scored(folder: Path, file: Path, key: str) -> dict[str, Any]:
    """Return the batch prediction for a customer from the file that `make score` wrote."""
    python = str(folder / ".venv" / "bin" / "python")
    done = subprocess.run([python, "-c", SCORED, str(file), key], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise StepFailed(f"{file} cannot be read", "See the lines above.", done.stderr)
    rows = json.loads(done.stdout)
    if len(rows) != 1:
        raise StepFailed(f"{file} has {len(rows)} rows for {key}", "There must be one row for each customer.")
    return dict(rows[0])
