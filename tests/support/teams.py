"""Small teams for the tests: a table where the caller sends every field, for each kind of target, and the sample."""

import json
import zipfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Annotated, Any, Literal

import duckdb
import numpy as np
import pandas as pd
from pydantic import Field
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lifecycle.contract.declare import Binary, Key, Multiclass, Regression, Request, Row, derive
from lifecycle.contract.schema import Target
from lifecycle.contract.team import Team, load_contract, load_data
from lifecycle.settings import Settings


class Order(Row):
    """Every kind of column a caller can send."""

    order_id: Annotated[str, Key(), Field(max_length=12)]
    amount: Annotated[float | None, Request(unit="EUR"), Field(ge=0, alias="order amount €")]
    items: Annotated[int, Request(), Field(ge=0, le=1000)]
    gift: Annotated[bool | None, Request()] = None
    color: Annotated[Literal["blue", "red"] | None, Request(), Field(alias="class")] = None
    city: Annotated[str, Request()]


TARGETS = {
    "binary": Binary("returned", positive="returns", negative="keeps"),
    "multiclass": Multiclass("carrier", ("air", "road", "sea")),
    "regression": Regression("days", unit="days"),
}


def orders(rows: int = 2000, seed: int = 0) -> pd.DataFrame:
    """A table with a non-linear truth behind each label."""
    random = np.random.default_rng(seed)
    amount = random.gamma(2, 50, rows)
    items = random.integers(0, 30, rows)
    city = random.choice(["Aix", "Bonn", "Köln", "Łódź"], rows)
    color = random.choice(np.array(["blue", "red", None], dtype=object), rows)
    gift = random.choice(np.array([True, False, None], dtype=object), rows)
    truth = np.sin(items / 3.0) * 2 + (color == "red") * (amount > 100) * 2 - (city == "Bonn")
    noisy = truth + random.normal(0, 0.5, rows)
    amount[random.random(rows) < 0.1] = np.nan
    return pd.DataFrame(
        {
            "order_id": [f"o-{at:06}" for at in range(rows)],
            "order amount €": amount,
            "items": items,
            "gift": gift,
            "class": color,
            "city": city,
            "returned": noisy > 0.5,
            "carrier": np.array(["air", "road", "sea"])[np.digitize(noisy, [-0.5, 1.0])],
            "days": noisy * 3 + 5,
        }
    )


def data_of(frame: pd.DataFrame, label: str) -> SimpleNamespace:
    """A `model.data` that serves one frame."""
    keys = 'order_id, "order amount €", items, gift, class, city'

    def tables(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
        connection.register("orders", frame)

    return SimpleNamespace(
        tables=tables,
        labels=lambda connection: f"SELECT {keys}, {label} FROM orders",
        population=lambda connection: f"SELECT {keys} FROM orders",
        latest=lambda connection: 1_767_225_600,
    )


def estimator_of(target: Target, iterations: int = 20) -> SimpleNamespace:
    """Return a `model.estimator` for a kind of target."""
    number = target.task == "regression"
    boosting = HistGradientBoostingRegressor if number else HistGradientBoostingClassifier
    trivial: Any = DummyRegressor() if number else DummyClassifier(strategy="prior")
    linear = make_pipeline(StandardScaler(), SimpleImputer(), Ridge() if number else LogisticRegression())
    return SimpleNamespace(
        candidate=lambda inputs, seed: boosting(random_state=seed, max_iter=iterations, learning_rate=6 / iterations),
        baselines=lambda inputs, seed: {"trivial": trivial, "linear": linear},
    )


def order_team(task: str = "binary", rows: int = 2000, **changes: Any) -> Team:
    """A team whose callers send every field; `changes` replace parts of it."""
    target = TARGETS[task]
    parts: dict[str, Any] = {
        "name": "orders",
        "contract": derive(Order, target, 1),
        "features_sql": None,
        "data": data_of(orders(rows), target.label),
        "estimator": estimator_of(target),
    }
    return Team(**parts | changes)


def sample_team(**changes: Any) -> Team:
    """The team of the rendered default, where it lies."""
    contract, features_sql = load_contract()
    estimator: ModuleType = __import__("model.estimator", fromlist=["estimator"])
    parts: dict[str, Any] = {
        "name": "churn",
        "contract": contract,
        "features_sql": features_sql,
        "data": load_data(),
        "estimator": estimator,
    }
    return Team(**parts | changes)


def settings_in(folder: Path, **sections: Any) -> Settings:
    """Settings whose storage and data stand in `folder`; no mirror of runs."""
    tracking = {"enabled": False}
    return Settings.model_validate(
        {"storage": folder / "storage", "data": folder / "data", "tracking": tracking} | sections
    )


class CityMeans:
    """A model that is no scikit-learn estimator: the label rate of each city, kept as JSON."""

    def __init__(self, means: dict[str, float] | None = None) -> None:
        self.means = means or {}

    def fit(self, frame: pd.DataFrame, label: Any) -> "CityMeans":
        assert list(frame.columns) == ["order_id", "order amount €", "items", "gift", "class", "city"]
        self.means = pd.Series(label, index=frame.index).groupby(frame.city).mean().to_dict()
        return self

    def save(self, directory: Path) -> None:
        (directory / "means.json").write_text(json.dumps(self.means))

    @classmethod
    def load(cls, directory: Path) -> "CityMeans":
        return cls(json.loads((directory / "means.json").read_text()))

    def predict(self, frame: pd.DataFrame) -> Any:
        return frame.city.map(self.means).fillna(0.5).to_numpy()


class Pickled(CityMeans):
    """Writes what it must not."""

    def save(self, directory: Path) -> None:
        (directory / "model.bin").write_bytes(b"\x80\x04N.")


class Zipped(CityMeans):
    """Writes what torch.save writes: a zip with a pickle in it."""

    def save(self, directory: Path) -> None:
        with zipfile.ZipFile(directory / "model.pt", "w") as file:
            file.writestr("archive/data.pkl", b"")
