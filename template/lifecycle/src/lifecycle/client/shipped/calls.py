"""Calls without a network and a clock: each is a generator that says what to do next and hears what came of it.

So one set of rules serves threads and event loops, and tests decide what time it is.
"""

import json
import random
import time
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

from .errors import ClientError, ServiceError, Timeout, TooLarge, Unreachable, WrongContract
from .replies import BUSY, GATEWAY, Reply, failure
from .values import BaseAnswer, BaseRow

# Of one request; the service's own limits may be lower, and then it says so.
MOST_ROWS = 1000
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
LEAST_SECONDS = 0.001

A = TypeVar("A", bound=BaseAnswer)
T = TypeVar("T")


@dataclass(frozen=True)
class Send:
    """Send this, and have the whole reply within these seconds."""

    method: str
    path: str
    seconds: float
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None


@dataclass(frozen=True)
class Wait:
    """Do nothing for so long."""

    seconds: float


# What came of a step: a reply, an error that another try may hint, or nothing to tell.
Outcome = Reply | Timeout | Unreachable | None
Flow = Generator[Send | Wait, Outcome, T]


@dataclass(frozen=True)
class Service(Generic[A]):
    """What a client knows of its service: the answers, the contract's major version, and its own name and version."""

    answer: type[A]
    contract: int
    agent: str


@dataclass
class Calls(Generic[A]):
    """The calls of one client. `timeout` is for one request with all its retries; `chance` is from 0 to 1."""

    service: Service[A]
    timeout: float
    retries: int
    clock: Callable[[], float] = time.monotonic
    chance: Callable[[], float] = random.random
    most: int = MOST_ROWS

    def predict(self, row: BaseRow, request_id: str) -> Flow[A]:
        """The answer to one row."""
        reply = yield from self._ask(_json(row), request_id or uuid.uuid4().hex)
        return self._answers(reply, 1)[0]

    def predict_many(self, rows: Sequence[BaseRow], request_id: str) -> Flow[list[A]]:
        """An answer to each row, in parts that get smaller when the service finds them too large."""
        request_id = request_id or uuid.uuid4().hex
        answers: list[A] = []
        most = self.most
        while len(answers) < len(rows):
            first = len(answers)
            part = rows[first : first + most]
            try:
                reply = yield from self._ask(b"[" + b",".join(map(_json, part)) + b"]", request_id, first)
            except TooLarge:
                if len(part) == 1:
                    raise
                most = min(most, len(part) // 2)
            else:
                # Learned from what was taken only: one row that is too large alone says nothing about others.
                self.most = min(self.most, most)
                answers += self._answers(reply, len(part))
        return answers

    def ready(self) -> Flow[bool]:
        """Whether the service answers rows now; whatever keeps it from that now is no error."""
        outcome = yield Send("GET", "/readyz", self.timeout)
        if isinstance(outcome, Reply) and outcome.status != 200 and outcome.status not in (*BUSY, *GATEWAY):
            raise failure(outcome, outcome.headers.get("x-request-id", ""))
        return isinstance(outcome, Reply) and outcome.status == 200

    def _ask(self, body: bytes, request_id: str, first: int = 0) -> Flow[Reply]:
        end = self.clock() + self.timeout
        headers = {"content-type": "application/json", "x-request-id": request_id}
        for attempt in count():
            left = max(end - self.clock(), LEAST_SECONDS)
            outcome = yield Send("POST", "/predict", left, headers, body)
            again, pause = _again(outcome)
            pause += self.chance() * min(FIRST_PAUSE * 2**attempt, LONGEST_PAUSE)
            if not again or attempt >= self.retries or self.clock() + pause >= end:
                break
            yield Wait(pause)
        if isinstance(outcome, ClientError):
            outcome.request_id = request_id
            raise outcome
        assert outcome is not None, "a request has an outcome"
        request_id = outcome.headers.get("x-request-id", request_id)
        found = outcome.headers.get("x-contract-version", "")
        if found not in ("", str(self.service.contract)):
            raise WrongContract(
                f"this client is for version {self.service.contract} of the contract, the service has {found}; "
                "install its client",
                request_id,
            )
        if outcome.status != 200:
            raise failure(outcome, request_id, first)
        return outcome

    def _answers(self, reply: Reply, rows: int) -> list[A]:
        known = {name: reply.headers.get(f"x-{name.replace('_', '-')}", "") for name in ("model_version", "request_id")}
        try:
            found = json.loads(reply.body)
            each = found if isinstance(found, list) else [found]
            answers = [self.service.answer.model_validate({**one, **known}) for one in each]
            if len(answers) != rows:
                raise ValueError
        except (ValueError, TypeError):
            problem = f"what came is no answer of version {self.service.contract} of the contract"
            raise ServiceError(problem, known["request_id"], reply.status) from None
        return answers


def _json(row: BaseRow) -> bytes:
    # What the caller left out, the service fills in: it may not know the field at all.
    return row.model_dump_json(by_alias=True, exclude_unset=True).encode()


def _again(outcome: Outcome) -> tuple[bool, float]:
    """Whether another try may help, and the least seconds before it."""
    if isinstance(outcome, Reply):
        return outcome.status in (*BUSY, *GATEWAY), outcome.retry_after
    return isinstance(outcome, Unreachable), 0.0
