"""From the bytes of a request to rows: validation built from the contract, strict, without echoing a value."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, create_model

from lifecycle.contract import Column, Contract

Fault = dict[str, Any]
DATE = re.compile(r"\d{4}-\d\d-\d\d")
CONFIG = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())
# A body of a megabyte can hold a fault for every four bytes: enough of them is told to find the cause.
MAX_FAULTS = 100
MAX_NAME = 100


class RowError(Exception):
    """The request breaks the contract: `faults` name each field, what is wrong with it, and never its value."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__("; ".join(f"{fault['loc']}: {fault['msg']}" for fault in faults))


class TooManyRows(Exception):
    """The request holds more rows than the reader takes."""


class RowReader:
    """Reads the request fields of a contract; `ignored` are fields that only another contract knows."""

    def __init__(self, contract: Contract, ignored: frozenset[str] = frozenset(), max_rows: int | None = None) -> None:
        # Python names are positions: a column may be called anything, `class` and `copy` included.
        self.names = {f"c{at}": column.name for at, column in enumerate(contract.request)}
        self.ignored = {f"i{at}": name for at, name in enumerate(sorted(ignored - set(self.names.values())))}
        fields: dict[str, Any] = {
            safe: field_of(column) for safe, column in zip(self.names, contract.request, strict=True)
        }
        fields |= {safe: (Annotated[Any, Field(alias=name)], None) for safe, name in self.ignored.items()}
        row = create_model("Row", __config__=CONFIG, **fields)
        rows: Any = Annotated[list[row], Field(max_length=max_rows)]  # type: ignore[valid-type]
        self._one: TypeAdapter[BaseModel] = TypeAdapter(row)
        self._many: TypeAdapter[list[BaseModel]] = TypeAdapter(rows)

    def read(self, body: bytes) -> tuple[list[dict[str, Any]], bool, list[str]]:
        """Rows, whether the body was a list, and the ignored fields met (one entry for each time).

        Moments come as UTC without a zone, as tables hold them. Raises RowError and TooManyRows.
        """
        many = body.lstrip()[:1] == b"["
        try:
            found = self._many.validate_json(body) if many else [self._one.validate_json(body)]
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=False, include_input=False)
            if faults[0]["type"] == "too_long" and faults[0]["loc"] == ():
                raise TooManyRows from None
            raise RowError([_fault(each) for each in faults[:MAX_FAULTS]]) from None
        rows = [{name: getattr(row, safe) for safe, name in self.names.items()} for row in found]
        met = [name for row in found for safe, name in self.ignored.items() if safe in row.model_fields_set]
        return rows, many, met


def field_of(column: Column) -> tuple[Any, Any]:
    """What a value of a column is for Pydantic, and its default (`...` where it is required)."""
    kind: Any = Literal[column.levels] if column.levels else PLAIN[column.kind]
    whole = int if column.kind == "integer" else float
    limits: Any = {
        "ge": None if column.low is None else whole(column.low),
        "le": None if column.high is None else whole(column.high),
        "max_length": None if column.levels else column.max_length,
    }
    given = {name: value for name, value in limits.items() if value is not None}
    alternatives: Any = kind | None if column.nullable else kind
    annotated: Any = Annotated[alternatives, Field(alias=column.name, **given)]
    if column.kind == "integer":
        annotated = Annotated[annotated, BeforeValidator(_whole)]
    return annotated, ... if column.required else column.default


def _whole(value: Any) -> Any:
    # JSON has one kind of number: 3.0 is a whole one, and some callers cannot write it otherwise.
    return int(value) if type(value) is float and value.is_integer() else value


def _fault(error: Any) -> Fault:
    # The name of a field that nobody knows is the caller's own text, of any length.
    place = [part[:MAX_NAME] if isinstance(part, str) else part for part in error["loc"]]
    return {"type": error["type"], "loc": ["body", *place], "msg": error["msg"]}


def utc(value: Any) -> datetime | None:
    """A moment in ISO 8601 as UTC without a zone; None for what is none (digits alone are none)."""
    try:
        moment = datetime.fromisoformat(value if DATE.match(value) else "")
        return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    except (TypeError, ValueError, OverflowError):
        return None


PLAIN: dict[str, Any] = {"number": float, "integer": int, "boolean": bool, "category": str}
PLAIN["time"] = Annotated[datetime, BeforeValidator(utc)]
