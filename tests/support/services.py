"""Features, settings and waiting, for the tests of the service."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi.testclient import TestClient

from lifecycle.settings import Serve
from support.processes import Service, free_port, start_command, until_killed
from support.waiting import eventually as eventually

KNOWN = {
    "ann": {"plan": "basic", "visits": 3},
    "bob": {"plan": "plus", "visits": 0},
    "zoë": {"plan": "plus", "visits": 40},
}
QUICK = Serve(poll_seconds=0.05, max_rows=1000)


def counted(client: TestClient) -> dict[str, Any]:
    """Return the counts of /info."""
    found: dict[str, Any] = client.get("/info").json()["counted"]
    return found


@contextmanager
def running(
    storage: Path, folder: Path, port: int = 0, clock: Path | None = None, **variables: str
) -> Iterator[Service]:
    """Run a service as a process, with settings as environment variables; `clock` is a file with a simulated time."""
    port = port or free_port()
    with until_killed(start_command(storage, folder, "--port", str(port), clock=clock, **variables), port) as service:
        yield service


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """Serve an application on a port of its own and yield its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
