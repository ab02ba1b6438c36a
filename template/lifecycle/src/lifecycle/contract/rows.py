"""Rows: strict validation of those in a request, and their encoding to the matrix that every model reads.

Error messages never contain a value. Training, batch scoring and the service build the same float32 matrix: columns in
contract order, categories as codes, times as days since 1970. A null is NaN; a level that training did not see is -1.
"""

import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, NotRequired

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from lifecycle.contract.schema import Column, Contract
from lifecycle.contract.tables import Batch, Frame, Series
from lifecycle.errors import LifecycleError

Fault = dict[str, Any]
Row = dict[str, Any]
Seconds = npt.NDArray[np.int64]
DATE = re.compile(r"\d{4}-\d\d-\d\d")
CONFIG = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)
# A body of one megabyte can contain a fault in every four bytes; this many are enough to find the cause.
MAX_FAULTS, MAX_NAME = 100, 100
EPOCH, MICROSECOND, MICROSECONDS_A_DAY = datetime(1970, 1, 1), timedelta(microseconds=1), 86_400e6


class RowError(LifecycleError):
    """Rows that violate the contract, or that a `python` model refuses; `faults` name place and reason, no value."""

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

        Returns the rows, with timestamps as UTC without a zone; whether the body was a list; and each ignored field
        met. Raises RowError where the body is not JSON, or a row violates the contract, and TooManyRows.
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
    default = ... if column.required else column.default
    facts = Field(default, ge=column.low, le=column.high, max_length=column.max_length)
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


def days(time: Any) -> float:
    """Return a time (in UTC, or ISO 8601 text) in days since 1970, or NaN for anything else."""
    known = time if isinstance(time, datetime) else parse_utc(time)
    return math.nan if known is None else (known - EPOCH) // MICROSECOND / MICROSECONDS_A_DAY


# The first and the last day that a time may lie on, as everywhere in Python: 0001-01-01 and 9999-12-31.
FIRST_DAY, LAST_DAY = -719_162, 2_932_896


def expected_range(column: Column) -> tuple[float, float]:
    """Return the bounds of `expected` of an ordered column as in the matrix; infinite where one is None."""
    low, high = (days(each) if isinstance(each, str) else each for each in column.expected)
    return -math.inf if low is None else low, math.inf if high is None else high


PLAIN: dict[str, Any] = {"number": float, "integer": int, "boolean": bool, "category": str}
PLAIN["time"] = Annotated[datetime, BeforeValidator(parse_utc)]


Matrix = npt.NDArray[np.float32]
UNSEEN = -1.0


@dataclass(frozen=True)
class Inputs:
    """Names of the matrix columns, and positions of `numbers` (with booleans and times) and `categories` among them."""

    names: tuple[str, ...]
    numbers: tuple[int, ...]
    categories: tuple[int, ...]


class Encoder:
    """An encoder of rows, frames and Arrow batches, which satisfy the contract, to the matrix, shape (rows, inputs).

    `levels` are those of each category column in the order of their codes; the matrix lacks the inputs `without`.
    """

    def __init__(self, contract: Contract, levels: Mapping[str, Sequence[str]], without: Collection[str] = ()) -> None:
        self.columns = tuple(column for column in contract.inputs if column.name not in without)
        self.codes = {name: {level: float(code) for code, level in enumerate(each)} for name, each in levels.items()}
        self.times = [column.name for column in self.columns if column.kind == "time"]
        known = ((column.name, self.codes.get(column.name)) for column in self.columns)
        self._encoding = [(name, None if codes is None else {**codes, None: np.nan}) for name, codes in known]

    @property
    def inputs(self) -> Inputs:
        """Return the names and positions of the matrix columns."""
        categories = tuple(at for at, column in enumerate(self.columns) if column.kind == "category")
        numbers = tuple(at for at, column in enumerate(self.columns) if column.kind != "category")
        return Inputs(tuple(column.name for column in self.columns), numbers, categories)

    def rows(self, rows: Sequence[Mapping[str, Any]]) -> Matrix:
        """Return the matrix of completed rows: dictionaries of JSON values, times and features."""
        if self.times:
            rows = [{**row, **{name: days(row[name]) for name in self.times}} for row in rows]
        pairs = self._encoding
        values = [row[name] if codes is None else codes.get(row[name], UNSEEN) for row in rows for name, codes in pairs]
        # One call for all values, because it dominates the time of a single row. It converts None to NaN.
        return np.fromiter(values, np.float32, len(values)).reshape(len(rows), len(pairs))

    def frame(self, frame: Frame) -> Matrix:
        """Return the matrix of a frame."""
        import pyarrow as pa

        names = [column.name for column in self.columns]
        return self.batch(pa.Table.from_pandas(frame[names], preserve_index=False))

    def batch(self, batch: Batch) -> Matrix:
        """Return the matrix of Arrow data."""
        import pyarrow as pa

        matrix = np.empty((len(batch), len(self.columns)), dtype=np.float32)
        for at, column in enumerate(self.columns):
            values, codes = batch.column(column.name), self.codes.get(column.name)
            if isinstance(values, pa.ChunkedArray):
                values = values.combine_chunks()
            if codes is not None:
                # Each level is looked up once; a null takes the last entry, NaN.
                coded = values.dictionary_encode()
                levels = [codes.get(level, UNSEEN) for level in coded.dictionary.to_pylist()]
                matrix[:, at] = np.array([*levels, np.nan])[coded.indices.fill_null(-1).to_numpy()]
            elif column.kind == "time":
                known = values.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
                matrix[:, at] = known.to_numpy(zero_copy_only=False) / MICROSECONDS_A_DAY
            else:
                plain = values.cast(pa.int8()) if pa.types.is_boolean(values.type) else values
                matrix[:, at] = plain.to_numpy(zero_copy_only=False)
        return matrix


def learn_levels(contract: Contract, frame: Frame) -> dict[str, list[str]]:
    """Return the levels of each category column: those of the contract, or of the training rows where it has none."""
    return {
        column.name: list(column.levels) or sorted(str(level) for level in frame[column.name].dropna().unique())
        for column in contract.inputs
        if column.kind == "category"
    }


def time_column(contract: Contract, frame: Frame) -> str | None:
    """Return the name of the column with the time of each completed row; None where the rows have no time."""
    return "ts" if "ts" in frame.columns else contract.time.name if contract.time else None


def seconds_of(times: Series) -> Seconds:
    """Return times in seconds since 1970 UTC, shape (rows,); a null counts as the oldest time."""
    found = times.to_numpy("datetime64[s]")
    known = found[~np.isnat(found)]
    oldest = known.min() if len(known) else np.datetime64(0, "s")
    return np.where(np.isnat(found), oldest, found).astype(np.int64)
