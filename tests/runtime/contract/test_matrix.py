"""Rows and frames give the same matrix."""

import json
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from lifecycle.contract.declare import derive
from lifecycle.contract.rows import Encoder, days, learn_levels
from lifecycle.contract.schema import Column, Contract
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


def test_dates_are_days_since_1970_with_the_same_bytes_from_rows_frames_and_arrow_batches() -> None:
    contract = Contract(1, TARGETS["binary"], (Column("at", "request", "time", nullable=True),))
    encoder = Encoder(contract, {})
    assert encoder.inputs.numbers == (0,)
    known = [datetime(1970, 1, 2), datetime(1969, 12, 31, 12), datetime(1, 1, 1), None, datetime(2024, 2, 29, 6)]
    known.append(datetime(9999, 12, 31, 23, 59, 59, 999999))
    random = np.random.default_rng(0)
    known += [datetime(2, 1, 1) + timedelta(microseconds=int(each)) for each in random.integers(0, 3 * 10**17, 500)]
    by_rows = encoder.rows([{"at": time} for time in known])
    np.testing.assert_array_equal(by_rows[:5, 0], np.array([1, -0.5, -719162, np.nan, 19782.25], dtype=np.float32))
    texts = [{"at": None if time is None else time.isoformat()} for time in known]
    others = [encoder.rows(texts), encoder.frame(pd.DataFrame({"at": pd.array(known, dtype="datetime64[us]")}))]
    for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
        others.append(encoder.batch(pa.record_batch([pa.array(known, type=kind)], names=["at"])))
    for other in others:
        assert other.tobytes() == by_rows.tobytes()
    nothing = pa.record_batch([pa.nulls(2)], names=["at"])
    assert np.isnan(encoder.batch(nothing)).all()
    assert days("2026-01-01T02:00:00+02:00") == days("2026-01-01") == days(datetime(2026, 1, 1))
    assert np.isnan(days("soon"))
