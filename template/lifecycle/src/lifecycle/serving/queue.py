"""The queue in front of a slow model: what waits while its thread is busy is answered together.

A scikit-learn pipeline takes as long for a hundred rows as for one. Nobody waits for company: a request that comes
alone is answered alone. All but the model's own work happens on the loop, so there is nothing to lock.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from lifecycle.serving.limits import SOON, Rejected
from lifecycle.serving.live import Served
from lifecycle.settings import Serve

Rows = list[dict[str, Any]]


@dataclass(eq=False)
class _Waiting:
    served: Served
    rows: Rows
    answered: "asyncio.Future[Rows | Exception]" = field(default_factory=lambda: asyncio.Future())


class BatchQueue:
    """Completed rows that wait for the one thread of `worker`, in the order in which they came."""

    def __init__(self, limits: Serve, worker: Executor) -> None:
        self.limits, self.worker = limits, worker
        self._requests, self._rows = 0, 0
        self._waiting: deque[_Waiting] = deque()
        self._working: asyncio.Task[None] | None = None

    async def answers(self, served: Served, rows: Rows, ends: float) -> Rows:
        """The answers on the wire; raises Rejected when too much waits, or when it takes longer than until `ends`."""
        self._refuse_beyond_limits(len(rows))
        waiting = _Waiting(served, rows)
        self._requests += 1
        self._rows += len(rows)
        self._waiting.append(waiting)
        self._working = self._working or asyncio.create_task(self._work())
        try:
            async with asyncio.timeout_at(ends) as wait:
                found = await waiting.answered
        except TimeoutError:
            if not wait.expired():
                raise
            problem = f"no answer within {self.limits.timeout_seconds:g} s (setting serve.timeout_seconds)"
            raise Rejected(503, problem, SOON, "overloaded") from None
        finally:
            self._requests -= 1
            # Whoever has gone or waited too long is not computed any more.
            if waiting in self._waiting:
                self._waiting.remove(waiting)
                self._rows -= len(rows)
        if isinstance(found, Exception):
            raise found
        return found

    def _refuse_beyond_limits(self, rows: int) -> None:
        limits = self.limits
        if self._requests >= limits.max_in_flight:
            problem = f"{self._requests} requests wait for an answer (setting serve.max_in_flight)"
            raise Rejected(503, problem, SOON, "overloaded")
        # What comes while nothing waits is taken, whatever its size.
        if self._rows and self._rows + rows > limits.queue_rows:
            problem = f"{self._rows} rows wait for an answer (setting serve.queue_rows)"
            raise Rejected(429, problem, SOON, "overloaded")

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while batch := self._take():
                rows = [each.rows for each in batch]
                found = await loop.run_in_executor(self.worker, answered, batch[0].served, rows)
                for waiting, answers in zip(batch, found, strict=True):
                    if not waiting.answered.done():
                        waiting.answered.set_result(answers)
        finally:
            self._working = None

    def _take(self) -> list[_Waiting]:
        """What the thread answers next: of one `Served`, and together no more than `batch_rows` rows."""
        batch: list[_Waiting] = []
        rows = 0
        while self._waiting:
            following = self._waiting[0]
            rows += len(following.rows)
            if batch and (following.served is not batch[0].served or rows > self.limits.batch_rows):
                break
            batch.append(self._waiting.popleft())
            self._rows -= len(following.rows)
        return batch


def answered(served: Served, requests: Sequence[Rows]) -> list[Rows | Exception]:
    """The answers to each request, or what it failed with; a request that fails takes no other along."""
    try:
        answers = iter(served.answers([row for rows in requests for row in rows]))
        return [list(islice(answers, len(rows))) for rows in requests]
    # A library in another language raises what is no Exception when it panics: its caller, too, is told at once.
    except BaseException as error:
        if len(requests) == 1:
            told = error if isinstance(error, Exception) else RuntimeError(type(error).__name__)
            return [told.with_traceback(error.__traceback__)]
        half = len(requests) // 2
        return [*answered(served, requests[:half]), *answered(served, requests[half:])]
