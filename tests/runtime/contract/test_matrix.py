"""Rows and frames give the same matrix."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lifecycle.contract.declare import derive
from lifecycle.contract.rows import Encoder, learn_levels
from support.teams import TARGETS, Order, orders

CONTRACT = derive(Order, TARGETS["binary"], 1)


def test_rows_and_frames_give_the_same_matrix_with_nulls_and_unseen_levels() -> None:
    frame = orders(300)
    encoder = Encoder(CONTRACT, learn_levels(CONTRACT, frame[frame.city != "Bonn"]))
    records = json.loads(frame.to_json(orient="records", double_precision=15))
    by_rows, by_frame = encoder.rows(records), encoder.frame(frame)
    np.testing.assert_array_equal(by_rows, by_frame)
    assert by_rows.dtype == np.float32
    city = by_rows[:, 4]
    assert set(city[frame.city == "Bonn"]) == {-1.0}
    assert set(city[frame.city != "Bonn"]) == {0.0, 1.0, 2.0}
    assert np.isnan(by_rows[:, 3]).sum() == frame["class"].isna().sum() > 0
    assert np.isnan(by_rows[:, 2]).sum() == frame["gift"].isna().sum() > 0


def test_closed_levels_keep_the_order_of_the_contract_and_inputs_give_positions() -> None:
    frame = orders(300)
    levels = learn_levels(CONTRACT, frame)
    assert levels["class"] == ["blue", "red"]
    assert levels["city"] == sorted(frame.city.unique())
    inputs = Encoder(CONTRACT, levels).inputs
    assert inputs.names == ("order amount €", "items", "gift", "class", "city")
    assert (inputs.numbers, inputs.categories) == ((0, 1, 2), (3, 4))


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("many", ValueError),
        ([1.0], ValueError),
        ({}, TypeError),
        (1j, TypeError),
        (10**400, OverflowError),
    ],
)
def test_a_value_that_is_not_a_number_and_a_missing_column_raise(value: Any, error: type[Exception]) -> None:
    frame = orders(3)
    encoder = Encoder(CONTRACT, learn_levels(CONTRACT, frame))
    row = {"order amount €": 1.0, "items": value, "gift": None, "class": None, "city": "Aix"}
    with pytest.raises(error):
        encoder.rows([row])
    with pytest.raises(KeyError, match="items"):
        encoder.rows([{name: each for name, each in row.items() if name != "items"}])


@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_a_value_beyond_float32_becomes_infinity() -> None:
    """The limits of every contract exclude such a value."""
    encoder = Encoder(CONTRACT, learn_levels(CONTRACT, orders(3)))
    row = {"order amount €": 1e39, "items": 2**70, "gift": True, "class": "red", "city": "Rome"}
    np.testing.assert_array_equal(encoder.rows([row]), np.array([[np.inf, 2.0**70, 1, 1, -1]], dtype=np.float32))
    assert encoder.rows([]).shape == (0, 5)


def test_rows_frames_and_arrow_batches_give_the_same_bytes() -> None:
    """Random mixtures of valid values and nulls, with all-null columns and without any row."""
    encoder = Encoder(CONTRACT, {"class": ["blue", "red"], "city": ["Aix", "Łódź", "", "null"]})
    random = np.random.default_rng(0)
    some = {
        "order amount €": [0.0, -0.0, 5e-324, 1e-45, 1.1, 16777217.0, 3.4028234663852886e38, None],
        "items": [0, 1, 2**24, 1000, 3],
        "gift": [True, False, None],
        "class": ["blue", "red", None],
        "city": ["Aix", "Łódź", "", "null", "Rome", "aix", "Aix "],
    }
    types = (pa.float64(), pa.int64(), pa.bool_(), pa.string(), pa.string())
    for count in (0, 1, 2, *random.integers(3, 300, 40)):
        for missing in (False, True):
            picked = {name: [each[at] for at in random.integers(len(each), size=count)] for name, each in some.items()}
            if missing:
                picked |= {name: [None] * count for name in ("order amount €", "gift", "class")}
            columns = [pa.array(each, type=kind) for each, kind in zip(picked.values(), types, strict=True)]
            batch = pa.record_batch(columns, names=list(picked))
            rows = encoder.rows(batch.to_pylist())
            for other in (encoder.batch(batch), encoder.frame(batch.to_pandas())):
                assert other.dtype == np.float32
                assert other.flags.c_contiguous
                assert other.tobytes() == rows.tobytes()
