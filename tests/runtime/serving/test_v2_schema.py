"""Schemathesis compares the service with MLServer's OpenAPI document of the Open Inference Protocol."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.serving import v2
from lifecycle.serving.app import create
from support import PATIENCE
from support.services import QUICK, listening
from support.storages import DISCOUNT, KEY, Storage

DOCUMENT = Path(__file__).with_name("mlserver_dataplane.json")
PLAN, ONLINE = Column("plan", "request", "category", max_length=8), Column("online", "request", "boolean")
BINARY = Contract(1, Target("binary", "churned", ("stays", "churns")), (KEY, DISCOUNT, PLAN, ONLINE))
CONTRACTS = {
    "binary": BINARY,
    "multiclass": replace(BINARY, target=Target("multiclass", "kind", ("a", "ü"))),
    "regression": replace(BINARY, target=Target("regression", "spent", unit="EUR")),
}
INPUTS = [
    {"name": "customer_id", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]},
    {"name": "discount", "shape": [2, 1], "datatype": "FP32", "data": [0.5, 1]},
    {"name": "plan", "shape": [2], "datatype": "BYTES", "data": ["north", "south"]},
    {"name": "online", "shape": [2], "datatype": "BOOL", "data": [True, False]},
]
# A request that is valid by the document can violate the contract of the model, whose response is then 400.
CONFIG = """
[parameters]
"path.model_name" = "churn"
"path.model_version" = "{version}"
[checks.positive_data_acceptance]
expected-statuses = [200, 400]
"""


def examine(storage: Storage, folder: Path, contract: Contract, *options: str) -> Any:
    """Serve a version, and return the run of Schemathesis; the request of the example is valid for the version."""
    bundle = storage.publish(contract)
    storage.deploy(bundle, threshold=0.5 if contract.target.task == "binary" else None)
    document = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    for path, item in document["paths"].items():
        if path.endswith("/infer"):
            item["post"]["requestBody"]["content"]["application/json"]["example"] = {"id": "1", "inputs": INPUTS}
    (folder / "document.json").write_text(json.dumps(document), encoding="utf-8")
    (folder / "schemathesis.toml").write_text(CONFIG.format(version=bundle.version), encoding="utf-8")
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml", "run", "document.json"]
    command += ["--generation-deterministic", "--no-color", "--no-shrink", "--output-truncate", "true", *options]
    with listening(create(storage.store, "local", QUICK)) as url:
        return subprocess.run([*command, "--url", url], cwd=folder, capture_output=True, text=True, timeout=PATIENCE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "phases"),
    [("binary", "examples,coverage,fuzzing"), ("multiclass", "examples"), ("regression", "examples")],
)
def test_every_response_conforms_to_the_document_of_mlserver(
    storage: Storage, tmp_path: Path, name: str, phases: str
) -> None:
    found = examine(storage, tmp_path, CONTRACTS[name], "--phases", phases, "--max-examples", "4")
    assert found.returncode == 0, found.stdout[-5000:] + found.stderr


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["datatype", "error"])
def test_a_response_that_violates_the_document_of_mlserver_is_found(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    outputs = v2._outputs
    if fault == "datatype":
        monkeypatch.setattr(v2, "_outputs", lambda target: [each | {"datatype": "TEXT"} for each in outputs(target)])
    else:
        monkeypatch.setattr(v2, "problem", lambda status, detail: (400, b'{"detail": "wrong"}'))
    phase = ("--phases", "examples" if fault == "datatype" else "coverage", "--max-failures", "1")
    found = examine(storage, tmp_path, BINARY, *phase, "--include-operation-id", "model-inference")
    assert found.returncode == 1
    assert "Response violates schema" in found.stdout
