"""Clients as an application has them: out of the wheel; and a service that does what a test says."""

import importlib
import io
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import httpx
from starlette.testclient import TestClient

from lifecycle.client import wheel
from lifecycle.contract.schema import Column, Contract, Target

FLOAT32 = 3.4028234663852886e38
# Names and levels that Python, Pydantic, a formatter or a careless generator trips over.
HOSTILE = Contract(
    3,
    Target("multiclass", "label", ("a b", 'q"uote', "it's", "back\\slash", "größer")),
    (
        Column("class", "key", "category", max_length=8),
        Column("moment", "key", "time"),
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
    """The package of a fresh client, imported; `model` has to be a name of its own in each call of a process."""
    name, content = wheel.wheel(contract, model)
    zipfile.ZipFile(io.BytesIO(content)).extractall(folder)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name.partition("-")[0])
    finally:
        sys.path.remove(str(folder))


def through(service: TestClient) -> httpx.MockTransport:
    """What takes a client's requests to a service within this process."""

    def answered(request: httpx.Request) -> httpx.Response:
        found = service.request(request.method, request.url.path, content=request.content, headers=request.headers)
        return httpx.Response(found.status_code, headers=found.headers, content=found.content)

    return httpx.MockTransport(answered)


@dataclass(frozen=True)
class Says:
    """One reply of a scripted service; without a status it hangs up. `pauses` are before it, and before each part."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    pauses: tuple[float, ...] = (0.0,)


class Scripted:
    """A service that replies as told, the last one for ever, and keeps what it was sent."""

    def __init__(self, *script: Says) -> None:
        self.script = list(script)
        self.asked: list[tuple[dict[str, str], bytes]] = []
        self.moments: list[float] = []
        self.url = ""

    def next(self, headers: dict[str, str], body: bytes) -> Says:
        """The reply to a request."""
        self.asked.append((headers, body))
        self.moments.append(time.monotonic())
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]


@contextmanager
def scripted(*script: Says) -> Iterator[Scripted]:
    """Such a service on a free port."""
    service = Scripted(*script)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            says = service.next(headers, self.rfile.read(int(headers.get("content-length", 0))))
            time.sleep(says.pauses[0])
            if not says.status:
                self.close_connection = True
                return
            self.send_response(says.status)
            for name, value in {"content-length": str(len(says.body)), **says.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            for at, pause in enumerate(says.pauses):
                time.sleep(pause if at else 0)
                size = -(-len(says.body) // len(says.pauses))
                self.wfile.write(says.body[at * size : (at + 1) * size])

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
