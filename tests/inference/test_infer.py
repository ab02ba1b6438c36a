"""What `looseleaf contract infer` makes of a table: one test for each kind of column, label and defect it may hold.

Every table goes the whole way: the contract's text is declared, and every row is read through the text of data.py.
"""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.errors import LifecycleError
from looseleaf.contract import source as sources
from looseleaf.contract import values
from looseleaf.contract.source import open_source
from support.inference import Inferred, connect, infer, written

ROWS = 400
RANDOM = np.random.default_rng(0)
SIGN = RANDOM.integers(0, 2, ROWS)
SIGNAL = (SIGN + RANDOM.normal(0, 1, ROWS)).round(3)
LABEL = np.where(SIGN == 1, "yes", "no")
DAYS = pd.Timestamp("2020-01-01") + pd.to_timedelta(RANDOM.integers(0, 900, ROWS), unit="D")


@pytest.fixture(params=["csv", "parquet"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """`table(column=values)` infers from a file with these columns beside a signal and a label, in both formats."""

    def made(target: str = "label", wishes: dict[str, Any] | None = None, **columns: Any) -> Inferred:
        whole = {name: list(each) for name, each in columns.items()}
        rows = len(next(iter(whole.values())))
        beside = {"signal": SIGNAL, "label": LABEL} if target == "label" else {"signal": SIGNAL}
        whole |= {name: list(each[:rows]) for name, each in beside.items() if name not in whole}
        return infer(written(tmp_path, whole, f"table.{request.param}"), target, **(wishes or {}))

    return made


def every(count: int, value: Any, other: Any) -> list[Any]:
    """ROWS values, each `count`-th of them `value`, the others from `other(place)`."""
    return [value if at % count == 0 else other(at) for at in range(ROWS)]


# --- Values -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("word", [" ", "?", "NA", "-", "n/a", "NULL"])
def test_a_word_for_nothing_among_numbers_is_null(table: Any, word: str) -> None:
    made = table(count=every(9, word, lambda at: str(at % 50)))
    column = next(each for each in made.contract.inputs if each.name == "count")
    assert (column.kind, column.nullable) == ("integer", True)
    assert made.rows == ROWS


@pytest.mark.parametrize(
    ("written_as", "number", "unit"),
    [
        ("1,234,567.5", 1234567.5, ""),
        ("1.234.567,5", 1234567.5, ""),
        ("1 234,5", 1234.5, ""),
        ("1'234.5", 1234.5, ""),
        ("$1,234.50", 1234.5, "$"),
        ("-$4.20", -4.2, "$"),
        ("($5.00)", -5.0, "$"),
        ("€ 1.000,20", 1000.2, "EUR"),
        ("99.95 €", 99.95, "EUR"),
        ("12.5%", 12.5, "percent"),
        ("3.5 %", 3.5, "percent"),
        ("7.25 USD", 7.25, "USD"),
        ("kr 5", 5.0, "kr"),
        ("1e3", 1000.0, ""),
        (".5", 0.5, ""),
        ("+7.", 7.0, ""),
    ],
)
def test_numbers_are_read_as_people_write_them(written_as: str, number: float, unit: str) -> None:
    found = values.read({written_as: 3})
    assert found.kind in ("number", "integer")
    assert found.unit == unit
    sql = found.sql.replace("{x}", "$1")
    assert connect().execute(f"SELECT {sql}", [written_as]).fetchall() == [(number,)]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["00123", "12345"], "category"),  # codes
        (["1.2.3", "1.2.4"], "category"),  # versions
        (["12:30", "13:45"], "category"),
        (["$5", "€5"], "category"),  # two currencies are no number
        (["12 apples", "13"], "category"),
        (["²", "3"], "category"),
        (["٣", "٤"], "category"),
        (["1e400"], "number"),
    ],
)
def test_what_only_looks_like_a_number_is_none(words: list[str], kind: str) -> None:
    assert values.read(dict.fromkeys(words, 50)).kind == kind


def test_a_comma_that_could_be_both_is_told_and_a_semicolon_file_takes_it_for_a_decimal_mark() -> None:
    alone, semicolons = values.read({"1,234": 9, "5,678": 1}), values.read({"1,234": 9, "5,678": 1}, semicolons=True)
    assert "may be decimal marks" in alone.unsure[0]
    sql = [each.sql.replace("{x}", "'1,234'") for each in (alone, semicolons)]
    assert connect().execute(f"SELECT {sql[0]}, {sql[1]}").fetchall() == [(1234.0, 1.234)]


