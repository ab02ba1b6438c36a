"""What a reply of the service means."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import (
    ClientError,
    Fault,
    InvalidRow,
    Overloaded,
    ServiceError,
    Timeout,
    TooLarge,
    Unauthorized,
    UnknownKey,
    Unreachable,
)

# Whoever gets one of these may ask again: to predict changes nothing.
BUSY = (429, 503)
GATEWAY = (502, 504)


@dataclass(frozen=True)
class Reply:
    """Status, headers (names in lower case) and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after(self) -> float:
        """Seconds that the service wants left alone; 0 where it says nothing, or says a date."""
        told = self.headers.get("retry-after", "")
        return float(told) if told.isascii() and told.isdecimal() else 0.0


def failure(reply: Reply, request_id: str, first: int = 0) -> ClientError:
    """The error that a reply without an answer is; `first` is the position of the request's first row."""
    status, detail = reply.status, _detail(reply)
    faults = [_fault(each, first) for each in detail if isinstance(each, dict)] if isinstance(detail, list) else []
    told = f": {detail}" if isinstance(detail, str) else ""
    if status == 422:
        return InvalidRow("a row breaks the contract", request_id, faults)
    # Another 404 is a wrong address.
    if status == 404 and faults:
        return UnknownKey("nothing is known of a key", request_id, faults)
    if status in BUSY:
        return Overloaded(f"the service has no time now ({status}){told}", request_id, reply.retry_after)
    if status in GATEWAY:
        return Unreachable(f"what stands before the service does not reach it ({status})", request_id)
    if status == 401:
        return Unauthorized("the service wants another API key, or any", request_id)
    if status == 413:
        return TooLarge(f"the request is too large{told}", request_id)
    if status == 408:
        return Timeout("the request did not arrive in time", request_id)
    return ServiceError(f"the service answered {status}{told}", request_id, status)


def _detail(reply: Reply) -> Any:
    try:
        found = json.loads(reply.body)
    except ValueError:
        return None
    return found.get("detail") if isinstance(found, dict) else None


def _fault(told: dict[str, Any], first: int) -> Fault:
    place = told.get("loc")
    parts = place[1:] if isinstance(place, list) else []
    loc = [part + first if at == 0 and isinstance(part, int) else part for at, part in enumerate(parts)]
    return Fault(tuple(loc), str(told.get("msg", "")), str(told.get("type", "")))
