"""A small reverse proxy that sends each request to one of several services that are ready."""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from support import PATIENCE


class Proxy(ThreadingHTTPServer):
    """Knows which ports are ready, from /readyz, and how many requests wait for a response of each."""

    daemon_threads = True

    def __init__(self, ports: list[int]) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.ports, self.ready, self.waiting = ports, set[int](), Counter[int]()
        self.lock, self.ended = threading.Lock(), threading.Event()

    @property
    def port(self) -> int:
        return self.server_port

    def watch(self) -> None:
        """Request /readyz of each port until the proxy ends."""
        while not self.ended.wait(0.02):
            for port in self.ports:
                try:
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
                    connection.request("GET", "/readyz")
                    is_ready = connection.getresponse().status == 200
                    connection.close()
                except (OSError, http.client.HTTPException):
                    is_ready = False
                (self.ready.add if is_ready else self.ready.discard)(port)

    def forward(self, body: bytes) -> tuple[int, bytes]:
        """Return status and body of the response of a service; 502 where a request was lost."""
        # The one with the fewest requests; where none listens, the next one.
        for port in sorted(self.ready, key=lambda port: self.waiting[port]):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            try:
                connection.connect()
            except ConnectionRefusedError:
                continue
            with self.lock:
                self.waiting[port] += 1
            try:
                connection.request("POST", "/predict", body)
                reply = connection.getresponse()
                return reply.status, reply.read()
            except (OSError, http.client.HTTPException) as error:
                return 502, b'"%s"' % type(error).__name__.encode()
            finally:
                with self.lock:
                    self.waiting[port] -= 1
                connection.close()
        return 503, b'"no service is ready"'


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def do_POST(self) -> None:
        status, body = self.server.forward(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def proxied(ports: list[int]) -> Iterator[Proxy]:
    """Run a proxy in front of services on these ports, once all of them are ready."""
    with Proxy(ports) as proxy:
        threads = [threading.Thread(target=each) for each in (proxy.serve_forever, proxy.watch)]
        for thread in threads:
            thread.start()
        try:
            end = time.monotonic() + PATIENCE
            while proxy.ready != {*ports}:
                assert time.monotonic() < end, "the services did not become ready"
                time.sleep(0.02)
            yield proxy
        finally:
            proxy.ended.set()
            proxy.shutdown()
            for thread in threads:
                thread.join()
