"""What the service's own HTTP does that uvicorn's does not: a whole answer in one write, one timer a connection."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from lifecycle.serving.protocol import WHOLE, Protocol

REQUEST = b"POST /predict HTTP/1.1\r\nhost: here\r\ncontent-length: 2\r\n%b\r\n{}"
HEAD = b"content-type: application/json\r\ncontent-length: 4\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-type: application/json\r\ncontent-length: 4\r\n\r\ntrue"


class Caller:
    """A connection: the bytes of each write, and whether it was closed."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str) -> None:
        return None

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers in one step where that is possible, as /predict does; after a while where the query says so."""
    if scope["extensions"][WHOLE]["body"]() is None:
        while (await receive()).get("more_body"):
            pass
    await asyncio.sleep(float(scope["query_string"] or 0))
    if not scope["extensions"][WHOLE]["answer"](200, HEAD, b"true"):
        headers = [(b"content-type", b"application/json"), (b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"true"})


def played(*steps: Callable[[Protocol], Awaitable[None] | None], keep_alive: float = 5.0, **state: Any) -> Caller:
    """What a caller gets who does this, one step after the other."""
    caller = Caller()

    async def play() -> None:
        config = uvicorn.Config(app, server_header=False, lifespan="off", ws="none", proxy_headers=False)
        config.load()
        there = ServerState()
        there.default_headers = state.get("default_headers", [(b"date", b"today")])
        protocol = Protocol(config=config, server_state=there, app_state={}, seconds=30.0, most=10)
        protocol.timeout_keep_alive = keep_alive  # type: ignore[assignment]
        protocol.connection_made(caller)
        for step in steps:
            if waiting := step(protocol):
                await waiting
        await asyncio.gather(*there.tasks)
        assert there.total_requests == state.get("requests", 1)
        # Uvicorn closes what is lost.
        closed = caller.closed
        protocol.connection_lost(None)
        caller.closed = closed

    asyncio.run(play())
    return caller


def sent(more: bytes = b"", path: bytes = b"/predict") -> Callable[[Protocol], None]:
    return lambda protocol: protocol.data_received((REQUEST % more).replace(b"/predict", path))


def passed(seconds: float = 0.0) -> Callable[[Protocol], Awaitable[None]]:
    return lambda protocol: asyncio.sleep(seconds)


def test_a_whole_answer_is_one_write() -> None:
    assert played(sent()).writes == [ANSWER]


def test_a_body_is_there_when_all_of_it_is() -> None:
    found: list[bytes | None] = []

    def look(protocol: Protocol) -> None:
        found.append(protocol.body())

    half = (REQUEST % b"")[:-1]
    first, rest = (lambda protocol: protocol.data_received(half)), (lambda protocol: protocol.data_received(b"}"))
    assert played(first, look, rest, look).writes == [ANSWER]
    assert found == [None, b"{}"]
    second = REQUEST.replace(b"/predict", b"/predict?0.05") % b""
    played(lambda protocol: protocol.data_received(second * 2), look, passed(0.2), requests=2)
    assert found[2] is None


def test_a_connection_is_used_again() -> None:
    caller = played(sent(), passed(0.02), sent(), requests=2)
    assert (caller.writes, caller.closed) == ([ANSWER, ANSWER], False)


def test_requests_sent_without_waiting_are_answered_in_their_order() -> None:
    three = b"".join(REQUEST.replace(b"/predict", path) % b"" for path in (b"/a?0.05", b"/b?0.01", b"/c?0"))
    caller = played(lambda protocol: protocol.data_received(three), passed(0.3), requests=3)
    assert b"".join(caller.writes) == ANSWER * 3


@pytest.mark.parametrize("more", [b"connection: close\r\n"])
def test_a_caller_that_asks_to_close_is_told_so(more: bytes) -> None:
    caller = played(sent(more))
    assert b"connection: close\r\n" in b"".join(caller.writes)
    assert caller.closed


def test_a_service_that_ends_tells_it() -> None:
    caller = played(sent(), default_headers=[(b"date", b"today"), (b"connection", b"close")])
    assert b"connection: close\r\n" in b"".join(caller.writes)
    assert caller.closed


def test_before_there_is_a_date_there_is_an_answer() -> None:
    assert b"".join(played(sent(), default_headers=[]).writes) == ANSWER.replace(b"date: today\r\n", b"")


def test_an_idle_connection_is_closed_and_a_busy_one_is_not() -> None:
    assert played(sent(), passed(0.3), keep_alive=0.1).closed
    busy = played(sent(), passed(0.06), sent(), passed(0.06), sent(), passed(0.06), keep_alive=0.1, requests=3)
    assert not busy.closed
    slow = played(sent(), passed(0.02), sent(path=b"/predict?0.3"), passed(0.35), keep_alive=0.1, requests=2)
    assert (slow.writes, slow.closed) == ([ANSWER, ANSWER], False)


def test_nothing_is_answered_to_a_caller_that_has_gone() -> None:
    caller = played(
        sent(path=b"/predict?0.1"), passed(0.02), lambda protocol: protocol.connection_lost(None), requests=0
    )
    assert caller.writes == []