def test_a_handful_of_words_in_a_column_of_numbers_is_read_as_nothing_and_told(table: Any) -> None:
    made = table(age=every(150, "adult", lambda at: str(20 + at % 50)))
    assert made.inputs["age"] == "integer"
    assert "'adult' in 3 rows is no number" in made.unsure


@pytest.mark.parametrize(("yes", "no"), [("Yes", "No"), ("1", "0"), ("TRUE", "false"), ("y", "N"), ("t", "f")])
def test_yes_and_no_in_any_spelling_are_true_and_false(table: Any, yes: str, no: str) -> None:
    made = table(flag=every(3, yes, lambda at: no))
    assert made.inputs["flag"] == "boolean"
    assert "flag: " in made.told


@pytest.mark.parametrize(
    "pattern", ["%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y", "%Y/%m/%d %H:%M", "%d %b %Y", "%B %d, %Y"]
)
def test_dates_are_read_in_their_order(table: Any, pattern: str) -> None:
    made = table(opened=DAYS.strftime(pattern))
    assert made.plan.time == "opened"
    assert made.plan.table.profiles["opened"].sample.max() == DAYS.max().timestamp()


@pytest.mark.parametrize("pattern", ["%Y-%m", "%b-%Y", "%B %Y"])
def test_months_are_dates(table: Any, pattern: str) -> None:
    made = table(opened=DAYS.strftime(pattern))
    assert made.plan.time == "opened"
    assert made.plan.table.profiles["opened"].sample.nunique() == DAYS.to_period("M").nunique()


def test_dates_in_several_orders_are_read_and_told(table: Any) -> None:
    made = table(opened=[day.strftime("%d/%m/%Y" if at % 2 else "%Y-%m-%d") for at, day in enumerate(DAYS)])
    assert made.plan.time == "opened"
    assert "several orders" in made.unsure


def test_a_date_whose_order_nobody_can_know_is_told(table: Any) -> None:
    made = table(opened=[f"{1 + at % 12:02}/{1 + at // 12 % 12:02}/2020" for at in range(ROWS)])
    assert "may be %d/%m/%Y as well as %m/%d/%Y" in made.unsure


def test_another_date_becomes_a_number_of_days(table: Any) -> None:
    made = table(asked=DAYS.strftime("%Y-%m-%d"), born=(DAYS - pd.Timedelta(days=9000)).strftime("%Y-%m-%d"))
    column = next(each for each in made.contract.inputs if each.name == "born")
    assert (column.kind, column.unit) == ("number", "days since 1970-01-01")


# --- Columns that teach nothing ---------------------------------------------------------------------------------------
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
    assert "KEY=uuid" in made.unsure


def test_a_category_of_thousands_of_levels_stays_and_is_told(tmp_path: Path) -> None:
    rows = 6000
    random = np.random.default_rng(1)
    columns = {"place": [f"p{at}" for at in random.integers(0, 2000, rows)], "label": list(random.integers(0, 2, rows))}
    made = infer(written(tmp_path, columns), "label")
    assert made.inputs == {"place": "category"}
    assert "levels; those not seen in training count as unseen" in made.unsure
    assert "p17" not in made.code, "so many levels are no list for a contract"


def test_numbers_that_no_matrix_takes_are_left_out(table: Any) -> None:
    made = table(huge=every(2, "1e300", lambda at: str(at)), phone=RANDOM.integers(10**9, 10**10, ROWS))
    assert "3.4e38" in made.excluded["huge"]
    assert made.inputs["phone"] == "number", "beyond 2**24 a whole number is no exact float32"


def test_a_type_that_no_model_takes_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "nested.parquet"
    connect().execute(
        "COPY (SELECT i * i % 37 AS x, [i, i] AS list, {'a': i} AS struct, CAST('x' AS BLOB) AS blob, "
        f"TIME '10:00' AS clock, i % 2 AS label FROM range(200) t(i)) TO '{path}'"
    )
    made = infer(path, "label")
    assert made.excluded.keys() == {"list", "struct", "blob", "clock"}


# --- Leaks ------------------------------------------------------------------------------------------------------------
def test_a_column_that_equals_or_encodes_the_label_is_left_out_and_named(table: Any) -> None:
    made = table(code=SIGN * 7 + 1, flag=np.where(SIGN == 1, "T", "F"), word=np.where(SIGN == 1, "gone", "here"))
    assert made.excluded.keys() == {"code", "flag", "word"}
    assert "correlation 1.0000" in made.excluded["code"]
    assert list(made.inputs) == ["signal"]


