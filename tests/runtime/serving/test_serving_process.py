"""The service as a process: swaps under traffic, signals, and what keeps it from starting."""

import http.client
import json
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lifecycle.contract.schema import Column
from lifecycle.models.bundle import Bundle
from lifecycle.models.predictor import Predictor
from lifecycle.registry import deployments
from support.processes import POLL, ROW, Service, Traffic, deploy_own, ended, start
from support.storages import CHURN, Storage

KNOWN = {"ann": {"plan": "basic", "visits": 3, "age": 41.0}}


@pytest.fixture
def bundle(storage: Storage) -> Bundle:
    made = storage.publish()
    storage.fill(made, KNOWN)
    storage.deploy(made)
    return made


def test_promotion_and_rollback_under_traffic_fail_no_request_and_take_no_longer_than_a_look(
    serve: Callable[..., Service],
    storage: Storage,
    bundle: Bundle,
) -> None:
    coupon = Column("coupon", "request", "integer", required=False, default=0, low=0, high=9)
    age = Column("age", "lookup", "number", low=0.0, high=150.0)
    newer = storage.publish(replace(CHURN, columns=(*CHURN.columns, coupon, age)), made="20260202T000000")
    storage.fill(newer, KNOWN)
    service = serve()
    rows: list[dict[str, Any]] = [ROW, ROW | {"coupon": 7}]
    traffic = Traffic(service, rows)
    swapped = []
    for live in (newer, bundle, newer):
        time.sleep(0.5)
        storage.deploy(live)
        swapped.append((time.monotonic(), live.version))
        while service.get("/info")[1]["version"] != live.version:
            assert time.monotonic() < swapped[-1][0] + 5, "the swap takes more than 5 s"
    time.sleep(0.5)
    answers, failures = traffic.stop()
    assert failures == []
    # Each answer is wholly that of the version it names, for either kind of request.
    entity = KNOWN["ann"]
    expected = {
        each.version: {
            json.dumps(Predictor(each).predict([ROW | {"coupon": taken} | entity], 0.5)[0]) for taken in (0, 7)
        }
        for each in (bundle, newer)
    }
    assert len(expected[newer.version]) == 2
    for _, _, answer, version in answers:
        assert json.dumps(answer) in expected[version]
    for moment, version in swapped:
        first = min(at for at, _, _, found in answers if found == version and at > moment)
        assert first - moment < POLL + 1.0
    assert service.get("/info")[1]["counted"]["ignored_fields"]["coupon"] > 0
    assert service.end()[0] == 0


@pytest.fixture
def slow(storage: Storage, tmp_path: Path) -> Bundle:
    """A model that takes 0.3 s, or a minute for a discount of 60; not while it is proved by its two golden rows."""
    body = "time.sleep(60 if (frame['discount'] == 60).any() else 0.3 * (len(frame) != 2))"
    return deploy_own(storage, tmp_path, body)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_and_loses_nothing_in_flight(
    serve: Callable[..., Service], slow: Bundle, sig: signal.Signals
) -> None:
    service = serve()
    found: list[int] = []
    callers = [threading.Thread(target=lambda: found.append(service.ask(ROW)[0])) for _ in range(6)]
    for caller in callers:
        caller.start()
    time.sleep(0.5)
    assert len(found) < 6, "nothing was in flight"
    # One thread answers, and the loop goes on meanwhile.
    before = time.monotonic()
    assert service.get("/healthz")[0] == 200
    assert time.monotonic() - before < 0.25
    before = time.monotonic()
    code, log = service.end(sig)
    for caller in callers:
        caller.join()
    assert (code, found, time.monotonic() - before < 8) == (0, [200] * 6, True), log
    with pytest.raises(ConnectionRefusedError):
        service.connect().connect()


def test_a_signal_in_the_middle_of_traffic_loses_no_request(serve: Callable[..., Service], bundle: Bundle) -> None:
    service = serve()
    lost: list[str] = []
    answered: list[int] = []

    def call() -> None:
        while True:
            connection = service.connect()
            try:
                connection.connect()
            except ConnectionRefusedError:
                return
            try:
                answered.append(service.ask(ROW, connection)[0])
            except (OSError, http.client.HTTPException) as error:
                lost.append(repr(error))
                return

    callers = [threading.Thread(target=call) for _ in range(4)]
    for caller in callers:
        caller.start()
    time.sleep(0.7)
    code, log = service.end()
    for caller in callers:
        caller.join()
    assert (code, lost, set(answered)) == (0, [], {200}), log


