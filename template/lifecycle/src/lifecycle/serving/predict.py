"""The ASGI application: API key, metrics and POST /predict, in front of the FastAPI application for all other routes.

POST /predict does not pass through FastAPI: routing, response objects and middleware would take longer than the model.
"""

import asyncio
import hmac
import logging
import random
import re
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pydantic_core import to_json
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lifecycle.contract.rows import Row, RowError, TooManyRows
from lifecycle.registry.predictions import segment_folder, upload_segments
from lifecycle.serving import v2
from lifecycle.serving.deployed import BatchQueue, DeployedModel, DeploymentFollower, Header, Responses
from lifecycle.serving.metrics import METHODS, PATH, UNMATCHED, Metrics, Rejected, overloaded
from lifecycle.serving.prediction_log import PredictionLog
from lifecycle.settings import Log, Serve

log = logging.getLogger("lifecycle.serving")
# Predicting more rows on the event loop, or for a longer time, would delay other requests, also those for /healthz.
EVENT_LOOP_ROWS, EVENT_LOOP_SECONDS = 100, 0.001
# For orchestrators, Prometheus and readers of the documentation; all other paths require the API key.
OPEN, OPEN_FILES = ("/healthz", "/readyz", "/metrics", "/docs", "/openapi.json", *v2.OPEN), "/static-offline-docs/"
NO_FEATURES = "there are no features yet to look up; `make features` writes them"
STOPPING = "the service is stopping"
NO_KEY = "an API key is required: Authorization: Bearer KEY, or X-API-Key: KEY"
# A person needs longer to write features or restart a service than the queue to empty.
RETRY_LATER = (b"retry-after", b"5")
CLOSE = (b"connection", b"close")
# The client disconnected before there was a response (the convention of nginx).
CLIENT_CLOSED = 499
VALID_REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")


