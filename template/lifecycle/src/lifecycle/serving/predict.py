"""POST /predict: from the bytes of a request to the bytes of an answer, before the router is asked."""

import asyncio
import logging
import time
from concurrent.futures import Executor
from typing import Any

from pydantic_core import to_json
from starlette.types import ASGIApp, Receive, Scope, Send

from lifecycle.contract.rows import RowError, TooManyRows
from lifecycle.registry.segments import dumped
from lifecycle.serving.auth import Keys
from lifecycle.serving.limits import LATER, Bodies, Rejected
from lifecycle.serving.live import Follower, Served
from lifecycle.serving.log import PredictionLog, line
from lifecycle.serving.metrics import GONE, Metrics
from lifecycle.serving.openapi import PATH
from lifecycle.serving.protocol import WHOLE
from lifecycle.serving.queue import BatchQueue
from lifecycle.serving.replies import Headers, refuse, reply, request_id
from lifecycle.settings import Serve

log = logging.getLogger("lifecycle.serving")
NO_FEATURES = "there are no features yet to look up; `make features` writes them"
# More rows would hold up the loop for longer than the change to a thread and back takes.
LOOP_ROWS = 100

HEAD = b"content-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\n%b"
NONE: dict[str, Any] = {}

Row = dict[str, Any]


class PredictFirst:
    """Answers POST /predict and hands every other request on to the application.

    It stands in front of everything, and so also does what the application's middleware does for the others: it asks
    for a key, counts and times. Each layer less is a tenth of what an answer takes.
    """

    def __init__(
        self,
        app: ASGIApp,
        live: Follower,
        limits: Serve,
        worker: Executor,
        metrics: Metrics,
        kept: PredictionLog | None = None,
        keys: Keys | None = None,
    ) -> None:
        self.app, self.live, self.limits = app, live, limits
        self.metrics, self.kept, self.keys = metrics, kept, keys
        self.bodies, self.queue = Bodies(limits), BatchQueue(limits, worker)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See PredictFirst."""
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        began, status, metrics = time.perf_counter(), GONE, self.metrics
        metrics.in_flight.inc()
        served, request = self.live.served, request_id(scope)
        try:
            whole = scope.get("extensions", NONE).get(WHOLE)
            body = whole["body"]() if whole else None
            content = await self._answer(served, request, body, scope, receive)
            if content is not None:
                status = 200
                head = HEAD % (len(content), request, served.head)
                if whole is None or not whole["answer"](status, head, content):
                    await reply(send, status, content, _headers(served, request))
        except Rejected as no:
            status = no.status
            metrics.refused(status, no.reason)
            await refuse(send, no, _headers(served, request))
        except asyncio.CancelledError:
            # The drain has lasted long enough; nothing awaits this task.
            status = 503
            metrics.refused(status)
            await refuse(send, Rejected(status, "the service is ending", LATER), _headers(served, request))
        except Exception:
            status, name = 500, request.decode()
            log.exception("a request failed", extra={"request_id": name})
            told = dumped({"detail": "internal error", "request_id": name})
            await reply(send, status, told, _headers(served, request))
        finally:
            metrics.in_flight.dec()
            metrics.request("POST", PATH, status, time.perf_counter() - began)

    async def _answer(
        self, served: Served, request: bytes, body: bytes | None, scope: Scope, receive: Receive
    ) -> bytes | None:
        """The answer, counted and logged, or None when the caller has gone away; raises Rejected."""
        if self.keys:
            self.keys.demand(scope)
        ends = asyncio.get_running_loop().time() + self.limits.timeout_seconds
        if body is None or len(body) > self.limits.max_bytes:
            body = await self.bodies.read(scope, receive, ends)
            if body is None:
                return None
        rows, many, ignored = completed(self.live, served, body)
        if not rows or (served.is_fast and len(rows) <= LOOP_ROWS):
            answers = served.answers(rows)
        else:
            answers = await self.queue.answers(served, rows, ends)
        self.metrics.answered(served, rows, answers)
        content = to_json(answers if many else answers[0])
        if self.kept and rows:
            self.kept.add(served, request.decode(), line(served, body, rows, content, many, ignored))
        return content


def completed(live: Follower, served: Served, body: bytes) -> tuple[list[Row], bool, bool]:
    """The rows with their entity columns, whether the body was a list, and had ignored fields; raises Rejected."""
    try:
        rows, many, ignored = served.reader.read(body)
    except RowError as error:
        raise Rejected(422, error.faults) from None
    except TooManyRows:
        problem = f"more than {live.max_rows} rows in one request (setting serve.max_rows)"
        raise Rejected(413, f"{problem}; send them in parts, or score them as a batch") from None
    if served.contract.lookups:
        rows = _looked_up(live, served, rows, many)
    if ignored:
        live.ignored.update(ignored)
    return rows, many, bool(ignored)


def _looked_up(live: Follower, served: Served, rows: list[Row], many: bool) -> list[Row]:
    if served.table is None:
        raise Rejected(503, NO_FEATURES, LATER)
    assert served.contract.key is not None, "a contract with entity columns has a key"
    name, fallback = served.contract.key.name, served.contract.fallback
    found = [served.table.look_up(row[name]) for row in rows]
    unknown = [at for at, entity in enumerate(found) if entity is None] if None in found else []
    if unknown and fallback is None:
        kind, problem = "unknown_key", "There are no features for this key"
        places = [["body", at, name] if many else ["body", name] for at in unknown]
        raise Rejected(404, [{"type": kind, "loc": place, "msg": problem} for place in places])
    live.fallback_rows += len(unknown)
    return [row | (fallback or {} if entity is None else entity) for row, entity in zip(rows, found, strict=True)]


def _headers(served: Served, request: bytes) -> Headers:
    return [(b"x-request-id", request), *served.headers]
