"""HTTP as uvicorn speaks it, for callers that are slow or many: a connection that asks nothing does not stay."""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

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
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            if self._waits is None:
                self._waits = self.loop.call_later(self.seconds, self.transport.close)
        elif self._waits is not None:
            self._forget()

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller has gone, or was sent away."""
        self._forget()
        super().connection_lost(exc)

    def _forget(self) -> None:
        if self._waits is not None:
            self._waits.cancel()
            self._waits = None
