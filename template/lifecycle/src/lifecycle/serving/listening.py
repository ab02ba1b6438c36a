"""The socket that a service answers on, and how it stops taking connections without losing one."""

import contextlib
import ctypes
import errno
import resource
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Any

from lifecycle.errors import LifecycleError

BACKLOG = 2048
# File descriptors that connections may not take: those of bundles, features, the log of predictions and the libraries.
RESERVE = 64
# A socket filter: load the flags of the TCP header (byte 13); is SYN set? drop the packet : keep it.
DROP_SYN = ((0x30, 0, 0, 13), (0x45, 0, 1, 0x02), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFF_FFFF))
SO_ATTACH_FILTER = 26  # Linux; the socket module does not name it


def bind(host: str, port: int) -> socket.socket:
    """A socket with an address; raises LifecycleError where it cannot have that."""
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


def listen(listener: socket.socket, host: str, port: int) -> None:
    """Let callers connect; raises LifecycleError where another process does already."""
    with _refusing(host, port):
        listener.listen(BACKLOG)


def share(family: int, address: Any) -> socket.socket:
    """One of several sockets that listen on an address: the kernel deals callers out to them.

    Of one socket, the process that wakes first would take nearly all.
    """
    with _refusing(*address[:2]):
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
        return listener


def ignores_newcomers(listener: socket.socket) -> bool:
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


def most_connections() -> int:
    """How many connections this process can hold and still open a file."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if most == resource.RLIM_INFINITY else max(most - RESERVE, most // 2)


def announce(listener: socket.socket) -> None:
    """Say where it listens: the one line on standard output, for people and for what starts a service."""
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    print(f"listening on {url} (documentation: {url}/docs)", flush=True)


@contextlib.contextmanager
def _refusing(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hints = {
            errno.EADDRINUSE: (
                f"port {port} of {host} is in use",
                f"Stop what listens there, or take another port: `make serve PORT={port % 65535 + 1}`.",
            ),
            errno.EACCES: (f"this user may not listen on port {port}", "Take a port above 1023 (setting serve.port)."),
        }
        unusable = (f"{host} is no address of this machine ({error.strerror})", "Change the setting serve.host.")
        raise LifecycleError(*hints.get(error.errno or 0, unusable)) from error