def test_a_request_on_an_open_connection_just_after_the_signal_is_the_last_one_answered(
    serve: Callable[..., Service], bundle: Bundle
) -> None:
    service = serve()
    connection = service.connect()
    assert service.ask(ROW, connection)[0] == 200
    service.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    connection.request("POST", "/predict", json.dumps(ROW))
    reply = connection.getresponse()
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    assert service.process.wait(timeout=20) == 0


def test_a_caller_that_never_finishes_its_request_cannot_keep_it_alive(
    serve: Callable[..., Service], bundle: Bundle
) -> None:
    service = serve(drain_seconds="1")
    with socket.create_connection(("127.0.0.1", service.port)) as caller:
        caller.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{")
        time.sleep(0.2)
        before = time.monotonic()
        code, log = service.end()
    assert (code, time.monotonic() - before < 5, "Traceback" in log) == (0, True, False), log


def test_a_model_that_does_not_come_back_cannot_keep_it_alive(serve: Callable[..., Service], slow: Bundle) -> None:
    service = serve(drain_seconds="1")
    found: list[tuple[int, Any, str]] = []
    caller = threading.Thread(target=lambda: found.append(service.ask(ROW | {"discount": 60.0})))
    caller.start()
    time.sleep(0.3)
    before = time.monotonic()
    code, log = service.end()
    caller.join()
    assert (code, time.monotonic() - before < 6) == (0, True), log
    assert found[0][:2] == (503, {"detail": "the service is ending"})
    assert "the model did not finish" in log
    assert "Traceback" not in log


def test_a_body_of_10_mb_gets_413_and_not_a_broken_connection(serve: Callable[..., Service], bundle: Bundle) -> None:
    service = serve()
    status, told, _ = service.ask(b"[" + b" " * 10_000_000 + b"]")
    assert (status, "1000000 bytes" in told["detail"]) == (413, True)
    connection = service.connect()
    connection.request(
        "POST", "/predict", iter([b" " * 100_000] * 100), encode_chunked=True, headers={"transfer-encoding": "chunked"}
    )
    assert connection.getresponse().status == 413
    assert service.ask(ROW)[0] == 200


def test_a_port_in_use_is_told_by_number_with_the_mend_and_without_a_traceback(
    storage: Storage, tmp_path: Path, bundle: Bundle
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, log = ended(start(storage, tmp_path, "--port", str(port)))
    assert (code, out) == (1, "")
    assert f"port {port} of 127.0.0.1 is in use" in log
    assert "make serve PORT=" in log
    assert "Traceback" not in log


def test_an_address_of_another_machine_is_told(storage: Storage, tmp_path: Path, bundle: Bundle) -> None:
    code, _, log = ended(start(storage, tmp_path, host="192.0.2.1"))
    assert (code, "192.0.2.1 is no address of this machine" in log, "Traceback" in log) == (1, True, False)


def test_a_changed_byte_keeps_it_from_starting(storage: Storage, tmp_path: Path, bundle: Bundle) -> None:
    path = bundle.path / "golden.jsonl"
    path.write_bytes(path.read_bytes().replace(b"basic", b"basiC"))
    code, out, log = ended(start(storage, tmp_path, "--port", "0"))
    assert (code, out) == (1, "")
    assert "holds a changed golden.jsonl" in log
    assert "Traceback" not in log


def test_it_starts_from_a_storage_alone_and_imports_nothing_of_the_training(
    serve: Callable[..., Service], bundle: Bundle, storage: Storage, tmp_path: Path
) -> None:
    blocked = tmp_path / "sitecustomize.py"
    blocked.write_text("import sys\nfor name in ('pandas', 'duckdb', 'mlflow', 'model'): sys.modules[name] = None\n")
    service = serve()
    assert service.ask(ROW)[0] == 200
    assert deployments.required(storage.store, "local").live.version == service.get("/info")[1]["version"]
