"""The calls over HTTP: for threads, and for an event loop."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Generic, Self, TypeVar

import httpx

from .calls import A, Calls, Flow, Outcome, Send, Service, T, Wait
from .errors import Timeout, Unreachable
from .replies import Reply
from .values import BaseRow

R = TypeVar("R", bound=BaseRow)


class SyncClient(Generic[R, A]):
    """Asks the service; one client for all threads, so that they share connections.

    `timeout`: seconds for one request with all its retries; a service that sends the head of an answer byte by byte may
    take longer here, not with AsyncClient. `retries`: how often a request is sent again when the service is busy or
    away, later each time. `transport`: what stands for the network in tests of yours.
    """

    service: Service[A]

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        timeout: float = 10.0,
        retries: int = 3,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._calls = Calls(self.service, *_limits(timeout, retries))
        headers = _headers(self.service.agent, api_key)
        self._http = httpx.Client(base_url=_address(url), headers=headers, transport=transport)

    def __enter__(self) -> Self:
        """The client."""
        return self

    def __exit__(self, *error: object) -> None:
        """See close."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(self, row: R, request_id: str = "") -> A:
        """The answer to one row; raises ClientError. `request_id` finds it in the service's logs."""
        return self._run(self._calls.predict(row, _plain("request_id", request_id)))

    def predict_many(self, rows: Sequence[R], request_id: str = "") -> list[A]:
        """An answer to each row, in their order; raises ClientError when one of them has none."""
        return self._run(self._calls.predict_many(rows, _plain("request_id", request_id)))

    def ready(self) -> bool:
        """Whether the service answers rows now."""
        return self._run(self._calls.ready())

    def _run(self, flow: Flow[T]) -> T:
        outcome: Outcome = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            if isinstance(step, Wait):
                time.sleep(step.seconds)
                outcome = None
            else:
                outcome = self._send(step)

    def _send(self, send: Send) -> Outcome:
        end = time.monotonic() + send.seconds
        body = bytearray()
        request = self._http.build_request(
            send.method, send.path, headers=dict(send.headers), content=send.content, timeout=send.seconds
        )
        try:
            response = self._http.send(request, stream=True)
            try:
                for part in response.iter_bytes():
                    body += part
                    if time.monotonic() > end:
                        return _late(send)
            finally:
                response.close()
        except httpx.RequestError as error:
            return _lost(error, send)
        return Reply(response.status_code, response.headers, bytes(body))


class AsyncClient(Generic[R, A]):
    """Asks the service from an asyncio event loop; its arguments and calls are those of the client for threads."""

    service: Service[A]

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        timeout: float = 10.0,
        retries: int = 3,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._calls = Calls(self.service, *_limits(timeout, retries))
        headers = _headers(self.service.agent, api_key)
        self._http = httpx.AsyncClient(base_url=_address(url), headers=headers, transport=transport)

    async def __aenter__(self) -> Self:
        """The client."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """See close."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def predict(self, row: R, request_id: str = "") -> A:
        """See SyncClient."""
        return await self._run(self._calls.predict(row, _plain("request_id", request_id)))

    async def predict_many(self, rows: Sequence[R], request_id: str = "") -> list[A]:
        """See SyncClient."""
        return await self._run(self._calls.predict_many(rows, _plain("request_id", request_id)))

    async def ready(self) -> bool:
        """See SyncClient."""
        return await self._run(self._calls.ready())

    async def _run(self, flow: Flow[T]) -> T:
        outcome: Outcome = None
        while True:
            try:
                step = flow.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome = await (asyncio.sleep(step.seconds) if isinstance(step, Wait) else self._send(step))

    async def _send(self, send: Send) -> Outcome:
        request = self._http.build_request(
            send.method, send.path, headers=dict(send.headers), content=send.content, timeout=send.seconds
        )
        try:
            async with asyncio.timeout(send.seconds):
                response = await self._http.send(request)
        except TimeoutError:
            return _late(send)
        except httpx.RequestError as error:
            return _lost(error, send)
        return Reply(response.status_code, response.headers, response.content)


def _late(send: Send) -> Timeout:
    return Timeout(f"{send.path} was not answered in time")


def _lost(error: httpx.RequestError, send: Send) -> Timeout | Unreachable:
    if isinstance(error, httpx.TimeoutException):
        return _late(send)
    return Unreachable(f"{send.path} cannot be reached: {error or type(error).__name__}")


def _address(url: str) -> httpx.URL:
    # An address may hold a password: it is not told again.
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        parsed = httpx.URL()
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError("url is no address such as http://127.0.0.1:8000")
    if parsed.userinfo:
        raise ValueError("url holds a user or a password, which would replace the API key: give api_key")
    return parsed


def _limits(timeout: float, retries: int) -> tuple[float, int]:
    if not 0 < timeout < float("inf") or retries < 0:
        raise ValueError("timeout is a number of seconds above 0, retries are 0 or more")
    return timeout, retries


def _headers(agent: str, api_key: str | None) -> Mapping[str, str]:
    # Many a file ends with a line's end, and a key comes from one.
    key = _plain("api_key", (api_key or "").strip())
    return {"user-agent": agent} | ({"authorization": f"Bearer {key}"} if key else {})


def _plain(name: str, value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise ValueError(f"{name} holds a character that a header cannot")
    return value
