"""The Open Inference Protocol on the service: the predictions of /predict as tensors, and errors of the protocol."""

import json
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.models.bundle import Bundle
from lifecycle.models.predictor import Predictor
from lifecycle.registry import predictions
from lifecycle.serving.app import create
from lifecycle.settings import Log
from support.services import QUICK
from support.storages import CHURN, DISCOUNT, KEY, Storage

INFER = "/v2/models/churn/infer"
WIDE = Contract(
    1,
    Target("binary", "churned", ("stays", "churns")),
    (
        Column("tenure", "request", "integer", low=0, high=100),
        Column("paid", "request", "boolean"),
        Column("opened", "request", "time"),
        Column("region", "request", "category", max_length=8),
        Column("charges", "request", "number", low=0.0, high=1e6),
        Column("note", "logged", "category", nullable=True, max_length=8),
        Column("score", "logged", "number", nullable=True),
    ),
)
TENSORS: dict[str, tuple[str, list[Any]]] = {
    "tenure": ("INT64", [3, 4]),
    "paid": ("BOOL", [True, False]),
    "opened": ("BYTES", ["2026-01-01T00:00:00Z", "2026-01-02"]),
    "region": ("BYTES", ["north", "süd"]),
    "charges": ("FP64", [1.5, 2]),
    "note": ("BYTES", ["None", None]),
    "score": ("FP32", [None, 0.5]),
}


def tensor(name: str, data: list[Any], datatype: str = "BYTES", **more: Any) -> dict[str, Any]:
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data} | more


def inputs(keys: list[Any], **more: Any) -> dict[str, Any]:
    return {"inputs": [tensor("customer_id", keys)]} | more


def outputs(reply: Any) -> dict[str, list[Any]]:
    assert reply.status_code == 200, reply.text
    found = {each["name"]: each for each in reply.json()["outputs"]}
    assert all(len(each["data"]) == np.prod(each["shape"]) for each in found.values())
    return {name: each["data"] for name, each in found.items()}


def test_tensors_get_the_predictions_of_the_same_rows(client: TestClient, bundle: Bundle) -> None:
    keys = ["ann", "bob", "zoë"]
    body = inputs(keys, id="42")
    body["inputs"].append(tensor("discount", [0, 1.5, 7], "FP32", shape=[3, 1]))
    reply = client.post(INFER, json=body)
    rows = [{"customer_id": key, "discount": discount} for key, discount in zip(keys, [0, 1.5, 7], strict=True)]
    expected = client.post("/predict", json=rows).json()
    assert outputs(reply) == {name: [each[name] for each in expected] for name in ("prediction", "probability")}
    found = reply.json()
    assert (found["model_name"], found["model_version"], found["id"]) == ("churn", bundle.version, "42")
    assert [(each["datatype"], each["shape"]) for each in found["outputs"]] == [("BYTES", [3]), ("FP64", [3])]
    assert reply.headers["x-model-version"] == bundle.version
    assert client.post(f"/v2/models/churn/versions/{bundle.version}/infer", json=body).json() == found


def test_every_kind_of_column_and_null_arrives_as_in_a_row(storage: Storage) -> None:
    storage.deploy(storage.publish(WIDE))
    rows = [{name: data[at] for name, (_, data) in TENSORS.items()} for at in (0, 1)]
    with TestClient(create(storage.store, "local", QUICK)) as client:
        expected = [each["probability"] for each in client.post("/predict", json=rows).json()]
        sent = [tensor(name, data, datatype) for name, (datatype, data) in TENSORS.items()]
        assert outputs(client.post(INFER, json={"inputs": sent}))["probability"] == expected
        # Clients write NaN, which JSON does not have, and repeat a dimension.
        sent[-1] = tensor("score", [[float("nan")], [0.5]], "FP64", shape=[2, 1])
        reply = client.post(INFER, content=json.dumps({"inputs": sent}))
        assert outputs(reply)["probability"] == expected
        # Only an array of numbers has a null besides booleans.
        sent[1] = tensor("paid", [1, 0], "FP64")
        assert outputs(client.post(INFER, content=json.dumps({"inputs": sent})))["probability"] == expected
        for wrong in ([2, 0], [[1, 0], 0], [None, 0]):
            sent[1] = tensor("paid", wrong, "FP64")
            assert client.post(INFER, content=json.dumps({"inputs": sent})).status_code == 400


