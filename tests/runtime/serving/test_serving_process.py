"""The service as a process: swaps under traffic, signals, and what keeps it from starting; several workers."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lifecycle import __version__
from lifecycle.contract.schema import Column
from lifecycle.models.bundle import Bundle
from lifecycle.models.predictor import Predictor
from support import PATIENCE
from support.processes import ROW, Service, Traffic, deploy_own, ended, start
from support.services import eventually
from support.storages import CHURN, Storage

pytestmark = pytest.mark.slow
KNOWN = {"ann": {"plan": "basic", "visits": 3, "age": 41.0}}
SLOW = "time.sleep(0.3 * (len(frame) != 2))"  # not for the two golden rows


@pytest.fixture
def bundle(storage: Storage) -> Bundle:
    made = storage.publish()
    storage.fill(made, KNOWN)
    storage.deploy(made)
    return made


def in_flight(service: Service, requests: int, body: bytes) -> list[socket.socket]:
    """Send a request on each of so many connections, and wait until the service has read them all."""
    callers = [service.socket() for _ in range(requests)]
    for caller in callers:
        caller.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    ports = {caller.getsockname()[1] for caller in callers}

    def are_read() -> bool:
        unread = {port: unread for port, (unread, _) in service.connections().items()}
        return ports <= unread.keys() and not any(unread[port] for port in ports)

    eventually(are_read)
    return callers


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_service_with_0_and_loses_none_of_20_requests_in_flight(
    serve: Callable[..., Service], storage: Storage, tmp_path: Path, sig: signal.Signals, workers: str
) -> None:
    deploy_own(storage, tmp_path, SLOW)
    service = serve(workers=workers, batch_rows="4")
    callers = in_flight(service, 20, json.dumps(ROW).encode())
    if workers == "1":
        # The metric counts its own request, too; the first batch of the model has just begun.
        assert service.metric("http_requests_in_flight") > 10
    code, log = service.end(sig)
    assert [caller.makefile("rb").read().split()[1] for caller in callers] == [b"200"] * 20, log
    assert (code, "Traceback" in log) == (0, False), log
    with pytest.raises(ConnectionRefusedError):
        service.socket()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_before_it_stops_it_is_not_ready_and_still_predicts_for_leave_seconds(
    serve: Callable[..., Service], bundle: Bundle, workers: str
) -> None:
    service = serve(workers=workers, leave_seconds="6")
    connection = service.connect()
    assert service.predict(ROW, connection)[0] == 200
    service.process.send_signal(signal.SIGTERM)
    eventually(lambda: service.text("/readyz")[0] == 503, seconds=5)
    connection.request("POST", "/predict", json.dumps(ROW))
    reply = connection.getresponse()
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    assert service.process.wait(timeout=PATIENCE) == 0


def test_a_request_that_takes_longer_than_the_drain_gets_503_and_does_not_delay_the_end(
    serve: Callable[..., Service], storage: Storage, tmp_path: Path
) -> None:
    deploy_own(storage, tmp_path, "time.sleep(600 * (len(frame) != 2))")
    service = serve(drain_seconds="1", timeout_seconds="60")
    (caller,) = in_flight(service, 1, json.dumps(ROW).encode())
    before = time.monotonic()
    code, log = service.end()
    assert (code, time.monotonic() - before < PATIENCE) == (0, True), log
    reply = caller.makefile("rb").read()
    assert (reply.split()[1], b"the service is stopping" in reply) == (b"503", True)


def test_promotion_and_rollback_under_traffic_fail_no_request(
    serve: Callable[..., Service], storage: Storage, bundle: Bundle
) -> None:
    coupon = Column("coupon", "request", "integer", required=False, default=0, low=0, high=9)
    age = Column("age", "lookup", "number", low=0.0, high=150.0)
    newer = storage.publish(replace(CHURN, columns=(*CHURN.columns, coupon, age)), made="20260202T000000")
    storage.fill(newer, KNOWN)
    # Once deployed, so that the other version ignores its field.
    storage.deploy(newer)
    storage.deploy(bundle)
    service = serve()
    traffic = Traffic(service, [ROW, ROW | {"coupon": 7}])
    for current in (newer, bundle, newer):
        storage.deploy(current)
        eventually(lambda current=current: service.get("/info")[1]["version"] == current.version)  # type: ignore[misc]
    eventually(lambda: service.get("/info")[1]["counted"]["ignored_fields"].get("coupon", 0) > 0)
    responses, failures = traffic.stop()
    assert failures == {}
    # Each response is wholly that of the version it names, for either kind of request.
    expected = {
        each.version: [Predictor(each).predict([ROW | {"coupon": sent} | KNOWN["ann"]], 0.5)[0] for sent in (0, 7)]
        for each in (bundle, newer)
    }
    assert expected[newer.version][0] != expected[newer.version][1]
    assert all(content in expected[version] for _, _, content, version in responses)
    assert {version for *_, version in responses} == expected.keys()
    assert service.get("/info")[1]["lifecycle"] == __version__
    code, log = service.end()
    assert (code, f"lifecycle {__version__} serves {bundle.version} in local" in log) == (0, True)


def test_a_body_of_10_mb_gets_413_and_not_a_broken_connection(serve: Callable[..., Service], bundle: Bundle) -> None:
    service = serve()
    status, content, _ = service.predict(b"[" + b" " * 10_000_000 + b"]")
    assert (status, "1000000 bytes" in content["detail"]) == (413, True)
    connection = service.connect()
    parts, headers = iter([b" " * 100_000] * 100), {"transfer-encoding": "chunked"}
    connection.request("POST", "/predict", parts, encode_chunked=True, headers=headers)
    assert connection.getresponse().status == 413
    assert service.predict(ROW)[0] == 200


def test_a_port_in_use_is_reported_with_a_hint(storage: Storage, tmp_path: Path, bundle: Bundle) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, log = ended(start(storage, tmp_path, "--port", str(port)))
    assert (code, out, "Traceback" in log) == (1, "", False)
    assert f"port {port} of 127.0.0.1 is in use" in log
    assert "make serve PORT=" in log


def test_an_address_of_another_machine_is_reported(storage: Storage, tmp_path: Path, bundle: Bundle) -> None:
    code, _, log = ended(start(storage, tmp_path, host="192.0.2.1"))
    assert (code, "192.0.2.1:8000: " in log, "Traceback" in log) == (1, True, False)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_bundle_that_cannot_be_loaded_ends_the_process_with_1_and_a_message(
    storage: Storage, tmp_path: Path, bundle: Bundle, workers: str
) -> None:
    path = bundle.path / "golden.jsonl"
    path.write_bytes(path.read_bytes().replace(b"basic", b"basiC"))
    code, out, log = ended(start(storage, tmp_path, "--port", "0", "--workers", workers))
    assert (code, out) == (1, "")
    assert "holds a changed golden.jsonl" in log
    assert "Traceback" not in log


def test_it_starts_from_a_storage_alone_and_imports_nothing_of_the_training(
    serve: Callable[..., Service], bundle: Bundle, tmp_path: Path
) -> None:
    blocked = tmp_path / "sitecustomize.py"
    blocked.write_text("import sys\nfor name in ('pandas', 'duckdb', 'mlflow', 'model'): sys.modules[name] = None\n")
    assert serve().predict(ROW)[0] == 200


def test_a_killed_worker_loses_only_its_own_requests_and_is_replaced(
    serve: Callable[..., Service], bundle: Bundle
) -> None:
    service = serve(workers="2")
    eventually(lambda: len(service.workers()) == 2)
    traffic = Traffic(service, [ROW] * 8)
    eventually(lambda: traffic.responses.qsize() > 100)
    killed = service.workers()[0]
    sockets = {os.readlink(path) for path in Path(f"/proc/{killed}/fd").iterdir()}
    own = {port for port, (_, inode) in service.connections().items() if f"socket:[{inode}]" in sockets}
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: len(service.workers()) == 2 and killed not in service.workers())
    before = traffic.responses.qsize()
    if len(own) < 8:
        eventually(lambda: traffic.responses.qsize() > before + 100)
    _, failures = traffic.stop()
    assert failures.keys() <= own
    assert [service.predict(ROW)[0] for _ in range(20)] == [200] * 20
    assert service.end()[0] == 0


def test_metrics_are_the_sum_of_all_workers(serve: Callable[..., Service], bundle: Bundle, tmp_path: Path) -> None:
    service = serve(workers="2")
    threads = [threading.Thread(target=lambda: [service.predict(ROW) for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    series = 'http_requests_total{method="POST",route="/predict",status="200"}'
    assert [service.metric(series) for _ in range(6)] == [40.0] * 6
    assert "http_requests_in_flight" not in service.text("/metrics")[1]
    os.kill(service.workers()[0], signal.SIGKILL)
    eventually(lambda: len(service.workers()) == 2)
    assert service.metric(series) == 40.0
    assert service.end()[0] == 0


def test_the_supervisor_of_several_workers_holds_no_model(serve: Callable[..., Service], storage: Storage) -> None:
    made = storage.publish(kind="onnx")
    storage.fill(made, KNOWN)
    storage.deploy(made)
    service = serve(workers="2")
    assert service.predict(ROW)[0] == 200
    loaded = {pid: Path(f"/proc/{pid}/maps").read_text() for pid in (service.process.pid, *service.workers())}
    assert "onnxruntime" not in loaded.pop(service.process.pid)
    assert any("onnxruntime" in each for each in loaded.values())
