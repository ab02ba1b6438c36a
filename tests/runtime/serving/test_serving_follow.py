"""How the service starts, follows its storage and swaps, in process."""

import asyncio
import json
import logging
import os
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from lifecycle.contract.schema import Column, Target
from lifecycle.errors import LifecycleError
from lifecycle.features import table_path
from lifecycle.models.bundle import Bundle, BundleError
from lifecycle.models.predictor import Predictor
from lifecycle.serving.app import create
from support.services import KNOWN, QUICK, counted, eventually
from support.storages import CHURN, Storage


def test_after_a_rollback_a_field_of_the_version_before_is_ignored_and_counted(
    storage: Storage, bundle: Bundle
) -> None:
    row = {"customer_id": "ann", "coupon": "7123"}
    coupon = Column("coupon", "request", "category", required=False, default="none", max_length=9)
    newer = storage.publish(replace(CHURN, columns=(*CHURN.columns, coupon)), made="20260202T000000")
    with TestClient(create(storage.store, "local", QUICK)) as client:
        # A version that was never deployed here does not count.
        storage.deploy(newer, environment="staging")
        assert client.post("/predict", json=row).status_code == 422
        storage.deploy(newer)
        eventually(lambda: client.get("/info").json()["version"] == newer.version)
        storage.deploy(bundle)
        eventually(lambda: client.get("/info").json()["version"] == bundle.version)
        assert client.post("/predict", json=[row, row]).status_code == 200
        assert counted(client)["ignored_fields"] == {"coupon": 2}
        assert client.post("/predict", json=row | {"cupon": 1}).json()["detail"][0]["loc"] == ["body", "cupon"]
    # A restart, or another worker, ignores the same fields.
    with TestClient(create(storage.store, "local", QUICK)) as client:
        assert client.post("/predict", json=row).status_code == 200


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
    os.replace(broken, table_path(storage.store, bundle.feature_set))
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


def test_openapi_is_that_of_the_contract_and_follows_the_swap(
    client: TestClient,
    storage: Storage,
) -> None:
    document = client.get("/openapi.json").json()
    operation = document["paths"]["/predict"]["post"]
    assert list(document["paths"]["/predict"]) == ["post"]
    assert document["components"]["schemas"]["Row"] == CHURN.row_schema(CHURN.request)
    assert document["components"]["schemas"]["Target"] == CHURN.target.to_schema()
    assert set(operation["responses"]) == {"200", "404", "408", "413", "415", "422", "429", "500", "503"}
    references = set(re.findall("'#/components/schemas/([A-Za-z]+)'", str(document)))
    assert references <= set(document["components"]["schemas"])
    number = replace(CHURN, target=Target("regression", "spent", unit="EUR"), columns=CHURN.columns[:2])
    storage.deploy(storage.publish(number, kind="skops", made="20260202T000000"), threshold=None)
    eventually(lambda: "plan" not in client.get("/openapi.json").text and _is_number(client))
    assert client.post("/predict", json={"customer_id": "unknown"}).json().keys() == {"prediction"}


def _is_number(client: TestClient) -> bool:
    found: dict[str, Any] = client.get("/openapi.json").json()["components"]["schemas"]["Target"]["properties"]
    return found == {"prediction": {"type": "number", "x-unit": "EUR"}}


def test_it_does_not_start_without_a_deployment(storage: Storage) -> None:
    with pytest.raises(LifecycleError, match=r"nothing is deployed in local .*\n.*make train promote"):
        create(storage.store, "local", QUICK)


def test_it_does_not_start_with_a_changed_byte_in_the_bundle(storage: Storage, bundle: Bundle) -> None:
    change_a_byte(bundle)
    with pytest.raises(BundleError, match=r"holds a changed model\.skops"):
        create(storage.store, "local", QUICK)


def test_a_bundle_that_needs_what_is_not_installed_is_refused_by_name(
    client: TestClient, storage: Storage, bundle: Bundle
) -> None:
    other = storage.publish(requires={"numpy": "999.0", "no-such-thing": "1.2"}, made="20260202T000000")
    storage.deploy(other)
    needs = f"{other.version} of kind skops needs numpy 999.0 (installed is"
    with pytest.raises(BundleError, match=r"no-such-thing 1\.2 \(not installed\)"):
        create(storage.store, "local", QUICK)
    eventually(lambda: needs in client.get("/info").json()["pending"])
    assert client.post("/predict", json={"customer_id": "ann"}).headers["x-model-version"] == bundle.version


def test_it_does_not_start_when_the_golden_rows_are_not_reproduced(
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    storage.deploy(storage.publish())
    monkeypatch.setattr("lifecycle.models.runtimes.SkopsModel.raw_outputs", lambda self, matrix: matrix[:, 0] * 0.0)
    with pytest.raises(BundleError, match="does not reproduce its training outputs: golden row 1 of 5 differs"):
        create(storage.store, "local", QUICK)


def test_a_bundle_that_cannot_be_loaded_leaves_the_old_one_in_use_and_is_logged_once(
    client: TestClient,
    storage: Storage,
    bundle: Bundle,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad = storage.publish(made="20260202T000000")
    kept = (bad.path / "model.skops").read_bytes()
    change_a_byte(bad)
    storage.deploy(bad)
    eventually(lambda: client.get("/readyz").json()["pending"] is True)
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
    age = Column("age", "lookup", "number", low=0.0, high=150.0)
    new = storage.publish(replace(CHURN, columns=(*CHURN.columns, age)), made="20260202T000000")
    storage.deploy(new)
    eventually(lambda: f"{new.feature_set}.sqlite is missing" in client.get("/info").json()["pending"])
    assert client.post("/predict", json={"customer_id": "ann"}).headers["x-model-version"] == bundle.version
    storage.fill(new, {key: entity | {"age": 50.0} for key, entity in KNOWN.items()})
    eventually(lambda: client.get("/info").json()["version"] == new.version)
    assert client.post("/predict", json={"customer_id": "ann"}).status_code == 200


def test_a_swap_while_a_request_arrives_does_not_mix_two_versions(storage: Storage, bundle: Bundle) -> None:
    service = create(storage.store, "local", QUICK)
    newer = storage.publish(replace(CHURN, columns=CHURN.columns[:2]), made="20260202T000000")
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        storage.deploy(newer)
        service.follower.check()
        return {"type": "http.request", "body": b'{"customer_id": "ann"}'}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": []}
    asyncio.run(service(scope, receive, send))
    assert service.follower.deployed.version == newer.version
    assert dict(sent[0]["headers"])[b"x-model-version"].decode() == bundle.version
    row = {"customer_id": "ann", "discount": 0.0} | KNOWN["ann"]
    assert json.loads(sent[1]["body"]) == Predictor(bundle).predict([row], threshold=0.3)[0]


def test_a_damaged_or_vanished_deployment_leaves_the_old_one_in_use(
    client: TestClient, storage: Storage, bundle: Bundle
) -> None:
    path = storage.store.deployments / "local.json"
    kept = path.read_bytes()
    for damage in (lambda: path.write_bytes(b"{"), path.unlink):
        damage()
        eventually(lambda: client.get("/readyz").json()["pending"])
        assert client.post("/predict", json={"customer_id": "ann"}).status_code == 200
        path.write_bytes(kept)
        eventually(lambda: not client.get("/readyz").json()["pending"])


def change_a_byte(bundle: Bundle) -> None:
    path = bundle.path / "model.skops"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
