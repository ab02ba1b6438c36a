"""Requests and responses of both clients: the part without a network."""

import json
import math
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import httpx
from tenacity import retry_if_exception_type, stop_after_attempt, stop_before_delay
from tenacity.wait import wait_exception, wait_random_exponential

from . import errors
from .rows import BasePrediction, BaseRow

# Rows of one request; where the service accepts fewer, the client sends fewer.
MOST_ROWS, MOST_FAULTS = 1000, 5
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
# A prediction changes nothing, so that a request with one of these statuses can be sent again.
BUSY, GATEWAY = (429, 503), (502, 504)

R = TypeVar("R", bound=BaseRow)
P = TypeVar("P", bound=BasePrediction)


@dataclass(frozen=True)
class Reply:
    """The response of the service, read completely."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Call:
    """One request with all its retries: what is sent, the number and position of its rows, when it must end."""

    request: dict[str, Any]
    request_id: str
    rows: int
    first: int
    end: float


class BaseClient(Generic[R, P]):
    """The arguments of a client, the requests that it sends, and the meaning of the responses."""

    prediction: type[P]
    contract: int
    agent: str
    http_client: type[Any]

    def __init__(
        self, url: str, api_key: str | None = None, *, timeout: float = 10.0, retries: int = 3, transport: Any = None
    ) -> None:
        if not 0 < timeout < math.inf or retries < 0:
            raise ValueError("timeout must be a number of seconds above 0, retries 0 or more")
        self._timeout, self._most_rows = timeout, MOST_ROWS
        self._retrying: dict[str, Any] = {
            "retry": retry_if_exception_type((errors.Overloaded, errors.Unreachable)),
            "wait": wait_exception(lambda error: getattr(error, "retry_after", 0.0))
            + wait_random_exponential(multiplier=FIRST_PAUSE, max=LONGEST_PAUSE),
            "stop": stop_after_attempt(retries + 1) | stop_before_delay(timeout),
            "reraise": True,
        }
        # A key that was read from a file often ends with a line break.
        key = _header("api_key", (api_key or "").strip())
        headers = {"user-agent": self.agent} | ({"authorization": f"Bearer {key}"} if key else {})
        self._http = self.http_client(base_url=_address(url), headers=headers, transport=transport)

    def _call(self, rows: Sequence[R], request_id: str, first: int | None = None) -> Call:
        # Fields that were left out are not sent, because the service may not have them.
        bodies = [row.model_dump_json(by_alias=True, exclude_unset=True).encode() for row in rows]
        content = bodies[0] if first is None else b"[" + b",".join(bodies) + b"]"
        headers = {"content-type": "application/json", "x-request-id": request_id}
        request = {"method": "POST", "url": "/predict", "headers": headers, "content": content}
        return Call(request, request_id, len(rows), first or 0, time.monotonic() + self._timeout)

    def _predictions(self, call: Call, reply: Reply) -> list[P]:
        request_id, version = (
            reply.headers.get("x-request-id", call.request_id),
            reply.headers.get("x-contract-version"),
        )
        if version not in (None, str(self.contract)):
            problem = f"this client is for version {self.contract} of the contract, the service has {version}"
            raise errors.WrongContract(f"{problem}; install the client of that version", request_id, reply.status)
        if reply.status != 200:
            raise error_of(reply, request_id, call.first)
        known = {"model_version": reply.headers.get("x-model-version", ""), "request_id": request_id}
        try:
            found = json.loads(reply.body)
            rows = found if isinstance(found, list) else [found]
            predictions = [self.prediction.model_validate({**each, **known}) for each in rows]
            if len(predictions) != call.rows:
                raise ValueError
        except (ValueError, TypeError):
            problem = f"the response is not a prediction of version {self.contract} of the contract"
            raise errors.ServiceError(problem, request_id, reply.status) from None
        return predictions


def _address(url: str) -> httpx.URL:
    # The messages do not repeat the address, because it may contain a password.
    try:
        address = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        address = httpx.URL()
    if address.scheme not in ("http", "https") or not address.host:
        raise ValueError("url is not an address such as http://127.0.0.1:8000")
    if address.userinfo:
        raise ValueError("url contains a user or a password, which would replace the API key: use api_key")
    return address


def _header(name: str, value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise ValueError(f"{name} contains a character that is not allowed in a header")
    return value


def identifier(request_id: str) -> str:
    """Return the request id, or a new one; raises ValueError for one that a header cannot contain."""
    return _header("request_id", request_id) or uuid.uuid4().hex


def error_of(reply: Reply, request_id: str, first: int = 0) -> errors.ClientError:
    """Return the exception of a response; `first` is the position of the first row of its request."""
    status, seconds = reply.status, reply.headers.get("retry-after", "")
    try:
        detail = json.loads(reply.body)["detail"]
    except (ValueError, TypeError, KeyError):
        detail = None
    given = [each for each in detail if isinstance(each, dict)] if isinstance(detail, list) else []
    faults = tuple(_fault(each, first) for each in given)
    shown = [f"{'.'.join(map(str, each.loc)) or 'the request'}: {each.msg}" for each in faults[:MOST_FAULTS]]
    reason = detail if isinstance(detail, str) else "; ".join(shown + ["…"] * (len(faults) > MOST_FAULTS))
    kinds: dict[int, tuple[type[errors.ClientError], str]] = {
        401: (errors.Unauthorized, "the API key is missing or wrong"),
        408: (errors.Timeout, "the request did not arrive in time"),
        413: (errors.TooLarge, "the request is too large"),
        422: (errors.InvalidRow, "a row does not match the contract"),
        **dict.fromkeys(BUSY, (errors.Overloaded, f"the service is overloaded ({status})")),
        **dict.fromkeys(GATEWAY, (errors.Unreachable, f"a proxy does not reach the service ({status})")),
        # A 404 without faults is that of a wrong address.
        **({404: (errors.UnknownKey, "there are no features for a key")} if faults else {}),
    }
    kind, problem = kinds.get(status, (errors.ServiceError, f"the service returned {status}"))
    pause = float(seconds) if seconds.isascii() and seconds.isdecimal() else 0.0
    return kind(f"{problem}: {reason}" if reason else problem, request_id, status, faults, pause)


def _fault(found: dict[str, Any], first: int) -> errors.Fault:
    place = found.get("loc")
    parts = place[1:] if isinstance(place, list) else []
    loc = [part + first if at == 0 and isinstance(part, int) else part for at, part in enumerate(parts)]
    return errors.Fault(tuple(loc), str(found.get("msg", "")), str(found.get("type", "")))


def connection_error(error: Exception, request_id: str) -> errors.ClientError:
    """Return the exception of a request without a response."""
    if isinstance(error, (TimeoutError, httpx.TimeoutException)):
        return errors.Timeout("there was no response in time", request_id)
    return errors.Unreachable(f"the service cannot be reached: {error or type(error).__name__}", request_id)


def is_ready(reply: Reply) -> bool:
    """Return whether a response of /readyz says that the service can predict; raises the error of another service."""
    if reply.status not in (200, *BUSY, *GATEWAY):
        raise error_of(reply, reply.headers.get("x-request-id", ""))
    return reply.status == 200
