"""The requests of both clients with their retries, and the meaning of the responses."""

import asyncio
import json
import random
import re
import time
import uuid
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any, Generic, TypeVar, cast

import httpx
from pydantic import BaseModel

from . import errors

# Rows of one request; where the service accepts fewer, the client sends fewer.
MOST_ROWS, MOST_FAULTS = 1000, 5
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
PROBLEMS: dict[int, tuple[type[errors.ClientError], str]] = {
    401: (errors.Unauthorized, "the API key is missing or wrong"),
    408: (errors.Timeout, "the request did not arrive in time"),
    413: (errors.TooLarge, "the request is too large"),
    422: (errors.InvalidRow, "a row does not match the contract"),
    429: (errors.Overloaded, "the service is overloaded (429)"),
    502: (errors.Unreachable, "a proxy does not reach the service (502)"),
    503: (errors.Overloaded, "the service is overloaded (503)"),
    504: (errors.Unreachable, "a proxy does not reach the service (504)"),
}

T = TypeVar("T")
P = TypeVar("P", bound=BaseModel)
Exchange = tuple[httpx.Response, bytes]


class AsyncHttp(httpx.AsyncClient):
    """Requests and pauses in an asyncio event loop."""

    pause = staticmethod(asyncio.sleep)

    async def exchange(self, request: dict[str, Any]) -> Exchange:
        """Return the response and its body within the request's time limit; raises TimeoutError."""
        async with asyncio.timeout(request["timeout"]):
            response = await self.request(**request)
        return response, response.content


class BlockingHttp(httpx.Client):
    """Requests and pauses in a thread: coroutines that never wait for an event loop."""

    async def exchange(self, request: dict[str, Any]) -> Exchange:
        """Return the response and its body within the request's time limit; raises TimeoutError."""
        end, body = time.monotonic() + request["timeout"], bytearray()
        with self.stream(**request) as response:
            for part in response.iter_bytes():
                body += part
                if time.monotonic() > end:
                    raise TimeoutError
        return response, bytes(body)

    async def pause(self, seconds: float) -> None:
        """Block the thread for some seconds."""
        time.sleep(seconds)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine around BlockingHttp."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return cast(T, done.value)
    raise RuntimeError("the coroutine waits for an event loop")


Http = AsyncHttp | BlockingHttp


class ErrorBody(BaseModel):
    """The body of a response without a prediction."""

    detail: str | tuple[errors.Fault, ...] = ""


