"""Put load on a server: wrk for the highest rate, and an open loop at a fixed rate; both pinned to a core."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

OPEN_LOOP = Path(__file__).with_name("open_loop.py")
WARM_UP = 1  # second

# `done` prints one line of JSON, because wrk's own table rounds to two digits.
LUA = """
local bodies = {%s}
local requests, at = {}, 0
function init(args)
  for i, body in ipairs(bodies) do
    requests[i] = wrk.format("POST", nil, {["Content-Type"] = "application/json"}, body)
  end
end
function request()
  at = at %% #requests + 1
  return requests[at]
end
function done(summary, latency, all)
  local errors = summary.errors
  print(string.format('{"requests": %%d, "microseconds": %%d, "p50": %%f, "p99": %%f, "errors": %%d}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


class LoadFailed(Exception):
    """The load could not be generated, or a request failed."""


@dataclass(frozen=True)
class Measured:
    """Requests per second, and percentiles of their duration in milliseconds."""

    rate: float
    p50: float
    p99: float


def find_wrk() -> str:
    """Return the path of wrk; raises LoadFailed with how to install it."""
    found = shutil.which("wrk")
    if found is None:
        raise LoadFailed("wrk is not installed: apt-get install wrk")
    return found


def lua(bodies: Sequence[str]) -> str:
    """Return a script for wrk that sends these bodies in turn."""
    return LUA % ", ".join(f"[=[{body}]=]" for body in bodies)


def parsed(output: str) -> Measured:
    """Parse the output of the script or of the open loop; raises LoadFailed if a request failed."""
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise LoadFailed(f"no figures in {output[-500:]!r}")
    found = json.loads(lines[-1])
    if found["errors"] or not found["requests"]:
        raise LoadFailed(f"{found['errors']} of {found['requests']} requests failed")
    return Measured(found["requests"] / found["microseconds"] * 1e6, found["p50"] / 1000, found["p99"] / 1000)


def most(wrk: str, url: str, script: Path, connections: int, seconds: int, core: int) -> Measured:
    """Measure the highest rate on this number of connections."""
    command = [wrk, "--threads", "1", "--connections", str(connections), "--timeout", "30s", "--latency"]
    for duration in (WARM_UP, seconds):
        output = _run([*command, "--duration", f"{duration}s", "--script", str(script), url], core, duration)
    return parsed(output)


def fixed(url: str, bodies: Path, rate: float, connections: int, seconds: int, core: int) -> Measured:
    """Measure requests at a fixed rate, whether or not the server keeps up; see open_loop.py."""
    at = urlsplit(url)
    command = [sys.executable, str(OPEN_LOOP), str(at.port), at.path, str(bodies), str(rate), str(connections)]
    return parsed(_run([*command, str(seconds)], core, seconds))


def _run(command: Sequence[str], core: int, seconds: float) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    if done.returncode:
        raise LoadFailed(f"{command[0]} ended with {done.returncode}: {(done.stderr or done.stdout)[-500:]}")
    return done.stdout
