"""The prediction log in the service: raw lines in memory, one write every moment, and never a request that waits.

What cannot be written is dropped and counted: a disk that is full or slow costs log lines, no answers.
"""

import asyncio
import contextlib
import logging
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic_core import to_json

from lifecycle.errors import LifecycleError
from lifecycle.registry import segments
from lifecycle.registry.segments import dumped
from lifecycle.serving.live import Served
from lifecycle.settings import Log
from lifecycle.storage import Store

log = logging.getLogger("lifecycle.serving")
# While a disk hangs, lines wait in memory; beyond this, they are dropped.
MOST_WAITING = 64_000_000

Row = dict[str, Any]


def line(served: Served, body: bytes, rows: Sequence[Row], answers: bytes, many: bool, ignored: bool) -> bytes:
    """The rows and answers of a line: what came and went, byte for byte, where nothing of it has to be kept out."""
    contract = served.contract
    columns = contract.loggable
    if len(columns) < len(contract.columns) or contract.lookups or ignored or b"\n" in body or b"\r" in body:
        times = [column.name for column in columns if column.kind == "time"]
        kept = [{column.name: row.get(column.name) for column in columns} for row in rows]
        body = to_json([row | {name: _plain(row[name]) for name in times} for row in kept] if times else kept)
    elif not many:
        body = b"[%b]" % body
    return b'"rows":%b,"answers":%b' % (body, answers if many else b"[%b]" % answers)


def _facts(served: Served) -> dict[str, Any]:
    as_of = served.table.as_of if served.table else None
    return {"version": served.version, "threshold": served.deployment.current.threshold, "as_of": as_of}


def _plain(value: Any) -> Any:
    return f"{value.isoformat()}Z" if isinstance(value, datetime) else value


class PredictionLog:
    """The segments that one service writes."""

    def __init__(
        self,
        store: Store,
        environment: str,
        limits: Log,
        now: Callable[[], float] = time.time,
        lose: Callable[[int], None] = lambda lines: None,
    ) -> None:
        """`lose` is told of every line that is not kept, from any thread."""
        self.directory = segments.folder(store, environment)
        self.limits, self.now, self.lose = limits, now, lose
        self.size = 0  # bytes of all segments of the environment, as of the last write
        self._waiting: deque[bytes] = deque()
        # Each is changed by one thread only: the loop's, or the one that writes.
        self._added, self._taken = 0, 0
        self._not_added, self._not_written = 0, 0
        self._writing = threading.Lock()
        self._segment: _Segment | None = None
        self._refused = False
        self._told_of: tuple[Served | None, bytes] = (None, b"")

    @property
    def dropped(self) -> int:
        """Lines that were not kept since the service started."""
        return self._not_added + self._not_written

    def add(self, served: Served, request: str, answered: bytes) -> None:
        """Keep one request until the next flush; never raises."""
        try:
            # The version's part is the same for each request.
            if served is not self._told_of[0]:
                self._told_of = served, dumped(_facts(served))[1:-1]
            told = self.now(), to_json(request), self._told_of[1], answered
            whole = b'{"ts":%.3f,"id":%b,%b,%b}\n' % told
        except LifecycleError as error:
            self._give_up(error.problem)
            return
        if self._added - self._taken + len(whole) > MOST_WAITING:
            self._give_up("the disk is too slow")
            return
        self._added += len(whole)
        self._waiting.append(whole)

    def _give_up(self, problem: str) -> None:
        self._not_added += 1
        self.lose(1)
        self._tell(problem)

    async def run(self) -> None:
        """Flush for ever, in a thread: the loop answers while the disk works."""
        while True:
            await asyncio.sleep(self.limits.flush_seconds)
            await asyncio.to_thread(self.flush)

    def flush(self) -> None:
        """Write what waits, and close the segment when it is large, old or asked for; never raises."""
        with self._writing:
            lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
            self._taken += sum(map(len, lines))
            try:
                if self._segment and self._segment.is_gone():
                    self._segment.leave()
                    self._segment = None
                if lines:
                    self._write(lines)
                if self._segment and self._is_due(self._segment):
                    self._close()
            except OSError as error:
                self._tell(f"{self.directory} cannot be written ({error.strerror})")

    def close(self) -> None:
        """Write what waits, and close the segment; never raises."""
        self.flush()
        with self._writing, contextlib.suppress(OSError):
            self._close()

    def _write(self, lines: list[bytes]) -> None:
        written = 0
        try:
            self.size = sum(_sizes(self.directory))
            fits = _that_fit(lines, self.limits.max_bytes - self.size)
            if fits < len(lines):
                self._tell(f"{self.directory} holds log.max_bytes; `make collect` empties it")
            if fits:
                self._segment = self._segment or _Segment(self.directory)
                written = self._segment.write(lines[:fits])
                self.size += sum(map(len, lines[:written]))
            if written == len(lines):
                self._refused = False
            elif written < fits:
                self._tell(f"the disk of {self.directory} is full")
        finally:
            self._not_written += len(lines) - written
            if written < len(lines):
                self.lose(len(lines) - written)

    def _is_due(self, segment: "_Segment") -> bool:
        limits = self.limits
        old = time.monotonic() - segment.opened > limits.segment_seconds
        return old or segment.size >= limits.segment_bytes

    def _close(self) -> None:
        segment, self._segment = self._segment, None
        if segment:
            segment.close()

    def _tell(self, problem: str) -> None:
        if not self._refused:
            log.error("predictions are answered and not logged: %s", problem)
        self._refused = True


class _Segment:
    """One file, locked while it is open."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}-{secrets.token_hex(4)}"
        self.path = directory / f"{name}{segments.OPEN}"
        self.size, self.opened = 0, time.monotonic()
        # Locked before the file exists: an open segment without a lock is one of a killed writer.
        self._lock = segments.writer_lock(self.path)
        self._lock.acquire()
        try:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)
        except OSError:
            self._unlock()
            raise

    def write(self, lines: list[bytes]) -> int:
        """Append lines; returns how many are whole on the disk: of a disk that fills up, half a line is taken back."""
        whole = b"".join(lines)
        written = os.write(self._file, whole)
        fits = len(lines) if written == len(whole) else _that_fit(lines, written)
        kept = sum(map(len, lines[:fits]))
        if kept < written:
            os.ftruncate(self._file, self.size + kept)
        self.size += kept
        return fits

    def is_gone(self) -> bool:
        """Whether somebody has removed the file: what is written to it would be nowhere."""
        return os.fstat(self._file).st_nlink == 0

    def leave(self) -> None:
        """Write no more."""
        os.close(self._file)
        self._unlock()

    def close(self) -> None:
        """Hand the segment over to the collecting job."""
        try:
            os.fsync(self._file)
            os.rename(self.path, self.path.with_suffix(segments.CLOSED))
        finally:
            self.leave()

    def _unlock(self) -> None:
        Path(self._lock.lock_file).unlink(missing_ok=True)
        self._lock.release()


def _that_fit(lines: list[bytes], room: int) -> int:
    """How many of the first lines fit into `room` bytes."""
    for at, line in enumerate(lines):
        room -= len(line)
        if room < 0:
            return at
    return len(lines)


def _sizes(directory: Path) -> list[int]:
    try:
        with os.scandir(directory) as entries:
            return [entry.stat().st_size for entry in entries]
    except FileNotFoundError:
        return []
