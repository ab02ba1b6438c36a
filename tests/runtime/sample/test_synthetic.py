"""Synthetic rows satisfy any contract, and a model trained on them passes the gate."""

from itertools import cycle
from pathlib import Path

import pandas as pd
import pytest

from lifecycle.contract.declare import EXACT_INTEGER, FLOAT32_MAX
from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.contract.team import Team
from lifecycle.features import point_in_time
from lifecycle.models.bundle import Bundle
from lifecycle.sample.synthetic import Table, rows
from lifecycle.settings import Gate
from lifecycle.training import evidence
from lifecycle.training.gate import Case, decide
from lifecycle.training.train import train
from support.gate import faults
from support.teams import TARGETS, Order, derive, estimator_of, settings_in

TWO = Target("binary", "label", ("no", "yes"))
THREE = Target("multiclass", "label", ("a b", "größer", "it's"))
NUMBER = Target("regression", "label")


def number(name: str = "number", low: float = -FLOAT32_MAX, high: float = FLOAT32_MAX, **facts: object) -> Column:
    return Column(name, "request", "number", low=low, high=high, **facts)  # type: ignore[arg-type]


def integer(low: float = -EXACT_INTEGER, high: float = EXACT_INTEGER, **facts: object) -> Column:
    return Column("integer", "request", "integer", low=low, high=high, **facts)  # type: ignore[arg-type]


def category(levels: tuple[str, ...] = (), **facts: object) -> Column:
    return Column("category", "request", "category", levels=levels, **facts)  # type: ignore[arg-type]


INPUTS = {
    "boolean": Column("boolean", "request", "boolean"),
    "boolean or null": Column("boolean", "request", "boolean", nullable=True),
    "number": number(),
    "huge number": number(low=1e30),
    "tiny number": number(expected=(0.0, 1e-9)),
    "expected to be one value": number(expected=(0.0, 0.0)),
    "one value or null": number(low=3.0, high=3.0, nullable=True),
    "narrow integer": integer(low=4, high=5),
    "integer expected between fractions": integer(expected=(0.2, 0.8)),
    "integer or null": integer(nullable=True),
    "time": Column("time", "request", "time"),
    "time or null": Column("time", "request", "time", nullable=True),
    "time of another century": Column("time", "request", "time", expected=("1850-01-01", "1860-01-01T12:00:00")),
    "time expected from a date on": Column("time", "request", "time", expected=("2020-01-01", None)),
    "open category": category(max_length=256),
    "category of one letter": category(max_length=1, expected=("long", "longer")),
    "category with expected levels": category(expected=("ü", "a b")),
    "category with levels": category(levels=("x", "y")),
}


def failed_checks(bundle: Bundle) -> list[str]:
    return faults(decide(Case(bundle, evidence.read(bundle)), Gate()))


def valid_rows(contract: Contract, tmp_path: Path) -> pd.DataFrame:
    """Return synthetic rows that pass the check of the jobs."""
    table = Table.of(contract)
    connection = point_in_time.connect(table, tmp_path)
    team = Team("synthetic", contract, None, table, None)
    assert point_in_time.training_rows(connection, team, table.latest(connection)) == len(table.frame)
    assert point_in_time.population_rows(connection, table, contract, None, table.latest(connection)) == len(
        table.frame
    )
    return table.frame


@pytest.mark.parametrize(("name", "target"), [*zip(INPUTS, cycle([TWO, THREE, NUMBER]), strict=False)])
def test_a_model_of_a_single_input_passes_the_gate(name: str, target: Target, tmp_path: Path) -> None:
    contract = Contract(1, target, (INPUTS[name],))
    frame = valid_rows(contract, tmp_path)
    assert bool(frame.isna().any(axis=None)) == INPUTS[name].nullable
    team = Team("synthetic", contract, None, Table(contract, frame), estimator_of(target, iterations=30))
    assert failed_checks(train(team, settings_in(tmp_path), tmp_path)) == []


@pytest.mark.parametrize("task", TARGETS)
def test_the_candidate_beats_the_linear_model_on_several_inputs(task: str, tmp_path: Path) -> None:
    contract = derive(Order, TARGETS[task], 1)
    frame = valid_rows(contract, tmp_path)
    team = Team("orders", contract, None, Table(contract, frame), estimator_of(TARGETS[task]))
    bundle = train(team, settings_in(tmp_path), tmp_path)
    assert bundle.facts["estimator"] == "candidate"
    assert failed_checks(bundle) == []
    assert frame["order_id"].is_unique


def test_a_contract_with_2000_columns_is_generated_and_checked(tmp_path: Path) -> None:
    contract = Contract(1, TWO, tuple(number(f"x{at}") for at in range(2000)))
    assert valid_rows(contract, tmp_path).shape == (2000, 2001)


def test_a_column_of_one_possible_value_is_generated(tmp_path: Path) -> None:
    contract = Contract(1, NUMBER, (number(low=3.0, high=3.0),))
    assert set(valid_rows(contract, tmp_path)["number"]) == {3.0}


@pytest.mark.parametrize(
    "key",
    [
        Column("key", "key", "category", max_length=3),
        Column("key", "key", "integer"),
        Column("key", "key", "integer", low=10_000),
        Column("key", "key", "time"),
        Column("key", "id", "category", max_length=3),
    ],
    ids=["text", "integer", "integer with a limit", "time", "id"],
)
def test_keys_are_unique(key: Column, tmp_path: Path) -> None:
    assert valid_rows(Contract(1, TWO, (key, INPUTS["boolean"])), tmp_path)["key"].is_unique


def test_classes_are_equally_frequent() -> None:
    target = Target("multiclass", "label", tuple(f"class {at}" for at in range(100)))
    counts = rows(Contract(1, target, (INPUTS["boolean"],)), 500, seed=0)["label"].value_counts()
    assert (len(counts), set(counts)) == (100, {5})


def test_equal_arguments_give_equal_rows() -> None:
    contract = derive(Order, TARGETS["regression"], 1)
    pd.testing.assert_frame_equal(rows(contract, 50, seed=1), rows(contract, 50, seed=1))
    assert not rows(contract, 50, seed=1).equals(rows(contract, 50, seed=2))
