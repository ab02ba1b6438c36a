"""What is sent: a whole answer of JSON, or why there is none, under the id of its request."""

import random
import re

from starlette.types import Scope, Send

from lifecycle.registry.segments import dumped
from lifecycle.serving.limits import Rejected, header

SANE_ID = re.compile(rb"[\x21-\x7e]{1,128}")

Headers = list[tuple[bytes, bytes]]


def request_id(scope: Scope) -> bytes:
    """That of the request where it is a sane one, or a new one."""
    given = header(scope, b"x-request-id")
    # It has to be another one each time, and may be guessed.
    return given if given and SANE_ID.fullmatch(given) else b"%032x" % random.getrandbits(128)


async def refuse(send: Send, no: Rejected, headers: Headers) -> None:
    """Send why there is no answer."""
    more = [(name.encode(), value.encode()) for name, value in no.headers.items()]
    await reply(send, no.status, dumped({"detail": no.detail}), [*headers, *more])


async def reply(send: Send, status: int, body: bytes, headers: Headers) -> None:
    """Send a whole answer of JSON."""
    told = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *headers]
    await send({"type": "http.response.start", "status": status, "headers": told})
    await send({"type": "http.response.body", "body": body})
