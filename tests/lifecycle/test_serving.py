"""What the service answers, in process: every good and every bad request, what it tells of itself, and its swaps."""

import asyncio
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from lifecycle.bundle import Bundle, BundleError
from lifecycle.contract import Answer, Column
from lifecycle.errors import LifecycleError
from lifecycle.lookup import table_path
from lifecycle.predictor import Predictor
from lifecycle.serving.app import create
from lifecycle.serving.live import Live
from lifecycle.serving.predict import PredictFirst
from lifecycle.settings import Serve
from storages import CHURN, Storage

KNOWN = {
    "ann": {"plan": "basic", "visits": 3},
    "bob": {"plan": "plus", "visits": 0},
    "zoë": {"plan": "plus", "visits": 40},
}
QUICK = Serve(poll_seconds=0.05, max_rows=1000)


@pytest.fixture
def bundle(storage: Storage) -> Bundle:
    """A deployed bundle with features for ann, bob and zoë."""
    made = storage.publish(metrics={"candidate": {"roc_auc": 0.8}}, created="2026-01-01T00:00:00+00:00")
    storage.fill(made, KNOWN, as_of=1_767_225_600)
    storage.deploy(made, threshold=0.3)
    return made


@pytest.fixture
def client(storage: Storage, bundle: Bundle) -> Iterator[TestClient]:
    """A caller of the service of that bundle."""
    with TestClient(create(storage.store, "local", QUICK)) as client:
        yield client


def eventually(check: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)


