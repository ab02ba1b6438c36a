"""Send requests at a fixed rate over HTTP/1.1, each timed from when it was due: no request waits for a slow one.

python open_loop.py PORT PATH BODIES RATE CONNECTIONS SECONDS. A request that is due while all connections are busy is
sent as soon as one is free, and its waiting time counts. The loop never sleeps; a request takes about 12 µs, so that it
keeps rates of up to 30,000 per second.
"""

import gc
import json
import select
import socket
import sys
import time
from pathlib import Path

PATIENCE = 10.0
END = b"\r\n\r\n"


def main() -> int:
    """Send, measure, print one line of JSON."""
    port, path, bodies, rate, connections, seconds = sys.argv[1:]
    messages = [
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body.encode())}\r\n\r\n{body}".encode()
        for body in json.loads(Path(bodies).read_text())
    ]
    sockets = {}
    poll = select.epoll()
    for _ in range(int(connections)):
        each = socket.create_connection(("127.0.0.1", int(port)))
        each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[each.fileno()] = each
        poll.register(each, select.EPOLLIN)
    gc.disable()
    taken, errors, elapsed = run(poll, sockets, messages, float(rate), float(seconds))
    taken.sort()
    report = {"requests": len(taken), "microseconds": elapsed * 1e6, "errors": errors}
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        report[name] = taken[min(len(taken) - 1, int(len(taken) * share))] * 1e6 if taken else 0.0
    print(json.dumps(report))
    return 0


def run(
    poll: select.epoll, sockets: dict[int, socket.socket], messages: list[bytes], rate: float, seconds: float
) -> tuple[list[float], int, float]:
    """Return the seconds that each request took, the number of failures, and the total duration."""
    free, due_of, parts = list(sockets), dict.fromkeys(sockets, 0.0), dict.fromkeys(sockets, b"")
    taken: list[float] = []
    sent, errors, wanted = 0, 0, max(1, int(rate * seconds))
    now = began = time.perf_counter()
    # A request without a response by then has failed.
    while len(taken) < wanted and now < began + seconds + PATIENCE:
        while free and sent < wanted and began + sent / rate <= now:
            # The connection that has been idle longest, as with many callers.
            number = free.pop(0)
            due_of[number] = began + sent / rate
            sockets[number].send(messages[sent % len(messages)])
            sent += 1
        for number, _ in poll.poll(0):
            response = parts[number] + sockets[number].recv(65536)
            if not is_complete(response):
                parts[number] = response
                continue
            now = time.perf_counter()
            taken.append(now - due_of[number])
            errors += not response.startswith(b"HTTP/1.1 2")
            parts[number] = b""
            free.append(number)
        now = time.perf_counter()
    return taken, errors + wanted - len(taken), now - began


def is_complete(response: bytes) -> bool:
    """Return whether a response has arrived completely; without a length, its last chunk ends it."""
    head, end, body = response.partition(END)
    if not end:
        return False
    _, named, rest = head.lower().partition(b"\r\ncontent-length:")
    return len(body) >= int(rest.split(b"\r\n", 1)[0]) if named else body.endswith(b"0\r\n\r\n")


if __name__ == "__main__":
    sys.exit(main())
