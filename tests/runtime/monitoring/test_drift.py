"""Profiles and drift of every kind of column and answer: what is the same is quiet, what is not is told."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.models import reference
from lifecycle.monitoring import drift, quality
from lifecycle.monitoring.drift import SCORE, Found
from lifecycle.monitoring.verdict import Findings, Window, decide
from lifecycle.monitoring.labels import LABEL
from lifecycle.settings import Settings

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
    # Five hundred cities, most of them small: in a window, many are new by name.
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
SHAPE = reference.measure(TWO, TRAINING, HELD, HELD["probability"].to_numpy())
LEVELS = {"city": sorted(TRAINING["city"].unique())}


def looked(now: pd.DataFrame) -> dict[str, Found]:
    return drift.measure(TWO, SHAPE, LEVELS, now, RULES)


def test_a_profile_survives_its_file_and_names_nobody() -> None:
    text = SHAPE.to_json()
    assert "@" not in text
    assert "email" not in text
    assert len(text) < 6000
    assert len(SHAPE.columns["city"].levels) == 20


@pytest.mark.parametrize("size", [60, 200, 1000, 5000])
def test_the_same_process_is_quiet_at_every_size(size: int) -> None:
    rules = RULES.model_copy(update={"min_rows": 50})
    drifted = 0
    for seed in range(100, 150):
        found = drift.measure(TWO, SHAPE, LEVELS, rows(seed, size), rules)
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
    found = looked(now.assign(**{name: change(now)}))
    assert [each for each, what in found.items() if what.drifted] == [column]


def test_nulls_that_become_fewer_break_nothing() -> None:
    now = rows(2)
    found = looked(now.assign(gift=now["gift"].where(now["gift"].notna(), True)))["gift"]
    assert found.broken is None
    assert found.drifted


def test_few_rows_drift_from_nothing() -> None:
    found = looked(rows(2, 200, amount=1000.0))
    assert not any(each.drifted or each.broken for each in found.values())


def test_answers_that_change_alone_are_watched() -> None:
    now = rows(2)
    found = looked(now.assign(probability=now["probability"] ** 2))
    verdict, [reason] = judge(Findings(0, [Window(0, 1, 1000, found)] * 3), Settings())
    assert (verdict, reason.columns) == ("watch", (SCORE,))


def test_the_limit_is_above_chance_and_never_below_the_setting() -> None:
    assert drift.limit(10, 5000, 100_000, 9, 0.1) == 0.1
    # 27.9 is the quantile 1 - 0.01/9 of chi-square with 9 degrees of freedom.
    assert drift.limit(10, 1000, 100, 9, 0.1) == pytest.approx(27.9 * (1 / 1000 + 1 / 100), rel=0.02)


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_quality_of_every_kind_of_answer(task: str) -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 3, 1000)
    if task == "multiclass":
        answer = Target("multiclass", "carrier", ("air", "road", "sea"))
        right = np.where(random.random(1000) < 0.8, truth, random.integers(0, 3, 1000))
        given = pd.DataFrame(np.eye(3)[right] * 0.7 + 0.1, columns=[f"probabilities_{each}" for each in answer.classes])
        labelled = given.assign(**{LABEL: np.array(answer.classes)[truth]}, city="Bonn")
        name, expected, value = "accuracy", 0.9, 0.87
    else:
        answer = Target("regression", "days")
        labelled = pd.DataFrame({"prediction": truth + random.normal(0, 0.3, 1000), LABEL: truth.astype(str)})
        labelled["city"] = "Bonn"
        name, expected, value = "r2", 0.9, 0.87
    contract = replace(TWO, target=answer)
    facts = {"estimator": "candidate", "metrics": {"candidate": {name: expected}}}
    settings = Settings.model_validate({"gate": {"resamples": 100}})
    newest = drift.scores_of(answer, labelled).to_numpy()
    found = quality.measure(contract, facts, settings, labelled, 1000, 1000, newest)
    assert found.whole is not None
    assert found.whole.value == pytest.approx(value, abs=0.03)
    assert found.whole.lower < found.whole.value < found.whole.upper
    assert list(found.slices) == ["city=Bonn"]
    assert (found.estimate is None) == (task == "regression")
    assert not found.decayed
    wrong = labelled.assign(**{LABEL: random.permutation(labelled[LABEL].to_numpy())})
    assert quality.measure(contract, facts, settings, wrong, 1000, 1000, newest).decayed
