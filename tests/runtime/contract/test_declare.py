"""A declared row becomes a contract, or is refused with the name of the field and a hint."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal, get_args

import pytest
from annotated_types import Ge
from pydantic import AfterValidator, Field, field_validator

from lifecycle import contract
from lifecycle.contract.declare import Binary, Id, Key, Logged, Lookup, Multiclass, Request, Row, derive
from lifecycle.contract.schema import Contract, Source
from lifecycle.errors import LifecycleError
from support.rendering import TEMPLATE
from support.teams import TARGETS, Order

TARGET = Binary("label", positive="yes", negative="no")


def row_of(**fields: Any) -> type[Row]:
    """A declared row with these fields: annotation, or (annotation, default)."""
    annotations = {name: each[0] if isinstance(each, tuple) else each for name, each in fields.items()}
    defaults = {name: each[1] for name, each in fields.items() if isinstance(each, tuple)}
    return type("Declared", (Row,), {"__annotations__": annotations, "__module__": __name__} | defaults)


@pytest.mark.parametrize("task", TARGETS)
def test_contract_json_contains_the_whole_declaration(task: str) -> None:
    contract = derive(Order, TARGETS[task], 3)
    assert Contract.from_json(contract.to_json()) == contract
    amount = contract.columns[1]
    assert (amount.name, amount.unit, amount.nullable, amount.low) == ("order amount €", "EUR", True, 0)
    assert contract.columns[4].levels == ("blue", "red")
    assert [column.required for column in contract.columns] == [True, True, True, False, False, True]


def test_an_alias_may_be_a_python_keyword() -> None:
    contract = derive(row_of(c=Annotated[float, Request(), Field(alias="class")]), TARGET, 1)
    assert contract.columns[0].name == "class"


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"a": float}, "carries 0 of Key(), Id(), Request(), Lookup(), Logged()"),
        ({"a": Annotated[float, Request(), Lookup()]}, "exactly one"),
        ({"a": Annotated[Annotated[float, Field(ge=0)] | None, Request()]}, "bound inside"),
        ({"a": Annotated[float, Request(), Field(gt=0)]}, "open bound"),
        ({"a": Annotated[float, Request(), Field(le=1e39)]}, "finite"),
        ({"a": Annotated[float, Request(), Field(ge=2, le=1)]}, "in order"),
        ({"a": Annotated[int, Request(), Field(le=2**25)]}, "within"),
        ({"a": Annotated[int | str, Request()]}, "one type"),
        ({"a": Annotated[list[float], Request()]}, "type"),
        ({"a": Annotated[Literal[1, 2], Request()]}, "not text"),
        ({"i": Annotated[datetime, Id()], "a": Annotated[float, Request()]}, "is a time id"),
        ({"i": Annotated[float, Id()], "a": Annotated[float, Request()]}, "is a number id"),
        ({"i": Annotated[str | None, Id()], "a": Annotated[float, Request()]}, "may be null"),
        ({"i": (Annotated[str, Id()], "x"), "a": Annotated[float, Request()]}, "has a default"),
        (
            {"i": Annotated[str, Id()], "j": Annotated[int, Id()], "a": Annotated[float, Request()]},
            "i and j are both Id()",
        ),
        ({"request_id": Annotated[str, Id()], "a": Annotated[float, Request()]}, "uses itself"),
        ({"i": Annotated[str, Id()], "n": Annotated[str, Logged()]}, "no model input"),
        ({"n": Annotated[str, Logged(loggable=False)], "a": Annotated[float, Request()]}, "must not be logged"),
        ({"a": (Annotated[datetime, Request()], 3)}, "has the default 3"),
        ({"a": Annotated[datetime, Request(expected=(datetime(2020, 1, 1), 3))]}, "has the expected end 3"),
        ({"a": Annotated[datetime, Request(), Ge(datetime(2020, 1, 1))]}, "Ge(ge="),
        ({"k": Annotated[float, Key()], "a": Annotated[float, Request()]}, "number key"),
        ({"k": Annotated[str, Key()]}, "no model input"),
        ({"a": Annotated[float, Lookup()]}, "exactly one key"),
        ({"label": Annotated[float, Request()]}, "is the label"),
        ({"Label": Annotated[float, Request()]}, "Label differs from label in its case only"),
        (
            {"a": Annotated[float, Request()], "b": Annotated[float, Request(), Field(alias="a")]},
            "name of two fields",
        ),
        ({"a": Annotated[str, Request(), Field(min_length=1)]}, "MinLen"),
        ({"a": Annotated[str, Request(), Field(pattern="x")]}, "pattern"),
        ({"a": Annotated[float, Request(), Field(multiple_of=2)]}, "MultipleOf"),
        ({"a": Annotated[float, Request(), AfterValidator(abs)]}, "AfterValidator"),
        ({"a": Annotated[bool, Request(), Field(ge=0)]}, "Ge(ge=0)"),
        ({"a": Annotated[str, Request(), Ge(1)]}, "Ge(ge=1)"),
        ({"a": Annotated[float, Request(), Field(max_length=1)]}, "MaxLen"),
        ({"a": Annotated[Literal["x", "yy"], Request(), Field(max_length=1)]}, "MaxLen"),
        ({"a": Annotated[float, Request(), Ge(0), Ge(5)]}, "Ge(ge=0)"),
        ({"rowid": Annotated[int, Key()], "a": Annotated[float, Request()]}, "uses itself"),
        ({"a": Annotated[float, Request(), Field(alias="Version")]}, "uses itself"),
        ({"probabilities_a": Annotated[float, Request()]}, "uses itself"),
        ({"lifecycle_a": Annotated[float, Request()]}, "uses itself"),
        ({"a": Annotated[float, Request()], "b": Annotated[float, Request(), Field(alias="A")]}, "case only"),
        ({"a": (Annotated[float, Request()], None)}, "has the default None"),
        ({"a": (Annotated[float, Request(), Field(ge=0)], -5.0)}, "has the default -5.0"),
        ({"a": (Annotated[Literal["x", "y"], Request()], "z")}, "has the default 'z'"),
        ({"a": (Annotated[bool, Request()], 1)}, "has the default 1"),
        ({"k": (Annotated[str, Key()], "x"), "a": Annotated[float, Request()]}, "has a default"),
        ({"k": Annotated[str | None, Key()], "a": Annotated[float, Request()]}, "may be null"),
        ({"k": Annotated[str, Key()], "a": (Annotated[float, Lookup()], 1.0)}, "has a default"),
        ({"k": Annotated[str, Key()], "a": Annotated[float, Lookup(fallback="x")]}, "has the fallback 'x'"),
        (
            {"k": Annotated[str, Key()], "a": Annotated[float, Lookup(fallback=0.0)], "b": Annotated[float, Lookup()]},
            "b has no fallback",
        ),
        ({"a": Annotated[str, Request(loggable=False)]}, "must not be logged"),
    ],
)
def test_a_wrong_field_is_refused_by_name(fields: dict[str, Any], word: str) -> None:
    with pytest.raises(LifecycleError, match=r"src/model/contract\.py") as caught:
        derive(row_of(**fields), TARGET, 1)
    assert word in str(caught.value)
    assert caught.value.hint


def test_keys_and_closed_categories_may_be_excluded_from_logs() -> None:
    row = row_of(k=Annotated[str, Key(loggable=False)], a=Annotated[Literal["x", "y"], Request(loggable=False)])
    assert [column.loggable for column in derive(row, TARGET, 1).columns] == [False, False]


def test_custom_validators_are_refused() -> None:
    class Validated(Row):
        a: Annotated[float, Request()]

        @field_validator("a")
        @classmethod
        def even(cls, value: float) -> float:
            return value

    with pytest.raises(LifecycleError, match="even is a validator"):
        derive(Validated, TARGET, 1)


def test_an_invalid_version_and_equal_classes_are_refused() -> None:
    with pytest.raises(LifecycleError, match="VERSION"):
        derive(row_of(a=Annotated[float, Request()]), TARGET, 0)
    with pytest.raises(LifecycleError, match="distinct"):
        derive(row_of(a=Annotated[float, Request()]), Binary("label", "yes", "yes"), 1)


def test_a_damaged_contract_json_is_refused_by_name() -> None:
    with pytest.raises(LifecycleError, match=r"contract\.json is not a contract"):
        Contract.from_json('{"x-version": 1}')


def test_integer_and_float_bounds_give_the_same_contract_json() -> None:
    texts = {derive(row_of(a=Annotated[float, Request(), Field(ge=low)]), TARGET, 1).to_json() for low in (0, 0.0)}
    assert len(texts) == 1


@pytest.mark.parametrize(
    ("row", "target", "problem"),
    [
        (dict, TARGET, "ROW is not a subclass"),
        (Order, Binary, "TARGET is not a valid target"),
        (Order, Binary(1, "yes", "no"), "TARGET is not a valid target"),  # type: ignore[arg-type]
        (Order, Multiclass("label", (1, 2)), "TARGET is not a valid target"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_row_or_target_is_named(row: Any, target: Any, problem: str) -> None:
    with pytest.raises(LifecycleError, match=problem):
        derive(row, target, 1)


def test_a_label_must_not_have_a_reserved_name() -> None:
    with pytest.raises(LifecycleError, match="ts is a name that lifecycle uses itself"):
        derive(Order, Binary("ts", "yes", "no"), 1)


def test_every_source_is_documented_and_exported() -> None:
    page = (TEMPLATE / "lifecycle/docs/data.md").read_text(encoding="utf-8").partition("## Sources of a column")[2]
    found = re.findall(r"^\| `(\w+)\(\)` \| (yes|no) \| (yes|no) \|", page, re.MULTILINE)
    sources = {name: getattr(contract, name).source for name, _, _ in found}
    assert sorted(sources.values()) == sorted(get_args(Source))
    row = {f"f{at}": Annotated[int, getattr(contract, name)()] for at, name in enumerate(sources)}
    made = derive(row_of(**row), TARGET, 1)
    for name, sent, is_input in found:
        [column] = [column for column in made.columns if column.source == sources[name]]
        assert (column in made.request, column in made.inputs) == (sent == "yes", is_input == "yes")
