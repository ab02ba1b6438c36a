"""Callers that are slow or too many: they are sent away in time, and the others notice nothing."""

import contextlib
import json
import re
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from lifecycle.models.bundle import Bundle
from support.processes import ROW, Service
from support.services import eventually
from support.storages import Storage

BODY = json.dumps(ROW).encode()
HEAD = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(BODY)


class Slow:
    """Connections on which a byte arrives every now and then; what was sent at once comes first."""

    def __init__(self, port: int, number: int, at_once: bytes, then: bytes, pause: float = 0.25) -> None:
        self.sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(number)]
        self.going, self.closed = True, 0
        for each in self.sockets:
            each.sendall(at_once)
        self.thread = threading.Thread(target=self._drip, args=(then, pause))
        self.thread.start()

    def _drip(self, content: bytes, pause: float) -> None:
        left = set(self.sockets)
        for at in range(10_000):
            for each in list(left):
                try:
                    each.sendall(content and content[at % len(content) :][:1])
                    each.setblocking(False)
                    with contextlib.suppress(BlockingIOError):
                        if each.recv(1000) == b"":
                            raise ConnectionResetError
                    each.setblocking(True)
                except OSError:
                    left.remove(each)
            self.closed = len(self.sockets) - len(left)
            if not left or not self.going:
                return
            time.sleep(pause)

    def stop(self) -> None:
        self.going = False
        self.thread.join()
        for each in self.sockets:
            each.close()


@pytest.fixture
def slow() -> Iterator[Callable[..., Slow]]:
    """slow(port, number, at_once, then): callers that are there until the test ends."""
    made: list[Slow] = []

    def make(*given: object) -> Slow:
        made.append(Slow(*given))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.stop()


def test_thirty_two_slow_callers_do_not_starve_a_quick_one(
    serve: Callable[..., Service], bundle: Bundle, slow: Callable[..., Slow]
) -> None:
    service = serve(timeout_seconds="60")
    slow(service.port, 16, b"POST /predict HTTP/1.1\r\n", b"x-more: 1\r\n")
    slow(service.port, 16, HEAD, b" ")
    connection, seconds = service.connect(), []
    for _ in range(200):
        began = time.perf_counter()
        assert service.ask(ROW, connection)[0] == 200
        seconds.append(time.perf_counter() - began)
    print(f"p50 {sorted(seconds)[100] * 1000:.1f} ms, p99 {sorted(seconds)[197] * 1000:.1f} ms")
    assert sorted(seconds)[197] < 0.25
    # A new connection is answered, too.
    assert service.ask(ROW)[0] == 200


@pytest.mark.parametrize(
    ("at_once", "then"),
    [
        (b"", b""),
        (b"", b"\r\n"),
        (b"POST /predict HTTP/1.1\r\n", b"x-more: 1\r\n"),
        (HEAD + BODY, b"POST /predict HTTP/1.1\r\nx-more: 1\r\nx-more: 2\r\nx-more: 3\r\nx-more: 4\r\n"),
        (HEAD + BODY, b"\r\n"),
    ],
    ids=["nothing", "ends of lines", "a head", "a second head", "ends of lines after an answer"],
)
def test_a_head_that_does_not_arrive_in_time_closes_the_connection(
    serve: Callable[..., Service], bundle: Bundle, slow: Callable[..., Slow], at_once: bytes, then: bytes
) -> None:
    service = serve(timeout_seconds="1")
    began = time.monotonic()
    callers = slow(service.port, 4, at_once, then)
    eventually(lambda: callers.closed == 4, seconds=5)
    assert time.monotonic() - began > 0.9
    assert service.ask(ROW)[0] == 200


def test_a_connection_that_is_used_stays_open_longer_than_a_head_may_take(
    serve: Callable[..., Service], bundle: Bundle
) -> None:
    service = serve(timeout_seconds="1")
    connection = service.connect()
    connection.connect()
    first = connection.sock
    for _ in range(5):
        assert service.ask(ROW, connection)[0] == 200
        time.sleep(0.4)
    assert connection.sock is first


def test_more_connections_than_there_is_room_for_are_told_to_come_back(
    serve: Callable[..., Service], bundle: Bundle, storage: Storage
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, hard))
    try:
        service = serve(timeout_seconds="60")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    held = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(64)]
    connection = service.connect()
    connection.request("POST", "/predict", BODY)
    reply = connection.getresponse()
    assert (reply.status, reply.headers["retry-after"], json.loads(reply.read())) == (
        503,
        "1",
        {"detail": "too many connections"},
    )
    # There is room for the files of a swap.
    newer = storage.publish(made="20260202T000000")
    storage.fill(newer, {"ann": {"plan": "basic", "visits": 3}})
    storage.deploy(newer)
    held.pop().close()
    held.pop().close()
    eventually(lambda: service.get("/info")[1]["version"] == newer.version)
    for each in held:
        each.close()
    assert service.end()[0] == 0


def test_a_caller_that_reads_nothing_of_a_large_answer_is_cut_off(
    serve: Callable[..., Service], bundle: Bundle
) -> None:
    service = serve(timeout_seconds="3", max_rows="100000", max_bytes="10000000")
    asked = json.dumps([ROW] * 100_000).encode()
    with socket.socket() as caller:
        # Little of the answer fits into what the kernels hold for both sides.
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.connect(("127.0.0.1", service.port))
        caller.sendall(b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(asked), asked))
        time.sleep(9)
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while part := caller.recv(65536):
                got += part
    promised = re.search(rb"content-length: (\d+)", got)
    assert promised
    assert len(got) < int(promised[1]), "it was sent to the end"
    assert service.ask(ROW)[0] == 200
