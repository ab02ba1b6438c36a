"""The API key: who may ask for answers. Its text is never a setting, never told, and never in a log."""

import asyncio
import hmac
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from lifecycle.errors import LifecycleError
from lifecycle.serving.limits import Rejected
from lifecycle.serving.openapi import is_open
from lifecycle.serving.replies import refuse, request_id
from lifecycle.settings import API_KEY, Serve

log = logging.getLogger("lifecycle.serving")
NO_KEY = "this needs an API key: Authorization: Bearer KEY, or X-API-Key: KEY"
CHALLENGE = {"www-authenticate": "Bearer"}
SHORTEST = 16
HINT = f"One key a line, each of at least {SHORTEST} characters: `openssl rand -hex 32` makes one."


class Keys:
    """The keys that are accepted: those of the environment where it has any, else those of the file as it is now.

    Several at once, so that callers can change to a new one before the old one is taken away.
    """

    def __init__(self, path: Path | None, environ: Mapping[str, str] = os.environ) -> None:
        """Read them; raises LifecycleError for a key that guards nothing, and never tells it."""
        self.path = None if API_KEY in environ else path
        self._stamp = _stamp(self.path) if self.path else None
        self._keys = _parse(environ[API_KEY], API_KEY) if API_KEY in environ else _read(self.path)
        self._refused = ""

    def __bool__(self) -> bool:
        return bool(self._keys)

    def accept(self, scope: Scope) -> bool:
        """Whether a request carries one of them, in time that tells nothing about how near another one came."""
        given = list(_given(scope))
        return any([hmac.compare_digest(one, key) for one in given for key in self._keys])

    def demand(self, scope: Scope) -> None:
        """Raise Rejected for a request that carries none of them."""
        if not self.accept(scope):
            raise Rejected(401, NO_KEY, CHALLENGE)

    async def follow(self, every: float) -> None:
        """Look at the file for ever."""
        while self.path:
            await asyncio.sleep(every)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Read the file again when it has changed; never raises: what cannot be read leaves the old keys."""
        assert self.path is not None, "only a file can change"
        try:
            stamp = _stamp(self.path)
            if stamp != self._stamp:
                self._keys, self._stamp, self._refused = _read(self.path), stamp, ""
                log.info("the API keys of %s are accepted from now on", self.path)
        except LifecycleError as error:
            if error.problem != self._refused:
                log.error("the API keys of before go on being accepted: %s", error.problem)
            self._refused = error.problem


class RequireKey:
    """Answers 401 to whatever needs a key and has none, before its body is read."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self.app, self.keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See RequireKey."""
        try:
            if scope["type"] == "http" and not is_open(scope["path"]):
                self.keys.demand(scope)
        except Rejected as no:
            await refuse(send, no, [(b"x-request-id", request_id(scope))])
        else:
            await self.app(scope, receive, send)


def required(serve: Serve, environment: str) -> Keys:
    """The keys of a service; raises LifecycleError when it is for production and would answer everybody."""
    keys = Keys(serve.api_key_file)
    if environment == "production" and not keys:
        hint = f"Set the variable {API_KEY}, or name a file that holds it in the setting serve.api_key_file."
        raise LifecycleError("production without an API key would answer everybody", hint)
    return keys


def _given(scope: Scope) -> Iterator[bytes]:
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            yield value.strip()
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            yield value[7:].strip()


def _read(path: Path | None) -> tuple[bytes, ...]:
    if path is None:
        return ()
    try:
        return _parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise LifecycleError(f"{path} with the API keys cannot be read ({reason})", HINT) from None


def _parse(text: str, where: str) -> tuple[bytes, ...]:
    keys = [line.strip() for line in text.splitlines() if line.strip()]
    if not keys:
        raise LifecycleError(f"{where} holds no API key", HINT)
    for at, key in enumerate(keys, 1):
        if len(key) < SHORTEST or not all("!" <= letter <= "~" for letter in key):
            problem = "is too short" if len(key) < SHORTEST else "holds a space or a letter that no header can carry"
            raise LifecycleError(f"API key {at} of {where} {problem}", HINT)
    return tuple(key.encode() for key in keys)


def _stamp(path: Path) -> tuple[int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_mtime_ns, found.st_size
