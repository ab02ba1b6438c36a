"""What breaks a caller is named; what does not is silent."""

from dataclasses import replace
from typing import Any

import pytest

from lifecycle.contract.compatibility import breaking
from lifecycle.contract.declare import derive
from lifecycle.contract.schema import Column, Contract
from support.teams import ANSWERS, Order

OLD = derive(Order, ANSWERS["binary"], 1)


def changed(name: str, **facts: Any) -> Contract:
    """The contract with one column changed."""
    columns = tuple(replace(column, **facts) if column.name == name else column for column in OLD.columns)
    return replace(OLD, columns=columns)


def test_a_contract_breaks_no_caller_of_itself() -> None:
    assert breaking(OLD, OLD) == []


@pytest.mark.parametrize(
    ("new", "word"),
    [
        (replace(OLD, columns=OLD.columns[:-1]), "city is gone"),
        (replace(OLD, columns=(*OLD.columns, Column("new", "request", "number"))), "new is required"),
        (changed("items", kind="number"), "was request integer and is request number"),
        (changed("order amount €", unit="USD"), "EUR"),
        (changed("order amount €", nullable=False), "no longer be null"),
        (changed("class", required=True), "now required"),
        (changed("class", levels=("blue",)), "no longer takes red"),
        (changed("city", levels=("Bonn",)), "any text"),
        (changed("items", low=1), "higher lower limit"),
        (changed("items", high=10), "lower upper limit"),
        (changed("city", max_length=3), "fewer characters"),
        (replace(OLD, target=ANSWERS["regression"]), "the answer was binary"),
        (changed("gift", default=True), "gift has another default (None → True)"),
    ],
)
def test_a_change_that_breaks_a_caller_is_named(new: Contract, word: str) -> None:
    assert word in "; ".join(breaking(OLD, new))


@pytest.mark.parametrize(
    "new",
    [
        replace(OLD, columns=(*OLD.columns, Column("new", "request", "number", required=False))),
        replace(OLD, columns=(*OLD.columns, Column("looked_up", "lookup", "number"))),
        changed("items", high=2000, low=-1),
        changed("class", levels=("blue", "red", "green")),
        changed("class", levels=()),
        changed("items", unit="pieces"),
        changed("city", required=False, default="Bonn", expected=("Bonn",), description="Where."),
    ],
)
def test_a_change_that_callers_do_not_notice_is_silent(new: Contract) -> None:
    assert breaking(OLD, new) == []


def test_a_fallback_that_is_gone_breaks_callers_of_unknown_keys() -> None:
    stated = Column("plan", "lookup", "category", fallback="basic", has_fallback=True)
    old, new = (replace(OLD, columns=(*OLD.columns, each)) for each in (stated, replace(stated, has_fallback=False)))
    assert breaking(old, new) == ["a key without features is no longer answered by a fallback"]
    assert breaking(new, old) == []
