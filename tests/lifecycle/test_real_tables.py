"""From a real CSV to a served answer that the batch confirms: two classes, more classes, and a number.

One table ships inside scikit-learn and is always there; the others stand under LOOSELEAF_DATA, and where that is set
their absence fails.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import duckdb
import numpy as np
import pytest
import sklearn.datasets
from pydantic import Field
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from starlette.testclient import TestClient

from lifecycle.contract import Answer
from lifecycle.declare import Classes, Key, Number, Request, Row, TwoClasses, derive
from lifecycle.errors import LifecycleError
from lifecycle.matrix import Inputs
from lifecycle.pipelines.promote import promote
from lifecycle.pipelines.score import score
from lifecycle.pipelines.train import train
from lifecycle.provenance import Identity
from lifecycle.serving.app import create
from lifecycle.team import Team
from teams import settings_in

DATA = os.environ.get("LOOSELEAF_DATA")
WINE = Path(sklearn.datasets.__file__).parent / "data" / "wine_data.csv"


@dataclass(frozen=True)
class Table:
    """A file, what a row of it is, and what it is asked."""

    file: str
    row: type[Row]
    answer: Answer
    select: str
    ts: str = ""
    options: str = ""


class Customer(Row):
    """IBM's telephone company."""

    customer: Annotated[str, Key(), Field(alias="customerID", max_length=16)]
    senior: Annotated[int, Request(), Field(alias="SeniorCitizen", ge=0, le=1)]
    tenure: Annotated[int, Request(unit="months"), Field(ge=0)]
    internet: Annotated[Literal["DSL", "Fiber optic", "No"], Request(), Field(alias="InternetService")]
    contract: Annotated[Literal["Month-to-month", "One year", "Two year"], Request(), Field(alias="Contract")]
    payment: Annotated[str, Request(), Field(alias="PaymentMethod")]
    monthly: Annotated[float, Request(unit="USD"), Field(alias="MonthlyCharges", ge=0)]
    total: Annotated[float | None, Request(unit="USD"), Field(alias="TotalCharges", ge=0)]


class Hour(Row):
    """An hour of bike rentals."""

    instant: Annotated[int, Key()]
    season: Annotated[int, Request(), Field(ge=1, le=4)]
    hour: Annotated[int, Request(), Field(alias="hr", ge=0, le=23)]
    working: Annotated[int, Request(), Field(alias="workingday", ge=0, le=1)]
    weather: Annotated[int, Request(), Field(alias="weathersit", ge=1, le=4)]
    temperature: Annotated[float, Request(), Field(alias="temp", ge=0, le=1)]
    humidity: Annotated[float, Request(), Field(alias="hum", ge=0, le=1)]


class Block(Row):
    """A census block of California."""

    longitude: Annotated[float, Request(), Field(ge=-180, le=180)]
    latitude: Annotated[float, Request(), Field(ge=-90, le=90)]
    age: Annotated[float, Request(), Field(alias="housing_median_age", ge=0)]
    bedrooms: Annotated[float | None, Request(), Field(alias="total_bedrooms", ge=0)]
    income: Annotated[float, Request(), Field(alias="median_income", ge=0)]
    ocean: Annotated[str, Request(), Field(alias="ocean_proximity")]


class Wine(Row):
    """Two measures of a wine from one of three growers."""

    alcohol: Annotated[float, Request(unit="percent"), Field(alias="column00", ge=0, le=100)]
    colour: Annotated[float, Request(), Field(alias="column09", ge=0)]
    proline: Annotated[float, Request(unit="mg/l"), Field(alias="column12", ge=0)]


