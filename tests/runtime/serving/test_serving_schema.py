"""Schemathesis compares the responses of the service with its OpenAPI: status, headers, types and schema."""

import subprocess
import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.serving.app import create
from lifecycle.serving.deployed import DeployedModel
from support import PATIENCE
from support.services import KNOWN, QUICK, listening
from support.storages import CHURN, DISCOUNT, KEY, Storage

KEY_OF_A_CALLER = "one-key-0123456789"
# Every kind of column, nulls, and names that are words of Python or hold a blank.
TELCO = Contract(
    1,
    Target("binary", "Churn", ("No", "Yes")),
    (
        Column("customerID", "key", "category", max_length=12),
        Column("sent at", "key", "time", required=False, nullable=True),
        Column("tenure", "request", "integer", low=0, high=2**24),
        Column("Monthly Charges", "request", "number", low=0.0, high=1e6, expected=(18.0, 119.0)),
        Column("Total Charges", "request", "number", nullable=True, low=-1e6, high=1e6, required=False),
        Column("SeniorCitizen", "request", "boolean"),
        Column("opened", "request", "time", nullable=True),
        Column("application", "id", "integer"),
        Column("campaign", "logged", "category", nullable=True, required=False, max_length=8),
        Column("class", "request", "category", levels=("DSL", "Fiber optic", "No"), nullable=True),
        Column("region", "request", "category", max_length=8, required=False, default="süd"),
    ),
)
# Whole requests are refused by their size with 413, which Schemathesis does not expect of itself.
CONFIG = """
[checks.negative_data_rejection]
expected-statuses = [404, 413, 422]
"""


def examined(url: str, folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    """What Schemathesis finds, the same whenever it is run."""
    config = folder / "schemathesis.toml"
    config.write_text(CONFIG)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run", f"{url}/openapi.json"]
    limits = ["--phases", "coverage,fuzzing", "--max-examples", "25", "--generation-deterministic"]
    output = ["--no-color", "--no-shrink", "--output-truncate", "true"]
    return subprocess.run(
        [*command, *limits, *output, *options], cwd=folder, capture_output=True, text=True, timeout=PATIENCE
    )


@pytest.fixture(autouse=True)
def _takes_nulls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small model of the storages takes no nulls; these contracts allow them."""
    monkeypatch.setattr("support.storages._fitted", lru_cache(_trees))


def _trees(width: int) -> HistGradientBoostingClassifier:
    matrix = np.random.default_rng(0).normal(size=(200, width)).astype(np.float32)
    return HistGradientBoostingClassifier(max_iter=3).fit(matrix, (matrix.sum(axis=1) > 0).astype(int))


def deploy(storage: Storage, contract: Contract) -> None:
    bundle = storage.publish(contract)
    if contract.lookups:
        storage.fill(bundle, KNOWN)
    storage.deploy(bundle, threshold=None if contract.target.task == "regression" else 0.5)


CONTRACTS = {
    "looked up": CHURN,
    "telco": TELCO,
    "number": replace(TELCO, target=Target("regression", "spent", unit="EUR")),
    "classes": Contract(1, Target("multiclass", "kind", ("a", "ü")), (KEY, DISCOUNT)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTRACTS)
def test_every_response_is_as_documented(storage: Storage, tmp_path: Path, name: str) -> None:
    deploy(storage, CONTRACTS[name])
    with listening(create(storage.store, "local", QUICK)) as url:
        found = examined(url, tmp_path)
    assert found.returncode == 0, found.stdout[-5000:] + found.stderr
    assert "Tested: 5" in found.stdout


@pytest.mark.slow
def test_with_a_key_and_before_there_are_features_too(storage: Storage, tmp_path: Path) -> None:
    storage.deploy(storage.publish())
    path = tmp_path / "keys"
    path.write_text(KEY_OF_A_CALLER)
    # Every row is refused, and that 503 is right; the proof of the key itself is test_serving_auth.py.
    but = "not_a_server_error,positive_data_acceptance,negative_data_rejection,ignored_auth"
    with listening(create(storage.store, "local", QUICK.model_copy(update={"api_key_file": path}))) as url:
        found = examined(url, tmp_path, "--exclude-checks", but, "-H", f"X-API-Key: {KEY_OF_A_CALLER}")
    assert found.returncode == 0, found.stdout[-5000:] + found.stderr


@pytest.mark.slow
def test_a_response_outside_the_schema_is_found(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(storage, TELCO)
    monkeypatch.setattr(
        DeployedModel, "predict", lambda self, rows: [{"prediction": "No", "probability": 1.5} for _ in rows]
    )
    with listening(create(storage.store, "local", QUICK)) as url:
        found = examined(url, tmp_path, "--include-path", "/predict", "--max-failures", "1")
    assert found.returncode == 1
    assert "Response violates schema" in found.stdout
