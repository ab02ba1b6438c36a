"""The declaration of a contract in Python, and its conversion to a `Contract`.

class Customer(Row):
    customer_id: Annotated[str, Key(), Field(max_length=16)]
    discount: Annotated[float, Request(unit="percent"), Field(ge=0, le=100)] = 0.0
"""

import dataclasses
from dataclasses import dataclass, replace
from datetime import datetime
from types import UnionType
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin

from annotated_types import Ge, Le, MaxLen
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from lifecycle.contract.rows import CONFIG, field_of
from lifecycle.contract.schema import Column, Contract, Kind, Source, Target
from lifecycle.errors import LifecycleError

FLOAT32_MAX = 3.4028234663852886e38
# Above 2**24, two neighbouring whole numbers become the same float32.
EXACT_INTEGER = 2**24
WHERE, MAX_TEXT = "src/model/contract.py", 256
KINDS: dict[type, Kind] = {float: "number", int: "integer", bool: "boolean", str: "category", datetime: "time"}
# Columns that lifecycle adds to tables and responses, and one that DuckDB adds to the rows of a file.
RESERVED = {"as_of", "date", "prediction", "probability", "row", "rowid", "seen_ts", "threshold", "ts", "version"}
RESERVED |= {"file_row_number"}
CONSTRAINTS: dict[Kind, tuple[type, ...]] = {"number": (Ge, Le), "integer": (Ge, Le), "category": (MaxLen,)}


