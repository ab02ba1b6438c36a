"""The serving benchmark: its arithmetic, its load, and a run with the peers that need no model."""

import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from support import PATIENCE
from support.rendering import ROOT, run
from support.tools import needs
from support.waiting import eventually

sys.path.insert(0, str(ROOT / "benchmarks"))

from side_by_side import figures, load, processes

two_cores = pytest.mark.skipif(
    not {0, 1} <= os.sched_getaffinity(0), reason="one core for the server, one for the load"
)


class FixedResponse(BaseHTTPRequestHandler):
    """A handler that returns a fixed status after a delay."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    status: ClassVar[int] = 200
    seconds: ClassVar[float] = 0.0

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        time.sleep(self.seconds)
        self.send_response(self.status)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *of: Any) -> None:
        pass


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """Return the address of a server; the parameter sets status and delay."""
    handler = type("Handler", (FixedResponse,), getattr(request, "param", {}))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}/predict"
        serving.shutdown()


@pytest.fixture
def bodies(tmp_path: Path) -> Path:
    path = tmp_path / "bodies.json"
    path.write_text(json.dumps(['{"a": 1}', '{"a": "ü"}']))
    return path


def line(**changed: Any) -> str:
    figures = {"requests": 3000, "microseconds": 1_500_000, "p50": 250.0, "p99": 1250.0, "errors": 0}
    return "Running 2s test\n" + json.dumps(figures | changed) + "\n"


def test_the_output_of_the_load_is_converted_to_a_rate_and_milliseconds() -> None:
    assert load.parsed(line()) == load.Measured(rate=2000.0, p50=0.25, p99=1.25)


@pytest.mark.parametrize("output", [line(errors=1), line(requests=0), "Running 2s test\n", ""])
def test_a_failed_request_fails_the_run(output: str) -> None:
    with pytest.raises(load.LoadFailed):
        load.parsed(output)


def rounds() -> list[dict[str, dict[str, float]]]:
    """Return three rounds; in the second one, the machine is ten times slower."""
    return [
        {
            figures.OURS: {"rate_1": 6000 * f, "rate_32": 12_000 * f, "p99_1": 0.2 / f, "megabytes": 80.0,
                           "cold_start_seconds": 1.0 / f, "p50_half": 0.1 / f, "p99_half": 0.3 / f},
            figures.LOOK_UP: {"rate_1": 4500 * f, "rate_32": 9000 * f},
            figures.FALLBACK: {"rate_64": 2000 * f},
            "slow": {"rate_1": 100 * f, "rate_32": 120 * f, "rate_64": 100 * f, "p99_1": 40.0 / f, "megabytes": 400.0,
                     "cold_start_seconds": 12.0 / f},
            "fast": {"rate_1": 12_000 * f, "rate_32": 48_000 * f},
        }
        for f in (1.0, 0.1, 1.0)
    ]  # fmt: skip


def test_a_figure_is_the_median_of_the_rounds() -> None:
    found = figures.medians(rounds())
    assert found[figures.OURS]["rate_1"] == 6000
    assert found["slow"]["p99_1"] == 40


def test_a_ratio_compares_one_round_and_is_above_one_where_ours_is_better() -> None:
    found = figures.ratios(rounds(), ["slow", "fast"])
    assert found == {
        "one_connection": {"slow": 60.0, "fast": 0.5},
        "connections_32": {"slow": 100.0, "fast": 0.25},
        "memory": {"slow": 5.0},
        "cold_start": {"slow": 12.0},
        "p99_one_connection": {"slow": 200.0},
        "fallback_64": {"slow": 20.0},
        "look_up": {"one_connection": 0.75, "connections_32": 0.75},
        "p99_by_p50_at_half_load": {figures.OURS: 3.0},
    }


def test_a_peer_that_was_not_measured_has_no_ratio() -> None:
    assert figures.ratios(rounds(), ["absent"]).keys() == {"look_up", "p99_by_p50_at_half_load"}


def test_the_table_has_a_line_for_each_server() -> None:
    lines = figures.table(figures.medians(rounds())).splitlines()
    assert len(lines) == 2 + 5
    assert {each.count("|") for each in lines} == {len(figures.COLUMNS) + 2}


def test_the_open_loop_holds_its_rate(server: str, bodies: Path) -> None:
    found = load.fixed(server, bodies, rate=100, connections=4, seconds=2, core=max(os.sched_getaffinity(0)))
    assert 90 < found.rate < 105
    assert 0 < found.p50 <= found.p99


@pytest.mark.parametrize("server", [{"seconds": 0.05}], indirect=True)
def test_the_waiting_time_of_a_delayed_request_counts(server: str, bodies: Path) -> None:
    # 40 requests per second on a connection that allows 20: the last one is sent a second late.
    found = load.fixed(server, bodies, rate=40, connections=1, seconds=1, core=max(os.sched_getaffinity(0)))
    assert found.p50 > 300
    assert found.p99 > 800


@pytest.mark.parametrize("server", [{"status": 503}], indirect=True)
def test_an_error_response_fails_the_open_loop(server: str, bodies: Path) -> None:
    with pytest.raises(load.LoadFailed, match="20 of 20"):
        load.fixed(server, bodies, rate=20, connections=2, seconds=1, core=max(os.sched_getaffinity(0)))


def test_a_server_is_timed_until_its_first_response_and_its_children_are_ended(tmp_path: Path) -> None:
    port = processes.free_port()
    code = (
        "import subprocess, sys, time, http.server as h\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        "h.BaseHTTPRequestHandler.do_POST = lambda self: (self.send_response(200), self.end_headers(),"
        " self.wfile.write(b'{}'))\n"
        f"time.sleep(0.5); h.HTTPServer(('127.0.0.1', {port}), h.BaseHTTPRequestHandler).serve_forever()\n"
    )
    core = max(os.sched_getaffinity(0))
    command, url = (sys.executable, "-c", code), f"http://127.0.0.1:{port}/"
    with processes.running(command, tmp_path, {}, url, "{}", core, tmp_path / "log") as started:
        assert 0.5 < started.seconds < PATIENCE
        assert started.cpu > 0
        assert len(processes.tree(started.process.pid)) == 2
        assert 5 < started.megabytes() < 200
        numbers = processes.tree(started.process.pid)
        assert {frozenset(os.sched_getaffinity(number)) for number in numbers} == {frozenset({core})}
    eventually(lambda: not any(map(_alive, numbers)))


def _alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_server_that_does_not_start_is_reported_with_its_output(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "raise SystemExit('no model here')")
    with (
        pytest.raises(processes.ServerFailed, match="no model here"),
        processes.running(command, tmp_path, {}, "http://127.0.0.1:9/", "{}", 0, tmp_path / "log"),
    ):
        pass


@pytest.mark.slow
@pytest.mark.proof
@two_cores
@needs("wrk")
@pytest.mark.xdist_group("project")
def test_a_complete_run_compares_ours_with_constants(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, str(ROOT / "benchmarks" / "serving.py"), "--rounds", "1", "--seconds", "1"]
    command += ["--peers", "static_fastapi,static_asgi", "--build", str(tmp_path / "build"), "--json", str(report)]
    done = run(*command, folder=ROOT, PYTHONPATH=str(ROOT))
    assert done.returncode == 0, done.stdout
    found = json.loads(report.read_text())
    assert found["figures"].keys() == {
        figures.OURS, figures.LOOK_UP, figures.FALLBACK, "static_fastapi", "static_asgi"
    }  # fmt: skip
    assert found["ratios"]["one_connection"].keys() == {"static_fastapi", "static_asgi"}
    assert found["versions"][figures.OURS].startswith("onnx:")
    assert found["versions"][figures.FALLBACK].startswith("skops:")
