"""Generated clients, and a scripted service."""

import importlib
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import httpx
from client import files, package_name
from starlette.testclient import TestClient

from lifecycle.contract.schema import Column, Contract, Target

FLOAT32 = 3.4028234663852886e38
# Names and levels that are difficult for Python, Pydantic or a code generator.
HOSTILE = Contract(
    3,
    Target("multiclass", "label", ("a b", 'q"uote', "it's", "back\\slash", "größer")),
    (
        Column("class", "key", "category", max_length=8),
        Column("seen_at", "key", "time"),
        Column("a b", "request", "number", low=-FLOAT32, high=FLOAT32),
        Column("a_b", "request", "number", low=0.5, high=1e30, unit="€/m²"),
        Column("a_b_2", "request", "integer", low=-3, high=2**24, nullable=True),
        Column("int", "request", "integer", low=0, high=9, required=False, default=3),
        Column("float", "request", "number", low=0.0, high=1e-7, required=False, default=0),
        Column("str", "request", "boolean", required=False, default=False),
        Column("model_dump", "request", "category", levels=("x", '"', "'", "\\", "\n", "{x}", "\u202e", "\u0430")),
        Column("copy", "request", "boolean", nullable=True, required=False),
        Column("_private", "request", "category", max_length=3, required=False, default="'\""),
        Column("Größe (cm) {0}", "request", "category", max_length=256, description='The "size",\nwith {braces}.'),
        Column('")]; import os #', "request", "number", nullable=True, low=0.0, high=1.0, required=False),
        Column("日本", "request", "number", low=0.0, high=1.0),
        Column("3", "request", "number", low=0.0, high=1.0),
        Column("Row", "request", "number", low=0.0, high=1.0),
        Column("WHOLE", "request", "integer", low=0, high=1),
    ),
)


def load(contract: Contract, model: str, folder: Path) -> ModuleType:
    """Return the imported package of a new client; `model` must differ in each call of a process."""
    for name, content in files(contract, model, "1.0.0").items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    sys.path.insert(0, str(folder / "src"))
    importlib.invalidate_caches()
    try:
        return importlib.import_module(package_name(model))
    finally:
        sys.path.remove(str(folder / "src"))


def through(service: TestClient) -> httpx.MockTransport:
    """Return a transport that sends the requests of a client to a service in this process."""

    def send(request: httpx.Request) -> httpx.Response:
        found = service.request(request.method, request.url.path, content=request.content, headers=request.headers)
        return httpx.Response(found.status_code, headers=found.headers, content=found.content)

    return httpx.MockTransport(send)


@dataclass(frozen=True)
class Response:
    """A scripted response; status 0 closes the connection. `pauses` are before it and before each later part."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    pauses: tuple[float, ...] = (0.0,)


class Scripted:
    """A service that sends scripted responses, the last one repeatedly, and records the requests."""

    def __init__(self, *script: Response) -> None:
        self.script = list(script)
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.times: list[float] = []
        self.url = ""

    def next(self, headers: dict[str, str], body: bytes) -> Response:
        """Record a request and return the response to it."""
        self.requests.append((headers, body))
        self.times.append(time.monotonic())
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]


@contextmanager
def scripted(*script: Response) -> Iterator[Scripted]:
    """Run a scripted service on a free port."""
    service = Scripted(*script)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            response = service.next(headers, self.rfile.read(int(headers.get("content-length", 0))))
            time.sleep(response.pauses[0])
            if not response.status:
                self.close_connection = True
                return
            self.send_response(response.status)
            for name, value in {"content-length": str(len(response.body)), **response.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            for at, pause in enumerate(response.pauses):
                time.sleep(pause if at else 0)
                size = -(-len(response.body) // len(response.pauses))
                self.wfile.write(response.body[at * size : (at + 1) * size])

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda request, address: None  # type: ignore[method-assign]
    service.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
