"""What a request may take of the service: bytes, seconds, and room beside the others."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from starlette.types import Receive, Scope

from lifecycle.settings import Serve

# The queue is emptied faster than that; what a person has to fix takes longer.
SOON, LATER = {"retry-after": "1"}, {"retry-after": "5"}
CLOSE = {"connection": "close"}
LOOK_SECONDS = 0.1


class Rejected(Exception):
    """The request gets this status and this detail instead of an answer; `reason` is what it is counted under."""

    def __init__(self, status: int, detail: Any, headers: Mapping[str, str] | None = None, reason: str = "") -> None:
        self.status, self.detail, self.headers, self.reason = status, detail, headers or {}, reason
        super().__init__(detail)


class Bodies:
    """The bodies that are on their way, at most `max_in_flight` of them at once.

    A body that takes its time holds nothing that others need: the one that has taken longest makes room for a new one.
    """

    def __init__(self, limits: Serve) -> None:
        self.limits = limits
        # By task the moment until which it may take, oldest first.
        self._ends: dict[asyncio.Task[Any], float] = {}
        self._looking = False
        self._ended: dict[asyncio.Task[Any], Callable[[Serve], Rejected]] = {}

    async def read(self, scope: Scope, receive: Receive, ends: float) -> bytes | None:
        """The whole body, or None when the caller has gone away; raises Rejected when it is too large or too slow."""
        task = asyncio.current_task()
        assert task is not None, "an application is called in a task"
        if len(self._ends) >= self.limits.max_in_flight:
            self._end(next(iter(self._ends)), _crowded)
        self._ends[task] = ends
        if not self._looking:
            self._look(task.get_loop())
        try:
            return await _whole(scope, receive, self.limits.max_bytes)
        except asyncio.CancelledError:
            if task not in self._ended:
                raise
            task.uncancel()
            raise self._ended.pop(task)(self.limits) from None
        finally:
            self._ends.pop(task, None)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """End what is late, and look again while there is something: a timer for each body would cost ten times it."""
        for task, ends in [*self._ends.items()]:
            if ends > loop.time():
                break
            self._end(task, _late)
        self._looking = bool(self._ends)
        if self._looking:
            loop.call_later(LOOK_SECONDS, self._look, loop)

    def _end(self, task: "asyncio.Task[Any]", why: Callable[[Serve], Rejected]) -> None:
        del self._ends[task]
        self._ended[task] = why
        task.cancel()


async def _whole(scope: Scope, receive: Receive, most: int) -> bytes | None:
    promised = header(scope, b"content-length")
    if promised.isdigit() and int(promised[:20]) > most:
        raise _too_large(most)
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise _too_large(most)
        parts.append(part)
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def header(scope: Scope, wanted: bytes) -> bytes:
    """The value of a header, or nothing."""
    for name, value in scope["headers"]:
        if name == wanted:
            return bytes(value)
    return b""


def _too_large(most: int) -> Rejected:
    problem = f"the body is larger than {most} bytes (setting serve.max_bytes)"
    return Rejected(413, f"{problem}; send the rows in parts, or score them as a batch")


def _late(limits: Serve) -> Rejected:
    problem = f"the body did not arrive within {limits.timeout_seconds:g} s (setting serve.timeout_seconds)"
    return Rejected(408, problem, CLOSE)


def _crowded(limits: Serve) -> Rejected:
    problem = "too many bodies are on their way, and this one is the slowest (setting serve.max_in_flight)"
    return Rejected(503, problem, SOON | CLOSE, "overloaded")
