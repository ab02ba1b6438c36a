"""The client over a network: with the service, and with one that is busy, slow, broken or absent."""

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

from lifecycle.storage import Store
from support.clients import Response, load, scripted
from support.services import KNOWN, Service, running
from support.storages import CHURN, Storage

BODY = b'{"prediction":"stays","probability":0.25}'
GOOD = Response(200, BODY, {"x-model-version": "v7", "x-contract-version": "1"})
KEY = "s3cret-77123"


@pytest.fixture(scope="module")
def churn(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return load(CHURN, "wire", tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="module")
def next_churn(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return load(replace(CHURN, version=2), "wire-next", tmp_path_factory.mktemp("client"))


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    """Return a storage with a deployed bundle and features of three customers."""
    folder = tmp_path_factory.mktemp("storage")
    storage = Storage(Store(folder / "storage"), folder / "drafts")
    made = storage.publish(created="2026-01-01T00:00:00+00:00")
    storage.fill(made, KNOWN, as_of=1_767_225_600)
    storage.deploy(made)
    return storage


@pytest.fixture(scope="module")
def service(storage: Storage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(storage.store.root, tmp_path_factory.mktemp("service"), LIFECYCLE_SERVE__MAX_ROWS="50") as process:
        yield process


def url(process: Service) -> str:
    return f"http://127.0.0.1:{process.port}"


def unused_address() -> str:
    """Return an address where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def test_the_service_predicts_for_the_client(churn: ModuleType, service: Service, storage: Storage) -> None:
    with churn.Client(url(service)) as client:
        assert client.ready()
        prediction = client.predict(churn.Row(customer_id="ann"), request_id="mine")
        assert prediction.prediction in ("stays", "churns")
        assert 0 <= prediction.probability <= 1
        assert (prediction.model_version, prediction.request_id) == (storage.store.versions()[-1], "mine")
        rows = [churn.Row(customer_id=name, discount=at) for at in range(50) for name in KNOWN]
        many = client.predict_many(rows)
        assert len(many) == 150
        for at in (0, 77, 149):
            assert many[at].probability == pytest.approx(client.predict(rows[at]).probability, rel=1e-9)


def test_a_refused_row_is_an_exception(churn: ModuleType, service: Service) -> None:
    # Without validation, as by another version of the client.
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
            client.predict_many([*rows, churn.Row(customer_id="unknown")], request_id="mine")
        assert [fault.loc for fault in unknown.value.faults] == [(120, "customer_id")]
        assert unknown.value.request_id == "mine"


def test_a_request_of_too_many_bytes_is_an_exception(churn: ModuleType, storage: Storage, tmp_path: Path) -> None:
    huge = churn.Row.model_construct(_fields_set={"customer_id"}, customer_id="x" * 5_000_000)
    with running(storage.store.root, tmp_path, LIFECYCLE_SERVE__MAX_BYTES="2000") as process:
        client = churn.Client(url(process))
        assert len(client.predict_many([churn.Row(customer_id="ann")] * 1000)) == 1000
        with pytest.raises(churn.TooLarge):
            client.predict(huge)
        client.close()


def test_another_major_version_of_the_contract_is_an_exception(
    churn: ModuleType, next_churn: ModuleType, service: Service
) -> None:
    with next_churn.Client(url(service)) as client:
        with pytest.raises(next_churn.WrongContract, match="contract version 2, the service has 1"):
            client.predict(next_churn.Row(customer_id="ann"))
        with pytest.raises(next_churn.WrongContract):
            client.predict(next_churn.Row.model_construct(_fields_set={"customer_id"}, customer_id=3))


def test_a_killed_service_is_unreachable_until_it_is_back(churn: ModuleType, storage: Storage, tmp_path: Path) -> None:
    row = churn.Row(customer_id="ann")
    with running(storage.store.root, tmp_path) as service, churn.Client(url(service), retries=1) as client:
        before = client.predict(row)
        service.end(signal.SIGKILL)
        with pytest.raises(churn.Unreachable) as gone:
            client.predict(row)
        assert gone.value.request_id
        assert not client.ready()
        with running(storage.store.root, tmp_path, port=service.port):
            assert client.predict(row).probability == before.probability


def test_dropped_connections_are_retried(churn: ModuleType) -> None:
    with scripted(Response(0), Response(0), GOOD) as service, churn.Client(service.url) as client:
        assert client.predict(churn.Row(customer_id="ann")).model_version == "v7"
        assert len({headers["x-request-id"] for headers, _ in service.requests}) == 1
        assert {body for _, body in service.requests} == {b'{"customer_id":"ann"}'}


def test_the_requested_pause_is_kept(churn: ModuleType) -> None:
    busy = Response(503, b'{"detail":"ending"}', {"retry-after": "1"})
    with scripted(busy, GOOD) as service, churn.Client(service.url) as client:
        assert client.predict(churn.Row(customer_id="ann")).probability == 0.25
        assert service.times[1] - service.times[0] >= 1


@pytest.mark.parametrize("status", [429, 503])
def test_a_service_that_stays_overloaded_is_an_exception(churn: ModuleType, status: int) -> None:
    with scripted(Response(status, b'{"detail":"later"}')) as service, churn.Client(service.url) as client:
        with pytest.raises(churn.Overloaded, match="later"):
            client.predict(churn.Row(customer_id="ann"))
        assert len(service.requests) == 4
        assert not client.ready()


SLOW = {
    "no response": Response(200, BODY, pauses=(60.0,)),
    "a slow body": Response(200, BODY + b" " * 600, pauses=(0.0, *[0.1] * 600)),
}


@pytest.mark.parametrize("name", SLOW)
def test_no_call_exceeds_its_time_limit(churn: ModuleType, name: str) -> None:
    row = churn.Row(customer_id="ann")
    with scripted(SLOW[name]) as service:
        started = time.monotonic()
        with churn.Client(service.url, timeout=0.5) as client, pytest.raises(churn.Timeout):
            client.predict(row)

        async def predict() -> None:
            async with churn.AsyncClient(service.url, timeout=0.5) as client:
                with pytest.raises(churn.Timeout):
                    await client.predict(row)

        asyncio.run(predict())
        # Two calls, and a margin for a busy machine.
        assert time.monotonic() - started < 30


def test_an_unused_address_is_unreachable_and_not_ready(churn: ModuleType) -> None:
    with churn.Client(unused_address(), retries=1) as client:
        assert not client.ready()
        with pytest.raises(churn.Unreachable, match="the service cannot be reached"):
            client.predict(churn.Row(customer_id="ann"))


def test_the_asyncio_client_sends_requests_concurrently(churn: ModuleType, service: Service) -> None:
    rows = [churn.Row(customer_id=name) for name in KNOWN]

    async def predict() -> list[Any]:
        async with churn.AsyncClient(url(service)) as client:
            assert await client.ready()
            predictions = await asyncio.gather(*map(client.predict, rows * 5))
            assert [each.probability for each in await client.predict_many(rows)] == pytest.approx(
                [each.probability for each in predictions[:3]], rel=1e-9
            )
            with pytest.raises(churn.UnknownKey):
                await client.predict(churn.Row(customer_id="unknown"))
            return predictions

    predictions = asyncio.run(predict())
    with churn.Client(url(service)) as client:
        assert [each.probability for each in predictions] == [client.predict(row).probability for row in rows * 5]


def test_the_asyncio_client_retries_too(churn: ModuleType) -> None:
    async def predict(address: str) -> None:
        async with churn.AsyncClient(address) as client:
            assert (await client.predict(churn.Row(customer_id="ann"))).probability == 0.25

    with scripted(Response(0), Response(503), GOOD) as service:
        asyncio.run(predict(service.url))
        assert len(service.requests) == 3


def test_one_client_serves_many_threads(churn: ModuleType, service: Service) -> None:
    found: list[float] = []
    with churn.Client(url(service)) as client:

        def predict(at: int) -> None:
            found.extend(client.predict(churn.Row(customer_id="ann", discount=at)).probability for _ in range(10))

        threads = [threading.Thread(target=predict, args=(at,)) for at in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (len(found), len(set(found))) == (80, 8)


def test_the_key_is_sent_and_in_no_message(churn: ModuleType, capfd: pytest.CaptureFixture[str]) -> None:
    messages = []
    with scripted(Response(401, b'{"detail":"no"}'), Response(0), Response(500), GOOD) as service:
        # A key that was read from a file ends with a line break.
        with churn.Client(service.url, api_key=f"{KEY}\n") as client:
            messages.append(repr(client) + str(vars(client)))
            for kind in (churn.Unauthorized, churn.ServiceError):
                with pytest.raises(kind) as caught:
                    client.predict(churn.Row(customer_id="ann"))
                messages.append(repr(caught.value) + repr(caught.value.__cause__) + repr(caught.value.__context__))
            client.predict(churn.Row(customer_id="ann"))
        assert {headers["authorization"] for headers, _ in service.requests} == {f"Bearer {KEY}"}
    for bad in (f"{KEY}\nx: y", f"{KEY}é", f"{KEY}\x00"):
        with pytest.raises(ValueError, match="api_key contains a character") as wrong:
            churn.Client(unused_address(), api_key=bad)
        messages.append(repr(wrong.value) + repr(wrong.value.__context__))
    assert KEY not in "".join(messages) + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda churn: churn.Client("localhost:8000"), "url is not an address"),
        (lambda churn: churn.Client("ftp://a:77123@host"), "url is not an address"),
        (lambda churn: churn.Client("http://"), "url is not an address"),
        (lambda churn: churn.Client("http://a:77123@host:port"), "url is not an address"),
        (lambda churn: churn.Client("http://a:77123@host"), "url is not an address"),
        (lambda churn: churn.AsyncClient(""), "url is not an address"),
        (lambda churn: churn.Client(unused_address(), timeout=0), "timeout must be a number of seconds above 0"),
        (lambda churn: churn.Client(unused_address(), timeout=float("inf")), "timeout must be a number"),
        (lambda churn: churn.AsyncClient(unused_address(), retries=-1), "retries 0 or more"),
        (
            lambda churn: churn.Client(unused_address()).predict(churn.Row(customer_id="a"), "a\nb"),
            "request_id contains",
        ),
    ],
    ids=range(10),
)
def test_a_wrong_argument_is_refused_before_anything_is_sent(
    churn: ModuleType, make: Callable[[ModuleType], Any], problem: str
) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        make(churn)
    assert "77123" not in str(caught.value)


def test_the_path_of_the_address_is_kept(churn: ModuleType) -> None:
    seen = []

    def respond(request: httpx.Request) -> httpx.Response:
        seen.append((str(request.url), request.headers["user-agent"]))
        return httpx.Response(200, content=BODY)

    with churn.Client("https://models/churn/", transport=httpx.MockTransport(respond)) as client:
        assert client.predict(churn.Row(customer_id="a")).prediction == "stays"
    assert seen == [("https://models/churn/predict", f"wire-client/{churn.__version__}")]
