"""Real tables, and the team's code for each."""

import os
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import duckdb
import sklearn.datasets
from pydantic import Field
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from lifecycle.contract.declare import Binary, Key, Multiclass, Regression, Request, Row, derive
from lifecycle.contract.rows import Inputs
from lifecycle.contract.schema import Target

DATA = os.environ.get("LOOSELEAF_DATA")
WINE = Path(sklearn.datasets.__file__).parent / "data" / "wine_data.csv"


@dataclass(frozen=True)
class Table:
    """A file, the meaning of its rows, and its label."""

    file: str
    row: type[Row]
    target: Target
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
        Binary("Churn", positive="Yes", negative="No"),
        "* REPLACE (CAST(nullif(trim(TotalCharges), '') AS DOUBLE) AS TotalCharges, "
        "CASE WHEN Churn THEN 'Yes' ELSE 'No' END AS Churn)",
        options=TEXT,
    ),
    "bikes": Table(
        "bike-sharing-hour.csv",
        Hour,
        Regression("cnt"),
        "*",
        ts="CAST(epoch(CAST(dteday AS TIMESTAMP)) AS BIGINT) AS ts",
    ),
    "housing": Table("california-housing.csv", Block, Regression("median_house_value", unit="USD"), "*"),
    "wine": Table(
        str(WINE),
        Wine,
        Multiclass("grower", ("0", "1", "2")),
        "*, CAST(column13 AS VARCHAR) AS grower",
        options=", header = false, skip = 1",
    ),
}


def data_of(table: Table) -> SimpleNamespace:
    """A `model.data` that reads the CSV as a team would."""
    path = Path(DATA or "", table.file)

    def tables(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
        connection.execute(f"CREATE VIEW raw AS SELECT {table.select} FROM read_csv('{path}'{table.options})")

    names = ", ".join(f'"{c.name}"' for c in derive(table.row, table.target, 1).columns)
    labels = f"SELECT {names}, {table.target.label}{f', {table.ts}' if table.ts else ''} FROM raw"
    return SimpleNamespace(
        tables=tables, labels=lambda connection: labels, population=lambda connection: f"SELECT {names} FROM raw"
    )


def estimator_of(target: Target) -> SimpleNamespace:
    """The default estimator and its baselines, for a kind of target."""
    number = target.task == "regression"

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
