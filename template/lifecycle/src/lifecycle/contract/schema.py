"""The contract as data: `contract.json`, in a model's bundle its only contract, and what is derived from it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from lifecycle import renamed_property
from lifecycle.errors import LifecycleError

Source = Literal["key", "id", "request", "lookup", "logged"]
Kind = Literal["number", "integer", "boolean", "category", "time"]
Task = Literal["binary", "multiclass", "regression"]
# The kinds whose values have an order.
ORDERED: tuple[Kind, ...] = ("number", "integer", "time")

# Attributes of a column that JSON Schema writes under another name, where they have a value.
KEYWORDS = {"low": "minimum", "high": "maximum", "max_length": "maxLength"}
KEYWORDS |= {"description": "description", "unit": "x-unit"}
SCHEMA = "https://json-schema.org/draft/2020-12/schema"
# Values in the contract.json of releases before 0.3.0.
OLD_SOURCES: dict[str, Source] = {"entity": "lookup"}
OLD_TASKS: dict[str, Task] = {"two classes": "binary", "classes": "multiclass", "number": "regression"}


@dataclass(frozen=True)
class Column:
    """One column of a row, under the name that requests and tables use.

    Values outside `low`, `high`, `levels` and `max_length` are refused; values outside `expected`, the usual range or
    levels, are predicted and counted. A category without `levels` is open: its levels are those of the training rows.
    Times in `default`, `expected` and `fallback` are ISO 8601 text. Quality is measured in each level of a `slice`.
    """

    name: str
    source: Source
    kind: Kind
    nullable: bool = False
    required: bool = True
    default: Any = None
    low: float | None = None
    high: float | None = None
    levels: tuple[str, ...] = ()
    max_length: int | None = None
    unit: str = ""
    expected: tuple[Any, ...] = ()
    loggable: bool = True
    description: str = ""
    fallback: Any = None
    has_fallback: bool = False
    slice: bool = False

    def to_schema(self) -> dict[str, Any]:
        """Return the JSON Schema property of this column; `x-` keys hold what JSON Schema cannot express."""
        json_type = "string" if self.kind in ("category", "time") else self.kind
        schema: dict[str, Any] = {"type": [json_type, "null"] if self.nullable else json_type}
        if self.levels:
            schema["enum"] = [*self.levels, None] if self.nullable else list(self.levels)
        if self.kind == "time":
            schema["format"] = "date-time"
        facts = {keyword: getattr(self, name) for name, keyword in KEYWORDS.items()}
        schema |= {keyword: value for keyword, value in facts.items() if value not in (None, "")}
        if self.expected:
            schema["x-expected"] = list(self.expected)
        if not self.required:
            schema["default"] = self.default
        if self.has_fallback:
            schema["x-fallback"] = self.fallback
        if self.slice:
            schema["x-slice"] = True
        return schema | {"x-source": self.source, "x-loggable": self.loggable}

    @classmethod
    def from_schema(cls, name: str, schema: dict[str, Any], required: bool) -> "Column":
        """Return the column that `to_schema` of this or an earlier release wrote."""
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        (kind,) = (each for each in types if each != "null")
        if kind == "string":
            kind = "time" if schema.get("format") == "date-time" else "category"
        facts = {each: schema[keyword] for each, keyword in KEYWORDS.items() if keyword in schema}
        return cls(
            name=name,
            source=OLD_SOURCES.get(schema["x-source"], schema["x-source"]),
            kind=kind,
            nullable="null" in types,
            required=required,
            default=schema.get("default"),
            levels=tuple(level for level in schema.get("enum", ()) if level is not None),
            expected=tuple(schema.get("x-expected", ())),
            loggable=schema["x-loggable"],
            fallback=schema.get("x-fallback"),
            has_fallback="x-fallback" in schema,
            slice=schema.get("x-slice", False),
            **facts,
        )


@dataclass(frozen=True)
class Target:
    """What the model predicts: the `label` column, and the `classes` in the order of their codes.

    Of two classes, the second is the positive one. A regression predicts the `quantile` of the label, else its mean.
    """

    task: Task
    label: str
    classes: tuple[str, ...] = ()
    unit: str = ""
    quantile: float | None = None

    def has_labels_of(self, other: "Target") -> bool:
        """Return whether a label means the same for another target: only unit and quantile may differ."""
        return (self.task, self.label, self.classes) == (other.task, other.label, other.classes)

    def to_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of one prediction in a response, with `x-` keys."""
        probability = {"type": "number", "minimum": 0, "maximum": 1}
        prediction: dict[str, Any] = {"type": "string", "enum": list(self.classes)}
        properties = {"prediction": prediction}
        if self.task == "regression":
            properties = {"prediction": {"type": "number"} | ({"x-unit": self.unit} if self.unit else {})}
            if self.quantile is not None:
                properties["prediction"]["description"] = f"The {self.quantile:g} quantile of {self.label!r}."
        elif self.task == "binary":
            properties["probability"] = probability | {"description": f"Probability of {self.classes[1]!r}."}
        else:
            each = dict.fromkeys(self.classes, probability)
            properties["probabilities"] = {"type": "object", "properties": each, "required": list(self.classes)}
        facts: dict[str, Any] = {"x-task": self.task, "x-label": self.label, "x-classes": list(self.classes)}
        facts |= {} if self.quantile is None else {"x-quantile": self.quantile}
        return {"type": "object", "properties": properties, "required": list(properties)} | facts

    @classmethod
    def from_schema(cls, schema: dict[str, Any]) -> "Target":
        """Return the target that `to_schema` wrote."""
        unit = schema["properties"]["prediction"].get("x-unit", "")
        task = OLD_TASKS.get(schema["x-task"], schema["x-task"])
        return cls(task, schema["x-label"], tuple(schema["x-classes"]), unit, schema.get("x-quantile"))


