"""HTTP as uvicorn speaks it, for callers that are slow or many: a connection that asks nothing does not stay."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

# The ASGI extension of whole messages: `body()` is that of the request, `answer(status, head, body)` sends one.
WHOLE = "lifecycle.http.response.whole"

BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\ncontent-length: 33\r\n"
    b'retry-after: 1\r\nconnection: close\r\n\r\n{"detail":"too many connections"}'
)


class Protocol(HttpToolsProtocol):
    """Closes a connection when the whole head of its next request is not there in time.

    Uvicorn's own timeout is for connections on which nothing arrives: a byte a second holds one for ever.
    """

    def __init__(self, *given: Any, seconds: float, most: int, **named: Any) -> None:
        super().__init__(*given, **named)
        self.seconds, self.most = seconds, most
        self._waits: asyncio.TimerHandle | None = None
        self._stalls: asyncio.TimerHandle | None = None
        # One timer for all answers of a connection; it looks when something has last happened.
        self._idles: asyncio.TimerHandle | None = None
        self._active = 0.0
        self._extensions: dict[str, dict[object, object]] = {WHOLE: {"body": self.body, "answer": self.answer}}

    def connection_made(self, transport: Any) -> None:
        """A caller: the clock runs, unless there are more of them than the process has room for."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            transport.write(BUSY)
            transport.close()
        else:
            self._waits = self.loop.call_later(self.seconds, transport.close)

    def data_received(self, data: bytes) -> None:
        """Some bytes: they end the wait when they complete a head, and begin it when they follow an answer."""
        self._active = self.loop.time()
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            if self._waits is None:
                self._waits = self.loop.call_later(self.seconds, self.transport.close)
        elif self._waits is not None:
            self._forget()

    def on_message_begin(self) -> None:
        """A request: whoever answers it may do so in one step."""
        super().on_message_begin()
        self.scope["extensions"] = self._extensions

    def body(self) -> bytes | None:
        """The body where all of it is here, as it mostly is: there is nothing to wait for, and so nothing to time."""
        cycle = self.cycle
        if self.pipeline or cycle.more_body or cycle.disconnected:
            return None
        return bytes(cycle.body)

    def answer(self, status: int, head: bytes, body: bytes) -> bool:
        """Send a whole answer, and say whether it was: not where uvicorn's own way has more to it than one write.

        ASGI's two messages become two writes, two segments and two wake-ups of the caller; every header is searched for
        what no header may hold; and a timer starts that the next request stops: as much again as all of the model's
        work. `head` is the service's own; of the caller it holds the request's id, which was looked at.
        """
        cycle = self.cycle
        # Where requests wait behind this one, the cycle is that of the last of them.
        if self.pipeline or cycle.response_started or cycle.disconnected or self.flow.write_paused:
            return False
        # The date; before uvicorn's first tick it is not there, and a service that ends asks callers to close.
        if len(cycle.default_headers) != 1 or not cycle.keep_alive:
            return False
        [date] = cycle.default_headers
        cycle.response_started = cycle.response_complete = True
        self.transport.write(b"%b%b: %b\r\n%b\r\n%b" % (STATUS_LINE[status], *date, head, body))
        cycle.message_event.set()
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._active = self.loop.time()
        if self._idles is None:
            self._idles = self.loop.call_later(self.timeout_keep_alive, self._end_if_idle)
        return True

    def pause_writing(self) -> None:
        """The caller does not read what it asked for: what is written waits in our memory."""
        super().pause_writing()
        if self._stalls is None:
            self._stall(self.transport.get_write_buffer_size() + 1)

    def resume_writing(self) -> None:
        """It has read enough."""
        super().resume_writing()
        if self._stalls is not None:
            self._stalls.cancel()
            self._stalls = None

    def _stall(self, before: int) -> None:
        """Cut off a caller that has read nothing for as long as a request may take."""
        waits = self.transport.get_write_buffer_size()
        if waits >= before:
            self.transport.abort()
        else:
            self._stalls = self.loop.call_later(self.seconds, self._stall, waits)

    def on_response_complete(self) -> None:
        """An answer that uvicorn sent: it has its own timer for what follows."""
        self._active = self.loop.time()
        super().on_response_complete()

    def _end_if_idle(self) -> None:
        idle = self.loop.time() - self._active if self.cycle.response_complete else 0.0
        if idle >= self.timeout_keep_alive:
            self.transport.close()
        else:
            self._idles = self.loop.call_later(self.timeout_keep_alive - idle, self._end_if_idle)

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller has gone, or was sent away."""
        for timer in (self._idles, self._stalls):
            if timer is not None:
                timer.cancel()
        self._forget()
        super().connection_lost(exc)

    def _forget(self) -> None:
        if self._waits is not None:
            self._waits.cancel()
            self._waits = None
