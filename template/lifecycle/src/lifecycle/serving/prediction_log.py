"""The writer of the prediction log: lines in memory, one write every few hundred milliseconds, in a thread.

No request waits for the disk. What cannot be written is dropped and counted: a full or slow disk costs log lines only.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from io import FileIO
from pathlib import Path

from filelock import FileLock
from pydantic_core import to_json

from lifecycle import timestamps
from lifecycle.contract.rows import Row
from lifecycle.errors import LifecycleError
from lifecycle.registry.predictions import close_segment, create_segment, size_of_segments
from lifecycle.serving.deployed import DeployedModel
from lifecycle.settings import Log

log = logging.getLogger("lifecycle.serving")
# While the disk hangs, lines wait in memory; beyond this size they are dropped.
MAX_WAITING_BYTES = 64_000_000
SECONDS_BETWEEN_REPORTS = 60.0


class PredictionLog:
    """The segments that one process writes."""

    def __init__(
        self,
        directory: Path,
        limits: Log,
        count_dropped: Callable[[int], None],
        upload: Callable[[], None] = lambda: None,
    ) -> None:
        """Prepare to write segments to a directory; `count_dropped` receives the number of each loss, in any thread.

        `upload` moves the closed segments, and may raise LifecycleError; it is called again later.
        """
        self._upload = upload
        self.directory, self.limits, self.count_dropped = directory, limits, count_dropped
        self._waiting: deque[bytes] = deque()
        # Two counters of one writer each: `add` runs on the event loop, the other in the thread that writes.
        self._added_bytes = self._taken_bytes = 0
        # Held while lines are written: `close` may run while a thread still flushes.
        self._writing = threading.Lock()
        self._segment: tuple[FileIO, FileLock] | None = None
        self._next_report = self._opened = 0.0
        self._model: DeployedModel | None = None

    def add(
        self, model: DeployedModel, request_id: bytes, received: bytes, rows: Sequence[Row], predictions: bytes
    ) -> None:
        """Keep a line until the next flush; never raises and never waits.

        `received` and `predictions` are JSON lists; `received` is empty when it has fields that the rows do not have.
        """
        if model is not self._model:
            self._describe(model)
        if not self._is_whole or not received or b"\n" in received or b"\r" in received:
            received = to_json(rows, exclude=self._exclude)
        facts = timestamps.now(), to_json(request_id), self._facts, received, predictions
        line = b'{"ts":%d,"id":%b,%b,"rows":%b,"predictions":%b}\n' % facts
        if self._added_bytes - self._taken_bytes + len(line) > MAX_WAITING_BYTES:
            self._drop(1, "the disk is too slow")
            return
        self._added_bytes += len(line)
        self._waiting.append(line)

    async def run(self) -> None:
        """Flush again and again; the write happens in a thread."""
        while True:
            await asyncio.sleep(self.limits.flush_seconds)
            # The thread takes the lines itself: a call that is cancelled before it starts must not lose them.
            await asyncio.to_thread(self.flush)

    async def upload(self) -> None:
        """Upload the closed segments again and again, in a thread that never delays a write."""
        while True:
            await asyncio.sleep(self.limits.segment_seconds)
            await asyncio.to_thread(self._send)

    def flush(self) -> None:
        """Write the lines that wait, and rotate the segment when it is large or old; never raises."""
        with self._writing:
            lines = [self._waiting.popleft() for _ in range(len(self._waiting))]
            self._taken_bytes += sum(map(len, lines))
            try:
                problem = self._write(b"".join(lines)) if lines else ""
                age = time.monotonic() - self._opened
                size = self._segment[0].tell() if self._segment else 0
                if size >= self.limits.segment_bytes or age > self.limits.segment_seconds:
                    self._rotate()
            except OSError as error:
                problem = f"{self.directory} cannot be written ({error.strerror})"
            if problem:
                self._drop(len(lines), problem)

    def close(self) -> None:
        """Write what waits, and close the segment; never raises."""
        self.flush()
        with self._writing, contextlib.suppress(OSError):
            self._rotate()
        self._send()

    def _send(self) -> None:
        try:
            self._upload()
        except (LifecycleError, OSError) as error:
            log.error("segments of the prediction log stay on this machine: %s", error)

    def _describe(self, model: DeployedModel) -> None:
        """Prepare the part of a line that is the same for each request, and which columns may be logged."""
        contract, as_of = model.contract, model.features.as_of if model.features else None
        facts = {"version": model.version, "threshold": model.deployment.current.threshold, "as_of": as_of}
        self._model, self._facts = model, to_json(facts)[1:-1]
        hidden = {column.name for column in contract.columns if not column.loggable}
        self._exclude = {"__all__": hidden} if hidden else None
        # Whether a request contains every column, and no other, so that its bytes can be logged as they are.
        self._is_whole = not hidden and not contract.lookups

    def _write(self, content: bytes) -> str:
        """Append all of `content` or nothing, and return why nothing."""
        if size_of_segments(self.directory) + len(content) > self.limits.max_bytes:
            return f"{self.directory} has reached log.max_bytes; `make collect` empties it"
        if self._segment is None:
            self._segment, self._opened = create_segment(self.directory), time.monotonic()
        file, _ = self._segment
        size = file.tell()
        if file.write(content) < len(content):
            file.truncate(size)
            file.seek(size)
            return f"the disk of {self.directory} is full"
        return ""

    def _rotate(self) -> None:
        segment, self._segment = self._segment, None
        if segment:
            close_segment(*segment)

    def _drop(self, lines: int, problem: str) -> None:
        self.count_dropped(lines)
        if time.monotonic() >= self._next_report:
            log.error("predictions are not logged: %s", problem)
            self._next_report = time.monotonic() + SECONDS_BETWEEN_REPORTS
