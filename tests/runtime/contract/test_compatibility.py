"""Breaking changes of a contract are named, compatible changes are not."""

from dataclasses import replace
from typing import Any

import pytest

from lifecycle.contract.compatibility import breaking_changes
from lifecycle.contract.declare import derive
from lifecycle.contract.schema import Column, Contract
from support.teams import TARGETS, Order

OLD = derive(Order, TARGETS["binary"], 1)


def changed(name: str, **facts: Any) -> Contract:
    """The contract with one column changed."""
    columns = tuple(replace(column, **facts) if column.name == name else column for column in OLD.columns)
    return replace(OLD, columns=columns)


def test_equal_contracts_have_no_breaking_change() -> None:
    assert breaking_changes(OLD, OLD) == []


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
        (replace(OLD, target=TARGETS["regression"]), "the prediction was binary"),
        (changed("gift", default=True), "gift has another default (None → True)"),
    ],
)
def test_a_breaking_change_is_named(new: Contract, word: str) -> None:
    assert word in "; ".join(breaking_changes(OLD, new))


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
def test_a_compatible_change_is_not_reported(new: Contract) -> None:
    assert breaking_changes(OLD, new) == []


def test_removing_a_fallback_breaks_callers_of_unknown_keys() -> None:
    stated = Column("plan", "lookup", "category", fallback="basic", has_fallback=True)
    old, new = (replace(OLD, columns=(*OLD.columns, each)) for each in (stated, replace(stated, has_fallback=False)))
    assert breaking_changes(old, new) == ["a key without features no longer gets a prediction from a fallback"]
    assert breaking_changes(new, old) == []
