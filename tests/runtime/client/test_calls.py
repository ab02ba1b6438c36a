"""The calls of a client without a network and a clock: retries, time limits, errors and many rows."""

import itertools
import json
import pickle
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import httpx
import pytest

from lifecycle.contract.schema import Column, Contract, Target
from support.clients import load

CONTRACT = Contract(1, Target("regression", "y"), (Column("x", "request", "number", low=-1e6, high=1e6),))


@dataclass(frozen=True)
class Reply:
    """A scripted response, or an error of the connection instead of one."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    error: type[httpx.TransportError] | None = None


GOOD = Reply(200, {"prediction": 3.0}, {"x-model-version": "v7", "x-request-id": "its"})
BUSY = Reply(503, {"detail": "the service is ending"}, {"retry-after": "2"})
LIMIT = Reply(429, {"detail": "too many rows wait"})
GONE, LATE = Reply(error=httpx.ConnectError), Reply(error=httpx.ReadTimeout)
FAULTS = [{"type": "greater_than", "loc": ["body", "x"], "msg": "too small"}]

Script = Callable[[list[float]], Reply]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return load(CONTRACT, "calls", tmp_path_factory.mktemp("client"))


class World:
    """A client of a scripted service, with a clock that only pauses and slow responses move."""

    def __init__(self, package: ModuleType, patch: pytest.MonkeyPatch) -> None:
        self.package, self.now, self.took = package, 1000.0, 0.0
        self.pauses: list[float] = []
        self.sent: list[httpx.Request] = []
        self.script: Script = lambda rows: GOOD
        self.client = package.Client("http://service", transport=httpx.MockTransport(self.respond))
        patch.setattr(time, "monotonic", lambda: self.now)
        patch.setattr(time, "sleep", self.sleep)
        # Every random pause is as long as it may be.
        patch.setattr(random, "uniform", lambda low, high: high)

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds

    def respond(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        self.now += self.took
        body = json.loads(request.content or b"[]")
        reply = self.script([row["x"] for row in body] if isinstance(body, list) else [body["x"]])
        if reply.error:
            raise reply.error("gone", request=request)
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        return httpx.Response(reply.status, headers=reply.headers, content=content)

    def follows(self, *replies: Reply) -> "World":
        """Respond with these replies, and then with the last one."""
        left = itertools.chain(replies, itertools.repeat(replies[-1]))
        self.script = lambda rows: next(left)
        return self

    def predict(self, request_id: str = "me") -> Any:
        return self.client.predict(self.package.Row(x=1), request_id)

    def fails(self, name: str) -> Any:
        """Return the exception of a call, which must be of this class."""
        with pytest.raises(self.package.ClientError) as caught:
            self.predict()
        assert type(caught.value).__name__ == name, caught.value
        return caught.value

    @property
    def timeouts(self) -> list[float]:
        """Return the time limit of each request."""
        return [request.extensions["timeout"]["read"] for request in self.sent]


@pytest.fixture
def world(package: ModuleType, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(package, monkeypatch)


def test_a_prediction_has_the_version_of_the_model_and_the_request_id(world: World) -> None:
    prediction = world.follows(GOOD).predict()
    assert (prediction.prediction, prediction.model_version, prediction.request_id) == (3.0, "v7", "its")
    [request] = world.sent
    assert (request.method, request.url.path, request.content) == ("POST", "/predict", b'{"x":1.0}')
    assert (request.headers["content-type"], request.headers["x-request-id"]) == ("application/json", "me")
    assert world.timeouts == [10.0]


@pytest.mark.parametrize("reply", [BUSY, LIMIT, Reply(502), Reply(504), GONE], ids=repr)
def test_a_passing_failure_is_retried_under_the_same_request_id(world: World, reply: Reply) -> None:
    assert world.follows(reply, reply, GOOD).predict("").prediction == 3.0
    assert len({request.headers["x-request-id"] for request in world.sent}) == 1
    assert len(world.sent) == 3


def test_pauses_double_and_are_random(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.follows(LIMIT).fails("Overloaded")
    assert world.pauses == pytest.approx([0.1, 0.2, 0.4])
    monkeypatch.setattr(random, "uniform", lambda low, high: low + 0.25 * (high - low))
    world.fails("Overloaded")
    assert world.pauses[3:] == pytest.approx([0.025, 0.05, 0.1])


def test_the_pause_that_the_service_requests_is_kept(world: World) -> None:
    world.follows(BUSY, GOOD).predict()
    assert world.pauses == pytest.approx([2.1])


@pytest.mark.parametrize("seconds", ["Wed, 21 Oct 2026 07:28:00 GMT", "soon", "-3", "1e9", ""])
def test_a_pause_that_is_not_a_number_of_seconds_is_ignored(world: World, seconds: str) -> None:
    world.follows(Reply(503, headers={"retry-after": seconds}), GOOD).predict()
    assert world.pauses == pytest.approx([0.1])


def test_no_pause_exceeds_the_time_limit_of_the_call(world: World) -> None:
    late = Reply(503, {"detail": "later"}, {"retry-after": "3600", "x-request-id": "its"})
    error = world.follows(late).fails("Overloaded")
    assert (world.pauses, len(world.sent)) == ([], 1)
    assert (error.retry_after, error.request_id) == (3600.0, "its")
    assert str(error) == "the service is overloaded (503): later (request its)"


def test_all_attempts_together_stay_within_the_time_limit(world: World) -> None:
    world.took = 3.0
    world.follows(BUSY).fails("Overloaded")
    assert world.now <= 1010.0
    assert world.timeouts == pytest.approx([10.0, 4.9])


def test_a_timeout_is_not_retried(world: World) -> None:
    world.took = 10.0
    assert world.follows(LATE).fails("Timeout").request_id == "me"
    assert len(world.sent) == 1


@pytest.mark.parametrize(
    ("reply", "name"),
    [
        (Reply(422, {"detail": FAULTS}), "InvalidRow"),
        (Reply(404, {"detail": FAULTS}), "UnknownKey"),
        (Reply(404, {"detail": "Not Found"}), "ServiceError"),
        (Reply(413, {"detail": "more than 3 rows"}), "TooLarge"),
        (Reply(401, {"detail": "no key"}), "Unauthorized"),
        (Reply(408, {"detail": "slow"}), "Timeout"),
        (Reply(400), "ServiceError"),
        (Reply(403, b"<html>"), "ServiceError"),
        (Reply(301, b"", {"location": "/"}), "ServiceError"),
        (Reply(500, {"detail": "internal error"}), "ServiceError"),
        (Reply(200, {"prediction": "three"}), "ServiceError"),
        (Reply(200, {}), "ServiceError"),
        (Reply(200, []), "ServiceError"),
        (Reply(200, [3]), "ServiceError"),
        (Reply(200, b"<html>"), "ServiceError"),
        (Reply(200, b""), "ServiceError"),
        (Reply(200, b"\xff"), "ServiceError"),
        (Reply(200, {"prediction": 3.0}, {"x-contract-version": "2"}), "WrongContract"),
        (Reply(422, {"detail": FAULTS}, {"x-contract-version": "2"}), "WrongContract"),
    ],
    ids=lambda given: f"{given.status} {given.body}" if isinstance(given, Reply) else "",
)
def test_every_other_response_is_an_exception_without_a_retry(world: World, reply: Reply, name: str) -> None:
    error = world.follows(replace(reply, headers={**reply.headers, "x-request-id": "its"})).fails(name)
    assert len(world.sent) == 1
    assert (error.request_id, error.status) == ("its", reply.status)
    assert "(request its)" in str(error)


def test_faults_have_place_and_message(world: World) -> None:
    error = world.follows(Reply(422, {"detail": FAULTS})).fails("InvalidRow")
    assert error.faults == (world.package.Fault(("x",), "too small", "greater_than"),)
    assert str(error) == "a row does not match the contract: x: too small (request me)"


@pytest.mark.parametrize("detail", [None, 3, "x", [3, "x"], [{}], [{"loc": 3}], [{"loc": [], "msg": None}]])
def test_details_of_another_form_are_tolerated(world: World, detail: Any) -> None:
    assert isinstance(world.follows(Reply(422, {"detail": detail})).fails("InvalidRow").faults, tuple)


def test_exceptions_can_be_sent_to_another_process(world: World) -> None:
    for reply, name in ((Reply(422, {"detail": FAULTS}), "InvalidRow"), (Reply(500), "ServiceError")):
        error = world.follows(reply).fails(name)
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def limited(limit: int, sizes: list[int], change: Callable[[float], Reply | None] = lambda first: None) -> Script:
    """Return the script of a service that accepts at most `limit` rows; `sizes` records those of the requests."""

    def respond(rows: list[float]) -> Reply:
        sizes.append(len(rows))
        if len(rows) > limit:
            return Reply(413, {"detail": "too many"})
        return change(rows[0]) or Reply(200, [{"prediction": x} for x in rows])

    return respond


def predict_many(world: World, count: int, most: int) -> list[Any]:
    world.client._core.most_rows = most
    found: list[Any] = world.client.predict_many([world.package.Row(x=at) for at in range(count)])
    return found


@pytest.mark.parametrize(("count", "most", "limit"), [(0, 3, 9), (1, 3, 9), (7, 3, 9), (10, 10, 3), (100, 64, 1)])
def test_many_rows_are_sent_in_parts_that_fit_and_returned_in_order(
    world: World, count: int, most: int, limit: int
) -> None:
    sizes: list[int] = []
    world.script = limited(limit, sizes)
    assert [each.prediction for each in predict_many(world, count, most)] == list(range(count))
    assert sum(size > limit for size in sizes) <= 7, "a size that was too large is not tried again"
    assert len({request.headers["x-request-id"] for request in world.sent}) <= 1


def test_a_single_row_that_is_too_large_is_an_exception(world: World) -> None:
    sizes: list[int] = []
    world.script = limited(0, sizes)
    with pytest.raises(world.package.TooLarge):
        predict_many(world, 4, 4)
    assert sizes == [4, 2, 1]


def test_a_single_row_that_is_too_large_does_not_slow_down_later_calls(world: World) -> None:
    sizes: list[int] = []
    world.script = limited(8, sizes, lambda first: Reply(413, {"detail": "too large"}) if first == 0 else None)
    with pytest.raises(world.package.TooLarge):
        predict_many(world, 8, 8)
    assert sizes == [8, 4, 2, 1]
    assert world.client._core.most_rows == 8


def test_a_fault_among_many_rows_has_the_position_among_all(world: World) -> None:
    fault = Reply(422, {"detail": [{"loc": ["body", 1, "x"], "msg": "too small", "type": "t"}]})
    world.script = limited(9, [], lambda first: fault if first == 6 else None)
    with pytest.raises(world.package.InvalidRow) as caught:
        predict_many(world, 9, 3)
    assert caught.value.faults[0].loc == (7, "x")


def test_predictions_of_only_some_rows_are_an_exception(world: World) -> None:
    world.script = limited(9, [], lambda first: Reply(200, [{"prediction": 1.0}]))
    with pytest.raises(world.package.ServiceError):
        predict_many(world, 9, 3)


@pytest.mark.parametrize(
    ("reply", "is_ready"), [(Reply(), True), (BUSY, False), (LIMIT, False), (LATE, False), (GONE, False)], ids=repr
)
def test_ready_sends_one_request(world: World, reply: Reply, is_ready: bool) -> None:
    assert world.follows(reply).client.ready() is is_ready
    assert [request.url.path for request in world.sent] == ["/readyz"]


def test_the_address_of_another_service_is_an_exception_of_ready(world: World) -> None:
    with pytest.raises(world.package.ServiceError, match="404"):
        world.follows(Reply(404, {"detail": "Not Found"})).client.ready()
