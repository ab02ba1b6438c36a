"""Several processes behind one socket: they count as one, end as one, and one that dies costs the others nothing."""

import contextlib
import http.client
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lifecycle.models.bundle import Bundle
from lifecycle.monitoring.collect import collect
from lifecycle.registry import segments
from support.processes import ROW, Service, Traffic, deploy_own, ended, served, start
from support.services import eventually
from support.storages import Storage


def others(service: Service, *known: int) -> set[int]:
    """Those of its workers that are new."""
    return {*service.workers()} - {*known}


def answers(service: Service) -> bool:
    try:
        return service.ask(ROW)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


def test_two_count_as_one_whichever_is_asked_and_end_as_one(
    serve: Callable[..., Service], bundle: Bundle, storage: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    service = serve(workers="2", log__max_bytes="3000")
    assert len(service.workers()) == 2
    for _ in range(40):
        assert service.ask(ROW)[0] == 200
    folder = segments.folder(storage.store, "local")
    written = lambda: sum(len(list(segments.lines(path))) for path in folder.glob("*"))  # noqa: E731
    eventually(lambda: written() + service.told("prediction_log_dropped_total") == 40)
    assert 0 < written() < 40
    # Each scrape is a connection of its own, so that either worker may get it.
    for _ in range(8):
        route = 'method="POST",route="/predict"'
        assert service.told(f'http_requests_total{{{route},status="200"}}') == 40
        assert service.told("prediction_log_dropped_total") == 40 - written()
        # The one that asks; that of the scrape before may not be over yet.
        eventually(lambda: service.told("http_requests_in_flight") == 1)
    text = service.text("/metrics")[1]
    for pid in service.workers():
        assert f'process_resident_memory_bytes{{pid="{pid}"}}' in text
    assert text.count("# TYPE process_cpu_seconds_total counter") == 1
    assert len(list(tmp_path.glob("lifecycle-metrics-*"))) == 1
    code, log = service.end()
    assert (code, log.count("not logged")) == (0, len(log.splitlines()))
    assert not list(tmp_path.glob("lifecycle-metrics-*"))
    assert collect(storage.store, "local").half_lines == 0


# Each request takes 0.3 s, and none is answered before there is this file.
GO = "go"
HELD = f"while not os.path.exists({GO!r}): time.sleep(0.01)\n            time.sleep(0.3)"


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_signal_loses_none_of_twenty_requests_in_flight(storage: Storage, tmp_path: Path, workers: str) -> None:
    deploy_own(storage, tmp_path, HELD)
    found, seconds, code = _in_flight(storage, tmp_path, workers)
    assert (found, code) == ([200] * 20, 0)
    assert seconds < 10


@pytest.mark.parametrize(("workers", "times"), [("1", 5), ("2", 1)])
def test_without_the_drain_the_same_requests_are_lost_each_time(
    storage: Storage, tmp_path: Path, workers: str, times: int
) -> None:
    ends_at_once = "from lifecycle.serving import server; server.Server.handle_exit = lambda *_: os._exit(0)"
    deploy_own(storage, tmp_path, f"{ends_at_once}\n            {HELD}")
    for _ in range(times):
        found, _, _ = _in_flight(storage, tmp_path, workers)
        assert found.count(200) < 20


def _in_flight(storage: Storage, folder: Path, workers: str) -> tuple[list[int], float, int]:
    """The statuses of twenty requests (0: lost), of which a signal finds all; how long the end took, and its code."""
    (folder / GO).touch()
    with served(storage, folder, workers=workers) as service, ThreadPoolExecutor(20) as callers:

        def ask(_: int) -> int:
            try:
                return service.ask(ROW)[0]
            except (OSError, http.client.HTTPException):
                return 0

        (folder / GO).unlink()
        asked = [callers.submit(ask, each) for each in range(20)]
        # The scrape itself is the 21st.
        eventually(lambda: service.told("http_requests_in_flight") == 21, seconds=20)
        before = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        (folder / GO).touch()
        found = [each.result() for each in asked]
        service.process.communicate(timeout=20)
    return found, time.monotonic() - before, service.process.returncode


def test_a_worker_that_is_killed_costs_its_own_requests_and_nothing_else(
    serve: Callable[..., Service], storage: Storage, tmp_path: Path
) -> None:
    deploy_own(storage, tmp_path, "time.sleep(0.05)")
    service = serve(workers="2", log__segment_bytes="1000", log__flush_seconds="0.05")
    before = service.workers()
    traffic = Traffic(service, [ROW] * 12)
    time.sleep(1.0)
    os.kill(before[0], signal.SIGKILL)
    eventually(lambda: len(others(service, *before)) == 1, seconds=10)
    eventually(lambda: all(answers(service) for _ in range(5)), seconds=20)
    given, failures = traffic.stop()
    # Each caller stops at its first failure; at least those of the other worker go on.
    assert 0 < len(failures) < 12
    assert {status for _, status, _, _ in given} == {200}
    eventually(lambda: service.told("http_requests_in_flight") == 1)
    counted = service.told('http_requests_total{method="POST",route="/predict",status="200"}')
    assert counted >= len(given)
    code, log = service.end()
    assert (code, log.count("ended with -9")) == (0, 1)
    found = collect(storage.store, "local")
    # What a killed one has not flushed is lost (log.flush_seconds); of what is there, all is whole.
    assert found.half_lines == 0
    assert found.rows >= len(given) - 40
    assert not list(segments.folder(storage.store, "local").glob("*"))


def test_a_worker_that_is_told_to_end_alone_is_replaced_and_callers_notice_nothing(
    serve: Callable[..., Service], bundle: Bundle
) -> None:
    service = serve(workers="2")
    before = service.workers()
    os.kill(before[0], signal.SIGTERM)
    eventually(lambda: before[0] not in service.workers(), seconds=10)
    for _ in range(20):
        assert answers(service)
    eventually(lambda: len(others(service, *before)) == 1, seconds=10)
    assert service.end(signal.SIGINT)[0] == 0


def test_a_supervisor_that_is_killed_leaves_no_worker_behind(
    serve: Callable[..., Service], storage: Storage, tmp_path: Path
) -> None:
    deploy_own(storage, tmp_path, "time.sleep(1.0)")
    service = serve(workers="2")
    workers = service.workers()
    found: list[int] = []
    caller = threading.Thread(target=lambda: found.append(service.ask(ROW)[0]))
    caller.start()
    time.sleep(0.4)
    service.process.kill()
    try:
        caller.join()
        assert found == [200]
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), seconds=10)
    finally:
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_what_no_worker_can_serve_ends_it_with_its_problem_told_once(
    storage: Storage, tmp_path: Path, bundle: Bundle
) -> None:
    path = bundle.path / "golden.jsonl"
    path.write_bytes(path.read_bytes().replace(b"basic", b"basiC"))
    code, out, log = ended(start(storage, tmp_path, "--port", "0", "--workers", "2"))
    assert (code, out, log.count("holds a changed golden.jsonl")) == (1, "", 1)
    assert "Traceback" not in log


