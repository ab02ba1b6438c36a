"""Rows and frames give the same matrix."""

import json

import numpy as np

from lifecycle.declare import derive
from lifecycle.matrix import Encoder, learn_levels
from teams import ANSWERS, Order, orders

CONTRACT = derive(Order, ANSWERS["two classes"], 1)


def test_rows_and_frames_give_the_same_matrix_nulls_and_unseen_levels_included() -> None:
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


def test_closed_levels_have_the_contracts_order_and_inputs_say_what_is_where() -> None:
    frame = orders(300)
    levels = learn_levels(CONTRACT, frame)
    assert levels["class"] == ["blue", "red"]
    assert levels["city"] == sorted(frame.city.unique())
    inputs = Encoder(CONTRACT, levels).inputs
    assert inputs.names == ("order amount €", "items", "gift", "class", "city")
    assert (inputs.numbers, inputs.categories) == ((0, 1, 2), (3, 4))
