"""The queue in front of a slow model: what waits is answered together, and each as if it had come alone."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest

from lifecycle.serving.limits import Rejected
from lifecycle.serving.live import Follower
from lifecycle.serving.queue import BatchQueue, answered
from lifecycle.settings import Serve
from support.services import KNOWN
from support.storages import Storage

Rows = list[dict[str, Any]]


class Model:
    """What `Served` gives a queue: answers a row with its double, slowly, and remembers what it was asked together."""

    def __init__(self, seconds: float = 0.0, name: str = "one") -> None:
        self.seconds, self.name = seconds, name
        self.asked: list[list[Any]] = []

    def answers(self, rows: Rows) -> Rows:
        self.asked.append([row["x"] for row in rows])
        time.sleep(self.seconds)
        if any(row["x"] == "poison" for row in rows):
            raise StopIteration("a model may raise anything")
        return [{"prediction": (self.name, row["x"] * 2)} for row in rows]


@contextmanager
def queued(**limits: Any) -> Iterator[BatchQueue]:
    with ThreadPoolExecutor(1) as worker:
        yield BatchQueue(Serve(**limits), worker)


def of(*values: Any) -> Rows:
    return [{"x": value} for value in values]


def told(*values: Any, name: str = "one") -> Rows:
    return [{"prediction": (name, value * 2)} for value in values]


async def together(queue: BatchQueue, asked: list[tuple[Any, Rows]], seconds: float = 5.0) -> list[Any]:
    """What each request gets, when all come while the thread is busy with the first one."""
    ends = asyncio.get_running_loop().time() + seconds
    first = asyncio.create_task(queue.answers(*asked[0], ends))
    await asyncio.sleep(0.02)
    rest = [asyncio.create_task(queue.answers(served, rows, ends)) for served, rows in asked[1:]]
    return await asyncio.gather(first, *rest, return_exceptions=True)


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def test_what_waits_is_asked_together_and_each_gets_its_own_answers() -> None:
    model: Any = Model(0.1)
    with queued() as queue:
        found = run(together(queue, [(model, of(at, at + 100)) for at in range(20)]))
    assert found == [told(at, at + 100) for at in range(20)]
    assert [len(asked) for asked in model.asked] == [2, 38]


class Panic(BaseException):
    """As the libraries written in Rust raise it."""


def test_what_is_no_exception_fails_its_request_at_once_and_no_other() -> None:
    class Panicking(Model):
        def answers(self, rows: Rows) -> Rows:
            if any(row["x"] == "poison" for row in rows):
                raise Panic
            return super().answers(rows)

    model: Any = Panicking(0.05)
    with queued() as queue:
        before = time.monotonic()
        found = run(together(queue, [(model, of(1)), (model, of("poison")), (model, of(2))]))
        assert time.monotonic() - before < 2
    assert (found[0], found[2]) == (told(1), told(2))
    assert isinstance(found[1], RuntimeError)


def test_a_request_that_comes_alone_waits_for_no_company() -> None:
    model: Any = Model()
    with queued() as queue:
        before = time.monotonic()
        for at in range(20):
            assert run(together(queue, [(model, of(at))])) == [told(at)]
        assert time.monotonic() - before < 2
    assert model.asked == [[at] for at in range(20)]


def test_a_batch_has_no_more_rows_than_its_limit_and_a_larger_request_is_not_torn() -> None:
    model: Any = Model(0.05)
    asked = [of(0), of(1, 2), of(3), of(*range(10, 17)), of(4), of(5)]
    with queued(batch_rows=3) as queue:
        found = run(together(queue, [(model, rows) for rows in asked]))
    assert found == [told(*(row["x"] for row in rows)) for rows in asked]
    assert model.asked == [[0], [1, 2, 3], list(range(10, 17)), [4, 5]]


def test_a_request_that_fails_takes_none_of_its_neighbours_along() -> None:
    model: Any = Model(0.02)
    asked = [of(0), of(1), of(2, "poison"), of(3), of("poison"), of(4)]
    with queued() as queue:
        found = run(together(queue, [(model, rows) for rows in asked]))
    assert [type(each) for each in found] == [list, list, RuntimeError, list, RuntimeError, list]
    assert [each for each in found if isinstance(each, list)] == [told(0), told(1), told(3), told(4)]
    # Nobody is asked for again once it has its answer.
    assert len(answered(model, [of(1)])) == 1


def test_a_swap_in_the_middle_asks_each_version_for_its_own_rows() -> None:
    old, new = Model(0.05, "old"), Model(0.05, "new")
    asked: list[tuple[Any, Rows]] = [(old, of(0)), (old, of(1)), (old, of(2)), (new, of(3)), (new, of(4)), (old, of(5))]
    with queued() as queue:
        found = run(together(queue, asked))
    assert found == [told(at, name=model.name) for at, (model, _) in enumerate(asked)]
    assert (old.asked, new.asked) == ([[0], [1, 2], [5]], [[3, 4]])


def test_who_goes_away_is_not_computed_and_disturbs_nobody() -> None:
    model: Any = Model(0.1)

    async def scenario() -> list[Any]:
        ends = asyncio.get_running_loop().time() + 5
        tasks = [asyncio.create_task(queue.answers(model, of(0), ends))]
        await asyncio.sleep(0.02)
        tasks += [asyncio.create_task(queue.answers(model, of(at), ends)) for at in range(1, 6)]
        await asyncio.sleep(0.02)
        for at in (0, 2, 4):
            tasks[at].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    with queued() as queue:
        found = run(scenario())
        assert [isinstance(each, asyncio.CancelledError) for each in found] == [True, False] * 3
        assert [found[at] for at in (1, 3, 5)] == [told(1), told(3), told(5)]
        assert model.asked == [[0], [1, 3, 5]]
        assert run(together(queue, [(model, of(7))])) == [told(7)]


def rejected(found: list[Any]) -> list[tuple[int, str]]:
    return [(each.status, each.headers["retry-after"]) for each in found if isinstance(each, Rejected)]


def test_too_many_rows_are_429_and_too_many_requests_503_at_once_and_none_when_it_is_quiet_again() -> None:
    model: Any = Model(0.1)
    with queued(queue_rows=4) as queue:
        found = run(together(queue, [(model, of(0)), *[(model, of(at, at)) for at in range(1, 6)]]))
        assert rejected(found) == [(429, "1")] * 3
        assert found[:3] == [told(0), told(1, 1), told(2, 2)]
        # More than the queue holds, and nothing waits.
        assert run(together(queue, [(model, of(*range(9)))])) == [told(*range(9))]
    with queued(max_in_flight=3) as queue:
        for _ in range(2):
            found = run(together(queue, [(model, of(at)) for at in range(6)]))
            assert rejected(found) == [(503, "1")] * 3
            assert found[:3] == [told(0), told(1), told(2)]


def test_a_wait_that_takes_too_long_is_503_and_not_computed_any_more() -> None:
    model: Any = Model(0.3)
    with queued(timeout_seconds=0.1) as queue:
        before = time.monotonic()
        found = run(together(queue, [(model, of(at)) for at in range(4)], seconds=0.1))
        assert rejected(found) == [(503, "1")] * 4
        assert model.asked == [[0]]
        assert time.monotonic() - before < 1
        assert run(together(queue, [(model, of(5))])) == [told(5)]


def test_a_timeout_of_the_model_itself_is_a_failure_of_the_model() -> None:
    class Late(Model):
        def answers(self, rows: Rows) -> Rows:
            raise TimeoutError("of a connection")

    model: Any = Late()
    with queued() as queue:
        (found,) = run(together(queue, [(model, of(1))]))
    assert type(found) is TimeoutError


@pytest.mark.parametrize("size", [1, 7])
def test_a_real_model_answers_together_as_it_does_alone(storage: Storage, bundle: Any, size: int) -> None:
    served = Follower(storage.store, "local", 1000).served
    rows = [{"customer_id": "ann", "discount": at / 7} | KNOWN["ann"] for at in range(70)]
    requests = [rows[at : at + size] for at in range(0, 70, size)]
    alone: Callable[[Rows], Rows] = served.answers
    assert answered(served, requests) == [alone(each) for each in requests]


def test_the_loop_goes_on_while_the_model_works() -> None:
    model: Any = Model(0.3)
    beats: list[float] = []

    async def scenario() -> None:
        work = asyncio.create_task(together(queue, [(model, of(at)) for at in range(8)]))
        while not work.done():
            beats.append(time.monotonic())
            await asyncio.sleep(0.005)

    with queued() as queue:
        run(scenario())
    assert len(model.asked) == 2
    assert max(after - before for before, after in pairwise(beats)) < 0.15
