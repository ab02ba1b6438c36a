"""Training on uneven tables: empty columns, classes that appear late, keys with few values."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline

from lifecycle.contract.declare import Multiclass, derive
from lifecycle.contract.team import Team
from lifecycle.errors import LifecycleError
from lifecycle.models.bundle import Bundle
from lifecycle.models.predictor import Predictor
from lifecycle.training.dataset import split
from lifecycle.training.train import train
from support.teams import Order, data_of, estimator_of, order_team, orders, settings_in

DAY = 86_400
AMOUNT = "order amount €"


def over_time(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with a time each, an hour apart."""
    return frame.assign(ts=1_767_225_600 - 3600 * np.arange(len(frame))[::-1])


def dated(frame: pd.DataFrame, label: str) -> SimpleNamespace:
    """Return a `model.data` whose labels have a time."""
    data = data_of(frame, label)
    select = data.labels(None).replace("SELECT ", "SELECT ts, ")
    return SimpleNamespace(**vars(data) | {"labels": lambda connection: select})


def late_columns() -> pd.DataFrame:
    """Return rows with a number and a category that are filled in the last tenth only."""
    frame = over_time(orders(2000))
    frame.loc[:1799, [AMOUNT, "class"]] = None
    return frame


@pytest.fixture(scope="module")
def without(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("uneven")
    return train(order_team(data=dated(late_columns(), "returned")), settings_in(folder), folder)


def test_training_does_not_use_a_column_that_is_null_in_all_rows_to_fit_and_says_so(without: Bundle) -> None:
    assert without.facts["empty"] == [AMOUNT, "class"]
    assert without.kind == "onnx"
    names = f"{AMOUNT}, class"
    line = f"- not used, because null in all rows that the evaluated fit was fitted to: {names}\n"
    # `make train` prints the section of the card.
    assert line in without.read("card.md").decode().partition("## Rows")[2]


def test_a_value_of_an_unused_column_changes_no_prediction(without: Bundle) -> None:
    row = {"order_id": "o-1", AMOUNT: None, "items": 12, "gift": None, "class": None, "city": "Bonn"}
    predictor = Predictor(without)
    assert predictor.predict([row], 0.5) == predictor.predict([row | {AMOUNT: 4000.0, "class": "red"}], 0.5)
    assert predictor.predict([row], 0.5) != predictor.predict([row | {"items": 3}], 0.5)


def test_a_skops_bundle_leaves_the_same_columns_out(tmp_path: Path) -> None:
    own = estimator_of(order_team().contract.target)
    made = SimpleNamespace(
        # Categorical splits have no conversion to ONNX.
        candidate=lambda inputs, seed: HistGradientBoostingClassifier(categorical_features=[*inputs.categories]),
        baselines=own.baselines,
    )
    team = order_team(data=dated(late_columns(), "returned"), estimator=made)
    bundle = train(team, settings_in(tmp_path), tmp_path)
    assert (bundle.kind, bundle.facts["empty"]) == ("skops", [AMOUNT, "class"])
    row = {"order_id": "o-1", AMOUNT: 4000.0, "items": 12, "gift": None, "class": "red", "city": "Bonn"}
    assert Predictor(bundle).predict([row], 0.5)


def test_positions_of_columns_are_those_of_the_columns_that_are_used(tmp_path: Path) -> None:
    seen = []
    own = estimator_of(order_team().contract.target)

    def candidate(inputs: object, seed: int) -> Pipeline:
        seen.append(inputs)
        return own.candidate(inputs, seed)

    made = SimpleNamespace(candidate=candidate, baselines=own.baselines)
    train(order_team(data=dated(late_columns(), "returned"), estimator=made), settings_in(tmp_path), tmp_path)
    assert {(each.names, each.numbers, each.categories) for each in seen[1:]} == {
        (("items", "gift", "city"), (0, 1), (2,))
    }


def rail_in_the_last_days() -> pd.DataFrame:
    """Return rows in which one of the classes appears in the last 100 hours only."""
    frame = over_time(orders(2000))
    frame.loc[1900::4, "carrier"] = "rail"
    return frame


def carriers(*names: str) -> Team:
    """Return a team that predicts the carrier."""
    target = Multiclass("carrier", names)
    data = dated(rail_in_the_last_days(), "carrier")
    return order_team("multiclass", contract=derive(Order, target, 1), data=data, estimator=estimator_of(target))


def test_a_class_that_appears_after_the_cut_is_named_with_its_first_time(tmp_path: Path) -> None:
    with pytest.raises(LifecycleError) as caught:
        train(carriers("air", "rail", "road", "sea"), settings_in(tmp_path), tmp_path)
    assert "no training row is labelled rail: this class first appears at 2025-12-27T21:00:00Z" in caught.value.problem
    assert "remove 'rail' from TARGET in src/model/contract.py, and exclude its rows in labels()" in caught.value.hint


def test_what_the_message_about_a_late_class_advises_works(tmp_path: Path) -> None:
    team = carriers("air", "road", "sea")
    with pytest.raises(LifecycleError, match="Exclude other rows in labels"):
        train(team, settings_in(tmp_path), tmp_path)
    select = team.data.labels(None) + " WHERE carrier <> 'rail'"
    data = SimpleNamespace(**vars(team.data) | {"labels": lambda connection: select})
    assert train(replace(team, data=data), settings_in(tmp_path), tmp_path).facts["rows"]["holdout"] > 200


def test_a_key_with_two_values_is_named_with_what_to_do() -> None:
    frame = orders(1000).assign(order_id=["berlin"] * 960 + ["paris"] * 40)
    with pytest.raises(LifecycleError) as caught:
        split(frame, order_team().contract, 0.2)
    assert caught.value.problem.startswith("order_id has 2 values: 1000 rows cannot be divided")
    assert "declare it as Request()" in caught.value.hint


def test_advice_about_a_key_with_two_values_works() -> None:
    contract = order_team().contract
    columns = tuple(replace(each, source="request") if each.source == "key" else each for each in contract.columns)
    frame = orders(1000).assign(order_id=["berlin"] * 960 + ["paris"] * 40)
    assert split(frame, replace(contract, columns=columns), 0.2).holdout.any()
