"""The holdout is the later part, else whole entities, else rows, and the same in each run."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.contract.declare import derive
from lifecycle.contract.schema import Column
from lifecycle.errors import LifecycleError
from lifecycle.training.dataset import codes, split
from support.teams import TARGETS, Order, orders

CONTRACT = derive(Order, TARGETS["binary"], 1)


def test_the_newest_rows_are_not_fitted_and_rows_of_one_time_stay_together() -> None:
    frame = orders(1000).assign(ts=np.repeat(np.arange(10), 100) * 86_400)
    found = split(frame, CONTRACT, 0.25)
    newest = found.selection | found.holdout
    assert newest.mean() == pytest.approx(0.3)
    assert found.holdout.sum() / newest.sum() == pytest.approx(2 / 3, abs=0.1)
    assert frame.ts[newest].min() > frame.ts[found.training].max()
    assert found.rule == "two thirds of the rows from 1970-01-08T00:00:00Z on"


def test_the_newest_period_has_four_weeks_and_windows_end_before_it() -> None:
    frame = orders(24_000).assign(ts=np.arange(24_000) * 86_400 // 60)
    found = split(frame, CONTRACT, 0.2)
    newest = found.selection | found.holdout
    assert newest.sum() == 28 * 60
    assert frame.ts[newest].min() >= frame.ts.max() - 28 * 86_400
    assert (found.training & found.window(2)).sum() == 2 * 28 * 60
    assert found.window(None).all()


def test_the_newest_period_of_a_small_table_lasts_longer() -> None:
    frame = orders(12_000).assign(ts=np.arange(12_000) * 86_400 // 10)
    found = split(frame, CONTRACT, 0.2)
    assert 1000 <= (found.selection | found.holdout).sum() <= 1000 + 28 * 10


def test_a_label_known_later_is_not_fitted_where_the_newest_period_has_its_entity() -> None:
    frame = orders(6000).assign(ts=np.arange(6000) * 86_400 // 60)
    frame["seen_ts"] = frame.ts + 30 * 86_400
    assert split(frame, CONTRACT, 0.2).training.sum() == 6000 - 28 * 60
    frame["order_id"] = [f"o-{at % 700}" for at in range(6000)]
    found = split(frame, CONTRACT, 0.2)
    start = frame.ts[found.selection | found.holdout].min()
    assert (frame.seen_ts[found.training] <= start).all()


def test_entities_stay_whole_without_a_time() -> None:
    frame = orders(2000)
    frame["order_id"] = [f"o-{at % 500}" for at in range(2000)]
    found = split(frame, CONTRACT, 0.2)
    assert 0.1 < found.holdout.mean() < 0.3
    assert not frame.order_id[found.holdout].isin(frame.order_id[found.training]).any()


def test_a_key_of_several_columns_is_one_entity() -> None:
    first = replace(CONTRACT.columns[0], name="shop", kind="integer")
    contract = replace(CONTRACT, columns=(first, *CONTRACT.columns))
    # Two shops with the same two hundred orders, five rows of each.
    numbers = np.arange(2000)
    frame = orders(2000).assign(shop=numbers % 2, order_id=[f"o-{at // 2 % 200}" for at in numbers])
    found = split(frame, contract, 0.2)
    assert found.rule == "whole entities by a hash of shop, order_id"
    assert 0.1 < found.holdout.mean() < 0.3
    entity = frame.shop.astype(str) + frame.order_id
    assert not entity[found.holdout].isin(entity[found.training]).any()
    held = frame[found.holdout].groupby("order_id").shop.nunique()
    assert (held == 1).any(), "the parts of a key are not entities"
    assert found.identity == ("shop", "order_id")


def test_an_id_alone_identifies_a_row() -> None:
    frame = orders(1000).assign(ts=np.repeat(np.arange(10), 100) * 86_400, number=np.arange(1000))
    contract = replace(CONTRACT, columns=(Column("number", "id", "integer"), *CONTRACT.columns))
    assert split(frame, contract, 0.25).identity == ("number",)
    assert split(frame, CONTRACT, 0.25).identity == ("order_id", "ts")


def test_rows_are_held_out_by_a_stable_hash_without_a_key() -> None:
    contract = replace(CONTRACT, columns=CONTRACT.columns[1:])
    frame = orders(2000)
    first = split(frame, contract, 0.2)
    again = split(frame.iloc[::-1], contract, 0.2)
    assert 0.15 < first.holdout.mean() < 0.25
    np.testing.assert_array_equal(first.holdout, again.holdout[::-1])


def test_a_few_distinct_rows_are_divided_by_position() -> None:
    contract = replace(CONTRACT, columns=(next(column for column in CONTRACT.columns if column.name == "gift"),))
    found = split(orders(1000), contract, 0.2)
    assert 0.15 < found.holdout.mean() < 0.25
    assert "fewer than 100 are different" in found.rule


def test_rows_that_cannot_be_divided_are_refused() -> None:
    with pytest.raises(LifecycleError, match="cannot be divided"):
        split(pd.DataFrame(orders(1)), CONTRACT, 0.2)


@pytest.mark.parametrize(
    ("task", "label", "expected"),
    [
        ("binary", [True, False], [1.0, 0.0]),
        ("binary", [1, 0], [1.0, 0.0]),
        ("binary", ["returns", "keeps"], [1.0, 0.0]),
        ("multiclass", ["sea", "air", "road"], [2.0, 0.0, 1.0]),
        ("regression", [1.5, -2.0], [1.5, -2.0]),
    ],
)
def test_labels_become_codes_in_the_order_of_the_classes(task: str, label: list[Any], expected: list[float]) -> None:
    assert codes(pd.Series(label), TARGETS[task]).tolist() == expected


@pytest.mark.parametrize(
    ("task", "label", "problem", "hint"),
    [
        ("binary", [True, None, None], "returned is null in 2 of 3 rows", "Exclude rows without a label"),
        ("binary", [2, 0, 1], "returned holds values that TARGET does not name, in 1 rows", "src/model/"),
        ("binary", ["returns", "loses"], "returned holds values that TARGET does not name, in 1 rows", "src/model/"),
        ("multiclass", ["rail", "air"], "carrier holds values that TARGET does not name, in 1 rows", "src/model/"),
        ("multiclass", [1, 2], "carrier holds values that TARGET does not name, in 2 rows", "src/model/"),
        ("regression", ["two"], "and a regression predicts a number", "Cast it to a number"),
        ("regression", [float("inf"), 1.0], "days holds values that TARGET does not name, in 1 rows", "src/model/"),
    ],
)
def test_labels_that_the_target_does_not_name_are_refused(task: str, label: list[Any], problem: str, hint: str) -> None:
    with pytest.raises(LifecycleError) as caught:
        codes(pd.Series(label), TARGETS[task])
    assert problem in caught.value.problem
    assert hint in caught.value.hint


@pytest.mark.parametrize(("share", "first"), [(0.2, 7), (0.19, 8), (0.29, 6), (0.05, 9)])
def test_the_newest_rows_are_the_largest_later_part_within_the_share(share: float, first: int) -> None:
    frame = orders(1000).assign(ts=np.repeat(np.arange(10), 100))
    found = split(frame, CONTRACT, share)
    assert frame.ts[found.selection | found.holdout].min() == first