class Row(BaseModel):
    """The base class of a declared row; each field carries one of `Key`, `Id`, `Request`, `Lookup` and `Logged`."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())


@dataclass(frozen=True)
class Note:
    """The properties of a field beyond its type.

    `expected` is the usual range (low, high) or the usual levels; a row outside is predicted, and monitoring counts it.
    `loggable` says whether the value may be written to a log, `slice` whether quality is measured in each level.
    """

    unit: str = ""
    expected: tuple[Any, ...] = ()
    loggable: bool = True
    slice: bool = dataclasses.field(default=False, kw_only=True)
    source: ClassVar[Source] = "request"


class Key(Note):
    """A field that identifies the entity (several do so together), or as a datetime the time of the row; no input."""

    source: ClassVar[Source] = "key"


class Id(Note):
    """The field that identifies the row or event, such as an application number, for labels and erasure; no input."""

    source: ClassVar[Source] = "id"


class Request(Note):
    """A field that the caller sends, a model input."""


class Logged(Note):
    """A field that the caller sends and that is logged for later analysis; no input."""

    source: ClassVar[Source] = "logged"


@dataclass(frozen=True)
class Lookup(Note):
    """A field that `features.sql` computes and the service looks up; a key without features gets `fallback`, or 404."""

    fallback: Any = ...
    source: ClassVar[Source] = "lookup"


def Binary(label: str, positive: str, negative: str) -> Target:  # noqa: N802 - reads as a type in a contract
    """Declare a binary classification; `label` is a boolean or 0/1 column. Predictions contain P(positive)."""
    return Target("binary", label, (negative, positive))


def Multiclass(label: str, names: tuple[str, ...]) -> Target:  # noqa: N802
    """Declare a multiclass classification; `label` is a text column that contains one of `names`."""
    return Target("multiclass", label, tuple(names))


def Regression(label: str, unit: str = "", quantile: float | None = None) -> Target:  # noqa: N802
    """Declare a regression; `label` is a numeric column.

    The model predicts the mean and is judged by its squared error; with a `quantile` between 0 and 1, such as 0.9, it
    predicts a number that this share of the labels does not exceed, and is judged by the pinball loss.
    """
    return Target("regression", label, (), unit, quantile)


def derive(row: type[Row], target: Target, version: int) -> Contract:
    """Convert a declared row, its target and version; LifecycleError names the field that is declared wrongly."""
    hint = "Write the major version of the contract: 1, 2, …"
    _refuse_if(not isinstance(version, int) or version < 1, "VERSION", f"is {version!r}", hint)
    is_row = isinstance(row, type) and issubclass(row, Row)
    hint = "Write `class Customer(Row): …` and `ROW = Customer`."
    _refuse_if(not is_row, "ROW", "is not a subclass of lifecycle.contract.Row", hint)
    is_target = isinstance(target, Target) and all(isinstance(name, str) for name in (target.label, *target.classes))
    hint = "Call Binary, Multiclass or Regression; the label and the names of classes are text."
    _refuse_if(not is_target, "TARGET", "is not a valid target", hint)
    is_share = target.quantile is None or (isinstance(target.quantile, float) and 0 < target.quantile < 1)
    hint = "Write a share such as 0.9, or no quantile to predict the mean."
    _refuse_if(not is_share, "TARGET", f"has the quantile {target.quantile!r}", hint)
    found = row.__pydantic_decorators__
    code = (found.field_validators, found.validators, found.model_validators, found.root_validators)
    names = [name for each in (*code, found.computed_fields) for name in each]
    hint = "Use a type, ge, le, max_length or Literal: JSON Schema and SQL cannot run code of the contract."
    _refuse_if(bool(names), ", ".join(names), "is a validator or a computed field", hint)
    contract = Contract(version, target, tuple(_column(name, info) for name, info in row.model_fields.items()))
    _check(contract)
    return contract


def _column(field: str, info: FieldInfo) -> Column:
    notes = [item for item in info.metadata if isinstance(item, Note)]
    problem = f"carries {len(notes)} of Key(), Id(), Request(), Lookup(), Logged()"
    _refuse_if(len(notes) != 1, field, problem, "Write exactly one of them.")
    note = notes[0]
    stated = {name: _as_json(value) for name, value in vars(note).items() if value is not ...}
    kind, nullable, levels = _type(field, info.annotation, note.source)
    allowed = () if levels else CONSTRAINTS.get(kind, ())
    types = [type(item) for item in info.metadata]
    for item in info.metadata:
        # JSON Schema, SQL and Pydantic share no other constraint: one of them would ignore it without a message.
        wrong = not isinstance(item, (Note, *allowed)) or types.count(type(item)) > 1
        hint = "A number takes one ge and one le, no open bound (gt, lt), and open text takes one max_length."
        _refuse_if(wrong, field, f"carries {item!r}", hint)
    limits = {"max_length": MAX_TEXT} if MaxLen in allowed else {}
    bounds = ("ge", "le", "max_length")
    limits |= {name: getattr(item, name) for item in info.metadata for name in bounds if hasattr(item, name)}
    low, high = _bounds(field, limits, kind, note.source)
    _refuse_if(info.default_factory is not None, field, "has a default_factory", "Write the default itself.")
    name, source, required = info.alias or field, note.source, info.is_required()
    default, length = None if required else _as_json(info.default), limits.get("max_length")
    column = Column(name, source, kind, nullable, required, default, low, high, levels, length, **stated)
    column = replace(column, description=info.description or "", has_fallback="fallback" in stated)
    hint = "Mark a Request() or Lookup() field that is a category, a boolean or a whole number."
    no_levels = column.kind in ("number", "time") or column.source not in ("request", "lookup")
    _refuse_if(column.slice and no_levels, field, "has slice=True and no levels that the model sees", hint)
    identifies, is_open = column.source in ("key", "id"), column.kind == "category" and not column.levels
    hint = "Only a Request() or Logged() field has a default; a Lookup() field has a fallback."
    _refuse_if((identifies or column.source == "lookup") and not column.required, field, "has a default", hint)
    hint = "Remove None from its type."
    _refuse_if(identifies and column.nullable, field, f"identifies ({column.source}) and may be null", hint)
    hint = "Name its levels in a Literal, or remove the field: every bundle contains the levels seen in training."
    hidden = is_open and not identifies and not column.loggable
    _refuse_if(hidden, field, "is open text that must not be logged", hint)
    values = {"default": column.default} if not column.required else {}
    values |= {"fallback": column.fallback} if column.has_fallback else {}
    values |= dict(zip(("expected start", "expected end"), column.expected, strict=False)) if kind == "time" else {}
    for name, value in values.items():
        try:
            TypeAdapter(field_of(column), config=CONFIG).validate_python(value)
        except ValidationError as error:
            problem = f"has the {name} {value!r}: {error.errors(include_url=False)[0]['msg']}"
            _refuse_if(True, field, problem, f"Change the {name} or the limits.")
    return column


def _type(field: str, annotation: Any, source: Source) -> tuple[Kind, bool, tuple[str, ...]]:
    """Return kind, whether null is allowed, and levels."""
    alternatives = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    types = [one for one in alternatives if one is not type(None)]
    _refuse_if(len(types) != 1, field, f"has the type {annotation}", "Write one type, or one type and None.")
    plain, nullable = types[0], len(alternatives) > 1
    # Pydantic ignores a bound inside `Annotated[float, …] | None` when it derives JSON Schema.
    hint = "Write Annotated[float | None, Field(ge=0)]."
    _refuse_if(get_origin(plain) is Annotated, field, "has a bound inside the alternative", hint)
    if get_origin(plain) is Literal:
        is_text = all(isinstance(level, str) for level in get_args(plain))
        _refuse_if(not is_text, field, "has levels that are not text", "Write whole numbers as int with ge and le.")
        return "category", nullable, get_args(plain)
    hint = "Write float, int, bool, str, Literal or datetime."
    _refuse_if(plain not in KINDS, field, f"has the type {plain}", hint)
    kind = KINDS[plain]
    hint = "A key is text, a whole number or a datetime, and an id is text or a whole number."
    other = {"key": ("number", "boolean"), "id": ("number", "boolean", "time")}.get(source, ())
    _refuse_if(kind in other, field, f"is a {kind} {source}", hint)
    return kind, nullable, ()


def _bounds(field: str, limits: dict[str, Any], kind: Kind, source: Source) -> list[float | None]:
    limit = {"number": FLOAT32_MAX, "integer": EXACT_INTEGER}.get(kind) if source in ("request", "lookup") else None
    bounds = limits.get("ge"), limits.get("le")
    if limit:
        # Every model input has finite bounds, because 1e39 would become infinity in the matrix.
        bounds = low, high = limits.get("ge", -limit), limits.get("le", limit)
        hint = f"Keep them finite, in order, within ±{limit:g}."
        _refuse_if(not -limit <= low <= high <= limit, field, f"has the limits {low} … {high}", hint)
    # The same type for 0 and 0.0 gives the same contract.json.
    to_type = int if kind == "integer" else float
    return [None if bound is None else to_type(bound) for bound in bounds]


def _as_json(value: Any) -> Any:
    """Return times as contract.json has them."""
    value = tuple(map(_as_json, value)) if isinstance(value, tuple) else value
    return value.isoformat() if isinstance(value, datetime) else value


def _check(contract: Contract) -> None:
    names, label, classes = [column.name for column in contract.columns], contract.target.label, contract.target.classes
    _refuse_if(label in names, label, "is the label and a field of the row", "Remove it from the row.")
    ids = [column.name for column in contract.ids]
    _refuse_if(len(ids) > 1, " and ".join(ids), "are both Id()", "Keep one, and declare the other as Logged().")
    # A file of labels has a column `request_id` of its own.
    reserved = RESERVED | {"request_id"}.intersection(ids)
    # SQL does not distinguish upper and lower case.
    folded = {name.lower(): name for name in (*names, label)}
    for name in (*names, label):
        _refuse_if(names.count(name) > 1, name, "is the name of two fields", "Give each field its own alias.")
        is_reserved = name.lower() in reserved or name.lower().startswith(("lifecycle_", "probabilities_"))
        _refuse_if(is_reserved, name, "is a name that lifecycle uses itself", "Give the field another alias.")
        other = folded[name.lower()]
        _refuse_if(other != name, name, f"differs from {other} in its case only", "Give one another alias.")
    without = [column.name for column in contract.lookups if not column.has_fallback]
    some, hint = 0 < len(without) < len(contract.lookups), "Give every Lookup() field one, or none."
    _refuse_if(some, "".join(without[:1]), "has no fallback, and other fields have", hint)
    _refuse_if(not contract.inputs, "ROW", "has no model input", "Add a Request() or Lookup() field.")
    keys = [column.name for column in contract.entity_key]
    problem = f"has Lookup() fields, which need exactly one key, and has {keys or 'none'}"
    hint = "Give one field Key(); several parts can be joined into one text."
    _refuse_if(bool(contract.lookups) and len(keys) != 1, "ROW", problem, hint)
    distinct = len(classes) != 1 and len(set(classes)) == len(classes)
    _refuse_if(not distinct, "TARGET", f"has the classes {classes}, which are not distinct", "Name each class once.")


def _refuse_if(wrong: bool, field: str, problem: str, hint: str) -> None:
    if wrong:
        raise LifecycleError(f"{WHERE}: {field} {problem}", hint) from None