class Core(Generic[P]):
    """The part that both clients share; its methods and arguments are those of the clients."""

    def __init__(
        self, http: Http, model: type[P], contract: int, url: str, api_key: str | None, timeout: float, retries: int
    ) -> None:
        if not 0 < timeout < float("inf") or retries < 0:
            raise ValueError("timeout must be a number of seconds above 0, retries 0 or more")
        # The message does not contain the address, which may contain a password.
        if not re.fullmatch(r"https?://[^/@\s]+(/[^@\s]*)?", url):
            problem = "url is not an address such as http://127.0.0.1:8000, without user and password (use api_key)"
            raise ValueError(problem)
        # A key that was read from a file often ends with a line break.
        if key := _header("api_key", (api_key or "").strip()):
            http.headers["authorization"] = f"Bearer {key}"
        http.base_url = httpx.URL(url)
        self.http, self.model, self.contract = http, model, contract
        self.timeout, self.retries, self.most_rows = timeout, retries, MOST_ROWS

    async def predict(self, row: BaseModel, request_id: str) -> P:
        """Return the prediction of one row."""
        return (await self._post([row], _header("request_id", request_id) or uuid.uuid4().hex))[0]

    async def predict_many(self, rows: Sequence[BaseModel], request_id: str) -> list[P]:
        """Return the predictions of any number of rows."""
        request_id = _header("request_id", request_id) or uuid.uuid4().hex
        most, found = self.most_rows, list[P]()
        while len(found) < len(rows):
            part = rows[len(found) : len(found) + most]
            try:
                found += await self._post(part, request_id, len(found))
                # Only an accepted size is kept: a single large row says nothing about the others.
                self.most_rows = min(self.most_rows, most)
            except errors.TooLarge:
                if len(part) == 1:
                    raise
                most = len(part) // 2
        return found

    async def ready(self) -> bool:
        """Return whether the service can predict now."""
        try:
            await self._exchange({"method": "GET", "url": "/readyz", "timeout": self.timeout}, "")
        except (errors.Overloaded, errors.Timeout, errors.Unreachable):
            return False
        return True

    async def _post(self, rows: Sequence[BaseModel], request_id: str, first: int | None = None) -> list[P]:
        # Fields that were left out are not sent, because the service may not have them.
        bodies = [row.model_dump_json(by_alias=True, exclude_unset=True).encode() for row in rows]
        content = bodies[0] if first is None else b"[" + b",".join(bodies) + b"]"
        headers = {"content-type": "application/json", "x-request-id": request_id}
        request = {"method": "POST", "url": "/predict", "headers": headers, "content": content}
        end = time.monotonic() + self.timeout
        for attempt in range(self.retries + 1):
            timeout = max(end - time.monotonic(), 0.001)
            try:
                response, body = await self._exchange({**request, "timeout": timeout}, request_id, first or 0)
                break
            except (errors.Overloaded, errors.Unreachable) as error:
                # A prediction changes nothing, so that its request can be sent again.
                pause = error.retry_after + random.uniform(0, min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE))
                if attempt == self.retries or time.monotonic() + pause >= end:
                    raise
            await self.http.pause(pause)
        known = {"model_version": response.headers.get("x-model-version", "")}
        known["request_id"] = response.headers.get("x-request-id", request_id)
        try:
            found = json.loads(body)
            pairs = zip(found if isinstance(found, list) else [found], rows, strict=True)
            return [self.model.model_validate({**each, **known}) for each, _ in pairs]
        except (ValueError, TypeError):
            problem = f"the response is not a prediction of version {self.contract} of the contract"
            raise errors.ServiceError(problem, known["request_id"], response.status_code) from None

    async def _exchange(self, request: dict[str, Any], request_id: str, first: int = 0) -> Exchange:
        """Return the response with status 200 and its body; raises the exception of every other outcome."""
        try:
            response, body = await self.http.exchange(request)
        except (TimeoutError, httpx.TimeoutException):
            raise errors.Timeout("there was no response in time", request_id) from None
        except httpx.RequestError as error:
            reason = f"the service cannot be reached: {error or type(error).__name__}"
            raise errors.Unreachable(reason, request_id) from None
        request_id, version = response.headers.get("x-request-id", request_id), str(self.contract)
        if (theirs := response.headers.get("x-contract-version", version)) != version:
            problem = f"this client is for contract version {version}, the service has {theirs}; install its client"
            raise errors.WrongContract(problem, request_id, response.status_code)
        if response.status_code != 200:
            raise _error(response, body, request_id, first)
        return response, body


def _error(response: httpx.Response, body: bytes, request_id: str, first: int) -> errors.ClientError:
    status, seconds = response.status_code, response.headers.get("retry-after", "")
    try:
        detail = ErrorBody.model_validate_json(body).detail
    except ValueError:
        detail = ""
    faults = () if isinstance(detail, str) else tuple(replace(each, loc=_loc(each, first)) for each in detail)
    shown = [f"{'.'.join(map(str, each.loc)) or 'the request'}: {each.msg}" for each in faults[:MOST_FAULTS]]
    reason = detail if isinstance(detail, str) else "; ".join(shown + ["…"] * (len(faults) > MOST_FAULTS))
    kind, problem = PROBLEMS.get(status, (errors.ServiceError, f"the service returned {status}"))
    if status == 404 and faults:
        kind, problem = errors.UnknownKey, "there are no features for a key"
    pause = float(seconds) if seconds.isascii() and seconds.isdecimal() else 0.0
    return kind(f"{problem}: {reason}" if reason else problem, request_id, status, faults, pause)


def _loc(fault: errors.Fault, first: int) -> tuple[int | str, ...]:
    # The location from the service begins with "body" and, among several rows, the position in the request.
    return tuple(part + first if isinstance(part, int) and not at else part for at, part in enumerate(fault.loc[1:]))


def _header(name: str, value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise ValueError(f"{name} contains a character that is not allowed in a header")
    return value
