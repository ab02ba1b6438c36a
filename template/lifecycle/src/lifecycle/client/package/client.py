"""Clients over HTTP: one for threads, one for an asyncio event loop."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Self

import httpx
from tenacity import AsyncRetrying, Retrying

from .calls import BaseClient, Call, P, R, Reply, connection_error, identifier, is_ready
from .errors import Timeout, TooLarge, Unreachable

READY: dict[str, Any] = {"method": "GET", "url": "/readyz"}


class SyncClient(BaseClient[R, P]):
    """A client for threads, which may share one.

    Args:
        url: the address of the service.
        api_key: the API key of the service.
        timeout: seconds for one request with all its retries.
        retries: how often a request is sent again while the service is overloaded or unreachable.
        transport: a replacement of the network in tests, a transport of httpx.

    Raises:
        ValueError: an argument is not valid.
    """

    http_client = httpx.Client

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(self, row: R, request_id: str = "") -> P:
        """Return the prediction of one row.

        Args:
            row: the row.
            request_id: an id for the logs of the service; default: a new one.

        Raises:
            ClientError: the service returned no prediction.
        """
        return self._post(self._call([row], identifier(request_id)))[0]

    def predict_many(self, rows: Sequence[R], request_id: str = "") -> list[P]:
        """Return the predictions of many rows, in their order.

        Args:
            rows: any number of rows; they are sent in requests of at most 1000.
            request_id: an id for the logs of the service; default: a new one.

        Raises:
            ClientError: a row has no prediction; then none is returned.
        """
        request_id, most, found = identifier(request_id), self._most_rows, list[P]()
        while len(found) < len(rows):
            part = rows[len(found) : len(found) + most]
            try:
                found += self._post(self._call(part, request_id, len(found)))
                # Only an accepted size is kept: a single large row says nothing about the others.
                self._most_rows = min(self._most_rows, most)
            except TooLarge:
                if len(part) == 1:
                    raise
                most = len(part) // 2
        return found

    def ready(self) -> bool:
        """Return whether the service can predict now."""
        try:
            return is_ready(self._send(READY, self._timeout))
        except (Timeout, Unreachable):
            return False

    def _post(self, call: Call) -> list[P]:
        def attempt() -> list[P]:
            return self._predictions(call, self._send(call.request, call.end - time.monotonic(), call.request_id))

        return Retrying(**self._retrying)(attempt)

    def _send(self, request: dict[str, Any], seconds: float, request_id: str = "") -> Reply:
        end, body = time.monotonic() + seconds, bytearray()
        try:
            with self._http.stream(**request, timeout=max(seconds, 0.001)) as response:
                for part in response.iter_bytes():
                    body += part
                    if time.monotonic() > end:
                        raise TimeoutError
        except (TimeoutError, httpx.RequestError) as error:
            raise connection_error(error, request_id) from None
        return Reply(response.status_code, response.headers, bytes(body))


class AsyncClient(BaseClient[R, P]):
    """A client for an asyncio event loop; arguments and methods are those of the client for threads."""

    http_client = httpx.AsyncClient

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(self, *error: object) -> None:
        """Close the connections."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def predict(self, row: R, request_id: str = "") -> P:
        """Return the prediction of one row; see `SyncClient.predict`."""
        return (await self._post(self._call([row], identifier(request_id))))[0]

    async def predict_many(self, rows: Sequence[R], request_id: str = "") -> list[P]:
        """Return the predictions of many rows; see `SyncClient.predict_many`."""
        request_id, most, found = identifier(request_id), self._most_rows, list[P]()
        while len(found) < len(rows):
            part = rows[len(found) : len(found) + most]
            try:
                found += await self._post(self._call(part, request_id, len(found)))
                self._most_rows = min(self._most_rows, most)
            except TooLarge:
                if len(part) == 1:
                    raise
                most = len(part) // 2
        return found

    async def ready(self) -> bool:
        """Return whether the service can predict now."""
        try:
            return is_ready(await self._send(READY, self._timeout))
        except (Timeout, Unreachable):
            return False

    async def _post(self, call: Call) -> list[P]:
        async def attempt() -> list[P]:
            return self._predictions(call, await self._send(call.request, call.end - time.monotonic(), call.request_id))

        return await AsyncRetrying(**self._retrying)(attempt)

    async def _send(self, request: dict[str, Any], seconds: float, request_id: str = "") -> Reply:
        try:
            async with asyncio.timeout(seconds):
                response = await self._http.request(**request, timeout=max(seconds, 0.001))
        except (TimeoutError, httpx.RequestError) as error:
            raise connection_error(error, request_id) from None
        return Reply(response.status_code, response.headers, response.content)