def test_the_one_hot_codes_of_a_label_are_left_out_and_an_honest_mark_is_not(table: Any) -> None:
    kind = RANDOM.integers(0, 3, ROWS)
    honest = (kind == 1) ^ (RANDOM.random(ROWS) < 0.03)
    made = table(label=np.array(["a", "b", "c"])[kind], is_a=kind == 0, not_b=(kind != 1).astype(int), honest=honest)
    assert "stands for 'a' and nothing else" in made.excluded["is_a"]
    assert made.excluded.keys() == {"is_a", "not_b"}


def test_a_leak_may_be_kept(table: Any) -> None:
    made = table(wishes={"keep": frozenset(["code"])}, code=SIGN * 7 + 1)
    assert "code" in made.inputs


@pytest.mark.parametrize(
    ("columns", "named"),
    [
        (lambda a, b: {"a": a, "b": b, "label": a + b}, "a + b is the label"),
        (lambda a, b: {"a": a, "b": b, "label": a - b}, "a - b is the label"),
        (lambda a, b: {"a": a, "b": b, "label": a * b}, "a * b is the label"),
        (lambda a, b: {"a": a, "b": b, "label": a / b}, "a / b is the label"),
        (lambda a, b: {"a": a, "other": b, "label": a}, "it equals the label (correlation 1.0000)"),
        (lambda a, b: {"a": np.log(a), "other": b, "label": a}, "rank correlation 1.0000"),
        (lambda a, b: {"a": np.round(a, 1), "other": b, "label": a}, "says the same as the label"),
        (lambda a, b: {"a": [f"v{x:.0f}" for x in a], "other": b, "label": np.round(a)}, "its levels tell the label"),
    ],
)
def test_columns_that_tell_a_number_alone_or_in_pairs_are_left_out(table: Any, columns: Any, named: str) -> None:
    a, b = RANDOM.gamma(4, 2, ROWS) + 1, RANDOM.gamma(4, 2, ROWS) + 1
    made = table(signal=RANDOM.normal(size=ROWS), **columns(a, b))
    assert named in made.excluded["a"]
    assert made.excluded.get("b", named) == made.excluded["a"] or "b" not in made.excluded


def test_an_honest_formula_of_two_columns_is_no_leak(table: Any) -> None:
    a, b = RANDOM.gamma(4, 2, ROWS), RANDOM.gamma(4, 2, ROWS)
    assert table(a=a, b=b, label=3 * a + 2 * b).excluded == {}


def test_strong_but_honest_columns_stay(table: Any) -> None:
    strong = SIGN * 3 + RANDOM.normal(0, 1, ROWS)
    assert table(strong=strong).excluded == {}


def test_a_column_that_is_filled_in_for_one_class_only_is_known_after_the_label(table: Any) -> None:
    made = table(
        reason=[("price" if at % 2 else "moved") if sign else None for at, sign in enumerate(SIGN)],
        some=[float(at % 7) if sign and at % 3 else None for at, sign in enumerate(SIGN)],
    )
    assert "filled in for 'yes' only" in made.excluded["reason"]
    assert "known only after the label" in made.excluded["some"]


def test_honest_columns_of_a_rare_class_and_rare_values_stay(tmp_path: Path) -> None:
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


def test_a_hash_sign_is_no_comment(tmp_path: Path) -> None:
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


def test_a_moment_after_the_time_of_the_row_is_known_only_later(table: Any) -> None:
    closed = (DAYS + pd.Timedelta(days=5)).strftime("%Y-%m-%d")
    made = table(opened=DAYS.strftime("%Y-%m-%d"), closed=closed)
    assert "it lies after opened" in made.excluded["closed"]


def test_a_few_rows_convict_nobody(tmp_path: Path) -> None:
    made = infer(written(tmp_path, {"x": [1, 2, 3, 4], "label": ["a", "a", "b", "b"]}), "label")
    assert made.excluded == {}


def test_a_table_of_leaks_only_says_so(tmp_path: Path) -> None:
    with pytest.raises(LifecycleError, match="no column left to learn from") as refused:
        infer(written(tmp_path, {"x": SIGN * 2, "label": LABEL}), "label")
    assert "KEEP=column" in refused.value.hint