def _select(condition: Callable[[Column], bool]) -> "cached_property[tuple[Column, ...]]":
    return cached_property(lambda contract: tuple(filter(condition, contract.columns)))


def _first(condition: Callable[[Column], bool]) -> "cached_property[Column | None]":
    return cached_property(lambda contract: next(filter(condition, contract.columns), None))


@dataclass(frozen=True)
class Contract:
    """The columns of a row, in the order of the model's matrix, and the target, under a major `version`."""

    version: int
    target: Target
    columns: tuple[Column, ...] = ()

    # The columns that identify the entity together, and the first of them: a contract with look-ups has no other.
    entity_key = _select(lambda column: column.source == "key" and column.kind != "time")
    key = _first(lambda column: column.source == "key" and column.kind != "time")
    # The key column that contains the time of a row, or None.
    time = _first(lambda column: column.source == "key" and column.kind == "time")
    # The column that identifies the row or event, or None; a contract has at most one of these.
    id = _first(lambda column: column.source == "id")
    ids = _select(lambda column: column.source == "id")
    # Keys and the id are stored and logged, and are never columns of the matrix.
    identifiers = _select(lambda column: column.source in ("key", "id"))
    keys = _select(lambda column: column.source == "key")
    # The columns of the model's matrix, left to right.
    inputs = _select(lambda column: column.source in ("request", "lookup"))
    # The columns of the frames that a model class of the team reads.
    framed = _select(lambda column: column.source not in ("id", "logged"))
    # The columns that `features.sql` computes and the service looks up by key.
    lookups = _select(lambda column: column.source == "lookup")
    # The columns that the caller sends.
    request = _select(lambda column: column.source != "lookup")
    # The columns that may be written to a log.
    loggable = _select(lambda column: column.loggable)

    @cached_property
    def row_identity(self) -> tuple[Column, ...]:
        """Return the columns that identify a row: the id, or with its time the key, or what the model reads."""
        return (self.id,) if self.id else self.entity_key or self.framed

    @cached_property
    def looked_up(self) -> tuple[Column, ...]:
        """Return the columns of the feature table: the key, then the looked-up columns."""
        return (self.key, *self.lookups) if self.key else ()

    @cached_property
    def fallback(self) -> dict[str, Any] | None:
        """Return the looked-up columns of a key without features, or None where the contract states no fallback."""
        stated = {column.name: column.fallback for column in self.lookups if column.has_fallback}
        return stated if stated and len(stated) == len(self.lookups) else None

    answer = renamed_property("contract.answer", "contract.target")
    entity = renamed_property("contract.entity", "contract.lookups")

    def row_schema(self, columns: tuple[Column, ...]) -> dict[str, Any]:
        """Return the JSON Schema of the part of a row that `columns` lists."""
        return {
            "type": "object",
            "properties": {column.name: column.to_schema() for column in columns},
            "required": [column.name for column in columns if column.required],
            "additionalProperties": False,
        }

    def to_json(self) -> str:
        """Return the text of `contract.json`."""
        document = {"$schema": SCHEMA, "x-version": self.version} | self.row_schema(self.columns)
        return json.dumps(document | {"x-target": self.target.to_schema()}, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "contract.json") -> "Contract":
        """Return what `to_json` of this or an earlier release wrote; LifecycleError names `where` if it is none."""
        try:
            document = json.loads(text)
            columns, required = document["properties"].items(), document["required"]
            target = Target.from_schema(document.get("x-target") or document["x-answer"])
            read = (Column.from_schema(name, schema, name in required) for name, schema in columns)
            return cls(document["x-version"], target, tuple(read))
        except (ValueError, KeyError, TypeError, StopIteration, AttributeError) as error:
            problem = f"{where} is not a contract ({type(error).__name__}: {error})"
            raise LifecycleError(problem, "It is written by `make contract`; restore it from git.") from error