class PredictionService:
    """The ASGI application of one process."""

    def __init__(self, follower: DeploymentFollower, limits: Serve, logs: Log | None, keys: Sequence[bytes]) -> None:
        self.follower, self.limits, self.api_keys = follower, limits, keys
        self.metrics = Metrics(follower, lambda: self.in_flight)
        self.prediction_log: PredictionLog | None = None
        if logs and logs.enabled:
            about, count = (follower.store, follower.environment), self.metrics.dropped.inc
            self.prediction_log = PredictionLog(segment_folder(*about), logs, count, lambda: upload_segments(*about))
        self.batches = BatchQueue(self._predict_and_count, limits.batch_rows)
        self.fastapi: ASGIApp
        # Set between SIGTERM and the end of the process, see `app.leave_before_stopping`.
        self.leaving = False
        self.in_flight = self.predicting = self.fallback_rows = 0
        self.ignored_fields: Counter[str] = Counter()
        self._client: object = None  # the address of the previous request
        self._reading: dict[asyncio.Task[Any] | None, float] = {}  # deadlines of the requests whose body is being read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request or the lifespan (ASGI 3)."""
        if scope["type"] != "http":
            await self.fastapi(scope, receive, send)
            return
        started, status, method = time.perf_counter(), CLIENT_CLOSED, scope["method"]
        path, given = scope["path"].removeprefix(scope.get("root_path", "")), dict(scope["headers"])
        model = self.follower.deployed
        inference = v2.inference(path, given, model) if method == "POST" else None
        is_predict = inference is not None or (path == PATH and method == "POST")
        # A connection sends its next request after the response, so two in a row of one cannot be predicted together.
        client = scope.get("client")
        is_alone, self._client = client is not None and client == self._client, client
        request_id = given.get(b"x-request-id", b"")
        if not VALID_REQUEST_ID.fullmatch(request_id):
            # It has to be unique, not secret.
            request_id = b"%032x" % random.getrandbits(128)
        headers = [(b"x-request-id", request_id), *model.headers]
        self.in_flight += 1
        try:
            if self.api_keys and path not in OPEN and not path.startswith(OPEN_FILES):
                self._require_key(given)
            if is_predict:
                if given.get(b"content-encoding", b"identity").lower() != b"identity":
                    raise Rejected(415, "the body is compressed (content-encoding); send it as it is")
                content = await self._predict(model, request_id, receive, is_alone, inference)
                status = 200
                await self._send(send, status, content, headers)
            else:
                status = await self._pass_on(scope, receive, send)
        except ClientDisconnect:
            pass
        except (Rejected, RowError) as error:
            rejection = Rejected(422, error.faults) if isinstance(error, RowError) else error
            if is_predict:
                self.metrics.refusals.labels(rejection.reason).inc()
            status, content = _error(path, rejection.status, rejection.detail)
            await self._send(send, status, content, [*headers, *rejection.headers])
        except asyncio.CancelledError:
            # Uvicorn cancels requests that take longer than the graceful shutdown.
            status, content = _error(path, 503, STOPPING)
            await self._send(send, status, content, [*headers, RETRY_LATER])
        except Exception:
            status = 500
            if not is_predict:
                raise
            log.exception("a request failed", extra={"request_id": request_id.decode()})
            _, content = _error(path, status, "internal error", request_id=request_id.decode())
            await self._send(send, status, content, headers)
        finally:
            self.in_flight -= 1
            route = PATH if is_predict or path == PATH else getattr(scope.get("route"), "path", UNMATCHED)
            seconds = time.perf_counter() - started
            self.metrics.count_request(method if method in METHODS else "OTHER", route, status, seconds)

    async def _predict(
        self, model: DeployedModel, request_id: bytes, receive: Receive, is_alone: bool, inference: v2.Inference | None
    ) -> bytes:
        """Return the JSON of the predictions, or raise Rejected or ClientDisconnect."""
        deadline = asyncio.get_running_loop().time() + self.limits.timeout_seconds
        body = await self._read_body(receive, deadline)
        try:
            body = inference.read(body, self.limits.max_rows) if inference else body
            rows, is_list, ignored = model.reader.read(body)
        except TooManyRows:
            problem = f"more than {self.limits.max_rows} rows in one request (setting serve.max_rows)"
            raise Rejected(413, f"{problem}; send them in parts, or score them as a batch") from None
        if model.contract.lookups:
            rows = self._look_up(model, rows, is_list)
        if ignored:
            self.ignored_fields.update(ignored)
        count = len(rows)
        if count > EVENT_LOOP_ROWS or (rows and model.predictor.seconds(count) > EVENT_LOOP_SECONDS):
            predictions = await self._predict_in_thread(model, rows, deadline)
        elif is_alone or not rows:
            predictions = self._predict_and_count(model, rows)
        else:
            predictions = await self.batches.predict_on_loop(model, rows)
        content = to_json(predictions if is_list else predictions[0])
        if self.prediction_log and rows:
            received = b"" if ignored else body if is_list else b"[%b]" % body
            self.prediction_log.add(model, request_id, received, rows, content if is_list else b"[%b]" % content)
        return inference.write(predictions) if inference else content

    def not_ready(self) -> str:
        """Return why requests cannot be predicted now, empty where they can."""
        return STOPPING if self.leaving else NO_FEATURES if self.follower.deployed.lacks_features else ""

    def _predict_and_count(self, model: DeployedModel, rows: Sequence[Row]) -> Responses:
        predictions = model.predict(rows)
        self.metrics.count_predictions(model, rows, predictions)
        return predictions

    async def cancel_slow_bodies(self) -> None:
        """Cancel late requests again and again; a timer for each request would take a fifth of its time."""
        while True:
            await asyncio.sleep(self.limits.timeout_seconds / 20)
            now = asyncio.get_running_loop().time()
            for task in [task for task, deadline in self._reading.items() if task and deadline <= now]:
                task.cancel()

    async def _read_body(self, receive: Receive, deadline: float) -> bytes:
        limits, body, more, task = self.limits, b"", True, asyncio.current_task()
        self._reading[task] = deadline
        try:
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                part, more = message.get("body", b""), message.get("more_body", False)
                body = body + part if body else part
                if len(body) > limits.max_bytes:
                    problem = f"the body is larger than {limits.max_bytes} bytes (setting serve.max_bytes)"
                    raise Rejected(413, f"{problem}; send the rows in parts, or score them as a batch")
        except asyncio.CancelledError:
            if task is None or asyncio.get_running_loop().time() < deadline:
                raise
            task.uncancel()
            problem = f"the body did not arrive within {limits.timeout_seconds:g} s (setting serve.timeout_seconds)"
            raise Rejected(408, problem, CLOSE) from None
        finally:
            del self._reading[task]
        return body

    def _look_up(self, model: DeployedModel, rows: list[Row], is_list: bool) -> list[Row]:
        if model.features is None:
            raise Rejected(503, NO_FEATURES, RETRY_LATER)
        assert model.contract.key is not None, "a contract with looked-up columns has a key"
        key, fallback = model.contract.key.name, model.contract.fallback
        features = [model.features.look_up(row[key]) for row in rows]
        unknown = [at for at, found in enumerate(features) if found is None] if None in features else []
        if unknown and fallback is None:
            fault = {"type": "unknown_key", "msg": "There are no features for this key"}
            raise Rejected(404, [fault | {"loc": ["body", *([at] if is_list else []), key]} for at in unknown])
        self.fallback_rows += len(unknown)
        return [row | (found or fallback or {}) for row, found in zip(rows, features, strict=True)]

    async def _predict_in_thread(self, model: DeployedModel, rows: list[Row], deadline: float) -> list[Row]:
        limits, waiting = self.limits, self.batches.rows
        # Counted here, after the body was read: a client that sends slowly takes no place from others.
        if self.predicting >= limits.max_in_flight:
            raise overloaded(503, f"{self.predicting} requests wait for a prediction (setting serve.max_in_flight)")
        if waiting and waiting + len(rows) > limits.queue_rows:
            raise overloaded(429, f"{waiting} rows wait for a prediction (setting serve.queue_rows)")
        self.predicting += 1
        try:
            async with asyncio.timeout_at(deadline) as timeout:
                return await self.batches.predict_in_thread(model, rows)
        except TimeoutError:
            if not timeout.expired():  # the model raised it
                raise
            problem = f"no prediction within {limits.timeout_seconds:g} s (setting serve.timeout_seconds)"
            raise overloaded(503, problem) from None
        finally:
            self.predicting -= 1

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Let FastAPI respond, to HEAD as to GET, because the server omits the body; return the status."""
        scope["method"] = scope["method"].replace("HEAD", "GET")
        status = CLIENT_CLOSED

        async def send_and_note_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *([CLOSE] if self.leaving else [])]
            await send(message)

        await self.fastapi(scope, receive, send_and_note_status)
        return status

    def _require_key(self, given: dict[bytes, bytes]) -> None:
        scheme, bearer = given.get(b"authorization", b"")[:7], given.get(b"authorization", b"")[7:]
        # One of both headers is enough: a proxy may set the other. No valid key is empty.
        keys = given.get(b"x-api-key", b"").strip(), bearer.strip() if scheme.lower() == b"bearer " else b""
        # A list: the time must not show which key matched.
        if not any([hmac.compare_digest(key, valid) for key in keys for valid in self.api_keys]):
            raise Rejected(401, NO_KEY, (b"www-authenticate", b"Bearer"))

    async def _send(self, send: Send, status: int, body: bytes, headers: list[Header]) -> None:
        headers += [(b"content-length", b"%d" % len(body)), *([CLOSE] if self.leaving else [])]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _error(path: str, status: int, detail: Any, **more: str) -> tuple[int, bytes]:
    return v2.problem(status, detail) if path.startswith(v2.PREFIX) else (status, to_json({"detail": detail} | more))
