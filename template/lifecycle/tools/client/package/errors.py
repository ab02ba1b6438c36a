"""The exceptions of a client. None contains the API key or a value of a row."""

from dataclasses import dataclass

import pydantic


@pydantic.dataclasses.dataclass(frozen=True)
class Fault:
    """What is wrong with a field: `loc` ends with its name, and begins with the position of its row among several."""

    loc: tuple[int | str, ...]
    msg: str
    type: str = ""


@dataclass(eq=False)
class ClientError(Exception):
    """Base class of the exceptions.

    Attributes:
        problem: what went wrong.
        request_id: identifies the request in the logs of the service.
        status: the HTTP status, 0 without a response.
        faults: what is wrong with rows.
        retry_after: seconds after which the service may be called again.
    """

    problem: str
    request_id: str = ""
    status: int = 0
    faults: tuple[Fault, ...] = ()
    retry_after: float = 0

    def __str__(self) -> str:
        return f"{self.problem} (request {self.request_id})" if self.request_id else self.problem


class InvalidRow(ClientError):
    """A row does not match the contract (422)."""


class UnknownKey(ClientError):
    """The service has no features for a key (404)."""


class TooLarge(ClientError):
    """A single row is larger than the service accepts (413)."""


class Unauthorized(ClientError):
    """The API key is missing or wrong (401)."""


class Overloaded(ClientError):
    """The service is overloaded (429, 503), also after the retries."""


class Timeout(ClientError):
    """There was no response within the time limit of the call."""


class Unreachable(ClientError):
    """There was no connection to the service, also after the retries (502 and 504 from a proxy)."""


class WrongContract(ClientError):
    """The service has another major version of the contract, where a row may have another meaning."""


class ServiceError(ClientError):
    """The service failed, or the address is not that of the service."""
