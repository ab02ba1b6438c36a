"""Which columns become keys, times and inputs, and under which names."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from support.inference import DAYS, LABEL, RANDOM, ROWS, SIGNAL, connect, every, infer, written


def test_constant_and_empty_columns_are_left_out(table: Any) -> None:
    made = table(same=["k"] * ROWS, none=[None] * ROWS)
    assert made.excluded == {"same": "it is constant", "none": "it is empty"}


def test_a_name_for_each_row_and_free_text_are_left_out_and_never_reach_the_contract(table: Any) -> None:
    words = RANDOM.choice(["good", "bad", "slow", "fast", "agent", "line", "help", "thanks"], (ROWS, 9))
    made = table(person=[f"Ann {at} Doe" for at in range(ROWS)], note=[" ".join(each) for each in words])
    assert made.excluded["person"].startswith("a name for (almost) each row")
    assert made.excluded["note"].startswith("free text")
    assert "Ann 1" not in made.code + made.data


def test_an_id_is_the_key_and_a_second_one_is_left_out(table: Any) -> None:
    made = table(row_id=range(ROWS), uuid=[f"u-{at:05}" for at in range(ROWS)])
    assert made.contract.key is not None
    assert made.contract.key.name == "row_id"
    assert made.excluded == {"uuid": "an id: it is different in every row"}
    assert "uuid could be one as well: KEY=column" in made.unsure


def test_a_category_of_thousands_of_levels_is_kept_and_reported(tmp_path: Path) -> None:
    rows = 6000
    random = np.random.default_rng(1)
    columns = {"place": [f"p{at}" for at in random.integers(0, 2000, rows)], "label": list(random.integers(0, 2, rows))}
    made = infer(written(tmp_path, columns), "label")
    assert made.inputs == {"place": "category"}
    assert "levels; those not seen in training count as unseen" in made.unsure
    assert "p17" not in made.code, "so many levels are no list for a contract"


def test_numbers_beyond_float32_are_left_out(table: Any) -> None:
    made = table(huge=every(2, "1e300", lambda at: str(at)), phone=RANDOM.integers(10**9, 10**10, ROWS))
    assert "3.4e38" in made.excluded["huge"]
    assert made.inputs["phone"] == "number", "beyond 2**24 a whole number is no exact float32"


def test_a_column_of_an_unsupported_type_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "nested.parquet"
    connect().execute(
        "COPY (SELECT i * i % 37 AS x, [i, i] AS list, {'a': i} AS struct, CAST('x' AS BLOB) AS blob, "
        f"TIME '10:00' AS clock, i % 2 AS label FROM range(200) t(i)) TO '{path}'"
    )
    made = infer(path, "label")
    assert made.excluded.keys() == {"list", "struct", "blob", "clock"}


def test_a_duration_is_a_number_with_its_unit(tmp_path: Path) -> None:
    waits = pd.Series(pd.to_timedelta(RANDOM.integers(1, 10**6, ROWS), unit="s")).astype("timedelta64[ms]")
    path = tmp_path / "table.parquet"
    pd.DataFrame({"wait": waits, "signal": SIGNAL, "label": LABEL}).to_parquet(path)
    made = infer(path, "label")
    assert 'wait: Annotated[float, Request(unit="ms"' in made.code.replace("'", '"')
    assert "wait: a duration in ms" in made.notes


def test_duplicate_rows_are_reported_and_kept_on_one_side(table: Any) -> None:
    made = table(signal=[*SIGNAL, *SIGNAL], label=[*LABEL, *LABEL])
    assert "rows occur more than once" in made.unsure
    assert made.plan.holdout == "a stable hash of the whole row"


def test_an_entity_that_repeats_is_kept_whole(table: Any) -> None:
    made = table(visit_id=range(ROWS), patient_id=[f"p{at}" for at in RANDOM.integers(0, 80, ROWS)])
    assert [column.name for column in made.contract.keys] == ["patient_id"]
    assert made.contract.id is not None
    assert made.contract.id.name == "visit_id"
    assert made.plan.holdout.startswith("a stable hash of patient_id")


def test_time_wins_over_an_entity(table: Any) -> None:
    made = table(called=DAYS.strftime("%Y-%m-%d"), patient_id=[f"p{at}" for at in RANDOM.integers(0, 80, ROWS)])
    assert made.plan.holdout == "the later part, by called"
    assert made.contract.key is not None


@pytest.mark.parametrize("scale", [1, 1000])
def test_seconds_and_milliseconds_since_1970_are_a_time(table: Any, scale: int) -> None:
    made = table(timestamp=RANDOM.integers(1_500_000_000, 1_700_000_000, ROWS) * scale)
    assert made.plan.time == "timestamp"


def test_a_choice_of_the_user_overrides_inference(table: Any) -> None:
    columns = {"opened": DAYS.strftime("%Y-%m-%d"), "closed": DAYS.strftime("%Y-%m-%d"), "who": range(ROWS)}
    made = table(wishes={"time": "closed", "key": ("who",)}, **columns)
    assert (made.plan.time, made.contract.key and made.contract.key.name) == ("closed", "who")


ODD_NAMES = [
    *("größe (cm)", "class", "a b", "a_b", "copy", "json", "model_config", "_x", "名前", "триада", "it's", 'quote"d'),
    *("{br}", "back\\slash", "new\nline", "date", "ts", "version", "Prediction", "probabilities_a", "1st", "A B"),
    *('"""', "None", "Row", "lambda", "x" * 200),
]