# --- Labels -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("label", "classes"),
    [
        (np.where(SIGN == 1, "Yes", "No"), ("No", "Yes")),
        (SIGN, ("0", "1")),
        (SIGN.astype(float), ("0", "1")),
        (SIGN == 1, None),
        (np.where(SIGN == 1, "good", "bad"), ("good", "bad")),
        (SIGN + 1, None),
    ],
)
def test_two_values_are_two_classes(table: Any, label: Any, classes: tuple[str, ...] | None) -> None:
    made = table(label=label)
    assert made.contract.target.task == "binary"
    if classes:
        assert made.contract.target.classes == classes


def test_the_rarer_class_is_the_one_to_find_where_no_word_says_so_and_that_is_told(table: Any) -> None:
    made = table(label=every(5, "b", lambda at: "a"))
    assert made.contract.target.classes == ("a", "b")
    assert "because it is rarer" in made.unsure


def test_several_texts_are_classes_and_one_that_is_too_rare_does_not_train(table: Any) -> None:
    label = every(130, "odd", lambda at: ("red", "green", "blue")[at % 3])
    made = table(label=label)
    assert made.contract.target.classes == ("blue", "green", "red")
    assert made.rows == ROWS - 4
    assert "1 classes have too few rows to learn (4)" in made.unsure
    assert "odd" not in made.told


def test_few_whole_numbers_are_classes_unless_told_otherwise(table: Any) -> None:
    stars = RANDOM.integers(1, 6, ROWS)
    made = table(label=stars)
    assert made.contract.target.classes == ("1", "2", "3", "4", "5")
    assert "ANSWER=number" in made.unsure
    assert table(label=stars, wishes={"task": "number"}).contract.target.task == "regression"


def test_many_numbers_are_a_number_with_its_unit(table: Any) -> None:
    made = table(label=[f"${each:,.2f}" for each in RANDOM.gamma(2, 900, ROWS)])
    assert (made.contract.target.task, made.contract.target.unit) == ("number", "$")


def test_a_rare_class_is_told(table: Any) -> None:
    assert "'yes' is rare: 10 of 400 rows (2.50%)" in table(label=every(40, "yes", lambda at: "no")).unsure


def test_rows_without_a_label_do_not_train_and_are_scored(table: Any) -> None:
    made = table(label=every(5, None, lambda at: LABEL[at]))
    assert made.rows == ROWS - ROWS // 5
    assert "80 rows have no label" in made.told


def test_spellings_of_one_class_are_one_class(table: Any) -> None:
    made = table(label=["Yes", "yes", "NO", "no"] * 100)
    assert len(made.contract.target.classes) == 2
    assert made.rows == ROWS
    assert "counts as" in made.unsure


# --- Rows, entities, times --------------------------------------------------------------------------------------------
def test_doubled_rows_are_told_and_kept_on_one_side(table: Any) -> None:
    made = table(signal=[*SIGNAL, *SIGNAL], label=[*LABEL, *LABEL])
    assert "rows stand there more than once" in made.unsure
    assert made.plan.holdout == "a stable hash of the whole row"


def test_an_entity_that_repeats_is_kept_whole(table: Any) -> None:
    made = table(visit_id=range(ROWS), patient_id=[f"p{at}" for at in RANDOM.integers(0, 80, ROWS)])
    assert [column.name for column in made.contract.keys] == ["patient_id", "visit_id"]
    assert made.plan.holdout.startswith("a stable hash of patient_id")


def test_time_wins_over_an_entity(table: Any) -> None:
    made = table(asked=DAYS.strftime("%Y-%m-%d"), patient_id=[f"p{at}" for at in RANDOM.integers(0, 80, ROWS)])
    assert made.plan.holdout == "the later part, by asked"
    assert made.contract.key is not None


@pytest.mark.parametrize("scale", [1, 1000])
def test_seconds_and_milliseconds_since_1970_are_a_time(table: Any, scale: int) -> None:
    made = table(timestamp=RANDOM.integers(1_500_000_000, 1_700_000_000, ROWS) * scale)
    assert made.plan.time == "timestamp"


def test_a_wish_goes_before_what_is_found(table: Any) -> None:
    columns = {"opened": DAYS.strftime("%Y-%m-%d"), "closed": DAYS.strftime("%Y-%m-%d"), "who": range(ROWS)}
    made = table(wishes={"time": "closed", "key": "who"}, **columns)
    assert (made.plan.time, made.contract.key and made.contract.key.name) == ("closed", "who")


# --- Names ------------------------------------------------------------------------------------------------------------
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
    assert "date is called date_value on the wire" in made.told
    assert "A B is called A B_1" in made.told, "SQL does not tell upper from lower case"