# Eleven customers have a blank in this column of numbers. DuckDB 2.0 moves a TRY_CAST of a whole column into its CSV
# reader, where it fails like a CAST: nullif(trim(…)) stays outside.
TEXT = ", types = {'TotalCharges': 'VARCHAR'}"
TABLES = {
    "telco": Table(
        "telco-churn.csv",
        Customer,
        TwoClasses("Churn", positive="Yes", negative="No"),
        "* REPLACE (CAST(nullif(trim(TotalCharges), '') AS DOUBLE) AS TotalCharges, "
        "CASE WHEN Churn THEN 'Yes' ELSE 'No' END AS Churn)",
        options=TEXT,
    ),
    "bikes": Table(
        "bike-sharing-hour.csv", Hour, Number("cnt"), "*", ts="CAST(epoch(CAST(dteday AS TIMESTAMP)) AS BIGINT) AS ts"
    ),
    "housing": Table("california-housing.csv", Block, Number("median_house_value", unit="USD"), "*"),
    "wine": Table(
        str(WINE),
        Wine,
        Classes("grower", ("0", "1", "2")),
        "*, CAST(column13 AS VARCHAR) AS grower",
        options=", header = false, skip = 1",
    ),
}


def data_of(table: Table) -> SimpleNamespace:
    """A `model.data` that reads the CSV as a team would."""
    path = Path(DATA or "", table.file)

    def tables(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
        connection.execute(f"CREATE VIEW raw AS SELECT {table.select} FROM read_csv('{path}'{table.options})")

    names = ", ".join(f'"{c.name}"' for c in derive(table.row, table.answer, 1).columns)
    labels = f"SELECT {names}, {table.answer.label}{f', {table.ts}' if table.ts else ''} FROM raw"
    return SimpleNamespace(
        tables=tables, labels=lambda connection: labels, population=lambda connection: f"SELECT {names} FROM raw"
    )


def estimator_of(answer: Answer) -> SimpleNamespace:
    """The default estimator and its baselines, for a kind of answer."""
    number = answer.task == "number"

    def baselines(inputs: Inputs, seed: int) -> dict[str, Any]:
        columns = ColumnTransformer(
            [
                ("numbers", make_pipeline(SimpleImputer(strategy="median"), StandardScaler()), list(inputs.numbers)),
                ("categories", OneHotEncoder(handle_unknown="ignore"), list(inputs.categories)),
            ]
        )
        return {
            "trivial": DummyRegressor() if number else DummyClassifier(strategy="prior"),
            "linear": make_pipeline(columns, Ridge() if number else LogisticRegression(max_iter=1000)),
        }

    boosting = HistGradientBoostingRegressor if number else HistGradientBoostingClassifier
    return SimpleNamespace(candidate=lambda inputs, seed: boosting(random_state=seed), baselines=baselines)


NEEDS_DATA = pytest.mark.skipif(not DATA, reason="LOOSELEAF_DATA does not name the folder of the real tables")


@pytest.mark.parametrize("name", ["wine", *(pytest.param(each, marks=NEEDS_DATA) for each in TABLES if each != "wine")])
def test_a_real_table_goes_from_file_to_served_answer(name: str, tmp_path: Path) -> None:
    table = TABLES[name]
    contract = derive(table.row, table.answer, 1)
    team = Team(name, contract, None, data_of(table), estimator_of(table.answer))
    settings = settings_in(tmp_path, gate={"min_rows": 20})
    bundle = train(team, settings, tmp_path)
    loss = "root_mean_squared_error" if table.answer.task == "number" else "log_loss"
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
    with TestClient(create(settings.store, "local", settings.serve)) as client:
        for row, expected in zip(rows.to_dict("records"), batch.to_dict("records"), strict=True):
            sent = {name: None if value != value else value for name, value in row.items()}
            answer = client.post("/predict", json=sent).json()
            if table.answer.task == "number":
                np.testing.assert_allclose(answer["prediction"], expected["prediction"], rtol=1e-9)
            else:
                assert answer["prediction"] == expected["prediction"]
            if table.answer.task == "two classes":
                np.testing.assert_allclose(answer["probability"], expected["probability"], rtol=1e-9)


@NEEDS_DATA
def test_the_blanks_of_a_real_table_are_named(tmp_path: Path) -> None:
    """Without the cast that data.py makes, TotalCharges is text: eleven customers have a blank there."""
    table = TABLES["telco"]
    raw = Table(table.file, table.row, table.answer, "*", options=TEXT)
    team = Team("telco", derive(table.row, table.answer, 1), None, data_of(raw), estimator_of(table.answer))
    with pytest.raises(LifecycleError, match="TotalCharges is VARCHAR, the contract says number"):
        train(team, settings_in(tmp_path), tmp_path)
