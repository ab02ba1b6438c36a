"""What a model must do to be believed, whatever its metrics say. Add what people know about this one."""

from collections.abc import Callable
from typing import Any

import pytest
from project import Project

from lifecycle.contract import Column, Contract, team
from lifecycle.sample.synthetic import usual

Rows = list[dict[str, Any]]
Answers = Callable[[Rows], list[dict[str, Any]]]
FAR = 1000  # times the usual range


def oddities(column: Column) -> dict[str, Any]:
    """Values that the contract allows and hardly anybody sends, by what is odd about them."""
    odd: dict[str, Any] = {"null": None} if column.nullable else {}
    if column.kind in ("number", "integer"):
        low, high = usual(column)
        whole, far = int if column.kind == "integer" else float, FAR * (high - low)
        odd |= {"far below": whole(max(low - far, column.low)), "far above": whole(min(high + far, column.high))}
    elif column.kind == "category" and not column.levels:
        odd["never seen"] = "never seen"[: column.max_length]
    return odd


def is_answer(answer: dict[str, Any], contract: Contract) -> bool:
    """Whether an answer is one that the contract knows."""
    if contract.target.task == "regression":
        return isinstance(answer["prediction"], float)
    chances = [answer["probability"]] if "probability" in answer else list(answer["probabilities"].values())
    return answer["prediction"] in contract.target.classes and all(0 <= chance <= 1 for chance in chances)


def test_it_learns_what_there_is_to_learn(trained: Project) -> None:
    metrics = trained.newest.facts["metrics"]
    loss = next(iter(metrics["trivial"]))
    assert metrics[trained.newest.facts["estimator"]][loss] < metrics["trivial"][loss]


@pytest.mark.parametrize("how", sorted({how for each in team.load_contract()[0].inputs for how in oddities(each)}))
def test_an_odd_row_gets_an_answer(answers: Answers, rows: Rows, contract: Contract, how: str) -> None:
    odd = {column.name: found[how] for column in contract.inputs if how in (found := oddities(column))}
    alone = [rows[0] | {name: odd[name]} for name in list(odd)[:40]]
    assert all(is_answer(answer, contract) for answer in answers([*alone, *(row | odd for row in rows)]))


def test_who_is_asked_about_changes_nothing(answers: Answers, rows: Rows, contract: Contract) -> None:
    if not contract.keys:
        pytest.skip("the contract has no key")
    same = {column.name: rows[0][column.name] for column in contract.keys}
    assert answers([row | same for row in rows]) == answers(rows)


def test_a_row_is_answered_alike_alone_and_among_others(answers: Answers, rows: Rows) -> None:
    alone, together = [answers([row])[0] for row in rows[:20]], answers(rows[:20])
    for one, other in zip(alone, together, strict=True):
        for name, value in one.items():
            assert other[name] == (pytest.approx(value, rel=1e-9) if isinstance(value, float | dict) else value)