def counted(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/info").json()["counted"]
    return found


def test_one_row_is_answered_with_the_features_of_its_key(client: TestClient, bundle: Bundle) -> None:
    reply = client.post("/predict", json={"customer_id": "ann", "discount": 1.5})
    row = {"customer_id": "ann", "discount": 1.5} | KNOWN["ann"]
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json() == Predictor(bundle).answers([row], threshold=0.3)[0]
    assert reply.json() != client.post("/predict", json={"customer_id": "bob", "discount": 1.5}).json()
    assert reply.headers["x-model-version"] == bundle.version


def test_many_rows_are_answered_as_each_of_them_alone(client: TestClient) -> None:
    rows = [{"customer_id": key, "discount": at / 7} for at, key in enumerate([*KNOWN] * 20)]
    singles = [client.post("/predict", json=row).json() for row in rows]
    assert client.post("/predict", json=rows).json() == singles
    assert client.post("/predict", json=[]).json() == []


def test_the_threshold_is_that_of_the_deployment(storage: Storage, bundle: Bundle, client: TestClient) -> None:
    row = {"customer_id": "ann"}
    probability = client.post("/predict", json=row).json()["probability"]
    for threshold, word in ((probability, "churns"), (min(1.0, probability + 1e-9), "stays")):
        revision = storage.deploy(bundle, threshold=threshold).revision
        eventually(partial(_is_revision, client, revision))
        assert client.post("/predict", json=row).json() == {"prediction": word, "probability": probability}


def _is_revision(client: TestClient, revision: int) -> bool:
    return bool(client.get("/info").json()["deployment"]["revision"] == revision)


BAD = [
    (b"{}", "customer_id"),
    (b'{"customer_id": "ann", "secret71": 1}', "secret71"),
    (b'{"customer_id": "ann", "plan": "basic"}', "plan"),
    (b'{"customer_id": "ann", "discount": false}', "discount"),
    (b'{"customer_id": "ann", "discount": "7123"}', "discount"),
    (b'{"customer_id": "ann", "discount": 7123}', "discount"),
    (b'{"customer_id": "ann", "discount": NaN}', "discount"),
    (b'{"customer_id": "ann", "discount": 1e39}', "discount"),
    (b'{"customer_id": "ann", "discount": ' + b"7123" * 100 + b"}", "discount"),
    (b'{"customer_id": 7123}', "customer_id"),
    (b'{"customer_id": "7123 7123 7123 7123"}', "customer_id"),
    (b'[{"customer_id": "ann"}, {"customer_id": null}]', "customer_id"),
    (b'{"customer_id": "ann"', None),
    (b'{"customer_id": "\xff7123"}', None),
    (b'{"customer_id": "\\ud8007123"}', None),
    (b"7123", None),
    (b"", None),
]


@pytest.mark.parametrize(("body", "field"), BAD, ids=[str(body[:50]) for body, _ in BAD])
def test_a_bad_row_is_refused_by_field_and_its_value_is_never_echoed(
    client: TestClient, body: bytes, field: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    reply = client.post("/predict", content=body)
    assert reply.status_code == 422
    for fault in reply.json()["detail"]:
        assert set(fault) == {"type", "loc", "msg"}
        assert fault["loc"][0] == "body"
        assert field is None or fault["loc"][-1] == field
    assert "7123" not in reply.text + caplog.text


def test_of_a_field_that_stands_twice_the_last_one_counts(client: TestClient) -> None:
    twice = client.post("/predict", content=b'{"customer_id": "7", "customer_id": "ann"}')
    assert twice.json() == client.post("/predict", json={"customer_id": "ann"}).json()


def test_a_key_without_features_is_404_by_field_and_row_and_never_by_value(client: TestClient) -> None:
    one = client.post("/predict", json={"customer_id": "nobody-7123"})
    assert one.status_code == 404
    assert [fault["loc"] for fault in one.json()["detail"]] == [["body", "customer_id"]]
    many = client.post("/predict", json=[{"customer_id": key} for key in ("ann", "nobody-7123", "bob", "x-7123")])
    assert many.status_code == 404
    assert [fault["loc"] for fault in many.json()["detail"]] == [["body", 1, "customer_id"], ["body", 3, "customer_id"]]
    assert "7123" not in one.text + many.text


def test_a_contract_with_a_fallback_row_answers_an_unknown_key_with_it_and_counts_it(
    storage: Storage,
) -> None:
    fallback = {"plan": "plus", "visits": 0}
    columns = tuple(
        replace(column, fallback=fallback[column.name], has_fallback=True) if column.source == "entity" else column
        for column in CHURN.columns
    )
    bundle = storage.publish(replace(CHURN, columns=columns))
    storage.fill(bundle, KNOWN)
    storage.deploy(bundle)
    with TestClient(create(storage.store, "local", QUICK)) as client:
        reply = client.post("/predict", json=[{"customer_id": key} for key in ("new", "bob", "ann")])
        assert reply.status_code == 200
        assert reply.json()[0] == reply.json()[1] != reply.json()[2]
        assert counted(client)["fallback_rows"] == 1


def test_too_many_rows_are_413_and_name_the_limit(client: TestClient) -> None:
    row = {"customer_id": "ann"}
    assert client.post("/predict", json=[row] * 1000).status_code == 200
    for rows in ([row] * 1001, [row] * 10_000):
        reply = client.post("/predict", json=rows)
        assert (reply.status_code, "1000 rows" in reply.json()["detail"]) == (413, True)


def test_a_body_that_is_too_large_is_413_whether_its_length_is_told_or_not(client: TestClient) -> None:
    def in_parts() -> Iterator[bytes]:
        yield from (b" " * 100_000 for _ in range(100))

    for content in (b" " * 10_000_000, in_parts()):
        reply = client.post("/predict", content=content)
        assert (reply.status_code, "1000000 bytes" in reply.json()["detail"]) == (413, True)
    just_fits = b'{"customer_id": "ann"}'.ljust(1_000_000)
    assert client.post("/predict", content=just_fits).status_code == 200
    assert client.post("/predict", content=just_fits + b" ").status_code == 413


def test_the_request_id_comes_back_when_it_is_sane_and_is_made_otherwise(client: TestClient) -> None:
    row = {"customer_id": "ann"}
    for given in ("order-71", "x" * 128):
        assert client.post("/predict", json=row, headers={"x-request-id": given}).headers["x-request-id"] == given
        assert client.post("/predict", json={}, headers={"x-request-id": given}).headers["x-request-id"] == given
    for given in ("", "x" * 129, "two words", "tab\tbed"):
        made = client.post("/predict", json=row, headers={"x-request-id": given}).headers["x-request-id"]
        assert re.fullmatch("[0-9a-f]{32}", made)


def test_an_unexpected_failure_is_500_with_its_traceback_only_in_the_log(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> list[dict[str, Any]]:
        raise RuntimeError("something about 7123")

    monkeypatch.setattr(Predictor, "answers", fail)
    reply = client.post("/predict", json={"customer_id": "ann"}, headers={"x-request-id": "order-71"})
    assert (reply.status_code, reply.json()) == (500, {"detail": "internal error", "request_id": "order-71"})
    assert "order-71" in caplog.text
    assert "something about 7123" in caplog.text
    monkeypatch.setattr(Predictor, "answers", lambda *_: [{"prediction": float("nan")}])
    assert client.post("/predict", json={"customer_id": "ann"}).status_code == 500


def test_other_methods_are_405_and_other_paths_404(client: TestClient) -> None:
    assert client.get("/predict").status_code == 405
    assert client.post("/predicted", json={}).status_code == 404


def test_a_field_of_another_bundle_is_ignored_and_counted_once_that_bundle_is_there(
    client: TestClient, storage: Storage
) -> None:
    row = {"customer_id": "ann", "coupon": "7123"}
    assert client.post("/predict", json=row).status_code == 422
    coupon = Column("coupon", "request", "category", required=False, default="none", max_length=9)
    other = storage.publish(replace(CHURN, columns=(*CHURN.columns, coupon)), made="20260202T000000")
    eventually(lambda: client.post("/predict", json=row).status_code == 200)
    before = counted(client)["ignored_fields"]["coupon"]
    assert client.post("/predict", json=[row, row]).status_code == 200
    assert counted(client)["ignored_fields"] == {"coupon": before + 2}
    assert client.post("/predict", json=row | {"cupon": 1}).json()["detail"][0]["loc"] == ["body", "cupon"]
    shutil.rmtree(other.path)
    eventually(lambda: client.post("/predict", json=row).status_code == 422)


def test_features_that_were_filled_anew_are_looked_up_without_a_restart(
    client: TestClient, bundle: Bundle, storage: Storage, tmp_path: Path
) -> None:
    before = client.post("/predict", json={"customer_id": "ann"}).json()
    assert client.get("/info").json()["features_as_of"] == "2026-01-01T00:00:00Z"
    storage.fill(bundle, KNOWN | {"ann": KNOWN["bob"], "eve": KNOWN["ann"]}, as_of=1_767_312_000)
    eventually(lambda: client.get("/info").json()["features_as_of"] == "2026-01-02T00:00:00Z")
    after = client.post("/predict", json=[{"customer_id": "ann"}, {"customer_id": "eve"}]).json()
    assert after[0] != before == after[1]
    broken = tmp_path / "broken"
    broken.write_bytes(b"not a table")
    os.replace(broken, table_path(storage.store, bundle))
    eventually(lambda: "is not the table" in client.get("/info").json()["pending"])
    assert client.post("/predict", json=[{"customer_id": "ann"}, {"customer_id": "eve"}]).json() == after


def test_without_features_the_service_is_not_ready_until_they_come(
    storage: Storage,
) -> None:
    bundle = storage.publish()
    storage.deploy(bundle)
    with TestClient(create(storage.store, "local", QUICK)) as client:
        for reply in (client.post("/predict", json={"customer_id": "ann"}), client.get("/readyz")):
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "5")
            assert "make features" in reply.text
        assert client.get("/healthz").status_code == 200
        storage.fill(bundle, KNOWN)
        eventually(lambda: client.get("/readyz").status_code == 200)
        assert client.post("/predict", json={"customer_id": "ann"}).status_code == 200


def test_info_tells_what_answers_and_who_decided_it(client: TestClient, bundle: Bundle) -> None:
    info = client.get("/info").json()
    assert (info["name"], info["version"], info["kind"]) == ("churn", bundle.version, "skops")
    assert (info["contract_version"], info["threshold"]) == (1, 0.3)
    assert (info["deployment"]["who"], info["deployment"]["why"]) == ("a test", "to see")
    assert info["trained"] == {"created": "2026-01-01T00:00:00+00:00"}
    assert info["metrics"] == {"candidate": {"roc_auc": 0.8}}
    assert client.get("/readyz").json() == {"status": "ready", "version": bundle.version, "pending": ""}


def test_the_documentation_needs_no_internet(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert re.findall(r"https?://", page.text) == []
    places = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(places) >= 2
    for place in places:
        assert client.get(place).status_code == 200, place
    assert '"validatorUrl": null' in page.text


def test_openapi_is_that_of_the_contract_and_follows_the_swap(
    client: TestClient,
    storage: Storage,
) -> None:
    document = client.get("/openapi.json").json()
    operation = document["paths"]["/predict"]["post"]
    assert list(document["paths"]["/predict"]) == ["post"]
    assert document["components"]["schemas"]["Row"] == CHURN.row_schema(CHURN.request)
    assert document["components"]["schemas"]["Answer"] == CHURN.answer.to_schema()
    assert set(operation["responses"]) == {"200", "404", "413", "422", "500", "503"}
    references = set(re.findall("'#/components/schemas/([A-Za-z]+)'", str(document)))
    assert references <= set(document["components"]["schemas"])
    number = replace(CHURN, answer=Answer("number", "spent", unit="EUR"), columns=CHURN.columns[:2])
    storage.deploy(storage.publish(number, kind="skops", made="20260202T000000"), threshold=None)
    eventually(lambda: "plan" not in client.get("/openapi.json").text and _is_number(client))
    assert client.post("/predict", json={"customer_id": "nobody"}).json().keys() == {"prediction"}


def _is_number(client: TestClient) -> bool:
    found: dict[str, Any] = client.get("/openapi.json").json()["components"]["schemas"]["Answer"]["properties"]
    return found == {"prediction": {"type": "number", "x-unit": "EUR"}}


def test_more_classes_get_the_probability_of_each(
    storage: Storage,
) -> None:
    classes = Answer("classes", "kind", ("a", "b"))
    storage.deploy(storage.publish(replace(CHURN, answer=classes, columns=CHURN.columns[:2])), threshold=None)
    with TestClient(create(storage.store, "local", QUICK)) as client:
        answer = client.post("/predict", json={"customer_id": "ann", "discount": 50}).json()
        assert answer["prediction"] == max(answer["probabilities"], key=answer["probabilities"].get)
        assert sum(answer["probabilities"].values()) == pytest.approx(1)


def test_it_does_not_start_without_a_deployment(storage: Storage) -> None:
    with pytest.raises(LifecycleError, match=r"nothing is deployed in local .*\n.*make train promote"):
        create(storage.store, "local", QUICK)


def test_it_does_not_start_with_a_changed_byte_in_the_bundle(storage: Storage, bundle: Bundle) -> None:
    change_a_byte(bundle)
    with pytest.raises(BundleError, match=r"holds a changed model\.skops"):
        create(storage.store, "local", QUICK)


def test_it_does_not_start_when_the_golden_answers_do_not_come_back(
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage.deploy(storage.publish())
    monkeypatch.setattr("lifecycle.predictor.raw", lambda estimator, matrix, answer: matrix[:, 0] * 0.0)
    with pytest.raises(BundleError, match="does not answer as it did in training: golden row 1 of 5 differs"):
        create(storage.store, "local", QUICK)


def test_a_bundle_that_cannot_be_loaded_leaves_the_old_one_answering_and_is_told_once(
    client: TestClient,
    storage: Storage,
    bundle: Bundle,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad = storage.publish(made="20260202T000000")
    kept = (bad.path / "model.skops").read_bytes()
    change_a_byte(bad)
    storage.deploy(bad)
    eventually(lambda: "changed model.skops" in client.get("/readyz").json()["pending"])
    time.sleep(QUICK.poll_seconds * 25)
    assert client.get("/readyz").status_code == 200
    assert client.get("/info").json()["version"] == bundle.version
    assert "changed model.skops" in client.get("/info").json()["pending"]
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage().count("changed model.skops") for record in errors] == [1]
    # Copied again, whole: it is noticed without another deployment.
    (bad.path / "model.skops").write_bytes(kept)
    eventually(lambda: client.get("/info").json()["version"] == bad.version)
    assert client.get("/info").json()["pending"] == ""


def test_a_new_bundle_waits_for_the_features_that_it_looks_up(
    client: TestClient,
    storage: Storage,
    bundle: Bundle,
) -> None:
    age = Column("age", "entity", "number", low=0.0, high=150.0)
    new = storage.publish(replace(CHURN, columns=(*CHURN.columns, age)), made="20260202T000000")
    storage.deploy(new)
    eventually(lambda: f"{new.feature_set}.sqlite is missing" in client.get("/info").json()["pending"])
    assert client.post("/predict", json={"customer_id": "ann"}).headers["x-model-version"] == bundle.version
    storage.fill(new, {key: entity | {"age": 50.0} for key, entity in KNOWN.items()})
    eventually(lambda: client.get("/info").json()["version"] == new.version)
    assert client.post("/predict", json={"customer_id": "ann"}).status_code == 200


def test_a_swap_while_a_request_arrives_does_not_mix_two_versions(storage: Storage, bundle: Bundle) -> None:
    live = Live(storage.store, "local", max_rows=10)
    newer = storage.publish(replace(CHURN, columns=CHURN.columns[:2]), made="20260202T000000")
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        storage.deploy(newer)
        live.look()
        return {"type": "http.request", "body": b'{"customer_id": "ann"}'}

    async def send(message: Any) -> None:
        sent.append(message)

    async def not_found(*_: Any) -> None:
        raise AssertionError("it is not for the router")

    with ThreadPoolExecutor(1) as worker:
        scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
        asyncio.run(PredictFirst(not_found, live, QUICK, worker)(scope, receive, send))
    assert live.served.version == newer.version
    assert dict(sent[0]["headers"])[b"x-model-version"].decode() == bundle.version
    row = {"customer_id": "ann", "discount": 0.0} | KNOWN["ann"]
    assert json.loads(sent[1]["body"]) == Predictor(bundle).answers([row], threshold=0.3)[0]


def test_a_damaged_or_vanished_deployment_leaves_the_old_one_answering(
    client: TestClient, storage: Storage, bundle: Bundle
) -> None:
    path = storage.store.deployments / "local.json"
    kept = path.read_bytes()
    for damage in (lambda: path.write_bytes(b"{"), path.unlink):
        damage()
        eventually(lambda: client.get("/readyz").json()["pending"] != "")
        assert client.post("/predict", json={"customer_id": "ann"}).status_code == 200
        path.write_bytes(kept)
        eventually(lambda: client.get("/readyz").json()["pending"] == "")


def change_a_byte(bundle: Bundle) -> None:
    path = bundle.path / "model.skops"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
