"""Behaviour that every model must show, whatever its metrics. Add tests of what is known about yours."""

from collections.abc import Callable
from typing import Any

import pytest
from project import Project

from lifecycle.contract import Column, Contract, team
from lifecycle.sample.synthetic import usual

Rows = list[dict[str, Any]]
Predict = Callable[[Rows], list[dict[str, Any]]]
FAR = 1000  # multiples of the usual range


def unusual_values(column: Column) -> dict[str, Any]:
    """Return values that the contract allows and that are rarely sent, by kind."""
    values: dict[str, Any] = {"null": None} if column.nullable else {}
    if column.kind in ("number", "integer"):
        low, high = usual(column)
        whole, far = int if column.kind == "integer" else float, FAR * (high - low)
        values |= {"far below": whole(max(low - far, column.low)), "far above": whole(min(high + far, column.high))}
    elif column.kind == "category" and not column.levels:
        values["never seen"] = "never seen"[: column.max_length]
    return values


def is_valid(prediction: dict[str, Any], contract: Contract) -> bool:
    """Return whether a prediction conforms to the contract."""
    if contract.target.task == "regression":
        return isinstance(prediction["prediction"], float)
    has_one = "probability" in prediction
    chances = [prediction["probability"]] if has_one else list(prediction["probabilities"].values())
    return prediction["prediction"] in contract.target.classes and all(0 <= chance <= 1 for chance in chances)


def test_the_model_is_better_than_the_trivial_baseline(trained: Project) -> None:
    metrics = trained.newest.facts["metrics"]
    loss = next(iter(metrics["trivial"]))
    assert metrics[trained.newest.facts["estimator"]][loss] < metrics["trivial"][loss]


@pytest.mark.parametrize(
    "kind", sorted({kind for each in team.load_contract()[0].inputs for kind in unusual_values(each)})
)
def test_an_unusual_row_gets_a_valid_prediction(predict: Predict, rows: Rows, contract: Contract, kind: str) -> None:
    unusual = {column.name: found[kind] for column in contract.inputs if kind in (found := unusual_values(column))}
    alone = [rows[0] | {name: unusual[name]} for name in list(unusual)[:40]]
    assert all(is_valid(each, contract) for each in predict([*alone, *(row | unusual for row in rows)]))


def test_the_key_does_not_change_a_prediction(predict: Predict, rows: Rows, contract: Contract) -> None:
    if not contract.keys:
        pytest.skip("the contract has no key")
    same = {column.name: rows[0][column.name] for column in contract.keys}
    assert predict([row | same for row in rows]) == predict(rows)


def test_a_prediction_does_not_depend_on_the_other_rows_of_a_request(predict: Predict, rows: Rows) -> None:
    alone, together = [predict([row])[0] for row in rows[:20]], predict(rows[:20])
    for one, other in zip(alone, together, strict=True):
        for name, value in one.items():
            assert other[name] == (pytest.approx(value, rel=1e-9) if isinstance(value, float | dict) else value)