def test_names_of_any_kind_become_fields(tmp_path: Path) -> None:
    columns: dict[str, Any] = {name: list(RANDOM.normal(size=ROWS)) for name in ODD_NAMES}
    made = infer(written(tmp_path, columns | {"label": LABEL}), "label")
    assert len(made.inputs) == len(ODD_NAMES)
    assert "date_value" in made.inputs
    assert "date is called date_value in requests" in made.notes
    assert "A B is called A B_1" in made.notes, "SQL does not distinguish upper and lower case"


def test_a_label_with_a_reserved_name_is_renamed(table: Any) -> None:
    assert table("version", version=LABEL).contract.target.label == "version_value"


def test_fifty_rows_are_enough_to_begin(table: Any) -> None:
    assert table(other=range(50)).rows == 50


@pytest.mark.slow
def test_two_thousand_columns(tmp_path: Path) -> None:
    columns: dict[str, Any] = {f"c{at}": RANDOM.normal(size=120).round(3) for at in range(2000)}
    made = infer(written(tmp_path, columns | {"label": LABEL[:120]}), "label")
    assert len(made.inputs) == 2000


def test_a_large_table_is_sampled_and_every_row_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("looseleaf.contract.profile.MOST_ROWS", 2000)
    rows = 30_000
    ages = [str(at % 90) for at in range(rows)]
    ages[29_998], ages[29_999] = "old", ""
    sizes = [*ages[:-4], "1.5", "2.5", "large", "3"]
    random = np.random.default_rng(2)
    columns = {"age": ages, "size": sizes, "x": random.normal(size=rows), "label": random.integers(0, 2, rows)}
    made = infer(written(tmp_path, columns), "label")
    assert "2,000 of 30,000 rows were sampled" in made.notes
    assert "'old' (1 rows) is not a whole number: read as null" in made.unsure
    assert next(column for column in made.contract.inputs if column.name == "age").nullable
    assert made.inputs["size"] == "number"
    assert "'large' (1 rows) is not a number: read as null" in made.unsure


def test_keys_of_several_columns_are_described_together(table: Any) -> None:
    shop = [f"s{at % 20}" for at in range(400)]
    desk = [f"m{at % 10}" for at in range(400)]
    made = table(wishes={"key": ("shop", "desk")}, shop=shop, desk=desk)
    assert made.plan.holdout.startswith("a stable hash of shop and desk,")
    one_row_each = table(wishes={"key": ("shop", "desk"), "time": "day"}, shop=shop, desk=range(400), day=DAYS)
    assert "repeat over" not in one_row_each.unsure
    several = table(wishes={"key": ("shop", "desk"), "time": "day"}, shop=shop, desk=desk, day=DAYS)
    assert "shop and desk repeat over day" in several.unsure


def test_whole_numbers_that_are_never_negative_refuse_a_negative_one(table: Any) -> None:
    term, months = [12 * (1 + at % 5) for at in range(ROWS)], [at % 24 - 3 for at in range(ROWS)]
    made = table(term=term, months=months, balance=term, amount=[float(each) + 0.5 for each in term])
    assert [column.name for column in made.contract.inputs if column.low == 0] == ["term"]
    assert "term: no value is negative in this table" in made.notes
