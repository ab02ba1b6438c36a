"""Segments of the prediction log: who is writing one, which are closed, and the lines of each.

A segment is `.open` and locked while a service writes it, and `.jsonl` afterwards. The lock of a writer that was killed
is gone: its segment counts as closed. A file `.close` beside an open one asks its writer to close it.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lifecycle.storage import Store

OPEN, CLOSED, WANTED = ".open", ".jsonl", ".close"
# A writer looks every log.flush_seconds (at most 10) whether its segment is wanted.
PATIENCE = 15.0
FIELDS = {"ts", "id", "version", "rows", "answers"}

Line = dict[str, Any]
# Made once: the function of the library makes one for each text.
ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def folder(store: Store, environment: str) -> Path:
    """Where the segments of an environment stand."""
    return store.predictions / environment / "segments"


def closed(directory: Path) -> list[Path]:
    """Every segment that nobody writes, oldest first; those of a killed writer are renamed on the way."""
    for path in directory.glob(f"[!.]*{OPEN}"):
        _close_if_left(path)
    return sorted(directory.glob(f"[!.]*{CLOSED}"))


def being_written(directory: Path) -> list[Path]:
    """Every segment whose writer lives."""
    closed(directory)
    return sorted(directory.glob(f"[!.]*{OPEN}"))


def wait_for_writers(directory: Path, patience: float = PATIENCE) -> list[Path]:
    """Ask every writer to close its segment; returns the segments that are still open after so many seconds."""
    wanted = being_written(directory)
    for path in wanted:
        path.with_suffix(WANTED).touch()
    end = time.monotonic() + patience
    while late := [path for path in being_written(directory) if path in wanted]:
        if time.monotonic() > end:
            return late
        time.sleep(0.02)
    return []


def lines(path: Path) -> Iterator[Line | None]:
    """Every line of a segment; None for one that is not whole: its writer was killed, or the disk was full."""
    with path.open("rb") as file:
        for line in file:
            yield parsed(line)


def parsed(line: bytes) -> Line | None:
    """What a line says, or None when it is not a whole one."""
    try:
        found = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    if not isinstance(found, dict) or not found.keys() >= FIELDS or type(found["ts"]) not in (int, float):
        return None
    rows, answers = found["rows"], found["answers"]
    both = isinstance(rows, list) and isinstance(answers, list) and len(rows) == len(answers)
    return found if both else None


def dumped(content: Any) -> bytes:
    """JSON of one line, without its end."""
    return ENCODER.encode(content).encode()


def _close_if_left(path: Path) -> None:
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.rename(path, path.with_suffix(CLOSED))
        path.with_suffix(WANTED).unlink(missing_ok=True)
    except (BlockingIOError, FileNotFoundError):
        # Somebody writes it, or has just closed it.
        return
    finally:
        os.close(handle)
