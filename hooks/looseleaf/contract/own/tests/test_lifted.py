"""The lifted notebook in this repository: what it predicted for its author, and that all ways to predict agree."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from project import ROOT

from lifecycle import features
from lifecycle.contract import Contract
from lifecycle.models.runtimes import typed_frame
from lifecycle.training.train import codes
from model import data, lifted_model

FACTS = json.loads((ROOT / "tests/lifted.json").read_text(encoding="utf-8"))
CLOSE: dict[str, float] = {"rtol": 1e-6, "atol": 1e-9}


@pytest.fixture(scope="module")
def training(folder: Path, contract: Contract) -> tuple[pd.DataFrame, Any]:
    """Return the rows and labels of the table that the notebook read; skip the tests where another one is there."""
    if hashlib.sha256((folder / data.TABLE.file).read_bytes()).hexdigest() != FACTS["sha256"]:
        pytest.skip(f"{data.TABLE.file} is not the table of the lift any more")
    with features.connect(data, folder) as connection:
        frame = connection.execute(data.labels(connection)).df()
    return typed_frame(frame, contract.framed), codes(frame[contract.target.label], contract.target)


@pytest.fixture(scope="module")
def model(training: tuple[pd.DataFrame, Any]) -> lifted_model.LiftedModel:
    """Return the notebook's model, trained here."""
    return fitted(*training)


@pytest.fixture
def golden(contract: Contract) -> pd.DataFrame:
    """Return the rows whose predictions by the author's own model are known; each mixes values of several rows."""
    return typed_frame(pd.DataFrame(FACTS["rows"]), contract.framed)


def fitted(frame: pd.DataFrame, label: Any) -> lifted_model.LiftedModel:
    np.random.seed(0)
    model = lifted_model.LiftedModel()
    model.fit(frame, label)
    return model


def test_it_predicts_what_the_author_s_model_predicted(model: lifted_model.LiftedModel, golden: pd.DataFrame) -> None:
    found, expected = model.predict(golden), np.array(FACTS["outputs"])
    differs = ~np.isclose(found, expected, **CLOSE).reshape(len(golden), -1).all(axis=1)
    largest = np.abs(found - expected)[differs].max(initial=0)
    message = f"{differs.sum()} of {len(golden)} rows differ from the author's, by at most {largest:.3g}"
    assert differs.sum() <= FACTS["different"], message
    assert largest <= FACTS["largest"] * 1.1, message


def test_a_row_alone_is_predicted_as_in_a_batch(model: lifted_model.LiftedModel, golden: pd.DataFrame) -> None:
    alone = [model.predict(golden.iloc[[at]])[0] for at in range(len(golden))]
    np.testing.assert_allclose(alone, model.predict(golden), **CLOSE)


def test_a_saved_model_predicts_rows_of_json_as_in_training(
    model: lifted_model.LiftedModel, golden: pd.DataFrame, contract: Contract, tmp_path: Path
) -> None:
    model.save(tmp_path)
    rows = json.loads(golden.to_json(orient="records", date_format="iso"))
    sent = typed_frame(pd.DataFrame(rows, columns=golden.columns), contract.framed)
    np.testing.assert_allclose(lifted_model.LiftedModel.load(tmp_path).predict(sent), model.predict(golden), **CLOSE)


def test_training_again_gives_the_same_predictions(
    training: tuple[pd.DataFrame, Any], model: lifted_model.LiftedModel, golden: pd.DataFrame
) -> None:
    np.testing.assert_allclose(fitted(*training).predict(golden), model.predict(golden), **CLOSE)
