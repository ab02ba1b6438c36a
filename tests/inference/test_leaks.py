"""Target leakage is excluded and named; strong but legitimate columns stay."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.errors import LifecycleError
from support.inference import DAYS, LABEL, RANDOM, ROWS, SIGN, SIGNAL, connect, infer, written


def test_a_column_that_equals_or_encodes_the_label_is_left_out_and_named(table: Any) -> None:
    made = table(code=SIGN * 7 + 1, flag=np.where(SIGN == 1, "T", "F"), word=np.where(SIGN == 1, "gone", "here"))
    assert made.excluded.keys() == {"code", "flag", "word"}
    assert "correlation 1.0000" in made.excluded["code"]
    assert list(made.inputs) == ["signal"]


def test_one_hot_codes_of_the_label_are_left_out_and_a_legitimate_flag_is_kept(table: Any) -> None:
    kind = RANDOM.integers(0, 3, ROWS)
    honest = (kind == 1) ^ (RANDOM.random(ROWS) < 0.03)
    made = table(label=np.array(["a", "b", "c"])[kind], is_a=kind == 0, not_b=(kind != 1).astype(int), honest=honest)
    assert "marks 'a' and nothing else" in made.excluded["is_a"]
    assert made.excluded.keys() == {"is_a", "not_b"}


def test_a_leak_may_be_kept(table: Any) -> None:
    made = table(wishes={"keep": frozenset(["code"])}, code=SIGN * 7 + 1)
    assert "code" in made.inputs
    [kept] = [note for note in made.plan.unsure if note.endswith("because KEEP names it")]
    assert kept.startswith("code: it alone determines the label")


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        (lambda a, b: {"a": a, "b": b, "label": a + b}, "a + b is the label"),
        (lambda a, b: {"a": a, "b": b, "label": a - b}, "a - b is the label"),
        (lambda a, b: {"a": a, "b": b, "label": a * b}, "a * b is the label"),
        (lambda a, b: {"a": a, "b": b, "label": a / b}, "a / b is the label"),
        (lambda a, b: {"a": a, "other": b, "label": a}, "it equals the label (correlation 1.0000)"),
        (lambda a, b: {"a": np.log(a), "other": b, "label": a}, "rank correlation 1.0000"),
        (lambda a, b: {"a": np.round(a, 1), "other": b, "label": a}, "almost equals the label"),
        (
            lambda a, b: {"a": [f"v{x:.0f}" for x in a], "other": b, "label": np.round(a)},
            "its levels determine the label",
        ),
    ],
)
def test_columns_that_determine_a_number_alone_or_in_pairs_are_left_out(table: Any, columns: Any, named: str) -> None:
    a, b = RANDOM.gamma(4, 2, ROWS) + 1, RANDOM.gamma(4, 2, ROWS) + 1
    made = table(signal=RANDOM.normal(size=ROWS), **columns(a, b))
    assert named in made.excluded["a"]
    assert made.excluded.get("b", named) == made.excluded["a"] or "b" not in made.excluded


def test_a_weighted_sum_of_two_columns_is_not_a_leak(table: Any) -> None:
    a, b = RANDOM.gamma(4, 2, ROWS), RANDOM.gamma(4, 2, ROWS)
    assert table(a=a, b=b, label=3 * a + 2 * b).excluded == {}


def test_strong_but_legitimate_columns_stay(table: Any) -> None:
    strong = SIGN * 3 + RANDOM.normal(0, 1, ROWS)
    assert table(strong=strong).excluded == {}


def test_a_column_that_is_filled_for_one_class_only_is_a_leak(table: Any) -> None:
    made = table(
        reason=[("price" if at % 2 else "moved") if sign else None for at, sign in enumerate(SIGN)],
        some=[float(at % 7) if sign and at % 3 else None for at, sign in enumerate(SIGN)],
    )
    assert "filled for 'yes' only" in made.excluded["reason"]
    assert "known only after the label" in made.excluded["some"]


def test_legitimate_columns_of_a_rare_class_and_rare_values_stay(tmp_path: Path) -> None:
    rows, random = 20_000, np.random.default_rng(5)
    rare = random.random(rows) < 0.003
    columns = {
        "age": np.where(random.random(rows) < 0.05, np.nan, random.normal(40, 9, rows)),
        "label": np.where(rare, "bad", "ok"),
    }
    assert infer(written(tmp_path, {name: list(each) for name, each in columns.items()}), "label").excluded == {}
    three = np.array(["a", "b"])[random.integers(0, 2, rows)]
    three[:12] = "c"
    flag = np.arange(rows) % 2857 == 5
    made = infer(
        written(tmp_path, {"x": list(random.normal(size=rows)), "flag": list(flag), "label": list(three)}), "label"
    )
    assert made.excluded == {}


def test_a_hash_sign_does_not_start_a_comment(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        "order,x,label\n" + "".join(f"{'#' * (at % 3 == 0)}{at},{at * 7 % 31},{'ny'[at % 2]}\n" for at in range(300))
    )
    assert infer(path, "label").rows == 300


def test_a_fraction_beyond_the_sample_is_not_rounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("looseleaf.contract.profile.MOST_ROWS", 2000)
    ages: list[Any] = [str(at % 90) for at in range(30_000)]
    ages[29_999] = "3.7"
    made = infer(written(tmp_path, {"age": ages, "label": [at * 7919 % 13 % 2 for at in range(30_000)]}), "label")
    assert made.inputs["age"] == "number"


def test_a_label_of_any_name_is_written(tmp_path: Path) -> None:
    for name in ('la"bel', "it's", "back\\slash", "new\nline", "{x}", "\u202e"):
        assert infer(written(tmp_path, {"x": SIGNAL, name: LABEL}), name).rows == ROWS


def test_whole_decimals_of_a_warehouse_are_whole_numbers(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    select = "CAST(i AS DECIMAL(38,0)) AS long_id, CAST(i * i % 37 AS DECIMAL(18,0)) AS x, i % 2 AS label"
    connect().execute(f"COPY (SELECT {select} FROM range(200) t(i)) TO '{path}'")
    made = infer(path, "label")
    assert made.inputs == {"x": "integer"}
    assert made.contract.key is not None


def test_a_time_after_the_time_of_the_row_is_when_the_label_became_known(table: Any) -> None:
    opened, distance = DAYS.strftime("%Y-%m-%d"), RANDOM.integers(1, 90, ROWS)
    closed = (DAYS + pd.to_timedelta(distance, unit="D")).strftime("%Y-%m-%d")
    made = table(opened=opened, closed=closed)
    assert "closed" not in made.inputs
    assert (made.plan.time, made.plan.seen) == ("opened", "closed")
    assert 80 <= made.plan.label_days <= 90
    assert "KEEP=closed" in made.unsure
    assert "AS seen_ts" in made.data


def test_a_time_that_is_mostly_after_the_time_of_the_row_is_named(table: Any) -> None:
    distance = RANDOM.integers(-19, 70, ROWS)
    mostly = (DAYS + pd.to_timedelta(distance, unit="D")).strftime("%Y-%m-%d")
    made = table(opened=DAYS.strftime("%Y-%m-%d"), closed=mostly)
    assert "closed" in made.inputs
    assert "closed: it lies after opened in" in made.unsure


def test_a_due_date_stays_and_is_named(table: Any) -> None:
    due = (DAYS + pd.to_timedelta(RANDOM.choice([14, 30], ROWS), unit="D")).strftime("%Y-%m-%d")
    made = table(opened=DAYS.strftime("%Y-%m-%d"), due=due)
    assert "due" in made.inputs
    assert "unless it is a term that was agreed on before" in made.unsure


def test_a_few_rows_are_not_enough_to_call_a_column_a_leak(tmp_path: Path) -> None:
    made = infer(written(tmp_path, {"x": [1, 2, 3, 4], "label": ["a", "a", "b", "b"]}), "label")
    assert made.excluded == {}


def test_a_table_of_leaks_only_says_so(tmp_path: Path) -> None:
    with pytest.raises(LifecycleError, match="no column left to learn from") as refused:
        infer(written(tmp_path, {"x": SIGN * 2, "label": LABEL}), "label")
    assert "KEEP=column" in refused.value.hint
