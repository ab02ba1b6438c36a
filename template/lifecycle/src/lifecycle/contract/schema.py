"""A row and an answer as data: what `contract.json` says, and all that is derived from it at run time.

Nothing here imports the team's code: a bundle's `contract.json` is the only truth once a model is trained.
"""

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from lifecycle.errors import LifecycleError

Source = Literal["key", "request", "lookup"]
Kind = Literal["number", "integer", "boolean", "category", "time"]
Task = Literal["binary", "multiclass", "regression"]

JSON_TYPES = {"number": "number", "integer": "integer", "boolean": "boolean", "category": "string", "time": "string"}
SCHEMA = "https://json-schema.org/draft/2020-12/schema"
# Values in contracts that releases before 0.3.0 wrote.
OLD_SOURCES: dict[str, Source] = {"entity": "lookup"}
OLD_TASKS: dict[str, Task] = {"two classes": "binary", "classes": "multiclass", "number": "regression"}


@dataclass(frozen=True)
class Column:
    """One column of a row, under the name it has on the wire and in every table.

    `low`, `high`, `levels` and `max_length` are hard limits: values outside are refused. `expected` is what is usual:
    values outside are answered. A category without `levels` is open: its levels are learned in training.
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

    def to_schema(self) -> dict[str, Any]:
        """The property of this column in JSON Schema, with the `x-` keys that JSON Schema has no word for."""
        json_type = JSON_TYPES[self.kind]
        schema: dict[str, Any] = {"type": [json_type, "null"] if self.nullable else json_type}
        if self.levels:
            schema["enum"] = [*self.levels, None] if self.nullable else list(self.levels)
        facts = {
            "format": "date-time" if self.kind == "time" else None,
            "minimum": self.low,
            "maximum": self.high,
            "maxLength": self.max_length,
            "description": self.description or None,
            "x-unit": self.unit or None,
            "x-expected": list(self.expected) or None,
        }
        schema |= {name: value for name, value in facts.items() if value is not None}
        if not self.required:
            schema["default"] = self.default
        if self.has_fallback:
            schema["x-fallback"] = self.fallback
        return schema | {"x-source": self.source, "x-loggable": self.loggable}

    @classmethod
    def from_schema(cls, name: str, schema: dict[str, Any], required: bool) -> "Column":
        """The column that `to_schema` wrote."""
        types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        word = next(one for one in types if one != "null")
        kind: Any = {"string": "time" if schema.get("format") == "date-time" else "category"}.get(word, word)
        return cls(
            name=name,
            source=OLD_SOURCES.get(schema["x-source"], schema["x-source"]),
            kind=kind,
            nullable="null" in types,
            required=required,
            default=schema.get("default"),
            low=schema.get("minimum"),
            high=schema.get("maximum"),
            levels=tuple(level for level in schema.get("enum", ()) if level is not None),
            max_length=schema.get("maxLength"),
            unit=schema.get("x-unit", ""),
            expected=tuple(schema.get("x-expected", ())),
            loggable=schema["x-loggable"],
            description=schema.get("description", ""),
            fallback=schema.get("x-fallback"),
            has_fallback="x-fallback" in schema,
        )


@dataclass(frozen=True)
class Target:
    """What the model returns: `label` is the column it learns from, `classes` are in the order of the codes 0, 1, …

    Two classes: the second is the positive one, whose probability is answered. A number has no classes.
    """

    task: Task
    label: str
    classes: tuple[str, ...] = ()
    unit: str = ""

    def to_schema(self) -> dict[str, Any]:
        """JSON Schema of one answer on the wire, with `x-` keys."""
        properties: dict[str, Any]
        probability = {"type": "number", "minimum": 0, "maximum": 1}
        if self.task == "regression":
            properties = {"prediction": {"type": "number"} | ({"x-unit": self.unit} if self.unit else {})}
        elif self.task == "binary":
            meaning = f"Probability of {self.classes[1]!r}."
            properties = {
                "prediction": {"type": "string", "enum": list(self.classes)},
                "probability": probability | {"description": meaning},
            }
        else:
            each = {name: probability for name in self.classes}
            properties = {
                "prediction": {"type": "string", "enum": list(self.classes)},
                "probabilities": {"type": "object", "properties": each, "required": list(self.classes)},
            }
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "x-task": self.task,
            "x-label": self.label,
            "x-classes": list(self.classes),
        }

    @classmethod
    def from_schema(cls, schema: dict[str, Any]) -> "Target":
        """The answer that `to_schema` wrote."""
        unit = schema["properties"]["prediction"].get("x-unit", "")
        task = OLD_TASKS.get(schema["x-task"], schema["x-task"])
        return cls(task, schema["x-label"], tuple(schema["x-classes"]), unit)


@dataclass(frozen=True)
class Contract:
    """A row (`columns`, in the order of the model's matrix) and an answer, under a major `version`."""

    version: int
    target: Target
    columns: tuple[Column, ...] = field(default=())

    @cached_property
    def key(self) -> Column | None:
        """The column that identifies the entity, when there is one."""
        return next((column for column in self.columns if column.source == "key" and column.kind != "time"), None)

    @cached_property
    def time(self) -> Column | None:
        """The key column that says when, when the caller sends one."""
        return next((column for column in self.columns if column.kind == "time"), None)

    @cached_property
    def keys(self) -> tuple[Column, ...]:
        """Every key column: they travel with a row and never reach the model."""
        return tuple(column for column in self.columns if column.source == "key")

    @cached_property
    def inputs(self) -> tuple[Column, ...]:
        """What the model sees, left to right."""
        return tuple(column for column in self.columns if column.source != "key")

    @cached_property
    def lookups(self) -> tuple[Column, ...]:
        """What is looked up by key."""
        return tuple(column for column in self.columns if column.source == "lookup")

    @cached_property
    def loggable(self) -> tuple[Column, ...]:
        """What may be kept of a row."""
        return tuple(column for column in self.columns if column.loggable)

    @cached_property
    def looked_up(self) -> tuple[Column, ...]:
        """The columns of the feature table: the key, then what is looked up by it."""
        return (self.key, *self.lookups) if self.key else ()

    @cached_property
    def request(self) -> tuple[Column, ...]:
        """What the caller sends."""
        return tuple(column for column in self.columns if column.source != "lookup")

    @cached_property
    def fallback(self) -> dict[str, Any] | None:
        """The entity's columns for a key without features, when the contract states them all."""
        if self.lookups and all(column.has_fallback for column in self.lookups):
            return {column.name: column.fallback for column in self.lookups}
        return None

    def row_schema(self, columns: tuple[Column, ...] | None = None) -> dict[str, Any]:
        """JSON Schema of a row, or of the part of it that `columns` names."""
        chosen = self.columns if columns is None else columns
        return {
            "type": "object",
            "properties": {column.name: column.to_schema() for column in chosen},
            "required": [column.name for column in chosen if column.required],
            "additionalProperties": False,
        }

    def to_json(self) -> str:
        """The text of `contract.json`: equal contracts give equal texts."""
        document = {"$schema": SCHEMA, "x-version": self.version} | self.row_schema()
        return json.dumps(document | {"x-target": self.target.to_schema()}, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "contract.json") -> "Contract":
        """Read what `to_json` wrote; raises LifecycleError naming `where` when it is something else."""
        try:
            document = json.loads(text)
            required = set(document["required"])
            columns = tuple(
                Column.from_schema(name, schema, name in required) for name, schema in document["properties"].items()
            )
            return cls(
                document["x-version"], Target.from_schema(document.get("x-target") or document["x-answer"]), columns
            )
        except (ValueError, KeyError, TypeError, StopIteration, AttributeError) as error:
            problem = f"{where} is not a contract ({type(error).__name__}: {error})"
            raise LifecycleError(problem, "It is written by `make contract`; restore it from git.") from error
