"""Broken data are named by column, by how they are broken, and only where a window has enough rows to say so."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.models.reference import build_profile
from lifecycle.monitoring.drift import SCORE, ColumnDrift
from lifecycle.settings import Settings
from support.drift import measure_drift

RULES = Settings().monitor
COLUMNS = (
    Column("amount", "request", "number", nullable=True, expected=(0.0, 400.0)),
    Column("items", "request", "integer"),
    Column("city", "request", "category", nullable=True, expected=("Aix", "Bonn")),
)
CONTRACT = Contract(1, Target("binary", "returned", ("keeps", "returns")), COLUMNS)
CITIES = ["Aix", "Bonn", "Cork"]


def rows(seed: int, size: int = RULES.min_rows, **changes: Any) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    made = {
        "amount": random.gamma(2, 50, size).clip(max=399.0),
        "items": random.poisson(3, size),
        "city": random.choice(CITIES, size, p=[0.5, 0.4, 0.1]),
        "probability": random.beta(1, 3, size),
    }
    return pd.DataFrame(made | changes)


TRAINING, HELD = rows(0, 5000), rows(1, 1200)
PROFILE = build_profile(CONTRACT, TRAINING, HELD, HELD["probability"].to_numpy())


def measure(now: pd.DataFrame) -> dict[str, ColumnDrift]:
    return measure_drift(CONTRACT, PROFILE, {"city": CITIES}, now, RULES)


def replaced(name: str, share: float, value: Any, size: int = RULES.min_rows) -> pd.DataFrame:
    """Return a window in which the first rows have a value in one column."""
    found = rows(2, size)
    found[name] = found[name].astype(object if isinstance(value, str) else found[name].dtype)
    found.loc[: round(share * size) - 1, name] = value
    return found


def test_a_window_like_the_training_rows_is_not_broken() -> None:
    found = measure(rows(2))
    assert {name: each.broken for name, each in found.items()} == dict.fromkeys(("amount", "items", "city", SCORE))
    assert (found["amount"].nulls, found["amount"].outside, found["city"].unseen) == (0.0, 0.0, 0.0)
    assert found["city"].outside == pytest.approx((rows(2)["city"] == "Cork").mean())


@pytest.mark.parametrize(
    ("name", "share", "value", "broken"),
    [
        ("amount", 0.2, np.nan, "20.0% of the rows are null, 0.0% of the training rows were"),
        ("city", 0.1, "Dresden", "10.0% of the rows have a level that training did not contain"),
        ("amount", 1.0, 7.0, "every row has the same value"),
        ("amount", 1.0, "seven", "does not have the type of the contract"),
        ("items", 1.0, "seven", "does not have the type of the contract"),
    ],
)
def test_broken_data_say_how_they_are_broken_and_do_not_drift(name: str, share: float, value: Any, broken: str) -> None:
    found = measure(replaced(name, share, value))
    assert {column: each.broken for column, each in found.items() if each.broken} == {name: broken}
    assert not found[name].drifted


@pytest.mark.parametrize(("name", "share", "value"), [("amount", 0.2, np.nan), ("city", 0.1, "Dresden")])
def test_a_small_window_shows_shares_and_is_not_broken(name: str, share: float, value: Any) -> None:
    found = measure(replaced(name, share, value, RULES.min_rows - 10))[name]
    assert found.broken is None
    assert found.nulls + found.unseen == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize(("name", "share", "value"), [("amount", 0.09, np.nan), ("city", 0.04, "Dresden")])
def test_a_change_below_the_limit_is_not_broken(name: str, share: float, value: Any) -> None:
    assert measure(replaced(name, share, value))[name].broken is None


def test_values_outside_of_the_expected_ones_are_a_share_and_not_broken() -> None:
    found = measure(replaced("amount", 0.04, 900.0))["amount"]
    assert (found.outside, found.broken) == (pytest.approx(0.04), None)


def test_an_integer_column_may_have_one_value() -> None:
    assert measure(replaced("items", 1.0, 3))["items"].broken is None
