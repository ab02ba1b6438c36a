"""Batching: requests are predicted together in the thread or on the event loop, each with the result it gets alone."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.types import Message

from lifecycle.serving.app import create
from lifecycle.serving.deployed import BatchQueue, DeployedModel, DeploymentFollower, predict_each
from support.services import KNOWN, QUICK
from support.storages import Storage

Rows = list[dict[str, Any]]


class Panic(BaseException):
    """What libraries written in Rust raise."""


class Model:
    """A model that returns the double of each row, waits for `free` before the first batch, and records its batches."""

    def __init__(self, name: str = "one") -> None:
        self.name, self.batches = name, list[list[Any]]()
        self.busy, self.free = threading.Event(), threading.Event()

    def predict(self, rows: Rows) -> Rows:
        self.batches.append([row["x"] for row in rows])
        self.busy.set()
        assert self.free.wait(20)
        if any(row["x"] == "panic" for row in rows):
            raise Panic
        if any(row["x"] == "poison" for row in rows):
            raise StopIteration("a model may raise anything")
        return responses(*(row["x"] for row in rows), name=self.name)


def predict(model: Any, rows: Sequence[Any]) -> Rows:
    return list(model.predict(rows))


def rows(*values: Any) -> Rows:
    return [{"x": value} for value in values]


def responses(*values: Any, name: str = "one") -> Rows:
    return [{"prediction": (name, value * 2)} for value in values]


def together(requests: list[tuple[Any, Rows]], batch_rows: int = 1000, cancel: tuple[int, ...] = ()) -> list[Any]:
    """Return the result of each request when all others arrive while the model is busy with the first."""

    async def run() -> list[Any]:
        queue = BatchQueue(predict, batch_rows)
        first = requests[0][0]
        tasks = [asyncio.create_task(queue.predict_in_thread(*requests[0]))]
        await asyncio.to_thread(first.busy.wait, 20)
        tasks += [asyncio.create_task(queue.predict_in_thread(*request)) for request in requests[1:]]
        await asyncio.sleep(0)
        assert queue.rows == sum(len(each) for _, each in requests)
        for at in cancel:
            tasks[at].cancel()
        await asyncio.sleep(0)
        for model, _ in requests:
            model.free.set()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert queue.rows == 0
        return results

    return asyncio.run(run())


def test_waiting_requests_are_predicted_together_and_each_gets_its_own_result() -> None:
    model: Any = Model()
    assert together([(model, rows(at, at + 100)) for at in range(20)]) == [responses(at, at + 100) for at in range(20)]
    assert [len(batch) for batch in model.batches] == [2, 38]


def test_a_request_that_arrives_alone_is_predicted_alone() -> None:
    model: Any = Model()
    model.free.set()

    async def run() -> list[Any]:
        queue = BatchQueue(predict, 1000)
        return [await queue.predict_in_thread(model, rows(at)) for at in range(3)]

    assert asyncio.run(run()) == [responses(at) for at in range(3)]
    assert model.batches == [[0], [1], [2]]


def test_a_batch_has_at_most_batch_rows_rows_and_a_larger_request_is_not_split() -> None:
    model: Any = Model()
    requests = [rows(0), rows(1, 2), rows(3), rows(*range(10, 17)), rows(4), rows(5)]
    found = together([(model, each) for each in requests], batch_rows=3)
    assert found == [responses(*(row["x"] for row in each)) for each in requests]
    assert model.batches == [[0], [1, 2, 3], list(range(10, 17)), [4, 5]]


def test_a_request_that_fails_does_not_affect_the_others() -> None:
    model: Any = Model()
    found = together([(model, rows(each)) for each in (0, 1, "poison", 2, "panic", 3)])
    assert [type(each) for each in found] == [list, list, RuntimeError, list, RuntimeError, list]
    assert [each for each in found if isinstance(each, list)] == [responses(at) for at in range(4)]


def test_after_a_swap_each_version_predicts_its_own_requests() -> None:
    old, new = Model("old"), Model("new")
    requests: list[tuple[Any, Rows]] = [(old, rows(0)), (old, rows(1)), (old, rows(2)), (new, rows(3)), (old, rows(4))]
    assert together(requests) == [responses(at, name=model.name) for at, (model, _) in enumerate(requests)]
    assert (old.batches, new.batches) == ([[0], [1, 2], [4]], [[3]])


def test_a_request_whose_caller_went_away_is_not_predicted() -> None:
    model: Any = Model()
    found = together([(model, rows(at)) for at in range(6)], cancel=(2, 4))
    assert [isinstance(each, asyncio.CancelledError) for each in found] == [False, False, True, False, True, False]
    assert model.batches == [[0], [1, 3, 5]]


def on_loop(requests: list[tuple[Any, Rows]], cancel: tuple[int, ...] = ()) -> list[Any]:
    """Return the result of each request when all of them arrive in one iteration of the event loop."""

    async def run() -> list[Any]:
        queue = BatchQueue(predict, 1000)
        tasks = [asyncio.create_task(queue.predict_on_loop(*request)) for request in requests]
        for at in cancel:
            asyncio.get_running_loop().call_soon(tasks[at].cancel)
        return await asyncio.gather(*tasks, return_exceptions=True)

    for model, _ in requests:
        model.free.set()
    return asyncio.run(run())


def test_requests_of_one_iteration_of_the_event_loop_are_predicted_together() -> None:
    model: Any = Model()
    assert on_loop([(model, rows(at, at + 9)) for at in range(5)]) == [responses(at, at + 9) for at in range(5)]
    assert [len(batch) for batch in model.batches] == [10]


def test_on_the_event_loop_a_request_that_fails_does_not_affect_the_others() -> None:
    model: Any = Model()
    found = on_loop([(model, rows(each)) for each in ("poison", 1, "panic", 2)])
    assert [type(each) for each in found] == [RuntimeError, list, RuntimeError, list]
    assert found[1::2] == [responses(1), responses(2)]


def test_on_the_event_loop_each_version_predicts_its_own_requests_and_a_cancelled_one_is_skipped() -> None:
    old, new = Model("old"), Model("new")
    requests: list[tuple[Any, Rows]] = [(old, rows(0)), (old, rows(1)), (new, rows(2)), (new, rows(3)), (old, rows(4))]
    found = on_loop(requests, cancel=(1, 4))
    assert [isinstance(each, asyncio.CancelledError) for each in found] == [False, True, False, False, True]
    assert [found[at] for at in (0, 2, 3)] == [responses(at, name=requests[at][0].name) for at in (0, 2, 3)]
    assert (old.batches, new.batches) == ([[0]], [[2, 3]])


def test_requests_of_several_connections_are_predicted_together_and_those_of_one_at_once(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.deploy(made := storage.publish(kind="onnx"))
    storage.fill(made, KNOWN)
    batches: list[int] = []
    real = DeployedModel.predict

    def recorded(model: DeployedModel, rows: Sequence[Any]) -> Any:
        batches.append(len(rows))
        return real(model, rows)

    monkeypatch.setattr(DeployedModel, "predict", recorded)

    async def run(connections: int) -> list[Any]:
        service, found = create(storage.store, "local", QUICK), []

        async def receive() -> Message:
            return {"type": "http.request", "body": b'{"customer_id": "ann"}'}

        async def send(message: Message) -> None:
            found.append(message.get("status", message.get("body")))

        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
        clients = [("127.0.0.1", at % connections) for at in range(6)]
        await service({**scope, "client": clients[0]}, receive, send)
        await asyncio.gather(*(service({**scope, "client": each}, receive, send) for each in clients[1:]))
        assert b"model_prediction_score_count 6.0" in service.metrics.text()
        return found

    alone, together = asyncio.run(run(1)), asyncio.run(run(5))
    assert batches == [1] * 6 + [1, 5]
    assert alone[0] == 200
    assert sorted(map(str, alone)) == sorted(map(str, together))


@pytest.mark.parametrize("size", [1, 7])
def test_a_real_model_predicts_a_batch_as_it_does_each_request(storage: Storage, bundle: Any, size: int) -> None:
    model = DeploymentFollower(storage.store, "local", 1000).deployed
    complete = [{"customer_id": "ann", "discount": at / 7} | KNOWN["ann"] for at in range(70)]
    requests = [complete[at : at + size] for at in range(0, 70, size)]
    assert predict_each(predict, model, requests) == [model.predict(each) for each in requests]
