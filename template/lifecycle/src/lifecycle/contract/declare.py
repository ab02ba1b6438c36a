"""The words a team writes its contract with, and how a declared row becomes a `Contract`.

class Customer(Row):
    customer_id: Annotated[str, Key(), Field(max_length=16)]
    discount: Annotated[float, Request(unit="percent"), Field(ge=0, le=100)] = 0.0
    plan: Annotated[Literal["basic", "plus"], Lookup()]
"""

import math
from dataclasses import dataclass
from datetime import datetime
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from lifecycle.contract.rows import CONFIG, field_of
from lifecycle.contract.schema import Column, Contract, Kind, Source, Target
from lifecycle.errors import LifecycleError

WHERE = "src/model/contract.py"
FLOAT32_MAX = 3.4028234663852886e38
# Above 2**24 two neighbouring whole numbers become the same float32.
EXACT_INTEGER = 2**24
MAX_TEXT = 256
KINDS: dict[type, Kind] = {float: "number", int: "integer", bool: "boolean", str: "category", datetime: "time"}
RESERVED = frozenset(
    ("as_of", "date", "prediction", "probability", "row", "rowid", "seen_ts", "threshold", "ts", "version")
)
TAKES: dict[Kind, tuple[type, ...]] = {"number": (Ge, Le), "integer": (Ge, Le), "category": (MaxLen,)}
UNSET = object()


