"""Batching for models that take as long for one row as for many (skops, python).

Requests that arrive while the model's thread is busy are predicted together; a request that arrives alone is predicted
alone and never waits for others.
"""

import asyncio
import contextlib
import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from lifecycle.contract.rows import Row
from lifecycle.serving.deployed import DeployedModel

Responses = list[Row]


@dataclass
class _Request:
    model: DeployedModel
    rows: Sequence[Row]
    result: "asyncio.Future[Responses | Exception]"


class BatchQueue:
    """Requests for one model thread; `rows` is the number of rows that wait or are being predicted."""

    def __init__(self, batch_rows: int) -> None:
        self.batch_rows, self.rows = batch_rows, 0
        self._requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def predict(self, model: DeployedModel, rows: Sequence[Row]) -> Responses:
        """Return one response object for each complete row; raises whatever the model raises for them."""
        if self._thread is None:
            # A daemon: the process must be able to end while a model does not return.
            self._thread = threading.Thread(target=self._run, name="predict", daemon=True)
            self._thread.start()
        request = _Request(model, rows, asyncio.get_running_loop().create_future())
        self.rows += len(rows)
        self._requests.put(request)
        try:
            result = await request.result
        finally:
            self.rows -= len(rows)
        # Raised here: a future does not accept every exception.
        if isinstance(result, Exception):
            raise result
        return result

    def _run(self) -> None:
        first = self._requests.get()
        while True:
            batch, rows, following = [first], len(first.rows), None
            while following is None and not self._requests.empty():
                following = self._requests.get()
                rows += len(following.rows)
                if following.model is first.model and rows <= self.batch_rows:
                    batch.append(following)
                    following = None
            # A caller that went away or waited too long has cancelled its result.
            batch = [request for request in batch if not request.result.done()]
            if batch:
                results = predict_each(batch[0].model, [request.rows for request in batch])
                # RuntimeError: the service has stopped meanwhile.
                with contextlib.suppress(RuntimeError):
                    batch[0].result.get_loop().call_soon_threadsafe(_deliver, batch, results)
            first = following or self._requests.get()


def predict_each(model: DeployedModel, requests: Sequence[Sequence[Row]]) -> list[Responses | Exception]:
    """Return the responses to each request, or its exception; a request that fails does not affect the others."""
    try:
        responses = iter(model.predict([row for rows in requests for row in rows]))
        return [list(islice(responses, len(rows))) for rows in requests]
    # Libraries in other languages may raise a BaseException; it must not end the thread.
    except BaseException as error:
        if len(requests) == 1:
            failure = error if isinstance(error, Exception) else RuntimeError(type(error).__name__)
            return [failure.with_traceback(error.__traceback__)]
        half = len(requests) // 2
        return [*predict_each(model, requests[:half]), *predict_each(model, requests[half:])]


def _deliver(batch: list[_Request], results: list[Responses | Exception]) -> None:
    for request, result in zip(batch, results, strict=True):
        if not request.result.done():
            request.result.set_result(result)
