"""The Python that a contract becomes: its row and its answer as typed classes, one fact on each line.

The text is as `ruff format` leaves it: with a comma after the last of several, lines are never joined.
"""

import textwrap
from collections.abc import Sequence
from typing import Any

from lifecycle.contract.names import python_names
from lifecycle.contract.schema import Column, Contract, Target

TYPES = {"number": "float", "integer": "int", "boolean": "bool", "category": "str", "time": "datetime"}
VALIDATORS = {"integer": "WHOLE", "time": "MOMENT"}

CONTRACT = '''"""A row and an answer of version {version} of the contract. It was generated from contract.json."""

{imports}

from .values import {shared}


class Row(BaseRow):
    """What is asked: a field that has a default may be left out."""

{row}

class Target(BaseAnswer):
    """What is answered."""

{answer}'''

PACKAGE = '''"""Asks the model {model}, under version {contract} of its contract."""

from .calls import Service as _Service
from .client import AsyncClient as _AsyncClient
from .client import SyncClient as _SyncClient
from .contract import Target, Row
from .errors import (
    ClientError,
    Fault,
    InvalidRow,
    Overloaded,
    ServiceError,
    Timeout,
    TooLarge,
    Unauthorized,
    UnknownKey,
    Unreachable,
    WrongContract,
)

__version__ = "{version}"
__all__ = [
    "Target",
    "AsyncClient",
    "Client",
    "ClientError",
    "Fault",
    "InvalidRow",
    "Overloaded",
    "Row",
    "ServiceError",
    "Timeout",
    "TooLarge",
    "Unauthorized",
    "UnknownKey",
    "Unreachable",
    "WrongContract",
]

_SERVICE = _Service(Target, contract={contract}, agent="{distribution}/{version}")


class Client(_SyncClient[Row, Target]):
    __doc__ = _SyncClient.__doc__
    service = _SERVICE


class AsyncClient(_AsyncClient[Row, Target]):
    __doc__ = _AsyncClient.__doc__
    service = _SERVICE
'''


def contract_text(contract: Contract) -> str:
    """The module `contract.py` of a client."""
    names = python_names(column.name for column in contract.request)
    row = "".join(_assigned(names[column.name], column) for column in contract.request)
    answer = _answer(contract.target)
    body = row + answer
    typing = [name for name in ("Annotated", "Literal") if f"{name}[" in body]
    imports = [
        *(["from datetime import datetime"] if "datetime" in {TYPES[c.kind] for c in contract.request} else []),
        *([f"from typing import {', '.join(typing)}"] if typing else []),
        *(["", "from pydantic import Field"] if "Field(" in body else []),
    ]
    used = {VALIDATORS[column.kind] for column in contract.request if column.kind in VALIDATORS}
    shared = ", ".join([*sorted(used), "BaseAnswer", "BaseRow"])
    return CONTRACT.format(
        version=contract.version, imports="\n".join(imports).strip(), shared=shared, row=row, answer=answer
    )


def package_text(contract: Contract, model: str, distribution: str, version: str) -> str:
    """The module `__init__.py` of a client."""
    return PACKAGE.format(contract=contract.version, model=model, distribution=distribution, version=version)


def _assigned(name: str, column: Column) -> str:
    null = [None] if column.nullable else []
    kind = _literal([*column.levels, *null]) if column.levels else " | ".join([TYPES[column.kind], *map(value, null)])
    limits: dict[str, Any] = {"ge": column.low, "le": column.high}
    if column.kind == "integer":
        limits = {word: None if limit is None else int(limit) for word, limit in limits.items()}
    limits |= {"max_length": None if column.levels else column.max_length}
    limits |= {"alias": column.name if column.name != name else None}
    limits |= {"description": _described(column.description, column.unit) or None}
    given = {word: value for word, value in limits.items() if value is not None}
    notes = [*([_call("Field", given)] if given else []), *filter(None, [VALIDATORS.get(column.kind)])]
    annotation = _annotated(kind, notes)
    default = "" if column.required else f" = {value(column.default)}"
    return textwrap.indent(f"{name}: {annotation}{default}\n", "    ")


def _answer(answer: Target) -> str:
    properties = answer.to_schema()["properties"]
    fields = {"prediction": _literal(answer.classes) if answer.classes else "float"}
    if "probability" in properties:
        fields["probability"] = "float"
    if "probabilities" in properties:
        fields["probabilities"] = _subscript("dict", [_literal(answer.classes), "float"])
    lines = ""
    for name, kind in fields.items():
        told = _described(properties[name].get("description", ""), answer.unit if name == "prediction" else "")
        annotation = _annotated(kind, [_call("Field", {"description": told})] if told else [])
        lines += textwrap.indent(f"{name}: {annotation}\n", "    ")
    return lines


def _described(description: str, unit: str) -> str:
    return f"{description} Unit: {unit}.".strip() if unit else description


def _literal(levels: Sequence[str | None]) -> str:
    return _subscript("Literal", [value(level) for level in levels])


def _annotated(kind: str, notes: list[str]) -> str:
    return _subscript("Annotated", [kind, *notes]) if notes else kind


def _call(name: str, given: dict[str, Any]) -> str:
    return _block(f"{name}(", [f"{word}={value(each)}" for word, each in given.items()], ")")


def _subscript(name: str, parts: list[str]) -> str:
    return _block(f"{name}[", parts, "]")


def _block(start: str, parts: list[str], end: str) -> str:
    return f"{start}\n{''.join(textwrap.indent(part, '    ') + ',' + chr(10) for part in parts)}{end}"


def value(given: Any) -> str:
    """A value as Python, as `ruff format` writes it."""
    if isinstance(given, str):
        quote = "'" if given.count('"') > given.count("'") else '"'
        return quote + "".join(_sign(sign, quote) for sign in given) + quote
    return repr(given).replace("e+", "e")


def _sign(sign: str, quote: str) -> str:
    if sign in ("\\", quote):
        return f"\\{sign}"
    return sign if sign.isprintable() else sign.encode("unicode_escape").decode()
