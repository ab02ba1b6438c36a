"""One process that answers: uvicorn on a socket, and an end that loses nothing."""

import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import sys
import threading
from functools import partial
from types import FrameType

import uvicorn

from lifecycle import timestamps
from lifecycle.serving import listening, messages
from lifecycle.serving.app import WORKER, create
from lifecycle.serving.protocol import Protocol
from lifecycle.settings import Log, Serve
from lifecycle.storage import Store

log = logging.getLogger("lifecycle.serving")
# Long enough for requests on their way to arrive and to be answered before idle connections are closed.
LAST_CALL = 0.5


def run(store: Store, environment: str, serve: Serve, log: Log | None = None) -> None:
    """Target until SIGTERM or SIGINT, then finish what is in flight; raises LifecycleError when it cannot start."""
    messages.configure(serve.log_format)
    with contextlib.closing(listening.bind(serve.host, serve.port)) as listener:
        server = Server(config(store, environment, serve, log))
        listening.listen(listener, serve.host, serve.port)
        answer(server, listener)


def config(store: Store, environment: str, serve: Serve, log: Log | None = None) -> uvicorn.Config:
    """The application and how it is served."""
    # One thread answers one row at a time: a team of threads that wait for each other only costs. Before it is loaded.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    now = timestamps.clock
    protocol = partial(Protocol, seconds=serve.timeout_seconds, most=listening.most_connections())
    return uvicorn.Config(
        create(store, environment, serve, log, now),
        http=protocol,  # type: ignore[arg-type]
        access_log=False,
        backlog=listening.BACKLOG,
        log_config=None,
        # Nothing here asks for the caller's address, or tells who serves.
        proxy_headers=False,
        server_header=False,
        log_level="warning",
        lifespan="on",
        ws="none",
        timeout_graceful_shutdown=math.ceil(serve.drain_seconds),
    )


def answer(server: "Server", listener: socket.socket) -> None:
    """Target on a socket until a signal, and finish."""
    server.run([listener])
    _leave_behind_what_still_runs()


class Server(uvicorn.Server):
    """Says where it listens; ends by a signal as a success, after a last call."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        messages.follow(asyncio.get_running_loop())
        await super().startup(sockets)
        for listener in sockets or []:
            self.began(listener)

    def began(self, listener: socket.socket) -> None:
        """Tell that it answers."""
        listening.announce(listener)

    def ignores_newcomers(self, listener: socket.socket) -> bool:
        """Whether nobody connects any more; what is not ignored is refused at once."""
        return listening.ignores_newcomers(listener)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """End; at once, if it is asked twice by hand."""
        # The signal is not kept: uvicorn would raise it again after the drain, and the exit code would tell a crash.
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Target what has arrived."""
        if not all(self.ignores_newcomers(listener) for listener in sockets or []):
            for server in self.servers:
                server.close()
        # What is connected already, or has been sent already, may not have been read yet.
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        await asyncio.sleep(LAST_CALL)
        await super().shutdown(sockets)


def _leave_behind_what_still_runs() -> None:
    """End at once when a model is still busy after the drain: Python would wait for it, however long it takes."""
    for thread in threading.enumerate():
        if thread.name.startswith(WORKER):
            thread.join(timeout=LAST_CALL)
            if thread.is_alive():
                log.error("the model did not finish within the drain; the service ends without it")
                sys.stdout.flush()
                os._exit(0)
