"""What the tests of the service share: whom it knows, how it is set, and how to wait for it."""

import time
from collections.abc import Callable
from typing import Any

from fastapi.testclient import TestClient

from lifecycle.settings import Serve

KNOWN = {
    "ann": {"plan": "basic", "visits": 3},
    "bob": {"plan": "plus", "visits": 0},
    "zoë": {"plan": "plus", "visits": 40},
}
QUICK = Serve(poll_seconds=0.05, max_rows=1000)


def eventually(check: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until something comes true."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)


def counted(client: TestClient) -> dict[str, Any]:
    """What the service has counted."""
    found: dict[str, Any] = client.get("/info").json()["counted"]
    return found
