"""Segment files of the prediction log: where they are, which of them are being written, and their lines.

A writer appends to `NAME.open`, holds the lock `.NAME.lock` while it lives, and rotates by size and by time to
`NAME.jsonl`, which never grows. Readers may read the complete lines of both kinds.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lifecycle.storage import Store

OPEN, CLOSED = ".open", ".jsonl"
FIELDS = {"ts", "id", "version", "rows", "predictions"}

Line = dict[str, Any]
# `json.dumps` with these options would build an encoder for each call.
ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def folder(store: Store, environment: str) -> Path:
    """Return the directory that contains the segments of an environment."""
    return store.predictions / environment / "segments"


def writer_lock(segment: Path) -> FileLock:
    """Return the lock that the writer of a segment holds until it closes the segment or dies."""
    # Not thread-local: the writer acquires and releases it in different threads of its pool.
    return FileLock(segment.with_name(f".{segment.stem}.lock"), timeout=0, thread_local=False)


def create(directory: Path) -> tuple[FileIO, FileLock]:
    """Return a new, unbuffered segment file for appending, and the lock that its writer holds."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}-{secrets.token_hex(4)}{OPEN}"
    # Locked before the file exists: an open segment without a lock is one of a killed writer.
    lock = writer_lock(path)
    lock.acquire()
    return FileIO(path, "x"), lock


def close(file: FileIO, lock: FileLock) -> None:
    """Flush a segment to the disk, mark it as closed, and release its lock."""
    try:
        with file:
            os.fsync(file.fileno())
        path = Path(str(file.name))
        path.rename(path.with_suffix(CLOSED))
        Path(lock.lock_file).unlink()
    finally:
        lock.release()


def closed(directory: Path) -> list[Path]:
    """Return every segment without a living writer, oldest first; rename those that a killed writer left open."""
    for path in directory.glob(f"[!.]*{OPEN}"):
        # Timeout: its writer lives. FileNotFoundError: its writer has just closed it.
        with contextlib.suppress(Timeout, FileNotFoundError), writer_lock(path) as lock:
            path.rename(path.with_suffix(CLOSED))
            Path(lock.lock_file).unlink()
    return sorted(directory.glob(f"[!.]*{CLOSED}"))


def being_written(directory: Path) -> list[Path]:
    """Return every segment whose writer lives, oldest first."""
    closed(directory)
    return sorted(directory.glob(f"[!.]*{OPEN}"))


def size(directory: Path) -> int:
    """Return the size of all segments in a directory, in bytes."""
    # There may be no directory yet, and a segment may be collected while it is counted.
    with contextlib.suppress(OSError):
        return sum(path.stat().st_size for path in directory.iterdir())
    return 0


def lines(path: Path) -> Iterator[Line | None]:
    """Yield every line of a segment, None for a damaged one; skip an unfinished line that is being written."""
    try:
        file = path.open("rb")
    except FileNotFoundError:  # its writer has closed it since the path was listed
        file = path.with_suffix(CLOSED).open("rb")
    with file:
        for line in file:
            if line.endswith(b"\n") or path.suffix != OPEN:
                yield parsed(line)


def parsed(line: bytes) -> Line | None:
    """Return the content of a line, or None for a damaged one: the writer was killed, or the disk was full."""
    try:
        content = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    if not isinstance(content, dict) or not content.keys() >= FIELDS or type(content["ts"]) not in (int, float):
        return None
    pair = content["rows"], content["predictions"]
    return content if all(isinstance(each, list) and len(each) == len(pair[0]) for each in pair) else None


def dumped(content: Any) -> bytes:
    """Return compact JSON without a line end."""
    return ENCODER.encode(content).encode()
