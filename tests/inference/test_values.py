"""How text columns are read: numbers, booleans, dates and categories."""

from typing import Any

import pandas as pd
import pytest

from lifecycle.errors import LifecycleError
from looseleaf.contract import values
from support.inference import DAYS, RANDOM, ROWS, connect, every


@pytest.mark.parametrize("word", [" ", "?", "NA", "-", "n/a", "NULL"])
def test_a_word_for_a_missing_value_among_numbers_is_null(table: Any, word: str) -> None:
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
    assert connect().execute(f"SELECT {found.how.value('$1', 'VARCHAR')}", [written_as]).fetchall() == [(number,)]


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
def test_text_that_resembles_a_number_is_a_category(words: list[str], kind: str) -> None:
    assert values.read(dict.fromkeys(words, 50)).kind == kind


def test_an_ambiguous_comma_is_reported_and_is_a_decimal_mark_in_a_semicolon_file() -> None:
    alone, semicolons = values.read({"1,234": 9, "5,678": 1}), values.read({"1,234": 9, "5,678": 1}, is_european=True)
    assert "may be decimal marks" in alone.unsure[0]
    sql = [each.how.value("'1,234'", "VARCHAR") for each in (alone, semicolons)]
    assert connect().execute(f"SELECT {sql[0]}, {sql[1]}").fetchall() == [(1234.0, 1.234)]


def test_a_few_words_in_a_column_of_numbers_are_null_and_reported(table: Any) -> None:
    made = table(age=every(150, "adult", lambda at: str(20 + at % 50)))
    assert made.inputs["age"] == "integer"
    assert "'adult' (3 rows) is not a whole number" in made.unsure


@pytest.mark.parametrize(("yes", "no"), [("Yes", "No"), ("1", "0"), ("TRUE", "false"), ("y", "N"), ("t", "f")])
def test_yes_and_no_in_any_spelling_are_true_and_false(table: Any, yes: str, no: str) -> None:
    made = table(flag=every(3, yes, lambda at: no))
    assert made.inputs["flag"] == "boolean"
    assert "flag: " in made.notes


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


def test_dates_in_several_orders_are_read_and_reported(table: Any) -> None:
    made = table(opened=[day.strftime("%d/%m/%Y" if at % 2 else "%Y-%m-%d") for at, day in enumerate(DAYS)])
    assert made.plan.time == "opened"
    assert "several orders" in made.unsure


def test_an_ambiguous_date_order_is_reported(table: Any) -> None:
    made = table(opened=[f"{1 + at % 12:02}/{1 + at // 12 % 12:02}/2020" for at in range(ROWS)])
    assert "may be %d/%m/%Y as well as %m/%d/%Y" in made.unsure


def test_another_date_is_a_date_of_the_contract(table: Any) -> None:
    born = (DAYS - pd.Timedelta(days=9000)).strftime("%Y-%m-%d")
    made = table(**{"called": DAYS.strftime("%Y-%m-%d"), "birth date": born})
    assert made.inputs["birth date"] == "time"
    assert "days since" not in made.code + made.data + made.notes


def test_two_digit_years_far_in_the_future_are_read_in_the_previous_century(table: Any) -> None:
    born = pd.Timestamp("1951-03-01") + pd.to_timedelta(RANDOM.integers(0, 20_000, ROWS), unit="D")
    made = table(**{"called": DAYS.strftime("%Y-%m-%d"), "born": born.strftime("%d.%m.%y")})
    assert made.inputs["born"] == "time"
    assert "last_year=" in made.data
    seconds = made.plan.table.profiles["born"].sample
    assert pd.to_datetime(seconds, unit="s").dt.strftime("%Y-%m-%d").tolist() == born.strftime("%Y-%m-%d").tolist()
    assert "years have two digits: 00 to " in made.unsure
    due = DAYS + pd.Timedelta(days=3000)
    assert "last_year=" not in table(**{"called": DAYS.strftime("%Y-%m-%d"), "due": due.strftime("%d.%m.%y")}).data


def test_a_label_that_is_known_before_its_row_is_refused(table: Any) -> None:
    days = {"requested": DAYS.strftime("%Y-%m-%d"), "decided": (DAYS + pd.Timedelta(days=9)).strftime("%Y-%m-%d")}
    with pytest.raises(LifecycleError, match="SEEN=requested is before decided"):
        table(wishes={"seen": "requested"}, **days)


def test_years_of_four_digits_stay_as_they_are_next_to_two_digits(table: Any) -> None:
    born = [f"01.02.{51 + at % 17}" if at % 20 else "31.12.2099" for at in range(ROWS)]
    made = table(called=DAYS.strftime("%Y-%m-%d"), born=born)
    years = pd.to_datetime(made.plan.table.profiles["born"].sample, unit="s").dt.year
    assert (years.min(), years.max()) == (1951, 2099)


def test_a_date_of_the_label_without_a_clock_is_not_before_a_time_of_the_same_day(table: Any) -> None:
    created = (DAYS + pd.Timedelta(hours=14)).strftime("%Y-%m-%dT%H:%M:%S")
    decided = [(day + pd.Timedelta(days=at % 3)).strftime("%Y-%m-%d") for at, day in enumerate(DAYS)]
    made = table(wishes={"seen": "decided", "time": "created"}, created=created, decided=decided)
    assert (made.plan.seen, made.plan.label_days) == ("decided", 2)