class Row(BaseModel):
    """Base of a declared row: each field carries exactly one of `Key`, `Request`, `Lookup`."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


@dataclass(frozen=True)
class Note:
    """What a field says beyond its type.

    `expected`: a usual range (low, high) or the usual levels; a row outside is answered, and monitoring's business.
    `loggable`: whether the value may reach a log.
    """

    unit: str = ""
    expected: tuple[Any, ...] = ()
    loggable: bool = True

    source: ClassVar[Source] = "request"


@dataclass(frozen=True)
class Key(Note):
    """Identifies the entity (or, as a datetime, the moment); never reaches the model."""

    source: ClassVar[Source] = "key"


@dataclass(frozen=True)
class Request(Note):
    """Sent by the caller."""


@dataclass(frozen=True)
class Lookup(Note):
    """Computed by `features.sql` and looked up by key; `fallback` is its value for a key without features."""

    fallback: Any = UNSET

    source: ClassVar[Source] = "lookup"


def Binary(label: str, positive: str, negative: str) -> Target:  # noqa: N802 - reads as a type in a contract
    """Yes or no: `label` is a boolean or 0/1 column; the probability answered is that of `positive`."""
    return Target("binary", label, (negative, positive))


def Multiclass(label: str, names: tuple[str, ...]) -> Target:  # noqa: N802
    """One of several: `label` is a text column that holds one of `names`."""
    return Target("multiclass", label, tuple(names))


def Regression(label: str, unit: str = "") -> Target:  # noqa: N802
    """A number: `label` is a numeric column."""
    return Target("regression", label, (), unit)


def derive(row: type[Row], target: Target, version: int) -> Contract:
    """The contract of a declared row; raises LifecycleError naming the field that cannot be one."""
    if not isinstance(version, int) or version < 1:
        raise _fault("VERSION", f"is {version!r}", "Write the major version of the contract: 1, 2, …")
    if not (isinstance(row, type) and issubclass(row, Row)):
        raise _fault(
            "ROW",
            "is no class of lifecycle.contract.declare.Row",
            "Write `class Customer(Row): …` and `ROW = Customer`.",
        )
    if not isinstance(target, Target) or not all(isinstance(name, str) for name in (target.label, *target.classes)):
        hint = "Call Binary, Multiclass or Regression; the label and the names of classes are text."
        raise _fault("TARGET", "is no target of lifecycle.contract.declare", hint)
    _no_validators(row)
    columns = tuple(_column(name, info) for name, info in row.model_fields.items())
    contract = Contract(version, target, columns)
    _whole(contract)
    return contract


def _column(field: str, info: FieldInfo) -> Column:
    name = info.alias or field
    notes = [item for item in info.metadata if isinstance(item, Note)]
    if len(notes) != 1:
        raise _fault(field, f"carries {len(notes)} of Key(), Request(), Lookup()", "Write exactly one of them.")
    note = notes[0]
    plain, nullable = _plain_type(field, info.annotation)
    levels = _levels(field, plain)
    kind: Kind = "category" if levels else _kind(field, plain, note.source)
    _only_known(field, info, () if levels else TAKES.get(kind, ()))
    low, high = _bounds(field, info, kind, note.source)
    length = _attribute(info, "max_length")
    if kind == "category" and not levels and length is None:
        length = MAX_TEXT
    if info.default_factory is not None:
        raise _fault(field, "has a default_factory", "Write the default itself.")
    fallback = getattr(note, "fallback", UNSET)
    column = Column(
        name=name,
        source=note.source,
        kind=kind,
        nullable=nullable,
        required=info.default is PydanticUndefined,
        default=None if info.default is PydanticUndefined else info.default,
        low=low,
        high=high,
        levels=levels,
        max_length=length,
        unit=note.unit,
        expected=note.expected,
        loggable=note.loggable,
        description=info.description or "",
        fallback=None if fallback is UNSET else fallback,
        has_fallback=fallback is not UNSET,
    )
    _sound(field, column)
    return column


def _only_known(field: str, info: FieldInfo, takes: tuple[type, ...]) -> None:
    """Refuse what would be dropped without a word: numbers take ge and le, open text max_length, each once."""
    kinds = [type(item) for item in info.metadata]
    for item in info.metadata:
        if not isinstance(item, (Note, Gt, Lt, *takes)) or kinds.count(type(item)) > 1:
            hint = "Only one ge and le of a number, one max_length of open text, and Literal can be held everywhere."
            raise _fault(field, f"carries {item!r}", hint)


def _sound(field: str, column: Column) -> None:
    """Check what is stated about a column against itself."""
    if column.source != "request" and not column.required:
        raise _fault(field, "has a default", "Only a Request() field has one; an Lookup() field has a fallback.")
    if column.source == "key" and column.nullable:
        raise _fault(field, "is a key that may be null", "Take None out of its type.")
    if column.source != "key" and column.kind == "category" and not column.levels and not column.loggable:
        hint = "Name its levels in a Literal, or leave the field out: learned levels travel in every bundle."
        raise _fault(field, "is open text that must not be logged", hint)
    stated = {"default": column.default} if not column.required else {}
    stated |= {"fallback": column.fallback} if column.has_fallback else {}
    for word, value in stated.items():
        try:
            TypeAdapter(field_of(column), config=CONFIG).validate_python(value)
        except ValidationError as error:
            told = error.errors(include_url=False)[0]["msg"]
            raise _fault(field, f"has the {word} {value!r}: {told}", "Change the one or the other.") from None


def _plain_type(field: str, annotation: Any) -> tuple[Any, bool]:
    alternatives = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    plain = [one for one in alternatives if one is not type(None)]
    if len(plain) != 1:
        raise _fault(field, f"has the type {annotation}", "Write one type, or one type and None.")
    # A bound inside `Annotated[float, …] | None` is lost without a word when JSON Schema is derived.
    if get_origin(plain[0]) is Annotated:
        raise _fault(field, "has a bound inside the alternative", "Write Annotated[float | None, Field(ge=0)].")
    return plain[0], len(alternatives) > 1


def _levels(field: str, plain: Any) -> tuple[str, ...]:
    if get_origin(plain) is not Literal:
        return ()
    levels = get_args(plain)
    if not all(isinstance(level, str) for level in levels):
        raise _fault(field, "has levels that are not text", "Write whole numbers as int with ge and le.")
    return tuple(levels)


def _kind(field: str, plain: Any, source: Source) -> Kind:
    if plain not in KINDS:
        raise _fault(field, f"has the type {plain}", "Write float, int, bool, str, Literal or, in a key, datetime.")
    kind = KINDS[plain]
    if kind == "time" and source != "key":
        raise _fault(field, "is a datetime", "Dates are keys; give the model a number of days instead.")
    if source == "key" and kind in ("number", "boolean"):
        raise _fault(field, f"is a {kind} key", "A key is text, a whole number or a datetime.")
    return kind


def _bounds(field: str, info: FieldInfo, kind: Kind, source: Source) -> tuple[float | None, float | None]:
    if _attribute(info, "gt") is not None or _attribute(info, "lt") is not None:
        raise _fault(field, "has an open bound (gt, lt)", "Write ge and le: JSON Schema and SQL share them.")
    low, high = _attribute(info, "ge"), _attribute(info, "le")
    limit = {"number": FLOAT32_MAX, "integer": EXACT_INTEGER}.get(kind)
    if limit is None or source == "key":
        return _bound(low, kind), _bound(high, kind)
    # Every number has finite bounds: 1e39 would become infinity in the matrix.
    low, high = (-limit if low is None else low), (limit if high is None else high)
    if not (math.isfinite(low) and math.isfinite(high) and -limit <= low <= high <= limit):
        raise _fault(field, f"has the limits {low} … {high}", f"Keep them finite, in order, within ±{limit:g}.")
    return _bound(low, kind), _bound(high, kind)


def _bound(value: Any, kind: Kind) -> float | None:
    # 0 and 0.0 say the same, and give the same contract.json.
    return None if value is None else int(value) if kind == "integer" else float(value)


def _attribute(info: FieldInfo, name: str) -> Any:
    return next((getattr(item, name) for item in info.metadata if hasattr(item, name)), None)


def _no_validators(row: type[Row]) -> None:
    found = row.__pydantic_decorators__
    names = [*found.field_validators, *found.validators, *found.model_validators, *found.root_validators]
    if names or found.computed_fields:
        culprit = (names or list(found.computed_fields))[0]
        hint = "Say it with a type, ge, le, max_length or Literal: code in the contract would be absent elsewhere."
        raise _fault(culprit, "is a validator or a computed field", hint)


def _whole(contract: Contract) -> None:
    names = [column.name for column in contract.columns]
    doubled = {name for name in names if names.count(name) > 1}
    if doubled:
        raise _fault(doubled.pop(), "stands twice", "Give each field its own alias.")
    for name in (*names, contract.target.label):
        # Columns of our own in tables and answers, and names that SQL could not tell apart from them.
        if name.lower() in RESERVED or name.lower().startswith(("lifecycle_", "probabilities_")):
            raise _fault(name, "is a name that lifecycle uses itself", "Give the field another alias.")
    folded = {name.lower(): name for name in (*names, contract.target.label)}
    for name in names:
        if folded[name.lower()] != name:
            raise _fault(name, f"differs from {folded[name.lower()]} in its case only", "Give one another alias.")
    without = [column.name for column in contract.lookups if not column.has_fallback]
    if without and len(without) < len(contract.lookups):
        raise _fault(
            without[0], "has no fallback, and other fields have", "State one for each Lookup() field, or for none."
        )
    if not contract.inputs:
        raise LifecycleError(f"{WHERE}: the row has no field that the model sees", "Add a Request() or Lookup() field.")
    if contract.target.label in names:
        raise _fault(contract.target.label, "is the label and a field of the row", "Take it out of the row.")
    entity_keys = [column.name for column in contract.keys if column.kind != "time"]
    if contract.lookups and len(entity_keys) != 1:
        raise LifecycleError(
            f"{WHERE}: Lookup() fields need exactly one key, found {entity_keys or 'none'}",
            "Give one field Key(); several parts can be joined into one text.",
        )
    if len(contract.target.classes) == 1 or len(set(contract.target.classes)) != len(contract.target.classes):
        raise LifecycleError(
            f"{WHERE}: the classes {contract.target.classes} are not distinct", "Name each class once."
        )


def _fault(field: str, problem: str, hint: str) -> LifecycleError:
    return LifecycleError(f"{WHERE}: {field} {problem}", hint)
