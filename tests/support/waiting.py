"""Waiting for a condition."""

import time
from collections.abc import Callable

from support import PATIENCE


def eventually(check: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "the condition did not hold in time"
        time.sleep(0.02)
