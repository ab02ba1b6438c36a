"""The check of a table names the column, the rule, the count and the first rows of each violation."""

from typing import Any

import duckdb
import pandas as pd
import pytest

from lifecycle.contract.declare import derive
from lifecycle.contract.schema import Column
from lifecycle.contract.tables import check_table
from lifecycle.errors import LifecycleError
from support.teams import TARGETS, Order, orders

CONTRACT = derive(Order, TARGETS["binary"], 1)


def check(frame: pd.DataFrame) -> int:
    connection = duckdb.connect()
    connection.register("rows", frame)
    return check_table(connection, "rows", CONTRACT.columns, "the rows")


def test_a_valid_table_passes() -> None:
    assert check(orders(500)) == 500


@pytest.mark.parametrize(
    ("column", "at", "value", "message"),
    [
        ("items", 3, -1, "items is below 0 in 1 of 50 rows (first: 3)"),
        ("items", 4, 1001, "items is above 1000"),
        ("city", 5, None, "city is null in 1 of 50 rows (first: 5)"),
        ("city", 6, "x" * 300, "city is longer than 256 characters"),
        ("class", 7, "green", "class has a level that the contract does not name in 1 of 50 rows (first: 7)"),
        ("order amount €", 8, float("inf"), "order amount € is not finite"),
        ("order_id", 9, None, "order_id is null"),
    ],
)
def test_a_value_outside_the_limits_is_named(column: str, at: int, value: Any, message: str) -> None:
    frame = orders(50)
    frame.loc[at, column] = value
    with pytest.raises(LifecycleError) as caught:
        check(frame)
    assert message in str(caught.value)


def test_doubles_pass_as_integers_only_without_a_fraction() -> None:
    frame = orders(50).astype({"items": float})
    assert check(frame) == 50
    frame.loc[2, "items"] = 1.5
    with pytest.raises(LifecycleError, match="items is not a whole number in 1 of 50"):
        check(frame)


def test_missing_columns_and_wrong_types_are_named_together() -> None:
    frame = orders(50).drop(columns="city").assign(items="three")
    with pytest.raises(LifecycleError) as caught:
        check(frame)
    assert "lacks the column city" in str(caught.value)
    assert "items is VARCHAR, the contract says integer" in str(caught.value)


@pytest.mark.parametrize("time", ["infinity", "-infinity", "10000-01-01", "0001-01-01 (BC)"])
def test_a_time_that_no_request_can_have_is_named(time: str) -> None:
    connection = duckdb.connect()
    query = f"SELECT unnest([TIMESTAMP '0001-01-01', '9999-12-31 23:59:59.999999', '{time}', NULL]) AS at"
    connection.execute(f"CREATE TABLE rows AS {query}")
    with pytest.raises(LifecycleError, match=r"at is not in the years 1 to 9999 in 1 of 4 rows \(first: 2\)"):
        check_table(connection, "rows", (Column("at", "request", "time", nullable=True),), "the rows")
