"""Drift is measured for every kind of column and prediction, and unchanged data do not drift."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.models.reference import Profile, build_profile
from lifecycle.monitoring.drift import SCORE, ColumnDrift, psi_limit
from lifecycle.monitoring.quality import measure_quality
from lifecycle.monitoring.verdict import Findings, Window, decide
from lifecycle.registry.labels import LABEL
from lifecycle.settings import Settings
from support.drift import measure_drift

RULES = Settings().monitor
COLUMNS = (
    Column("amount", "request", "number", nullable=True),
    Column("items", "request", "integer"),
    Column("gift", "request", "boolean", nullable=True),
    Column("city", "request", "category"),
    Column("always", "request", "number"),
    Column("email", "request", "category", loggable=False),
)
TWO = Contract(1, Target("binary", "returned", ("keeps", "returns")), COLUMNS)


def rows(seed: int, size: int = 1000, **changes: Any) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    # Five hundred cities, most of them rare, so that a window contains many that training did not.
    weights = 1 / np.arange(1, 501)
    amount = random.gamma(2, 50, size)
    amount[random.random(size) < 0.1] = np.nan
    return pd.DataFrame(
        {
            "amount": amount,
            "items": random.poisson(0.3, size),
            "gift": random.choice(np.array([True, False, None], dtype=object), size),
            "city": [f"city {at}" for at in random.choice(500, size, p=weights / weights.sum())],
            "always": 7.0,
            "email": [f"a{at}@example.org" for at in range(size)],
            "probability": random.beta(1, 3, size),
        }
        | changes
    )


TRAINING, HELD = rows(0, 5000), rows(1, 1200)
PROFILE = build_profile(TWO, TRAINING, HELD, HELD["probability"].to_numpy())
LEVELS = {"city": sorted(TRAINING["city"].unique())}


def measure(now: pd.DataFrame) -> dict[str, ColumnDrift]:
    return measure_drift(TWO, PROFILE, LEVELS, now, RULES)


def test_times_are_compared_in_days_and_shown_as_dates() -> None:
    contract = Contract(1, TWO.target, (Column("at", "request", "time", nullable=True, expected=("2020-01-01", None)),))
    days = np.arange(1000) * np.timedelta64(1, "D")
    frame = pd.DataFrame({"at": np.datetime64("2020-01-01", "us") + days, "probability": 0.5})
    profile = TypeAdapter(Profile).validate_json(build_profile(contract, frame, frame, days.astype(float)).to_json())
    assert profile.columns["at"].bins[:2] == ("≤ 2020-04-09", "≤ 2020-07-18")
    same = measure_drift(contract, profile, {}, frame, RULES)["at"]
    earlier = frame.assign(at=frame["at"].where(frame.index >= 100) - 50 * np.timedelta64(1, "D"))
    found = measure_drift(contract, profile, {}, earlier, RULES)["at"]
    assert (same.drifted, same.outside, found.drifted, found.outside, found.nulls) == (False, 0.0, True, 0.0, 0.1)
    text = measure_drift(contract, profile, {}, frame.assign(at="soon"), RULES)["at"]
    assert text.broken == "does not have the type of the contract"
    hours = frame.assign(at=np.datetime64("2020-01-01T06:30", "us"))
    assert build_profile(contract, hours, hours, np.zeros(1000)).columns["at"].bins[-1] == "> 2020-01-01T06:30"


def test_a_profile_holds_no_column_that_may_not_be_logged() -> None:
    text = PROFILE.to_json()
    assert "@" not in text
    assert "email" not in text
    assert len(text) < 6000
    assert len(PROFILE.columns["city"].levels) == 20


@pytest.mark.parametrize("size", [60, 200, 1000, 5000])
def test_unchanged_data_do_not_drift_at_any_size(size: int) -> None:
    rules = RULES.model_copy(update={"min_rows": 50})
    drifted = 0
    for seed in range(100, 150):
        found = measure_drift(TWO, PROFILE, LEVELS, rows(seed, size), rules)
        assert [each.broken for each in found.values()] == [None] * len(found)
        drifted += any(each.drifted for each in found.values())
    print(f"{drifted} of 50 windows of {size} rows drift")
    assert drifted <= 1


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("amount", lambda now: now["amount"] * 1.6),
        ("items", lambda now: now["items"] + (np.arange(len(now)) % 3 == 0)),
        ("gift", lambda now: now["gift"].where(np.arange(len(now)) % 3 > 0, True)),
        ("city", lambda now: now["city"].where(np.arange(len(now)) % 4 > 0, "city 3")),
        ("always", lambda now: now["always"].where(np.arange(len(now)) % 4 > 0, 8.0)),
        (SCORE, lambda now: now["probability"] ** 2),
    ],
)
def test_each_kind_of_column_can_drift(column: str, change: Any) -> None:
    name = "probability" if column == SCORE else column
    now = rows(2)
    found = measure(now.assign(**{name: change(now)}))
    assert [each for each, what in found.items() if what.drifted] == [column]


def test_fewer_nulls_are_drift_and_not_broken_data() -> None:
    now = rows(2)
    found = measure(now.assign(gift=now["gift"].where(now["gift"].notna(), True)))["gift"]
    assert found.broken is None
    assert found.drifted


def test_too_few_rows_never_drift() -> None:
    found = measure(rows(2, 200, amount=1000.0))
    assert not any(each.drifted or each.broken for each in found.values())


def test_predictions_that_drift_without_inputs_are_watched() -> None:
    now = rows(2)
    found = measure(now.assign(probability=now["probability"] ** 2))
    verdict, [reason] = decide(Findings(0, [Window(0, 1, 1000, found)] * 3), Settings())
    assert (verdict, reason.columns) == ("watch", (SCORE,))


def test_the_psi_limit_exceeds_sampling_noise_and_the_setting() -> None:
    assert psi_limit(10, 5000, 100_000, 9, 0.1) == 0.1
    # 27.9 is the quantile 1 - 0.01/9 of chi-square with 9 degrees of freedom.
    assert psi_limit(10, 1000, 100, 9, 0.1) == pytest.approx(27.9 * (1 / 1000 + 1 / 100), rel=0.02)


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_quality_of_every_task(task: str) -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 1000)
    if task == "multiclass":
        target = Target("multiclass", "carrier", ("air", "road", "sea"))
        right = np.where(random.random(1000) < 0.8, truth, random.integers(0, 3, 1000))
        given = pd.DataFrame(np.eye(3)[right] * 0.7 + 0.1, columns=[f"probabilities_{each}" for each in target.classes])
        labelled = given.assign(**{LABEL: np.array(target.classes)[truth]}, city="Bonn")
        name, expected, value = "accuracy", 0.9, 0.87
    else:
        target = Target("regression", "days")
        labelled = pd.DataFrame({"prediction": truth + random.normal(0, 0.3, 1000), LABEL: truth.astype(str)})
        labelled["city"] = "Bonn"
        name, expected, value = "r2", 0.9, 0.87
    contract = replace(TWO, target=target)
    facts = {"estimator": "candidate", "metrics": {"candidate": {name: expected}}}
    settings = Settings.model_validate({"gate": {"resamples": 100}})
    found = measure_quality(contract, facts, settings, labelled, 1000, 1000, 1000)
    if task == "multiclass":
        assert found.calibration is not None
        # The predicted class has 0.8, and is right in 87 % of the rows.
        assert found.calibration["error"] == pytest.approx(0.07, abs=0.02)
        assert found.brier == pytest.approx(0.87 * 0.06 + 0.13 * 1.26, abs=0.03)
    else:
        assert (found.calibration, found.brier) == (None, None)
    assert found.at_threshold is None
    assert found.overall is not None
    assert found.overall.value == pytest.approx(value, abs=0.03)
    assert found.overall.lower < found.overall.value < found.overall.upper
    assert list(found.slices) == ["city=Bonn"]
    assert not found.decayed
    wrong = labelled.assign(**{LABEL: random.permutation(labelled[LABEL].to_numpy())})
    assert measure_quality(contract, facts, settings, wrong, 1000, 1000, 1000).decayed