def test_tensors_may_follow_the_json_as_bytes(storage: Storage) -> None:
    storage.deploy(storage.publish(WIDE))
    with TestClient(create(storage.store, "local", QUICK)) as client:
        sent = [tensor(name, data, datatype) for name, (datatype, data) in TENSORS.items()]
        expected = outputs(client.post(INFER, json={"inputs": sent}))
        binary = [as_bytes(each) for each in sent]
        content, size = body_of(binary, {"null": "None"})
        assert outputs(client.post(INFER, content=content, headers=size)) == expected
        # Without the parameter it is a text, and a null of another column is one more text.
        content, size = body_of(binary, {})
        assert outputs(client.post(INFER, content=content, headers=size)) == expected
        for fault in (content[:-1], content + b"1"):
            assert client.post(INFER, content=fault, headers=size).status_code == 400
        for header in ("", "x", "-1", "9" * 5000, str(len(content) + 1)):
            reply = client.post(INFER, content=content, headers={"inference-header-content-length": header})
            assert (reply.status_code, list(reply.json())) == (400, ["error"])


def as_bytes(given: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    kinds = {"INT64": "<i8", "FP64": "<f8", "FP32": "<f4", "BOOL": "?"}
    if given["datatype"] == "BYTES":
        texts = [str(each).encode() for each in given["data"]]
        content = b"".join(struct.pack("<I", len(text)) + text for text in texts)
    else:
        content = np.array(given["data"], dtype=kinds[given["datatype"]]).tobytes()
    about = {name: value for name, value in given.items() if name != "data"}
    return about | {"parameters": {"binary_data_size": len(content)}}, content


def body_of(tensors: list[tuple[dict[str, Any], bytes]], parameters: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    head = json.dumps({"inputs": [about for about, _ in tensors], "parameters": parameters}).encode()
    size = {"inference-header-content-length": str(len(head))}
    return head + b"".join(content for _, content in tensors), size


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_outputs_follow_the_task(storage: Storage, task: str) -> None:
    target = Target("multiclass", "kind", ("a", "ü")) if task == "multiclass" else Target("regression", "spent")
    bundle = storage.publish(Contract(1, target, (KEY, DISCOUNT)))
    storage.deploy(bundle, threshold=None)
    with TestClient(create(storage.store, "local", QUICK)) as client:
        found = outputs(client.post(INFER, json=inputs(["ann", "bob"])))
        expected = Predictor(bundle).predict([{"customer_id": key, "discount": 0.0} for key in ("ann", "bob")])
        assert found["prediction"] == [each["prediction"] for each in expected]
        if task == "multiclass":
            assert found["probabilities"] == [p for each in expected for p in each["probabilities"].values()]
            about = client.get("/v2/models/churn").json()["outputs"][1]
            assert (about["shape"], json.loads(about["parameters"]["classes"])) == ([-1, 2], ["a", "ü"])


def test_only_the_requested_outputs_are_returned(client: TestClient) -> None:
    wanted = [{"name": "probability", "parameters": {"binary_data": True}}]
    assert list(outputs(client.post(INFER, json=inputs(["ann"], outputs=wanted)))) == ["probability"]
    reply = client.post(INFER, json=inputs(["ann"], outputs=[{"name": "logit"}]))
    assert (reply.status_code, reply.json()["error"].endswith("there are prediction, probability")) == (400, True)


BAD: list[tuple[Any, str]] = [
    (inputs(["ann"]) | {"inputs": []}, "inputs"),
    ({}, "inputs"),
    ({"inputs": [tensor("customer_id", ["ann"], "FP64")]}, "another datatype than BYTES"),
    ({"inputs": [tensor("customer_id", ["ann"], shape=[2])]}, "data for 1 rows"),
    ({"inputs": [tensor("customer_id", ["ann"], shape=[1, 1, 1])]}, "data for 1 rows"),
    ({"inputs": [tensor("customer_id", ["ann", "bob"]), tensor("discount", [7123], "FP64")]}, "numbers of rows"),
    ({"inputs": [tensor("customer_id", ["ann"]), tensor("customer_id", ["bob"])]}, "occurs twice"),
    ({"inputs": [tensor("customer_id", ["ann"]), tensor("discount", [7123], "FP64")]}, "tensor 'discount', row 0"),
    ({"inputs": [tensor("customer_id", ["ann"]), tensor("discount", [True], "FP64")]}, "tensor 'discount', row 0"),
    ({"inputs": [tensor("customer_id", ["ann"]), tensor("discount", ["7123"], "FP64")]}, "tensor 'discount', row 0"),
    ({"inputs": [tensor("customer_id", ["ann"]), tensor("secret", ["7123"])]}, "tensor 'secret', row 0"),
    ({"inputs": [tensor("customer_id", ["ann", None])]}, "tensor 'customer_id', row 1"),
    ({"inputs": [tensor("customer_id", [["ann", "bob"]])]}, "tensor 'customer_id', row 0"),
    ({"inputs": [tensor("discount", [1.0], "FP64")]}, "tensor 'customer_id', row 0: Field required"),
    ({"inputs": [tensor("customer_id", ["ann"]), tensor("discount", [1e400], "FP64")]}, "tensor 'discount', row 0"),
    (b'{"inputs": "7123"', "the body"),
    (b"7123", "the body"),
    (b"", "the body"),
]


@pytest.mark.parametrize(("body", "text"), BAD, ids=[f"{at} {text}" for at, (_, text) in enumerate(BAD)])
def test_a_bad_tensor_is_400_by_name_and_its_value_is_never_echoed(client: TestClient, body: Any, text: str) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body)
    reply = client.post(INFER, content=content)
    assert (reply.status_code, list(reply.json())) == (400, ["error"])
    assert text in reply.json()["error"]
    assert "7123" not in reply.text
    assert counts(client)['model_requests_refused_total{reason="invalid"}'] == 1


def counts(client: TestClient) -> dict[str, float]:
    rows = [line.rpartition(" ") for line in client.get("/metrics").text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in rows}


def test_another_method_than_that_of_a_path_is_405_and_the_method_is_named(client: TestClient) -> None:
    for path, allowed in (("/v2", "GET"), ("/v2/health/live", "GET"), ("/v2/models/churn", "GET"), (INFER, "POST")):
        reply = client.request("PUT", path)
        assert (reply.status_code, reply.headers["allow"]) == (405, allowed)
        assert reply.json() == {"error": f"the method of this path is {allowed}"}


def test_unknown_models_versions_keys_and_paths_are_404(client: TestClient, bundle: Bundle) -> None:
    for path in ("/v2/models/fraud", "/v2/models/churn/versions/20260101T000000-00000000"):
        for reply in (
            client.get(path),
            client.get(f"{path}/ready"),
            client.post(f"{path}/infer", json=inputs(["ann"])),
        ):
            assert (reply.status_code, bundle.version in reply.json()["error"]) == (404, True)
    assert client.get("/v2/models").json()["error"] == client.post("/v2/repository/index").json()["error"]
    reply = client.post(INFER, json=inputs(["ann", "unknown-7123"]))
    assert (reply.status_code, reply.json()) == (404, {"error": UNKNOWN_KEY})
    assert sum(value for name, value in counts(client).items() if name.startswith("model_predictions_total")) == 0


UNKNOWN_KEY = "tensor 'customer_id', row 1: There are no features for this key"


def test_health_and_metadata_describe_the_deployed_version(client: TestClient, bundle: Bundle) -> None:
    for path in (
        "/health/live",
        "/health/ready",
        "/models/churn/ready",
        f"/models/churn/versions/{bundle.version}/ready",
    ):
        assert client.get(f"/v2{path}").status_code == 200
    assert set(client.get("/v2").json()) == {"name", "version", "extensions"}
    about = client.get("/v2/models/churn").json()
    assert about == client.get(f"/v2/models/churn/versions/{bundle.version}").json()
    assert (about["name"], about["versions"], about["platform"]) == ("churn", [bundle.version], "looseleaf_skops")
    assert [(each["name"], each["datatype"]) for each in about["inputs"]] == [
        ("customer_id", "BYTES"),
        ("discount", "FP64"),
    ]
    assert about["inputs"][1]["parameters"] == {"required": False, "nullable": False, "unit": ""}


def test_the_service_is_not_ready_before_there_are_features(storage: Storage) -> None:
    storage.deploy(storage.publish(CHURN))
    with TestClient(create(storage.store, "local", QUICK)) as client:
        for path in ("/v2/health/ready", "/v2/models/churn/ready"):
            assert client.get(path).status_code == 503
        assert client.get("/v2/health/live").status_code == 200
        reply = client.post(INFER, json=inputs(["ann"]))
        assert (reply.status_code, list(reply.json()), reply.headers["retry-after"]) == (503, ["error"], "5")


def test_limits_and_the_api_key_are_those_of_predict(
    storage: Storage, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIFECYCLE_API_KEY", "one-key-0123456789")
    with TestClient(create(storage.store, "local", QUICK)) as client:
        for reply in (client.get("/v2/models/churn"), client.post(INFER, json=inputs(["ann"]))):
            assert (reply.status_code, list(reply.json())) == (401, ["error"])
        assert client.get("/v2/health/ready").status_code == 200
        client.headers["x-api-key"] = "one-key-0123456789"
        assert client.post(INFER, json=inputs(["ann"] * 1000)).status_code == 200
        for body in (inputs(["ann"] * 1001), inputs(["ann"] * 200_000)):
            reply = client.post(INFER, json=body)
            assert (reply.status_code, list(reply.json())) == (413, ["error"])
        many = np.zeros(900_000, dtype=np.int8).tobytes()
        about = {"name": "discount", "shape": [len(many)], "datatype": "INT8"}
        content, size = body_of([(about | {"parameters": {"binary_data_size": len(many)}}, many)], {})
        assert client.post(INFER, content=content, headers=size).status_code == 413
        assert client.post(INFER, json=inputs(["ann"]), headers={"content-encoding": "gzip"}).status_code == 415


def test_predictions_are_logged_and_counted_as_those_of_predict(storage: Storage, bundle: Bundle) -> None:
    with TestClient(create(storage.store, "local", QUICK, Log(flush_seconds=0.05))) as client:
        client.post("/predict", json=[{"customer_id": "ann", "discount": 2}])
        client.post(INFER, json={"inputs": [tensor("customer_id", ["ann"]), tensor("discount", [2], "INT64")]})
        found = counts(client)
        assert found['http_requests_total{method="POST",route="/predict",status="200"}'] == 2
        assert sum(value for name, value in found.items() if name.startswith("model_predictions_total")) == 2
    [path] = predictions.segment_folder(storage.store, "local").glob("*.jsonl")
    first, second = predictions.segment_lines(path)
    changing = ("ts", "id", "request_id")
    assert [first, second] == [first, {name: second[name] if name in changing else first[name] for name in second}]


def test_a_failure_is_500_in_the_form_of_the_protocol(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Predictor, "predict", lambda *_: [{"prediction": float("nan")}])
    reply = client.post(INFER, json=inputs(["ann"]))
    assert (reply.status_code, reply.json()) == (500, {"error": "internal error"})


def test_a_contract_of_another_version_is_still_accepted(storage: Storage) -> None:
    storage.deploy(storage.publish(Contract(1, CHURN.target, (KEY, DISCOUNT, Column("old", "request", "number")))))
    storage.deploy(storage.publish(replace(CHURN, columns=(KEY, DISCOUNT)), made="20260102T000000"))
    with TestClient(create(storage.store, "local", QUICK)) as client:
        sent = [tensor("customer_id", ["ann"]), tensor("old", [1.0], "FP64")]
        assert outputs(client.post(INFER, json={"inputs": sent}))["prediction"]
        assert client.get("/info").json()["counted"]["ignored_fields"] == {"old": 1}
