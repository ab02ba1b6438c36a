"""The process: a socket of its own, uvicorn on it, and an end that loses nothing."""

import asyncio
import contextlib
import ctypes
import errno
import logging
import math
import os
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

import uvicorn

from lifecycle.errors import LifecycleError
from lifecycle.serving.app import WORKER, create
from lifecycle.settings import Log, Serve
from lifecycle.store import Store

log = logging.getLogger("lifecycle.serving")
# Long enough for requests on their way to arrive and to be answered before idle connections are closed.
LAST_CALL = 0.5
# A socket filter: load the flags of the TCP header (byte 13); is SYN set? drop the packet : keep it.
DROP_SYN = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFF_FFFF))
SO_ATTACH_FILTER = 26  # Linux; the socket module does not name it


def run(
    store: Store, environment: str, serve: Serve, log: Log | None = None, now: Callable[[], float] = time.time
) -> None:
    """Answer until SIGTERM or SIGINT, then finish what is in flight; raises LifecycleError when it cannot start."""
    # One thread answers one row at a time: a team of threads that wait for each other only costs. Before it is loaded.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with contextlib.closing(_bind(serve.host, serve.port)) as listener:
        config = uvicorn.Config(
            create(store, environment, serve, log, now),
            access_log=False,
            log_config=None,
            log_level="warning",
            lifespan="on",
            ws="none",
            timeout_graceful_shutdown=math.ceil(serve.drain_seconds),
        )
        with _refusing(serve.host, serve.port):
            listener.listen(config.backlog)
        _Server(config).run([listener])
    _leave_behind_what_still_runs()


class _Server(uvicorn.Server):
    """Says where it listens; ends by a signal as a success, after a last call."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or []:
            print(f"listening on {_url(listener)} (documentation: {_url(listener)}/docs)", flush=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # The signal is not kept: uvicorn would raise it again after the drain, and the exit code would tell a crash.
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if not all(_ignores_newcomers(listener) for listener in sockets or []):
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


def _ignores_newcomers(listener: socket.socket) -> bool:
    """Let the kernel drop attempts to connect (they are repeated, and find the port closed), where it knows how.

    Closing the listener at once would reset the connections that wait in its queue.
    """
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in DROP_SYN))
    filtered = struct.pack("HL", len(DROP_SYN), ctypes.addressof(program))
    with contextlib.suppress(OSError):
        if sys.platform == "linux":
            listener.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, filtered)
            return True
    return False


def _bind(host: str, port: int) -> socket.socket:
    with _refusing(host, port):
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
        return listener


@contextlib.contextmanager
def _refusing(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        mends = {
            errno.EADDRINUSE: (
                f"port {port} of {host} is in use",
                f"Stop what listens there, or take another port: `make serve PORT={port % 65535 + 1}`.",
            ),
            errno.EACCES: (f"this user may not listen on port {port}", "Take a port above 1023 (setting serve.port)."),
        }
        unusable = (f"{host} is no address of this machine ({error.strerror})", "Change the setting serve.host.")
        raise LifecycleError(*mends.get(error.errno or 0, unusable)) from error


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
