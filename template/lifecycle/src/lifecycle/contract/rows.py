"""Strict validation of the rows in a request, built from the contract. Error messages never contain a value."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NotRequired

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config

# Pydantic accepts the TypedDict of `typing` only from Python 3.12 on; it depends on typing_extensions itself.
from typing_extensions import TypedDict

from lifecycle.contract.schema import Column, Contract

Fault = dict[str, Any]
Row = dict[str, Any]
DATE = re.compile(r"\d{4}-\d\d-\d\d")
CONFIG = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
# A body of one megabyte can contain a fault in every four bytes; this many are enough to find the cause.
MAX_FAULTS = 100
MAX_NAME = 100


class RowError(Exception):
    """A request that violates the contract; `faults` name each field and what is wrong with it, never its value."""

    def __init__(self, faults: list[Fault]) -> None:
        self.faults = faults
        super().__init__("; ".join(f"{fault['loc']}: {fault['msg']}" for fault in faults))


class TooManyRows(Exception):
    """A request with more rows than the reader accepts."""


class RowReader:
    """A reader of requests with at most `max_rows` rows of a contract; it drops `ignored` fields of other contracts."""

    def __init__(self, contract: Contract, ignored: frozenset[str] = frozenset(), max_rows: int | None = None) -> None:
        self.ignored = ignored - {column.name for column in contract.request}
        fields = {column.name: field_of(column) for column in contract.request}
        # A TypedDict gives dictionaries without a second copy, and its fields may have any name.
        fields |= dict.fromkeys(sorted(self.ignored), NotRequired[Any])
        row: Any = with_config(CONFIG)(TypedDict("Row", fields))  # type: ignore[operator]
        rows: Any = Annotated[list[row], Field(max_length=max_rows)]
        self._one: TypeAdapter[Row] = TypeAdapter(row)
        self._many: TypeAdapter[list[Row]] = TypeAdapter(rows)

    def read(self, body: bytes) -> tuple[list[Row], bool, list[str]]:
        """Validate the body of a request: JSON, one row or a list of rows.

        Returns:
            The rows, with timestamps as UTC without a zone; whether the body was a list; and each ignored field met.

        Raises:
            RowError: the body is not JSON, or a row violates the contract.
            TooManyRows: the list has more than `max_rows` rows.
        """
        many = body.lstrip()[:1] == b"["
        try:
            rows = self._many.validate_json(body) if many else [self._one.validate_json(body)]
        except ValidationError as error:
            faults = error.errors(include_url=False, include_context=False, include_input=False)
            if faults[0]["type"] == "too_long" and faults[0]["loc"] == ():
                raise TooManyRows from None
            raise RowError([_fault(each) for each in faults[:MAX_FAULTS]]) from None
        met = [name for row in rows for name in self.ignored & row.keys()] if self.ignored else []
        if met:
            rows = [{name: value for name, value in row.items() if name not in self.ignored} for row in rows]
        return rows, many, met


def field_of(column: Column) -> Any:
    """Return the Pydantic type of a column, with its limits, and its default where it is not required."""
    kind: Any = Literal[column.levels] if column.levels else PLAIN[column.kind]
    facts = Field(
        ... if column.required else column.default, ge=column.low, le=column.high, max_length=column.max_length
    )
    annotated: Any = Annotated[kind | None if column.nullable else kind, facts]
    return Annotated[annotated, BeforeValidator(_whole)] if column.kind == "integer" else annotated


def _whole(value: Any) -> Any:
    # JSON has one type of number, and some callers can write the whole number 3 only as 3.0.
    return int(value) if type(value) is float and value.is_integer() else value


def _fault(error: Any) -> Fault:
    # The name of an unknown field is text of the caller, of any length.
    place = [part[:MAX_NAME] if isinstance(part, str) else part for part in error["loc"]]
    kind = "model_type" if error["type"] == "dict_type" else error["type"]
    return {"type": kind, "loc": ["body", *place], "msg": error["msg"]}


def parse_utc(value: Any) -> datetime | None:
    """Return an ISO 8601 timestamp as UTC without a zone, or None for anything else (digits alone included)."""
    try:
        parsed = datetime.fromisoformat(value if DATE.match(value) else "")
        return parsed.astimezone(UTC).replace(tzinfo=None) if parsed.tzinfo else parsed
    except (TypeError, ValueError, OverflowError):
        return None


PLAIN: dict[str, Any] = {"number": float, "integer": int, "boolean": bool, "category": str}
PLAIN["time"] = Annotated[datetime, BeforeValidator(parse_utc)]
