"""The client over a network: against the service, and against one that is busy, slow, broken or not there."""

import asyncio
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from lifecycle.models.bundle import Bundle
from support.clients import Says, load, scripted
from support.services import KNOWN, Service, running
from support.storages import CHURN, Storage

ANSWER = b'{"prediction":"stays","probability":0.25}'
GOOD = Says(200, ANSWER, {"x-model-version": "v7", "x-contract-version": "1"})
KEY = "s3cret-77123"


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return load(CHURN, "wire", tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="module")
def next_churn(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return load(replace(CHURN, version=2), "wire-next", tmp_path_factory.mktemp("client"))


@pytest.fixture
def service(storage: Storage, bundle: Bundle, tmp_path: Path) -> Iterator[Service]:
    with running(storage.store.root, tmp_path, LIFECYCLE_SERVE__MAX_ROWS="50") as process:
        yield process


def url(process: Service) -> str:
    return f"http://127.0.0.1:{process.port}"


def nobody() -> str:
    """An address where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_the_service_answers_the_client(churn: ModuleType, service: Service, bundle: Bundle) -> None:
    with churn.Client(url(service)) as client:
        assert client.ready()
        answer = client.predict(churn.Row(customer_id="ann"), request_id="mine")
        assert answer.prediction in ("stays", "churns")
        assert 0 <= answer.probability <= 1
        assert (answer.model_version, answer.request_id) == (bundle.version, "mine")
        rows = [churn.Row(customer_id=name, discount=at) for at in range(50) for name in KNOWN]
        many = client.predict_many(rows)
        assert len(many) == 150
        for at in (0, 77, 149):
            assert many[at].probability == pytest.approx(client.predict(rows[at]).probability, rel=1e-9)


def test_what_the_service_refuses_is_an_exception(churn: ModuleType, service: Service) -> None:
    # Past the types, as another version of the client could.
    broken = churn.Row.model_construct(_fields_set={"customer_id", "discount"}, customer_id="ann", discount=-1.0)
    with churn.Client(url(service)) as client:
        with pytest.raises(churn.InvalidRow) as refused:
            client.predict(broken)
        assert [fault.loc for fault in refused.value.faults] == [("discount",)]
        assert "greater than or equal to 0" in str(refused.value)
        rows = [churn.Row(customer_id="ann")] * 120
        with pytest.raises(churn.InvalidRow) as refused:
            client.predict_many([*rows, broken])
        assert [fault.loc for fault in refused.value.faults] == [(120, "discount")]
        with pytest.raises(churn.UnknownKey) as unknown:
            client.predict_many([*rows, churn.Row(customer_id="nobody")], request_id="mine")
        assert [fault.loc for fault in unknown.value.faults] == [(120, "customer_id")]
        assert unknown.value.request_id == "mine"


def test_a_request_of_many_bytes_is_told_to_be_too_large(
    churn: ModuleType, storage: Storage, bundle: Bundle, tmp_path: Path
) -> None:
    huge = churn.Row.model_construct(_fields_set={"customer_id"}, customer_id="x" * 5_000_000)
    with running(storage.store.root, tmp_path, LIFECYCLE_SERVE__MAX_BYTES="2000") as process:
        client = churn.Client(url(process))
        assert len(client.predict_many([churn.Row(customer_id="ann")] * 1000)) == 1000
        with pytest.raises(churn.TooLarge):
            client.predict(huge)
        client.close()


def test_another_major_version_of_the_contract_is_told(
    churn: ModuleType, next_churn: ModuleType, service: Service
) -> None:
    with next_churn.Client(url(service)) as client:
        with pytest.raises(next_churn.WrongContract, match="version 2 of the contract, the service has 1"):
            client.predict(next_churn.Row(customer_id="ann"))
        with pytest.raises(next_churn.WrongContract):
            client.predict(next_churn.Row.model_construct(_fields_set={"customer_id"}, customer_id=3))


def test_a_service_that_is_killed_in_between_is_told_and_one_that_comes_back_is_found(
    churn: ModuleType, service: Service, storage: Storage, tmp_path: Path
) -> None:
    row = churn.Row(customer_id="ann")
    with churn.Client(url(service), retries=1) as client:
        before = client.predict(row)
        service.end(signal.SIGKILL)
        with pytest.raises(churn.Unreachable) as gone:
            client.predict(row)
        assert gone.value.request_id
        assert not client.ready()
        with running(storage.store.root, tmp_path, port=service.port):
            assert client.predict(row).probability == before.probability


def test_connections_that_the_service_drops_are_tried_again(churn: ModuleType) -> None:
    with scripted(Says(0), Says(0), GOOD) as service, churn.Client(service.url) as client:
        assert client.predict(churn.Row(customer_id="ann")).model_version == "v7"
        assert len({headers["x-request-id"] for headers, _ in service.asked}) == 1
        assert {body for _, body in service.asked} == {b'{"customer_id":"ann"}'}


def test_a_busy_service_is_left_alone_for_as_long_as_it_says(churn: ModuleType) -> None:
    busy = Says(503, b'{"detail":"ending"}', {"retry-after": "1"})
    with scripted(busy, GOOD) as service, churn.Client(service.url) as client:
        assert client.predict(churn.Row(customer_id="ann")).probability == 0.25
        assert service.moments[1] - service.moments[0] >= 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_service_that_stays_busy_is_an_exception(churn: ModuleType, status: int) -> None:
    with scripted(Says(status, b'{"detail":"later"}')) as service, churn.Client(service.url) as client:
        with pytest.raises(churn.Overloaded, match="later"):
            client.predict(churn.Row(customer_id="ann"))
        assert len(service.asked) == 4
        assert not client.ready()


SLOW = {
    "no answer": Says(200, ANSWER, pauses=(3.0,)),
    "an answer in drips": Says(200, ANSWER + b" " * 30, pauses=(0.0, *[0.1] * 30)),
}


@pytest.mark.parametrize("name", SLOW)
def test_no_call_lasts_longer_than_it_may(churn: ModuleType, name: str) -> None:
    row = churn.Row(customer_id="ann")
    with scripted(SLOW[name]) as service:
        started = time.monotonic()
        with churn.Client(service.url, timeout=0.5) as client, pytest.raises(churn.Timeout):
            client.predict(row)

        async def ask() -> None:
            async with churn.AsyncClient(service.url, timeout=0.5) as client:
                with pytest.raises(churn.Timeout):
                    await client.predict(row)

        asyncio.run(ask())
        # Two calls, and what a busy machine adds.
        assert time.monotonic() - started < 2.5


def test_where_nothing_listens_is_unreachable_and_not_ready(churn: ModuleType) -> None:
    with churn.Client(nobody(), retries=1) as client:
        assert not client.ready()
        with pytest.raises(churn.Unreachable, match="/predict cannot be reached"):
            client.predict(churn.Row(customer_id="ann"))


def test_an_event_loop_asks_at_once_what_threads_ask_one_by_one(churn: ModuleType, service: Service) -> None:
    rows = [churn.Row(customer_id=name) for name in KNOWN]

    async def ask() -> list[Any]:
        async with churn.AsyncClient(url(service)) as client:
            assert await client.ready()
            answers = await asyncio.gather(*map(client.predict, rows * 5))
            assert [each.probability for each in await client.predict_many(rows)] == pytest.approx(
                [each.probability for each in answers[:3]], rel=1e-9
            )
            with pytest.raises(churn.UnknownKey):
                await client.predict(churn.Row(customer_id="nobody"))
            return answers

    answers = asyncio.run(ask())
    with churn.Client(url(service)) as client:
        assert [each.probability for each in answers] == [client.predict(row).probability for row in rows * 5]


def test_an_event_loop_tries_again_too(churn: ModuleType) -> None:
    async def ask(address: str) -> None:
        async with churn.AsyncClient(address) as client:
            assert (await client.predict(churn.Row(customer_id="ann"))).probability == 0.25

    with scripted(Says(0), Says(503), GOOD) as service:
        asyncio.run(ask(service.url))
        assert len(service.asked) == 3


def test_one_client_serves_many_threads(churn: ModuleType, service: Service) -> None:
    found: list[float] = []
    with churn.Client(url(service)) as client:

        def ask(at: int) -> None:
            found.extend(client.predict(churn.Row(customer_id="ann", discount=at)).probability for _ in range(10))

        threads = [threading.Thread(target=ask, args=(at,)) for at in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (len(found), len(set(found))) == (80, 8)


def test_the_key_is_sent_and_never_told(churn: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    said = []
    with scripted(Says(401, b'{"detail":"no"}'), Says(0), Says(500), GOOD) as service:
        # A key that was read from a file has a line's end.
        with churn.Client(service.url, api_key=f"{KEY}\n") as client:
            said.append(repr(client) + str(vars(client)))
            for kind in (churn.Unauthorized, churn.ServiceError):
                with pytest.raises(kind) as caught:
                    client.predict(churn.Row(customer_id="ann"))
                said.append(repr(caught.value) + repr(caught.value.__cause__) + repr(caught.value.__context__))
            client.predict(churn.Row(customer_id="ann"))
        assert {headers["authorization"] for headers, _ in service.asked} == {f"Bearer {KEY}"}
    for bad in (f"{KEY}\nx: y", f"{KEY}é", f"{KEY}\x00"):
        with pytest.raises(ValueError, match="api_key holds a character") as wrong:
            churn.Client(nobody(), api_key=bad)
        said.append(repr(wrong.value) + repr(wrong.value.__context__))
    assert KEY not in "".join(said) + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda churn: churn.Client("localhost:8000"), "url is no address"),
        (lambda churn: churn.Client("ftp://a:77123@host"), "url is no address"),
        (lambda churn: churn.Client("http://"), "url is no address"),
        (lambda churn: churn.Client("http://a:77123@host:port"), "url is no address"),
        (lambda churn: churn.Client("http://a:77123@host"), "url holds a user or a password"),
        (lambda churn: churn.AsyncClient(""), "url is no address"),
        (lambda churn: churn.Client(nobody(), timeout=0), "timeout is a number of seconds above 0"),
        (lambda churn: churn.Client(nobody(), timeout=float("inf")), "timeout is a number"),
        (lambda churn: churn.AsyncClient(nobody(), retries=-1), "retries are 0 or more"),
        (lambda churn: churn.Client(nobody()).predict(churn.Row(customer_id="a"), "a\nb"), "request_id holds"),
    ],
    ids=range(10),
)
def test_a_wrong_call_is_told_before_anything_is_sent(
    churn: ModuleType, make: Callable[[ModuleType], Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told) as caught:
        make(churn)
    assert "77123" not in str(caught.value)


def test_a_path_before_the_service_is_kept(churn: ModuleType) -> None:
    seen = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((str(request.url), request.headers["user-agent"]))
        return httpx.Response(200, content=ANSWER)

    with churn.Client("https://models/churn/", transport=httpx.MockTransport(answer)) as client:
        assert client.predict(churn.Row(customer_id="a")).prediction == "stays"
    assert seen == [("https://models/churn/predict", f"wire-client/{churn.__version__}")]
