"""Validation of the rows in a request."""

import json
import time
from datetime import datetime
from typing import Any

import pytest

from lifecycle.contract.rows import (
    FIRST_DAY,
    LAST_DAY,
    MAX_FAULTS,
    MAX_NAME,
    RowError,
    RowReader,
    TooManyRows,
    days,
    parse_utc,
)
from lifecycle.contract.schema import Column, Contract, Target

FLOAT32 = 3.4028234663852886e38
CONTRACT = Contract(
    1,
    Target("regression", "spent"),
    (
        Column("id", "key", "category", max_length=8),
        Column("at", "key", "time", required=False, nullable=True),
        Column("share", "request", "number", low=0.0, high=1.0, required=False, default=0.5),
        Column("amount", "request", "number", low=-FLOAT32, high=FLOAT32, required=False, default=0.0),
        Column("count", "request", "integer", low=0, high=2**24, required=False, default=0),
        Column("member", "request", "boolean", required=False, default=False),
        Column("class", "request", "category", levels=("a", "b"), required=False, default="a"),
        Column("copy", "request", "number", nullable=True, low=0.0, high=1.0, required=False),
    ),
)


def faults_of(body: bytes | dict[str, Any] | list[Any], reader: RowReader | None = None) -> list[dict[str, Any]]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(RowError) as caught:
        (reader or RowReader(CONTRACT)).read(content)
    return caught.value.faults


def test_a_missing_field_gets_its_default() -> None:
    rows, many, met = RowReader(CONTRACT).read(b'{"id": "a"}')
    assert rows == [
        {"id": "a", "at": None, "share": 0.5, "amount": 0.0, "count": 0, "member": False, "class": "a", "copy": None}
    ]
    assert (many, met) == (False, [])


def test_python_keywords_are_ordinary_column_names() -> None:
    rows, _, _ = RowReader(CONTRACT).read(b'{"id": "a", "class": "b", "copy": 1}')
    assert (rows[0]["class"], rows[0]["copy"]) == ("b", 1.0)


def test_a_list_keeps_its_order() -> None:
    rows, many, _ = RowReader(CONTRACT).read(b' [{"id": "b"}, {"id": "a"}]')
    assert ([row["id"] for row in rows], many) == (["b", "a"], True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("share", "false"),
        ("share", '"0.77123"'),
        ("share", "77123"),
        ("share", "-0.77123"),
        ("share", "NaN"),
        ("share", "-Infinity"),
        ("amount", "1e39"),
        ("amount", "1e999"),
        ("amount", "7" * 400),
        ("amount", "null"),
        ("count", "1.5"),
        ("count", "77123771237"),
        ("count", "7" * 400),
        ("count", "true"),
        ("member", "1"),
        ("class", '"77123"'),
        ("id", '"77123 is too long"'),
        ("id", "77123"),
        ("copy", "77123"),
        ("at", '"77123-01-01"'),
        ("at", '"1770771230"'),
        ("at", "1770771230"),
        ("at", '"9999-12-31T23:59:59.77123-12:00"'),
        ("at", '"0001-01-01T00:00:00.77123+12:00"'),
    ],
)
def test_an_invalid_value_is_refused_by_field_and_never_echoed(field: str, value: str) -> None:
    row = {"id": '"a"'} | {field: value}
    found = faults_of(("{" + ", ".join(f'"{name}": {text}' for name, text in row.items()) + "}").encode())
    assert [fault["loc"] for fault in found] == [["body", field]]
    assert "77123" not in json.dumps(found)


def test_a_fault_in_a_list_names_the_position() -> None:
    found = faults_of([{"id": "a"}, {"share": 2}])
    assert [fault["loc"] for fault in found] == [["body", 1, "id"], ["body", 1, "share"]]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"null",
        b"3",
        b"[3]",
        b"[[]]",
        b'{"id": "a"',
        b'{"id": "a"} {}',
        b'{"id": "\xff"}',
        b'{"id": "\\ud800"}',
        b'{"\\ud800": 1}',
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"id": "a", "amount": ' + b"7" * 5000 + b"}",
    ],
)
def test_a_body_that_is_not_a_row_is_refused(body: bytes) -> None:
    assert faults_of(body)[0]["type"] in ("json_invalid", "model_type", "too_deep")


def test_the_last_of_two_equal_json_keys_counts() -> None:
    rows, _, _ = RowReader(CONTRACT).read(b'{"id": "a", "id": "b"}')
    assert rows[0]["id"] == "b"


def test_an_unknown_field_is_refused_and_a_field_of_another_contract_is_ignored() -> None:
    reader = RowReader(CONTRACT, frozenset({"coupon", "share"}))
    rows, _, met = reader.read(b'[{"id": "a", "coupon": NaN, "share": 0.25}, {"id": "b", "coupon": {"x": [1]}}]')
    assert met == ["coupon", "coupon"]
    assert rows[0]["share"] == 0.25
    assert "coupon" not in rows[0]
    assert faults_of({"id": "a", "cupon": 1}, reader)[0]["loc"] == ["body", "cupon"]
    # Internal names of the reader are not fields.
    assert faults_of({"id": "a", "c0": 1, "i0": 1}, reader)[1]["loc"] == ["body", "i0"]


def test_an_integer_may_be_written_as_a_float() -> None:
    rows, _, _ = RowReader(CONTRACT).read(b'{"id": "a", "count": 3.0}')
    assert (rows[0]["count"], type(rows[0]["count"])) == (3, int)
    assert faults_of(b'{"id": "a", "count": 1e39}')[0]["type"] == "less_than_equal"
    assert faults_of(b'{"id": "a", "count": NaN}')[0]["type"] == "int_type"


def test_timestamps_become_utc_without_a_zone() -> None:
    rows, _, _ = RowReader(CONTRACT).read(
        b'[{"id": "a", "at": "2026-01-01T02:00:00+02:00"}, {"id": "a", "at": "2026-01-01T00:00:00"}]'
    )
    assert [row["at"] for row in rows] == [datetime(2026, 1, 1)] * 2


@pytest.mark.parametrize(
    "text", ["20260101", "2026-W01-4", "1767225600", "2026-13-01", "0001-01-01T00:00:00+02:00", ""]
)
def test_other_texts_are_not_timestamps(text: str) -> None:
    assert parse_utc(text) is None
    assert faults_of({"id": "a", "at": text})[0]["loc"] == ["body", "at"]


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_a_timestamp_does_not_depend_on_the_zone_of_the_machine(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert parse_utc("2026-01-01T00:00:00") == datetime(2026, 1, 1)
        assert parse_utc("2026-01-01T02:00:00+02:00") == datetime(2026, 1, 1)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_the_first_and_the_last_day_are_those_of_python() -> None:
    assert (days("0001-01-01"), days("9999-12-31")) == (FIRST_DAY, LAST_DAY)


def test_too_many_rows_are_not_reported_as_invalid_rows() -> None:
    reader = RowReader(CONTRACT, max_rows=3)
    assert len(reader.read(json.dumps([{"id": "a"}] * 3).encode())[0]) == 3
    with pytest.raises(TooManyRows):
        reader.read(json.dumps([{"id": "a"}] * 4).encode())


def test_reported_faults_are_limited_in_number_and_size() -> None:
    found = faults_of({"x" * 10_000 + str(at): at for at in range(MAX_FAULTS + 1)})
    assert len(found) == MAX_FAULTS
    assert max(len(fault["loc"][-1]) for fault in found) == MAX_NAME
