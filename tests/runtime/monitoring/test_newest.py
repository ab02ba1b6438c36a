"""An alarm ends when its cause is in the newest four weeks of the training rows; one comparison decides."""

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import TypeAdapter

from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.models.reference import Profile, build_profile
from lifecycle.monitoring.drift import CONSTANT, NULLS
from lifecycle.settings import Settings
from support.drift import measure_drift

RULES = Settings().monitor
DAY = 86_400
CONTRACT = Contract(
    1,
    Target("binary", "left", ("stays", "leaves")),
    (
        Column("amount", "request", "number", nullable=True),
        Column("city", "request", "category"),
        Column("distance", "request", "number", expected=(0, 200)),
    ),
)


def rows(seed: int, size: int, late: bool = False, **changes: Any) -> pd.DataFrame:
    """Return rows of one process, or of one that has changed in each column: level, nulls, city, and range."""
    random = np.random.default_rng(seed)
    amount = random.gamma(2, 50, size) + (60 if late else 0)
    amount[random.random(size) < (0.2 if late else 0.01)] = np.nan
    cities = random.choice(["Bonn", "Kiel", "Trier"], size, p=[0.5, 0.3, 0.2]).astype(object)
    cities[random.random(size) < (0.3 if late else 0)] = "Islands"
    distance = random.uniform(0, 210 if not late else 260, size)
    made = {"amount": amount, "city": cities, "distance": distance, "probability": random.beta(1, 3, size)}
    return pd.DataFrame(made | changes)


def trained(late_rows: int, months: int = 12) -> tuple[Profile, dict[str, list[str]]]:
    """Return the profile of a year of which the last `late_rows` rows, of the last weeks, have changed."""
    before, after = rows(0, 4000), rows(1, late_rows, late=True)
    before["ts"] = np.linspace(0, months * 30 * DAY, len(before)).astype(int)
    after["ts"] = months * 30 * DAY + np.linspace(DAY, 27 * DAY, len(after)).astype(int)
    training = pd.concat([before, after], ignore_index=True)
    holdout = rows(2, 500)
    profile = build_profile(CONTRACT, training, holdout, holdout["probability"].to_numpy())
    return profile, {"city": sorted(training["city"].unique())}


def problems(profile: Profile, levels: dict[str, list[str]], now: pd.DataFrame, **given: Any) -> dict[str, str]:
    measured = measure_drift(CONTRACT, profile, levels, now, RULES, **given)
    return {
        name: column.broken or ("drifted" if column.drifted else "unusual")
        for name, column in measured.items()
        if column.broken or column.drifted or column.unusual
    }


def test_a_changed_process_is_reported_until_the_model_is_trained_on_it() -> None:
    profile, levels = trained(late_rows=0)
    found = problems(profile, levels, rows(3, 1000, late=True))
    assert found.keys() == {"amount", "city", "distance"}
    assert "are null" in found["amount"]
    assert "training did not contain" in found["city"]
    # 300 of 4,300 rows are too few to change the whole distribution.
    profile, levels = trained(late_rows=300)
    assert problems(profile, levels, rows(3, 1000, late=True)) == {}
    assert problems(profile, levels, rows(4, 1000)) == {}, "and neither is a window as before"


def test_another_change_is_reported_after_the_first_was_learned() -> None:
    profile, levels = trained(late_rows=300)
    now = rows(3, 1000, late=True)
    found = problems(profile, levels, now.assign(amount=now["amount"] * 2, distance=now["distance"] + 150))
    assert found == {"amount": "drifted", "distance": "drifted"}
    found = problems(profile, levels, now.assign(amount=now["amount"].where(np.arange(1000) % 3 > 0)))
    assert "of the rows are null, 18.9%" in found["amount"], "the larger of the two shares of training is named"


@pytest.mark.parametrize("late_rows", [0, 100, 180])
def test_too_few_newest_rows_are_no_reference(late_rows: int) -> None:
    profile, levels = trained(late_rows)
    assert (profile.columns["amount"].newest is None) == (late_rows > 0)
    assert "amount" in problems(profile, levels, rows(3, 1000, late=True))


def test_psi_limit_and_shares_belong_to_one_comparison() -> None:
    profile, levels = trained(late_rows=300)
    for late in (False, True):
        column = measure_drift(CONTRACT, profile, levels, rows(3, 1000, late), RULES)["distance"]
        assert column.newest is late
        assert column.psi <= column.limit
        newest = profile.columns["distance"].newest
        assert newest is not None
        shares = newest.shares if late else profile.columns["distance"].shares
        assert column.reference == pytest.approx(shares)


def test_rows_without_time_have_no_newest_ones() -> None:
    profile = build_profile(CONTRACT, rows(0, 4000), rows(1, 500), np.full(500, 0.5))
    assert all(column.newest is None for column in profile.columns.values())


def test_a_profile_of_an_older_release_is_readable() -> None:
    profile, levels = trained(late_rows=300)
    document = json.loads(profile.to_json())
    for column in document["columns"].values():
        for name in ("newest", "rest", "outside"):
            del column[name]
    old = TypeAdapter(Profile).validate_json(json.dumps(document))
    assert old.columns["amount"].newest is None
    assert "amount" in problems(old, levels, rows(3, 1000, late=True))
    assert TypeAdapter(Profile).validate_json(profile.to_json()) == profile


def test_the_share_of_unseen_levels_is_expected_where_each_level_is_rare() -> None:
    """Also where the held-out rows are among the training rows, as after a refit."""
    random = np.random.default_rng(0)

    def named(size: int) -> pd.DataFrame:
        return rows(0, size, city=[f"city {at}" for at in random.integers(0, 3000, size)])

    training = named(3000)
    profile = build_profile(CONTRACT, training, training.iloc[-600:], training["probability"].to_numpy())
    assert profile.columns["city"].unseen == pytest.approx(np.exp(-1), abs=0.03)
    assert problems(profile, {"city": sorted(training["city"].unique())}, named(600)) == {}


def test_a_level_that_takes_over_is_found_though_it_has_no_bin() -> None:
    random = np.random.default_rng(0)
    names = np.array([f"city {at}" for at in range(2000)])
    training = rows(0, 3000, city=names[random.integers(0, 2000, 3000)])
    profile = build_profile(CONTRACT, training, training, np.full(3000, 0.5))
    now = rows(1, 600, city=np.where(random.random(600) < 0.2, "city 7", names[random.integers(0, 2000, 600)]))
    column = measure_drift(CONTRACT, profile, {"city": sorted(names)}, now, RULES)["city"]
    assert column.drifted
    assert "city 7" in column.bins


def test_what_was_accepted_counts_as_drift_and_hides_nothing_else() -> None:
    profile, levels = trained(late_rows=0)
    now = rows(3, 1000, amount=np.where(np.arange(1000) % 3 > 0, 5.0, np.nan))
    columns = {
        given: measure_drift(CONTRACT, profile, levels, now, RULES, accepted={("amount", kind) for kind in given})[
            "amount"
        ]
        for given in ((), (NULLS,), (CONSTANT,), (NULLS, CONSTANT))
    }
    assert [each.kind for each in columns.values()] == [NULLS, CONSTANT, NULLS, ""]
    assert [each.drifted for each in columns.values()] == [False, False, False, True]
    accepted = columns[NULLS, CONSTANT].accepted
    assert accepted is not None
    assert "are null" in accepted
    assert json.loads(json.dumps(asdict(replace(columns[()])))) is not None