def test_workers_that_die_before_they_answer_are_not_started_for_ever(storage: Storage, tmp_path: Path) -> None:
    deploy_own(storage, tmp_path, "os._exit(3)")
    code, _, log = ended(start(storage, tmp_path, "--port", "0", "--workers", "2"))
    assert (code, "ended with 3 before it could answer" in log) == (1, True)


def test_one_that_dies_again_and_again_is_started_with_ever_longer_pauses(
    serve: Callable[..., Service], bundle: Bundle
) -> None:
    service = serve(workers="2")
    for _ in range(3):
        before = service.workers()
        os.kill(before[-1], signal.SIGKILL)
        eventually(lambda before=before: len(others(service, *before)) == 1, seconds=20)  # type: ignore[misc]
        eventually(lambda: len(service.workers()) == 2, seconds=10)
    _, log = service.end()
    pauses = [float(line.split("another starts in ")[1].split()[0]) for line in log.splitlines() if "another" in line]
    assert pauses == sorted(pauses)
    assert pauses[-1] >= 2 * pauses[-2]


def test_an_own_folder_of_counts_is_kept_and_one_that_is_none_is_told(
    serve: Callable[..., Service], storage: Storage, bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "counts"
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(own))
    code, _, log = ended(start(storage, tmp_path, "--port", "0", "--workers", "2"))
    assert (code, "PROMETHEUS_MULTIPROC_DIR" in log, "Traceback" in log) == (1, True, False)
    own.mkdir()
    service = serve(workers="2")
    assert answers(service)
    assert service.end()[0] == 0
    assert list(own.glob("counter_*.db"))


def test_a_port_in_use_is_told_before_any_worker_starts(storage: Storage, tmp_path: Path, bundle: Bundle) -> None:
    with served(storage, tmp_path) as service:
        taken = start(storage, tmp_path, "--port", str(service.port), "--workers", "2")
        code, out, log = ended(taken)
    assert (code, out, log.count("is in use")) == (1, "", 1)


def test_callers_are_dealt_out_to_all(serve: Callable[..., Service], bundle: Bundle) -> None:
    service = serve(workers="2")

    def sockets() -> list[int]:
        found = [Path(f"/proc/{pid}/fd").iterdir() for pid in service.workers()]
        return [sum(os.readlink(each).startswith("socket:") for each in own) for own in found]

    before, held = sockets(), [service.connect() for _ in range(32)]
    for each in held:
        each.connect()
    eventually(lambda: sum(sockets()) - sum(before) == 32)
    assert all(now - then >= 4 for now, then in zip(sockets(), before, strict=True))
    for each in held:
        each.close()


def test_the_line_of_the_address_stands_once(storage: Storage, tmp_path: Path, bundle: Bundle) -> None:
    process = start(storage, tmp_path, "--port", "0", "--workers", "2")
    assert Service(process).port
    process.terminate()
    assert ended(process)[:2] == (0, "")


def test_a_number_of_workers_that_means_nothing_is_refused(storage: Storage, tmp_path: Path, bundle: Bundle) -> None:
    process: subprocess.Popen[str] = start(storage, tmp_path, "--workers", "0")
    code, _, log = ended(process)
    assert (code, "--workers 0: Input should be greater than or equal to 1" in log) == (1, True)
