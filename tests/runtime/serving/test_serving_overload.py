"""Limits: a service that has too much to do says when to try again, and still reports its health."""

import json
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from sklearn.ensemble import BaggingClassifier
from sklearn.neural_network import MLPClassifier

from lifecycle.models.bundle import Bundle
from lifecycle.models.predictor import Predictor
from lifecycle.serving.app import create
from lifecycle.serving.deployed import DeployedModel
from lifecycle.serving.predict import EVENT_LOOP_ROWS
from support import PATIENCE
from support.processes import ROW, Service, deploy_own
from support.services import QUICK, eventually
from support.storages import Storage

BODY = json.dumps(ROW).encode()
Responses = list[tuple[int, dict[str, str], Any]]


@contextmanager
def blocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[threading.Event, threading.Event]]:
    """A model that predicts nothing until the second event is set; the first one is set when it is called."""
    called, free = threading.Event(), threading.Event()
    real = DeployedModel.predict

    def predict(model: DeployedModel, rows: Any) -> Any:
        called.set()
        assert free.wait(60)
        return real(model, rows)

    monkeypatch.setattr(DeployedModel, "predict", predict)
    try:
        yield called, free
    finally:
        free.set()


def send(client: TestClient, count: int, body: Any = ROW) -> tuple[Responses, list[threading.Thread]]:
    """Send requests from threads of their own; the list receives status, headers and content of each response."""
    found: Responses = []

    def call() -> None:
        reply = client.post("/predict", json=body)
        found.append((reply.status_code, dict(reply.headers), reply.json()))

    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    return found, threads


@pytest.mark.parametrize(
    ("limits", "size", "rejected", "setting"),
    [
        ({"max_in_flight": 4}, 1, {503: 8}, "serve.max_in_flight"),
        ({"queue_rows": 200}, 50, {429: 8}, "serve.queue_rows"),
    ],
)
def test_beyond_a_limit_requests_are_rejected_at_once_and_health_and_metrics_still_respond(
    storage: Storage,
    bundle: Bundle,
    monkeypatch: pytest.MonkeyPatch,
    limits: Any,
    size: int,
    rejected: Any,
    setting: str,
) -> None:
    serve = QUICK.model_copy(update=limits | {"timeout_seconds": 60})
    with TestClient(create(storage.store, "local", serve)) as client, blocked(monkeypatch) as (called, free):
        found, threads = send(client, 12, [ROW] * size)
        assert called.wait(PATIENCE)
        # Eight are rejected while the model predicts none of the other four.
        eventually(lambda: len(found) == 8)
        assert Counter(status for status, *_ in found) == rejected
        for _, headers, content in found:
            assert (headers["retry-after"], setting in content["detail"]) == ("1", True)
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
        assert 'model_requests_refused_total{reason="overloaded"} 8.0' in client.get("/metrics").text
        free.set()
        for thread in threads:
            thread.join()
        assert Counter(status for status, *_ in found) == rejected | {200: 4}
        assert client.post("/predict", json=[ROW] * 300).status_code == 200