def test_a_label_with_a_name_of_ours_gets_another(table: Any) -> None:
    assert table("version", version=LABEL).contract.target.label == "version_value"


# --- Sizes ------------------------------------------------------------------------------------------------------------
def test_fifty_rows_are_enough_to_begin(table: Any) -> None:
    assert table(other=range(50)).rows == 50


def test_two_thousand_columns(tmp_path: Path) -> None:
    columns: dict[str, Any] = {f"c{at}": RANDOM.normal(size=120).round(3) for at in range(2000)}
    made = infer(written(tmp_path, columns | {"label": LABEL[:120]}), "label")
    assert len(made.inputs) == 2000


def test_a_large_table_is_sampled_says_so_and_every_row_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("looseleaf.contract.profile.MOST_ROWS", 2000)
    rows = 30_000
    ages = [str(at % 90) for at in range(rows)]
    ages[29_998], ages[29_999] = "old", ""
    random = np.random.default_rng(2)
    columns = {"age": ages, "x": random.normal(size=rows), "label": random.integers(0, 2, rows)}
    made = infer(written(tmp_path, columns), "label")
    assert "2,000 of 30,000 rows were drawn" in made.told
    assert "'old' is no integer and is read as nothing" in made.unsure
    assert next(column for column in made.contract.inputs if column.name == "age").nullable


# --- Files that cannot be read ----------------------------------------------------------------------------------------
GOOD = "a,b,label\n" + "".join(f"{at}.5,{at % 7},{'xy'[at % 2]}\n" for at in range(60))
REFUSED: dict[str, tuple[str, bytes, str, str]] = {
    "empty": ("t.csv", b"", "is empty", "a line of names"),
    "no line": ("t.csv", b"\n\n", "holds no line", "a line of names"),
    "no rows": ("t.csv", b"a,b,label\n", "has names and no rows", "labelled rows"),
    "too many values": ("t.csv", GOOD.replace("5.5,5,y", "5.5,5,y,9").encode(), "line 7: 4 values", "Fix that line"),
    "too few values": ("t.csv", GOOD.replace("5.5,5,y", "5.5,5").encode(), "line 7: 2 values", "Fix that line"),
    "open quote": ("t.csv", GOOD.replace("5.5,5,y", '5.5,"5,y').encode(), "line 7: a double quote", "Close it"),
    "two encodings": (
        "t.csv",
        GOOD.replace(".5,0,x", ".5,0,Köln").encode() + b"1,2,J\xfcrg\n",
        "line 62:",
        "two encod",
    ),
    "zero bytes": ("t.csv", GOOD.encode() + b"1,2,\0\n", "line 62: a zero byte", "Parquet"),
    "doubled names": (
        "t.csv",
        GOOD.replace("a,b,", "a,a,").encode(),
        "'a' stands more than once (columns 1, 2)",
        "own",
    ),
    "no names": ("t.csv", GOOD.replace("a,b,label\n", "").encode(), "where names are expected", "on top"),
    "no label": ("t.csv", GOOD.replace("label", "Lable").encode(), "no column 'label'", "Nearest there: Lable"),
    "only the label": ("t.csv", b"label\nx\ny\n", "has only the label", "columns to learn from"),
    "one class": ("t.csv", GOOD.replace("y\n", "x\n").encode(), "'x' in all 60 rows", "every class"),
    "one row": ("t.csv", b"a,label\n1,x\n", "'x' in all 1 rows", "every class"),
    "one number": ("t.csv", b"a,label\n" + b"1,7.25\n2,7.25\n" * 9, "'7.25' in all 18 rows", "every class"),
    "no label at all": ("t.csv", GOOD.replace("x\n", "\n").replace("y\n", "\n").encode(), "is empty", "a label"),
    "a date": ("t.csv", GOOD.replace("x\n", "2020-01-01\n").replace("y\n", "2021-01-01\n").encode(), "a date", "days"),
    "names as label": (
        "t.csv",
        b"a,label\n" + b"".join(b"%d,n%d\n" % (i, i) for i in range(200)),
        "200 differ",
        "group",
    ),
    "Excel": ("t.xlsx", b"PK\x03\x04....", "is a spreadsheet", "Save the sheet as CSV"),
    "Excel by another name": ("t.csv", b"\xd0\xcf\x11\xe0....", "is a spreadsheet", "Save the sheet as CSV"),
    "JSON": ("t.json", b"[]", "is no table", "Export"),
    "pickle": ("t.pkl", b"\x80\x04N.", "is a pickle", "Export"),
    "broken Parquet": ("t.parquet", b"PAR1....PAR1", "no sound Parquet", "Write it again"),
    "broken gzip": ("t.csv.gz", gzip.compress(GOOD.encode())[:60], "cannot be unpacked", "Pack it again"),
    "endless line": ("t.csv", GOOD.encode() + b'"' + b"z" * 3_000_000 + b'"\n', "longer than 2 MB", "quote"),
    "a web page": ("t.csv", b"<!DOCTYPE html>\n<html><body>Not found</body></html>\n", "no column 'label'", "It has"),
}


