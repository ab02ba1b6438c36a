"""From a real CSV to a served prediction that equals the batch prediction: binary, multiclass and regression.

One table ships inside scikit-learn and is always there; the others stand under LOOSELEAF_DATA, and where that is set
their absence fails.
"""

from pathlib import Path

import duckdb
import numpy as np
import pytest
from starlette.testclient import TestClient

from lifecycle.contract.declare import derive
from lifecycle.contract.team import Team
from lifecycle.errors import LifecycleError
from lifecycle.jobs.promote import promote
from lifecycle.models.runtimes import PROBABILITY_TOLERANCE, VALUE_TOLERANCE
from lifecycle.registry import Identity
from lifecycle.scoring import score
from lifecycle.serving.app import create
from lifecycle.training.train import train
from support.clients import load, through
from support.tables import DATA, TABLES, TEXT, Table, data_of, estimator_of
from support.teams import settings_in

NEEDS_DATA = pytest.mark.skipif(not DATA, reason="LOOSELEAF_DATA does not name the folder of the real tables")


@pytest.mark.parametrize("name", ["wine", *(pytest.param(each, marks=NEEDS_DATA) for each in TABLES if each != "wine")])
def test_a_real_table_goes_from_file_to_a_served_prediction(name: str, tmp_path: Path) -> None:
    table = TABLES[name]
    contract = derive(table.row, table.target, 1)
    team = Team(name, contract, None, data_of(table), estimator_of(table.target))
    settings = settings_in(tmp_path, gate={"min_rows": 20})
    bundle = train(team, settings, tmp_path)
    assert bundle.kind == "onnx"
    loss = "root_mean_squared_error" if table.target.task == "regression" else "log_loss"
    metrics = {name: each[loss] for name, each in bundle.facts["metrics"].items()}
    assert metrics[bundle.facts["estimator"]] <= metrics["linear"] < metrics["trivial"]
    promote(settings, team.data, "local", None, None, Identity("ana", "login"), "", tmp_path)

    [path] = score(settings, team.data, "local", None, progress=False)
    connection = duckdb.connect()
    team.data.tables(connection, tmp_path)
    columns = ", ".join(f'raw."{column.name}"' for column in contract.columns)
    # Without a key the file keeps the order of the population.
    key = f'ORDER BY raw."{contract.key.name}"' if contract.key else ""
    rows = connection.execute(f"SELECT {columns} FROM raw {key} LIMIT 100").df()
    batch = connection.execute(f"FROM read_parquet('{path}', hive_partitioning = false) LIMIT 100").df()
    caller = load(contract, f"real-{name}", tmp_path / "client")
    with TestClient(create(settings.store, "local", settings.serve)) as service:
        client = caller.Client("http://service", transport=through(service))
        for row, expected in zip(rows.to_dict("records"), batch.to_dict("records"), strict=True):
            sent = caller.Row(**{name: None if value != value else value for name, value in row.items()})
            served = client.predict(sent)
            assert served.model_version == bundle.version
            if table.target.task == "regression":
                np.testing.assert_allclose(served.prediction, expected["prediction"], rtol=VALUE_TOLERANCE)
            else:
                assert served.prediction == expected["prediction"]
            if table.target.task == "binary":
                assert served.probability == pytest.approx(expected["probability"], abs=PROBABILITY_TOLERANCE)


@NEEDS_DATA
def test_the_blanks_of_a_real_table_are_named(tmp_path: Path) -> None:
    """Without the cast that data.py makes, TotalCharges is text: eleven customers have a blank there."""
    table = TABLES["telco"]
    raw = Table(table.file, table.row, table.target, "*", options=TEXT)
    team = Team("telco", derive(table.row, table.target, 1), None, data_of(raw), estimator_of(table.target))
    with pytest.raises(LifecycleError, match="TotalCharges is VARCHAR, the contract says number"):
        train(team, settings_in(tmp_path), tmp_path)
