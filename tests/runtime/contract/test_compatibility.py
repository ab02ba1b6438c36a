"""Breaking changes of a contract are named and need a new version; `contract.json` is the last released contract."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lifecycle.contract.compatibility import breaking_changes, compare, python_name, python_names, release, released
from lifecycle.contract.declare import derive
from lifecycle.contract.schema import Column, Contract
from lifecycle.errors import LifecycleError, Refused
from support.teams import TARGETS, Order

OLD = derive(Order, TARGETS["binary"], 1)
OPTIONAL = replace(OLD, columns=(*OLD.columns, Column("note", "request", "category", required=False)))
PLAN = Column("plan", "lookup", "number")
REQUIRED = replace(OLD, columns=(*OLD.columns, Column("note", "request", "category")))


def changed(name: str, **facts: Any) -> Contract:
    """The contract with one column changed."""
    columns = tuple(replace(column, **facts) if column.name == name else column for column in OLD.columns)
    return replace(OLD, columns=columns)


def test_equal_contracts_have_no_breaking_change() -> None:
    assert breaking_changes(OLD, OLD) == []


@pytest.mark.parametrize(
    ("new", "change"),
    [
        (replace(OLD, columns=OLD.columns[:-1]), "the request field city is gone"),
        (
            replace(OLD, columns=(*OLD.columns, Column("new", "request", "number"))),
            "the new request field new is required",
        ),
        (changed("items", kind="number"), "items was request integer and is request number"),
        (changed("city", kind="time"), "city was request category and is request time"),
        (
            replace(OLD, columns=(*OLD.columns, Column("new", "id", "category"))),
            "the new request field new is required",
        ),
        (
            replace(OLD, columns=(*OLD.columns, Column("new", "logged", "time"))),
            "the new request field new is required",
        ),
        (
            replace(
                changed("city", source="key"),
                columns=(*changed("city", source="key").columns[1:], OLD.columns[0], PLAN),
            ),
            "features are looked up by city, which was not a key",
        ),
        (changed("order amount €", unit="USD"), "order amount € was request number EUR and is request number USD"),
        (changed("order amount €", nullable=False), "order amount € may no longer be null"),
        (changed("class", required=True), "class is now required"),
        (changed("class", levels=("green",)), "class no longer takes blue, red"),
        (changed("city", levels=("Bonn",)), "city no longer takes any text"),
        (changed("items", low=1), "items has a higher lower limit (0 → 1)"),
        (changed("items", high=10), "items has a lower upper limit (1000 → 10)"),
        (changed("city", max_length=3), "city takes fewer characters (256 → 3)"),
        (replace(OLD, target=TARGETS["regression"]), "the prediction was binary (keeps, returns) and is regression"),
        (changed("gift", default=True), "gift has another default (None → True)"),
    ],
)
def test_a_breaking_change_is_named(new: Contract, change: str) -> None:
    assert breaking_changes(OLD, new) == [change]


@pytest.mark.parametrize(
    "new",
    [
        replace(OLD, columns=(*OLD.columns, Column("new", "request", "number", required=False))),
        replace(OLD, columns=(*OLD.columns, Column("looked_up", "lookup", "number"))),
        changed("items", high=2000, low=-1),
        changed("city", source="logged"),
        changed("order_id", source="id"),
        replace(OLD, columns=(*OLD.columns, Column("new", "logged", "time", nullable=True, required=False))),
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


def test_a_released_contract_is_up_to_date_and_written_once(tmp_path: Path) -> None:
    assert release(OLD, tmp_path)
    assert not release(OLD, tmp_path)
    assert released(tmp_path) == OLD
    compare(OLD, tmp_path)


def test_a_compatible_change_is_pointed_out_and_released(tmp_path: Path) -> None:
    release(OLD, tmp_path)
    with pytest.raises(LifecycleError, match="breaks no caller") as caught:
        compare(OPTIONAL, tmp_path)
    assert caught.value.hint == "`make contract` writes the new one; commit both."
    assert release(OPTIONAL, tmp_path)
    compare(OPTIONAL, tmp_path)


def test_a_breaking_change_needs_a_new_version(tmp_path: Path) -> None:
    release(OLD, tmp_path)
    before = (tmp_path / "contract.json").read_text(encoding="utf-8")
    wrong = replace(REQUIRED, columns=REQUIRED.columns[1:])
    for decide in (compare, release):
        with pytest.raises(Refused) as caught:
            decide(wrong, tmp_path)
        assert caught.value.problem == (
            "the contract would break callers of version 1:\n"
            "  the request field order_id is gone\n  the new request field note is required"
        )
        assert caught.value.hint.startswith(
            "Undo it, or set VERSION = 2 in src/model/contract.py and inform the callers."
        )
        assert "remove contract.json and run `make contract`" in caught.value.hint
    assert (tmp_path / "contract.json").read_text(encoding="utf-8") == before
    assert release(replace(wrong, version=2), tmp_path)
    with pytest.raises(Refused, match="its VERSION is lower"):
        release(replace(wrong, version=1), tmp_path)


def test_a_missing_contract_is_reported_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(LifecycleError) as caught:
        compare(OLD, tmp_path)
    assert caught.value.problem == f"{tmp_path}/contract.json is missing"
    assert caught.value.hint == "`make contract` writes it; commit it."
    (tmp_path / "contract.json").write_text("{}", encoding="utf-8")
    with pytest.raises(LifecycleError, match=r"^contract\.json is not a contract"):
        compare(OLD, tmp_path)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("Total Charges (€)", "total_charges"),
        ("größe (cm)", "grosse_cm"),
        ("customerID", "customer_id"),
        ("HTTPServer", "http_server"),
        ("2nd", "c_2nd"),
        ("class", "class_"),
        ("str", "str_"),
        ("copy", "copy_"),
        ("model_config", "model_config_"),
        ("model_x", "model_x_"),
        ("名前", ""),
    ],
)
def test_a_column_has_a_python_name_that_no_keyword_and_no_pydantic_model_uses(name: str, wanted: str) -> None:
    assert python_name(name) == wanted


def test_colliding_python_names_get_a_number_and_none_is_the_name_of_another_column() -> None:
    assert python_names(["a b", "A-B", "a-b"]) == {"a b": "a_b", "A-B": "a_b_2", "a-b": "a_b_3"}
    assert python_names(["a b", "a_b"]) == {"a b": "a_b_2", "a_b": "a_b"}
    assert python_names(["x", "名前"]) == {"x": "x", "名前": "column_2"}
