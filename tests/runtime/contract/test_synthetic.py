"""Invented rows keep any contract, and the gate says yes to what is learned from them."""

from pathlib import Path

import pandas as pd
import pytest

from lifecycle.contract.declare import EXACT_INTEGER, FLOAT32_MAX
from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.contract.synthetic import Table, rows
from lifecycle.contract.team import Team
from lifecycle.features import point_in_time
from lifecycle.models.bundle import Bundle
from lifecycle.settings import Gate
from lifecycle.training import evidence
from lifecycle.training.gate import Case, decide
from lifecycle.training.train import train
from support.teams import ANSWERS, Order, derive, estimator_of, settings_in

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
    "open category": category(max_length=256),
    "category of one letter": category(max_length=1, expected=("long", "longer")),
    "category with expected levels": category(expected=("ü", "a b")),
    "category with levels": category(levels=("x", "y")),
}


def accepted(bundle: Bundle) -> tuple[str, ...]:
    return decide(Case(bundle, evidence.read(bundle)), Gate()).faults


def kept(contract: Contract, tmp_path: Path) -> pd.DataFrame:
    """Invented rows that the jobs' own check has passed."""
    table = Table.of(contract)
    connection = point_in_time.connect(table, tmp_path)
    team = Team("invented", contract, None, table, None)
    assert point_in_time.training_rows(connection, team, table.latest(connection)) == len(table.frame)
    assert point_in_time.population_rows(connection, table, contract, None, table.latest(connection)) == len(
        table.frame
    )
    return table.frame


@pytest.mark.parametrize("answer", [TWO, THREE, NUMBER], ids=lambda answer: answer.task)
@pytest.mark.parametrize("name", INPUTS)
def test_the_gate_says_yes_to_what_is_learned_from_a_single_input(name: str, answer: Target, tmp_path: Path) -> None:
    contract = Contract(1, answer, (INPUTS[name],))
    frame = kept(contract, tmp_path)
    assert bool(frame.isna().any(axis=None)) == INPUTS[name].nullable
    team = Team("invented", contract, None, Table(contract, frame), estimator_of(answer))
    assert accepted(train(team, settings_in(tmp_path), tmp_path)) == ()


@pytest.mark.parametrize("task", ANSWERS)
def test_of_several_inputs_the_candidate_learns_more_than_a_linear_model(task: str, tmp_path: Path) -> None:
    contract = derive(Order, ANSWERS[task], 1)
    frame = kept(contract, tmp_path)
    team = Team("orders", contract, None, Table(contract, frame), estimator_of(ANSWERS[task]))
    bundle = train(team, settings_in(tmp_path), tmp_path)
    assert bundle.facts["estimator"] == "candidate"
    assert accepted(bundle) == ()
    assert frame["order_id"].is_unique


def test_a_wide_contract_is_invented_and_checked(tmp_path: Path) -> None:
    contract = Contract(1, TWO, tuple(number(f"x{at}") for at in range(2000)))
    assert kept(contract, tmp_path).shape == (2000, 2001)


def test_what_cannot_vary_is_invented_all_the_same(tmp_path: Path) -> None:
    contract = Contract(1, NUMBER, (number(low=3.0, high=3.0),))
    assert set(kept(contract, tmp_path)["number"]) == {3.0}


@pytest.mark.parametrize(
    "key",
    [
        Column("key", "key", "category", max_length=3),
        Column("key", "key", "integer"),
        Column("key", "key", "integer", low=10_000),
        Column("key", "key", "time"),
    ],
    ids=["text", "integer", "integer with a limit", "time"],
)
def test_keys_are_unique(key: Column, tmp_path: Path) -> None:
    assert kept(Contract(1, TWO, (key, INPUTS["boolean"])), tmp_path)["key"].is_unique


def test_every_class_is_there_equally_often() -> None:
    answer = Target("multiclass", "label", tuple(f"class {at}" for at in range(100)))
    counts = rows(Contract(1, answer, (INPUTS["boolean"],)), 500, seed=0)["label"].value_counts()
    assert (len(counts), set(counts)) == (100, {5})


def test_the_same_contract_gives_the_same_rows() -> None:
    contract = derive(Order, ANSWERS["regression"], 1)
    pd.testing.assert_frame_equal(rows(contract, 50, seed=1), rows(contract, 50, seed=1))
    assert not rows(contract, 50, seed=1).equals(rows(contract, 50, seed=2))