@pytest.mark.parametrize("defect", REFUSED)
def test_a_file_that_cannot_be_read_is_told_with_its_place_and_the_mend(tmp_path: Path, defect: str) -> None:
    name, content, problem, hint = REFUSED[defect]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(LifecycleError) as refused:
        infer(path, "label")
    assert problem in refused.value.problem
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ("https://example.org/t.csv", "an address"),
        ("s3://b/t.parquet", "an address"),
        (".", "a folder"),
        ("no", "exist"),
    ],
)
def test_what_is_no_file_is_told(tmp_path: Path, given: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LifecycleError, match=problem):
        open_source(given, connect(), tmp_path)


def test_no_value_of_a_malformed_line_is_told(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(GOOD.replace("5.5,5,y", "5.5,secret,y,9"))
    with pytest.raises(LifecycleError) as refused:
        infer(path, "label")
    assert "secret" not in str(refused.value)


def test_a_file_larger_than_the_free_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.csv"
    path.write_text(GOOD)
    found = open_source(str(path), connect(), tmp_path)
    monkeypatch.setattr(sources.shutil, "disk_usage", lambda _: sources.shutil._ntuple_diskusage(10, 5, 5))
    with pytest.raises(LifecycleError, match="free"):
        sources.refuse_larger_than_disk(found, tmp_path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("t.csv", ("\ufeff" + GOOD).encode()),
        ("t.csv", GOOD.encode("utf-16")),
        ("t.csv", GOOD.replace(",", ";").replace(".5;", ",5;").encode()),
        ("t.tsv", GOOD.replace(",", "\t").encode()),
        ("t.csv", GOOD.replace("\n", "\r\n").encode()),
        ("t.csv", GOOD.replace(",", " ,  ").encode()),
        ("t.csv.gz", gzip.compress(GOOD.encode())),
        ("t.csv", GOOD.replace("y\n", "Jürg\n").encode("latin-1")),
        ("t.csv", GOOD.replace("y\n", "€\n").encode("cp1252")),
        ("t.txt", GOOD.replace(",", "|").encode()),
    ],
    ids=["BOM", "UTF-16", "semicolons", "tabs", "CRLF", "blanks", "gzip", "Latin-1", "cp1252", "bars"],
)
def test_dialect_and_encoding_are_found(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    made = infer(path, "label")
    assert made.inputs["b"] == "integer"
    assert (made.rows, len(made.contract.target.classes)) == (60, 2)


# --- Asking -----------------------------------------------------------------------------------------------------------
class Somebody:
    """Answers each question with the first option that is in `answers`."""

    def __init__(self, *answers: str) -> None:
        self.answers, self.asked = answers, list[str]()

    def choose(self, question: str, options: dict[str, str], default: str) -> str:
        self.asked.append(question)
        return next((each for each in self.answers if each in options), default)


def test_a_person_may_keep_a_leak_say_which_is_the_label_and_choose_the_key(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"id": range(ROWS), "uuid": [f"u-{at}" for at in range(ROWS)], "code": SIGN, "label": LABEL, "x": SIGNAL},
    )
    kept = infer(path, "label", Somebody("keep", "uuid"))
    assert "code" in kept.inputs
    assert kept.contract.key is not None
    assert kept.contract.key.name == "uuid"
    other = infer(path, "label", who := Somebody("label"))
    assert other.contract.target.label == "code"
    assert "label" in other.excluded
    assert any("code" in question for question in who.asked)


def test_the_example_request_holds_no_row_of_the_table(tmp_path: Path) -> None:
    from looseleaf.contract import texts

    path = written(tmp_path, {"id": [f"k-{at}" for at in range(ROWS)], "x": SIGNAL, "label": LABEL})
    made = infer(path, "label")
    sent = texts.request(made.contract, made.plan)
    assert sent["id"] == "example-1"
    assert json.dumps(sent)
