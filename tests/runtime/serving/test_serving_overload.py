"""Too much at once, over real sockets: what is refused says when to come back, and nobody else notices."""

import http.client
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from lifecycle.models.bundle import Bundle
from lifecycle.serving.app import create
from lifecycle.serving.live import Served
from lifecycle.serving.predict import LOOP_ROWS
from support.services import QUICK, Process, eventually, running
from support.storages import Storage

ROW = {"customer_id": "ann", "discount": 5.0}
BODY = json.dumps(ROW).encode()
Reply = tuple[int, dict[str, str], Any, float]
# A python bundle that takes its time for whatever it is asked together.
SLOW = """
import time

class Slow:
    @classmethod
    def load(cls, directory):
        return cls()

    def predict(self, frame):
        time.sleep(0.3 if len(frame) != 2 else 0)
        return [0.5] * len(frame)
"""


def ask(port: int, body: Any = ROW) -> Reply:
    """Status, headers, answer and seconds of one request on a connection of its own."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("POST", "/predict", json.dumps(body))
    reply = connection.getresponse()
    found = reply.status, {name.lower(): text for name, text in reply.getheaders()}, json.loads(reply.read())
    connection.close()
    return *found, time.monotonic() - began


def crowd(port: int, size: int, body: Any = ROW) -> list[Reply]:
    """What so many callers get that all ask at the same moment."""
    found: list[Reply] = []
    callers = [threading.Thread(target=lambda: found.append(ask(port, body))) for _ in range(size)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    return found


@contextmanager
def slow_bodies(
    port: int, count: int, sent: bytes = BODY[:9], length: int = len(BODY)
) -> Iterator[list[socket.socket]]:
    """Callers that have sent the beginning of their body and nothing more."""
    head = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n".encode()
    with ExitStack() as stack:
        callers = [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10)) for _ in range(count)]
        for caller in callers:
            caller.sendall(head + sent)
        time.sleep(0.2)
        yield callers


def status_of(caller: socket.socket) -> tuple[int, bytes]:
    """The status and the whole reply that a caller gets, up to the end of its connection."""
    reply = b""
    while part := caller.recv(65536):
        reply += part
    return int(reply.split()[1]), reply


@pytest.fixture
def slow(storage: Storage, tmp_path: Path) -> Bundle:
    (tmp_path / "slowly.py").write_text(SLOW)
    golden = [{"row": ROW | {"plan": "basic", "visits": 1}, "answer": 0.5}] * 2
    facts: dict[str, Any] = {"kind": "python", "class": "slowly:Slow", "requires": {}}
    bundle = storage.publish(golden=golden, **facts)
    storage.fill(bundle, {"ann": {"plan": "basic", "visits": 3}})
    storage.deploy(bundle)
    return bundle


@pytest.fixture
def serve(storage: Storage, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """serve(**settings): a service of the storage on a free port."""
    with ExitStack() as stack:

        def start(**given: str) -> Process:
            variables = {f"LIFECYCLE_SERVE__{name.upper()}": text for name, text in given.items()}
            return stack.enter_context(running(storage.store.root, tmp_path, **variables))

        yield start


def health(port: int) -> float:
    """How long /healthz takes."""
    began = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", "/healthz")
    assert connection.getresponse().status == 200
    connection.close()
    return time.monotonic() - began


def test_a_crowd_is_answered_together_and_healthz_meanwhile(serve: Callable[..., Process], slow: Bundle) -> None:
    port = serve().port
    taken: list[float] = []
    watch = threading.Thread(target=lambda: taken.extend(health(port) for _ in range(5)))
    began = time.monotonic()
    watch.start()
    found = crowd(port, 40)
    watch.join()
    assert Counter(status for status, *_ in found) == {200: 40}
    # One after the other they would take 12 s.
    assert time.monotonic() - began < 4
    assert max(taken) < 0.25


def test_too_many_requests_are_503_at_once_and_none_is_before_or_after(
    serve: Callable[..., Process], slow: Bundle
) -> None:
    port = serve(max_in_flight="4").port
    for _ in range(2):
        assert ask(port)[0] == 200
        found = crowd(port, 24)
        refused = [each for each in found if each[0] == 503]
        assert Counter(status for status, *_ in found) == {200: 24 - len(refused), 503: len(refused)}
        assert len(refused) >= 10
        for _, headers, told, _ in refused:
            assert (headers["retry-after"], "serve.max_in_flight" in told["detail"]) == ("1", True)
        assert min(seconds for *_, seconds in refused) < 0.25
    assert ask(port)[0] == 200


def test_too_many_rows_are_429_and_a_wait_without_end_is_503(serve: Callable[..., Process], slow: Bundle) -> None:
    port = serve(queue_rows="100").port
    found = crowd(port, 16, [ROW] * 50)
    assert {status for status, *_ in found} == {200, 429}
    assert {headers["retry-after"] for status, headers, *_ in found if status == 429} == {"1"}
    assert ask(port, [ROW] * 900)[0] == 200
    port = serve(timeout_seconds="0.5", batch_rows="1").port
    found = crowd(port, 10)
    assert {status for status, *_ in found} == {200, 503}
    assert {headers["retry-after"] for status, headers, *_ in found if status == 503} == {"1"}
    assert max(seconds for *_, seconds in found) < 2
    # Who has got 503 is not computed any more: the next one waits for nobody.
    assert ask(port)[0] == 200


@pytest.mark.parametrize("limit", ["256", "8"])
def test_32_slow_callers_starve_nobody(serve: Callable[..., Process], bundle: Bundle, limit: str) -> None:
    port = serve(max_in_flight=limit, timeout_seconds="5").port
    alone = sorted(ask(port)[3] for _ in range(20))
    with slow_bodies(port, 32) as callers:
        beside = [ask(port) for _ in range(20)]
        assert Counter(status for status, *_ in beside) == {200: 20}
        assert sorted(seconds for *_, seconds in beside)[10] < max(10 * alone[10], 0.1)
        callers[-1].sendall(BODY[9:])
        assert callers[-1].recv(4096).startswith(b"HTTP/1.1 200")
        told = Counter(status_of(caller)[0] for caller in callers[:-1])
    # Beyond the limit the slowest make room, for a quick one too unless its body came with its head; the others have
    # had their time.
    assert told in ([{408: 31}] if limit == "256" else [{503: 24, 408: 7}, {503: 25, 408: 6}])


def test_a_body_that_does_not_arrive_is_408_in_time_and_its_connection_is_closed(
    serve: Callable[..., Process], bundle: Bundle
) -> None:
    port = serve(timeout_seconds="2").port
    began = time.monotonic()
    with slow_bodies(port, 1, length=1000) as (caller,):
        # A byte now and then buys no time.
        for _ in range(3):
            caller.sendall(b" ")
            time.sleep(0.5)
        status, reply = status_of(caller)
    assert (status, b"connection: close" in reply, b"serve.timeout_seconds" in reply) == (408, True, True)
    assert 1.9 < time.monotonic() - began < 3.4
    assert ask(port)[0] == 200


def test_who_goes_away_while_waiting_disturbs_nobody(serve: Callable[..., Process], slow: Bundle) -> None:
    port = serve().port
    with slow_bodies(port, 8, BODY):
        with slow_bodies(port, 4):
            pass
        rest = crowd(port, 4)
    assert Counter(status for status, *_ in rest) == {200: 4}
    eventually(lambda: ask(port)[0] == 200)


def test_a_thousand_rows_of_a_fast_model_are_answered_in_the_thread(
    storage: Storage, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[tuple[int, str]] = []
    real = Served.answers

    def watched(served: Served, rows: Any) -> Any:
        threads.append((len(rows), threading.current_thread().name))
        return real(served, rows)

    monkeypatch.setattr(Served, "is_fast", True)
    monkeypatch.setattr(Served, "answers", watched)
    with TestClient(create(storage.store, "local", QUICK)) as client:
        for rows in (1, LOOP_ROWS, LOOP_ROWS + 1, 1000):
            assert len(client.post("/predict", json=[ROW] * rows).json()) == rows
    assert [name.startswith("predict") for _, name in threads] == [False, False, True, True]
