"""POST /predict: from the bytes of a request to the bytes of an answer, before the router is asked."""

import asyncio
import json
import logging
import re
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from lifecycle.rows import RowError, TooManyRows
from lifecycle.serving.live import Follower, Served
from lifecycle.serving.log import PredictionLog, line
from lifecycle.serving.metrics import Metrics
from lifecycle.serving.openapi import PATH
from lifecycle.settings import Serve

log = logging.getLogger("lifecycle.serving")
NO_FEATURES = "there are no features yet to look up; `make features` writes them"
RETRY_AFTER = {"retry-after": "5"}
SANE_ID = re.compile(r"[\x21-\x7e]{1,128}")
SANE_LENGTH = re.compile(r"[0-9]{1,20}")

Row = dict[str, Any]


class Rejected(Exception):
    """The request gets this status and this detail instead of an answer."""

    def __init__(self, status: int, detail: Any, headers: Mapping[str, str] | None = None) -> None:
        self.status, self.detail, self.headers = status, detail, headers or {}
        super().__init__(detail)


class PredictFirst:
    """Answers POST /predict and hands every other request on to the application."""

    def __init__(
        self,
        app: ASGIApp,
        live: Follower,
        limits: Serve,
        worker: ThreadPoolExecutor,
        metrics: Metrics,
        kept: PredictionLog | None = None,
    ) -> None:
        self.app, self.live, self.limits, self.worker = app, live, limits, worker
        self.metrics, self.kept = metrics, kept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See PredictFirst."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != PATH:
            await self.app(scope, receive, send)
            return
        served = self.live.served
        headers = {"x-request-id": _request_id(scope), "x-model-version": served.version}
        try:
            body = await self._body(scope, receive)
            if body is None:
                return
            loop = asyncio.get_running_loop()
            work = partial(answer, self.live, served, body, self.metrics, logged=self.kept is not None)
            content, kept = await loop.run_in_executor(self.worker, work)
        except Rejected as no:
            self.metrics.refused(no.status)
            await _send(send, no.status, _dump({"detail": no.detail}), {**headers, **no.headers})
        except asyncio.CancelledError:
            # The drain has lasted long enough; nothing awaits this task.
            await _send(send, 503, _dump({"detail": "the service is ending"}), {**headers, **RETRY_AFTER})
        except Exception:
            log.exception("a request failed", extra={"request_id": headers["x-request-id"]})
            told = {"detail": "internal error", "request_id": headers["x-request-id"]}
            await _send(send, 500, _dump(told), headers)
        else:
            if self.kept and kept:
                self.kept.add(served, headers["x-request-id"], kept)
            await _send(send, 200, content, headers)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body, or None when the caller has gone away; raises Rejected as soon as it is too large."""
        promised = _header(scope, b"content-length")
        body, most = bytearray(), self.limits.max_bytes
        while len(body) <= most and not (SANE_LENGTH.fullmatch(promised) and int(promised) > most):
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if not message.get("more_body", False) and len(body) <= most:
                return bytes(body)
        problem = f"the body is larger than {most} bytes (setting serve.max_bytes)"
        raise Rejected(413, f"{problem}; send the rows in parts, or score them as a batch")


def answer(live: Follower, served: Served, body: bytes, metrics: Metrics, logged: bool = False) -> tuple[bytes, bytes]:
    """The answer to one row (an object) or to a list of rows (a list), and what is logged of it; raises Rejected."""
    try:
        rows, many, ignored = served.reader.read(body)
    except RowError as error:
        raise Rejected(422, error.faults) from None
    except TooManyRows:
        problem = f"more than {live.max_rows} rows in one request (setting serve.max_rows)"
        raise Rejected(413, f"{problem}; send them in parts, or score them as a batch") from None
    completed = _complete(live, served, rows, many)
    live.ignored.update(ignored)
    # An estimator refuses a matrix without rows.
    answers = served.predictor.answers(completed, served.deployment.live.threshold) if completed else []
    metrics.answered(served, completed, answers)
    content = _dump(answers if many else answers[0])
    return content, line(served, body, completed, content, many, bool(ignored)) if logged and completed else b""


def _complete(live: Follower, served: Served, rows: list[Row], many: bool) -> list[Row]:
    """The rows with their entity columns, looked up by key."""
    if not served.contract.entity:
        return rows
    if served.table is None:
        raise Rejected(503, NO_FEATURES, RETRY_AFTER)
    assert served.contract.key is not None, "a contract with entity columns has a key"
    name, fallback = served.contract.key.name, served.contract.fallback
    found = [served.table.look_up(row[name]) for row in rows]
    unknown = [at for at, entity in enumerate(found) if entity is None]
    if unknown and fallback is None:
        kind, problem = "unknown_key", "There are no features for this key"
        places = [["body", at, name] if many else ["body", name] for at in unknown]
        raise Rejected(404, [{"type": kind, "loc": place, "msg": problem} for place in places])
    live.fallback_rows += len(unknown)
    return [row | (fallback or {} if entity is None else entity) for row, entity in zip(rows, found, strict=True)]


def _header(scope: Scope, wanted: bytes) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), "")


def _request_id(scope: Scope) -> str:
    given = _header(scope, b"x-request-id")
    return given if SANE_ID.fullmatch(given) else uuid.uuid4().hex


def _dump(content: Any) -> bytes:
    # NaN is no JSON: a model that answers it has failed.
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


async def _send(send: Send, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    told = {"content-type": "application/json", "content-length": str(len(body)), **headers}
    raw = [(name.encode(), value.encode()) for name, value in told.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
