"""The service in one process: valid and invalid requests, and /info."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from lifecycle.contract.rows import RowError
from lifecycle.contract.schema import Target
from lifecycle.models.bundle import Bundle
from lifecycle.models.predictor import Predictor
from lifecycle.registry import deployments
from lifecycle.serving import Json
from lifecycle.serving.app import create
from lifecycle.storage import Store
from support.services import KNOWN, QUICK, counted, eventually
from support.storages import CHURN, Storage


def test_one_row_is_predicted_with_the_features_of_its_key(client: TestClient, bundle: Bundle) -> None:
    reply = client.post("/predict", json={"customer_id": "ann", "discount": 1.5})
    row = {"customer_id": "ann", "discount": 1.5} | KNOWN["ann"]
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    assert reply.json() == Predictor(bundle).predict([row], threshold=0.3)[0]
    assert reply.json() != client.post("/predict", json={"customer_id": "bob", "discount": 1.5}).json()
    assert reply.headers["x-model-version"] == bundle.version


def test_many_rows_are_predicted_as_each_of_them_alone(client: TestClient) -> None:
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
    one = client.post("/predict", json={"customer_id": "unknown-7123"})
    assert one.status_code == 404
    assert [fault["loc"] for fault in one.json()["detail"]] == [["body", "customer_id"]]
    many = client.post("/predict", json=[{"customer_id": key} for key in ("ann", "unknown-7123", "bob", "x-7123")])
    assert many.status_code == 404
    assert [fault["loc"] for fault in many.json()["detail"]] == [["body", 1, "customer_id"], ["body", 3, "customer_id"]]
    assert "7123" not in one.text + many.text


def test_a_contract_with_a_fallback_row_predicts_an_unknown_key_with_it_and_counts_it(
    storage: Storage,
) -> None:
    fallback = {"plan": "plus", "visits": 0}
    columns = tuple(
        replace(column, fallback=fallback[column.name], has_fallback=True) if column.source == "lookup" else column
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


def test_a_body_that_is_too_large_is_413_with_and_without_a_content_length(client: TestClient) -> None:
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
        raise RuntimeError(f"something about {7000 + 123}")

    monkeypatch.setattr(Predictor, "predict", fail)
    reply = client.post("/predict", json={"customer_id": "ann"}, headers={"x-request-id": "order-71"})
    assert (reply.status_code, reply.json()) == (500, {"detail": "internal error", "request_id": "order-71"})
    [record] = [each for each in caplog.records if each.getMessage() == "a request failed"]
    logged = json.loads(Json().format(record))
    assert logged["request_id"] == "order-71"
    assert "RuntimeError" in logged["exception"]
    assert "7123" not in str(logged), "the text of an exception may hold the row"
    monkeypatch.setattr(Predictor, "predict", lambda *_: [{"prediction": float("nan")}])
    assert client.post("/predict", json={"customer_id": "ann"}).status_code == 500


def test_a_row_that_the_model_refuses_is_422_with_its_reason(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = {"type": "refused", "loc": ["body", 0], "msg": "the notebook removes it"}

    def refuse(*_: Any) -> list[dict[str, Any]]:
        raise RowError([fault])

    monkeypatch.setattr(Predictor, "predict", refuse)
    reply = client.post("/predict", json={"customer_id": "ann"})
    assert (reply.status_code, reply.json()) == (422, {"detail": [fault]})


def test_other_methods_are_405_and_other_paths_404(client: TestClient) -> None:
    assert client.get("/predict").status_code == 405
    assert client.post("/predicted", json={}).status_code == 404


def test_info_shows_the_deployed_version_and_who_deployed_it(client: TestClient, bundle: Bundle) -> None:
    info = client.get("/info").json()
    assert (info["name"], info["version"], info["kind"]) == ("churn", bundle.version, "skops")
    assert (info["contract_version"], info["threshold"]) == (1, 0.3)
    assert (info["label"], info["task"]) == ("churned", "binary")
    # What is looked up is nothing that a caller sends.
    assert info["columns"] == ["customer_id", "discount"]
    assert (info["deployment"]["who"], info["deployment"]["why"]) == ("a test", "to see")
    assert info["trained"] == {"created": "2026-01-01T00:00:00+00:00"}
    assert info["metrics"] == {"candidate": {"roc_auc": 0.8}}
    assert client.get("/readyz").json() == {"status": "ready", "version": bundle.version, "pending": False}


def test_info_shows_the_owners_at_the_time_of_the_deployment_or_else_of_the_training(storage: Storage) -> None:
    trained, decided = {"product": ["ana"]}, {"product": ["bo"]}
    seen = storage.deploy(storage.publish(owners=trained))
    with TestClient(create(storage.store, "local", QUICK)) as client:
        assert client.get("/info").json()["owners"] == trained
    words = {"action": "promote", "who": "bo", "why": "to see"}
    deployments.swap(storage.store, "local", seen, seen.current, **words, owners=decided)
    with TestClient(create(storage.store, "local", QUICK)) as client:
        info = client.get("/info").json()
    assert info["owners"] == decided
    assert "owners" not in info["deployment"]


def test_the_documentation_needs_no_internet(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert re.findall(r"https?://", page.text) == []
    places = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(places) >= 2
    for place in places:
        assert client.get(place).status_code == 200, place
    assert '"validatorUrl": null' in page.text


def test_more_classes_get_the_probability_of_each(
    storage: Storage,
) -> None:
    classes = Target("multiclass", "kind", ("a", "b"))
    storage.deploy(storage.publish(replace(CHURN, target=classes, columns=CHURN.columns[:2])), threshold=None)
    with TestClient(create(storage.store, "local", QUICK)) as client:
        prediction = client.post("/predict", json={"customer_id": "ann", "discount": 50}).json()
        assert prediction["prediction"] == max(prediction["probabilities"], key=prediction["probabilities"].get)
        assert sum(prediction["probabilities"].values()) == pytest.approx(1)


def test_a_copy_of_the_storage_made_in_the_order_of_the_page_serves(
    storage: Storage, bundle: Bundle, tmp_path: Path
) -> None:
    copy = Store(tmp_path / "backup")
    shutil.copytree(storage.store.deployments, copy.deployments)
    # While the copy is made, another version is promoted.
    storage.deploy(storage.publish(made="20260202T000000"))
    shutil.copytree(storage.store.bundles, copy.bundles)
    with TestClient(create(copy, "local", QUICK, None)) as client:
        assert client.get("/info").json()["version"] == bundle.version
