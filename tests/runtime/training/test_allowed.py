"""Training refuses an estimator that fails on rows that the contract allows, and names the column and the fix."""

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from lifecycle.contract.rows import Encoder, RowError, learn_levels
from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.errors import LifecycleError
from lifecycle.models.runtimes import FrameModel, SkopsModel
from lifecycle.training.fit import verify_allowed_rows
from lifecycle.training.train import train
from support.teams import TARGETS, CityMeans, data_of, estimator_of, order_team, orders, settings_in

AMOUNT = "order amount €"
FIX = "add an imputer, use an estimator that takes NaN, or forbid the null in src/model/contract.py"


def with_candidate(candidate: Any) -> SimpleNamespace:
    """Return an estimator module whose linear baseline does not beat the candidate."""
    usual = estimator_of(TARGETS["binary"])
    trivial = usual.baselines(None, 0)["trivial"]
    return SimpleNamespace(
        candidate=lambda inputs, seed: candidate, baselines=lambda inputs, seed: {"trivial": trivial, "linear": trivial}
    )


def complete(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the orders that contain no null, although the contract allows it."""
    return frame.dropna()


def trained(candidate: Any, folder: Path, frame: pd.DataFrame) -> str:
    """Return the error of a training, and check that no version was written."""
    settings = settings_in(folder)
    team = order_team(estimator=with_candidate(candidate), data=data_of(frame, "returned"))
    with pytest.raises(LifecycleError) as caught:
        train(team, settings, folder)
    assert settings.store.versions() == []
    return str(caught.value)


def test_an_estimator_that_raises_on_an_allowed_null_fails_training(tmp_path: Path) -> None:
    message = trained(make_pipeline(StandardScaler(), LogisticRegression()), tmp_path, complete(orders(6000)))
    assert f"column {AMOUNT} may be null in the contract, and the estimator raises (ValueError: " in message
    assert f") on null: {FIX}" in message
    for name in ("gift", "class"):
        assert f"column {name} may be null" in message
    assert "column items" not in message
    assert "column city" not in message


def test_nulls_in_the_training_rows_are_named_when_the_fit_fails(tmp_path: Path) -> None:
    message = trained(LogisticRegression(), tmp_path, orders())
    assert f"Null occurs in {AMOUNT}, gift, class: {FIX}." in message


class Bounded(CityMeans):
    """A model that fails for one kind of row."""

    fails: Callable[[pd.DataFrame], Any]

    def predict(self, frame: pd.DataFrame) -> Any:
        wrong = self.fails(frame)
        if wrong is None:
            raise RuntimeError("several rows are expected\nsecond line")
        return np.where(wrong, np.nan, super().predict(frame))


@pytest.mark.parametrize(
    ("fails", "message"),
    [
        (lambda f: f["items"] == 0, "column items may be 0 in the contract, and the estimator has an invalid output"),
        (lambda f: f["items"] == 1000, "column items may be 1000 in the contract"),
        (lambda f: ~f["city"].isin(orders().city), "column city may be an unseen level in the contract"),
        (lambda f: f["class"] == "red", "column class may be 'red' in the contract"),
        (lambda f: f["gift"].astype(object) == True, "column gift may be True in the contract"),  # noqa: E712
        (lambda f: f["gift"].isna(), "column gift may be null in the contract"),
        (lambda f: None if len(f) == 1 else f["items"] < 0, "several rows are expected) on a single row"),
    ],
    ids=["low", "high", "unseen", "level", "boolean", "null", "one row"],
)
def test_each_kind_of_allowed_row_is_tried(fails: Any, message: str) -> None:
    team, model = order_team(), Bounded({"Bonn": 0.4})
    frame = complete(orders()).query("items > 0 and gift == False and `class` == 'blue'")
    model.fails = lambda rows: np.zeros(len(rows), dtype=bool)
    verify_allowed_rows(FrameModel(model, team.contract), team.contract, frame)
    model.fails = fails
    with pytest.raises(LifecycleError) as caught:
        verify_allowed_rows(FrameModel(model, team.contract), team.contract, frame)
    assert message in str(caught.value)


def test_a_model_may_refuse_a_row_and_another_fault_is_still_found() -> None:
    class Choosy(Bounded):
        def predict(self, frame: pd.DataFrame) -> Any:
            if (frame["items"] == 0).any():
                raise RowError([{"type": "refused", "loc": ["body", 0], "msg": "no items"}])
            return super().predict(frame)

    team, model = order_team(), Choosy({"Bonn": 0.4})
    frame = complete(orders()).query("items > 0 and gift == False and `class` == 'blue'")
    model.fails = lambda rows: np.zeros(len(rows), dtype=bool)
    verify_allowed_rows(FrameModel(model, team.contract), team.contract, frame)
    model.fails = lambda rows: rows["class"] == "red"
    with pytest.raises(LifecycleError, match="column class may be 'red'"):
        verify_allowed_rows(FrameModel(model, team.contract), team.contract, frame)


def test_an_encoder_that_refuses_unseen_levels_fails_training(tmp_path: Path) -> None:
    contract = Contract(1, Target("binary", "y", ("no", "yes")), (Column("city", "request", "category"),))
    frame = pd.DataFrame({"city": ["Aix", "Bonn"] * 50})
    encoder = Encoder(contract, learn_levels(contract, frame))
    label = np.tile([0, 1], 50)
    for options, wanted in (({}, True), ({"handle_unknown": "ignore"}, False)):
        estimator = make_pipeline(OneHotEncoder(**options), LogisticRegression())
        model = SkopsModel(estimator.fit(encoder.frame(frame).astype(float), label), encoder, contract.target)
        if wanted:
            with pytest.raises(LifecycleError, match=r"column city may be an unseen level .* takes any code"):
                verify_allowed_rows(model, contract, frame)
        else:
            verify_allowed_rows(model, contract, frame)


def wide(columns: int) -> tuple[Contract, pd.DataFrame]:
    """Return a contract of nullable numbers with limits, and rows of it."""
    made = tuple(Column(f"x{at}", "request", "number", nullable=True, low=-9, high=9) for at in range(columns))
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(500, columns)), columns=[each.name for each in made])
    return Contract(1, Target("binary", "y", ("no", "yes")), made), frame


def test_at_most_five_columns_are_named() -> None:
    contract, frame = wide(20)
    encoder = Encoder(contract, {})
    estimator = LogisticRegression().fit(frame.to_numpy(), frame["x0"] > 0)
    with pytest.raises(LifecycleError) as caught:
        verify_allowed_rows(SkopsModel(estimator, encoder, contract.target), contract, frame)
    assert caught.value.problem.count("may be null") == 5


@pytest.mark.parametrize("estimator", ["linear", "boosting"])
def test_twenty_columns_take_less_than_a_fifth_of_a_second(estimator: str) -> None:
    contract, frame = wide(20)
    made: Any = HistGradientBoostingClassifier()
    if estimator == "linear":
        made = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())
    model = SkopsModel(made.fit(frame.to_numpy(), frame["x0"] > 0), Encoder(contract, {}), contract.target)
    taken = []
    for _ in range(3):
        started = time.process_time()
        verify_allowed_rows(model, contract, frame)
        taken.append(time.process_time() - started)
    print(f"{estimator}: {min(taken) * 1000:.1f} ms")
    assert min(taken) < 0.2


def test_a_model_that_takes_every_allowed_row_is_kept(tmp_path: Path) -> None:
    team = order_team(data=data_of(complete(orders(6000)), "returned"))
    assert train(team, settings_in(tmp_path), tmp_path).facts["estimator"] == "candidate"
