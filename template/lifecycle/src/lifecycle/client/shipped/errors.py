"""What can go wrong with a call. None of it holds the API key or a value of a row."""

from collections.abc import Sequence
from dataclasses import dataclass

TOLD = 5


@dataclass(frozen=True)
class Fault:
    """What is wrong at one place. `loc` ends with the name of the field on the wire; of many rows, it begins with
    the row's position.
    """

    loc: tuple[str | int, ...]
    msg: str
    type: str = ""

    def __str__(self) -> str:
        """The place, then what is wrong there."""
        return f"{'.'.join(map(str, self.loc)) or 'the request'}: {self.msg}"


class ClientError(Exception):
    """Base of all: the problem in words, and the request's id in the service's logs."""

    def __init__(self, problem: str, request_id: str = "") -> None:
        self.problem, self.request_id = problem, request_id
        super().__init__(problem, request_id)

    def __str__(self) -> str:
        """The problem, and the id where there is one."""
        return f"{self.problem} (request {self.request_id})" if self.request_id else self.problem


class Faulty(ClientError):
    """Base of what is wrong with rows: `faults` name the places."""

    def __init__(self, problem: str, request_id: str = "", faults: Sequence[Fault] = ()) -> None:
        told = [*map(str, faults[:TOLD]), *(["…"] if len(faults) > TOLD else [])]
        super().__init__(f"{problem}: {'; '.join(told)}" if told else problem, request_id)
        self.faults = tuple(faults)


class InvalidRow(Faulty):
    """A row breaks the contract (422)."""


class UnknownKey(Faulty):
    """Nothing is known of a key (404)."""


class TooLarge(ClientError):
    """One row alone is larger than the service takes (413); many rows are sent in parts."""


class Unauthorized(ClientError):
    """The API key is missing or wrong (401)."""


class Overloaded(ClientError):
    """The service has no time, after the last retry, too (429, 503); it asked for `retry_after` seconds of rest."""

    def __init__(self, problem: str, request_id: str = "", retry_after: float = 0.0) -> None:
        super().__init__(problem, request_id)
        self.retry_after = retry_after


class Timeout(ClientError):
    """There was no answer within the time of the call."""


class Unreachable(ClientError):
    """The service could not be reached, or went away, at each try."""


class WrongContract(ClientError):
    """The service has another major version of the contract: this client's rows may mean something else to it."""


class ServiceError(ClientError):
    """The service failed, or what answers is not that service; `status` is that of HTTP."""

    def __init__(self, problem: str, request_id: str = "", status: int = 0) -> None:
        super().__init__(problem, request_id)
        self.status = status