def test_a_prediction_that_takes_too_long_is_503_and_waiting_requests_are_not_predicted_any_more(
    storage: Storage, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve = QUICK.model_copy(update={"timeout_seconds": 0.3})
    with TestClient(create(storage.store, "local", serve)) as client, blocked(monkeypatch) as (_, free):
        for _ in range(2):
            reply = client.post("/predict", json=ROW)
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
            assert "serve.timeout_seconds" in reply.json()["detail"]
        free.set()
        eventually(lambda: client.post("/predict", json=ROW).status_code == 200)


def watched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets the name of the thread of each prediction."""
    threads: list[str] = []
    real = DeployedModel.predict

    def predict(model: DeployedModel, rows: Any) -> Any:
        threads.append(threading.current_thread().name)
        return real(model, rows)

    monkeypatch.setattr(DeployedModel, "predict", predict)
    return threads


def test_more_rows_than_the_event_loop_may_predict_are_predicted_in_the_thread(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.deploy(made := storage.publish(kind="onnx"))
    storage.fill(made, {"ann": {"plan": "basic", "visits": 3}})
    threads = watched(monkeypatch)
    # On a busy machine, the measured time of few rows could exceed the other limit.
    monkeypatch.setattr(Predictor, "seconds", lambda model, rows: 0.0)
    with TestClient(create(storage.store, "local", QUICK)) as client:
        for rows in (1, EVENT_LOOP_ROWS, EVENT_LOOP_ROWS + 1, 1000):
            assert len(client.post("/predict", json=[ROW] * rows).json()) == rows
    assert [name == "predict" for name in threads] == [False, False, True, True]


@pytest.mark.parametrize(("seconds", "expected"), [((0.0005, 0.000011), [False, True]), ((0.003, 0.003), [True, True])])
def test_a_request_that_takes_longer_than_the_event_loop_may_is_predicted_in_the_thread(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, float], expected: list[bool]
) -> None:
    storage.deploy(made := storage.publish(kind="onnx"))
    storage.fill(made, {"ann": {"plan": "basic", "visits": 3}})
    threads = watched(monkeypatch)
    # Of one row alone, and of each of many.
    monkeypatch.setattr(Predictor, "seconds", lambda model, rows: max(seconds[0], rows * seconds[1]))
    with TestClient(create(storage.store, "local", QUICK)) as client:
        for rows in (1, EVENT_LOOP_ROWS):
            assert client.post("/predict", json=[ROW] * rows).status_code == 200
    assert [name == "predict" for name in threads] == expected


def test_a_heavy_graph_is_predicted_in_the_thread_and_health_is_reported_meanwhile(
    storage: Storage,
) -> None:
    random = np.random.default_rng(0)
    matrix, label = random.normal(size=(200, 3)), random.integers(0, 2, 200)
    network = MLPClassifier((1500, 1500), max_iter=1, random_state=0)
    heavy = BaggingClassifier(network, 3, random_state=0).fit(matrix, label)
    storage.deploy(made := storage.publish(kind="onnx", estimator=heavy))
    storage.fill(made, {"ann": {"plan": "basic", "visits": 3}})
    with TestClient(create(storage.store, "local", QUICK.model_copy(update={"timeout_seconds": 60}))) as client:
        found, threads = send(client, 8, [ROW] * EVENT_LOOP_ROWS)
        times, start = [], time.monotonic()
        while any(thread.is_alive() for thread in threads):
            began = time.monotonic()
            assert client.get("/healthz").status_code == 200
            times.append(time.monotonic() - began)
        assert [status for status, *_ in found] == [200] * 8
        assert len(times) > 4
        # Behind the predictions of the eight requests, it would take about an eighth of the time.
        assert statistics.median(times) < (time.monotonic() - start) / 24


@pytest.mark.slow
def test_slow_bodies_take_no_place_from_other_requests_and_get_408(
    serve: Callable[..., Service], storage: Storage, tmp_path: Path
) -> None:
    deploy_own(storage, tmp_path, "pass")
    service = serve(max_in_flight="4", timeout_seconds="5")
    with ExitStack() as stack:
        callers = [stack.enter_context(service.socket()) for _ in range(32)]
        for caller in callers:
            caller.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY[:9]))
        # The request for the metrics counts, too.
        eventually(lambda: service.metric("http_requests_in_flight") == 33)
        assert [service.predict(ROW)[0] for _ in range(5)] == [200] * 5
        began = time.monotonic()
        replies = [caller.makefile("rb").read() for caller in callers]
        # Each connection is closed after the response.
        assert {(reply.split()[1], b"connection: close" in reply) for reply in replies} == {(b"408", True)}
        assert all(b"serve.timeout_seconds" in reply for reply in replies)
        assert time.monotonic() - began < PATIENCE
    assert service.predict(ROW)[0] == 200
