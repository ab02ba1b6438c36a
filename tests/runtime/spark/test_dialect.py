"""`features.sql` for Spark: each known difference from DuckDB is refused with its line, and common SQL is not."""

import pytest
import sqlglot

from lifecycle.errors import LifecycleError
from lifecycle.spark import dialect
from support.teams import sample_team

TABLES = {
    "spine": {"customer": "VARCHAR", "ts": "BIGINT"},
    "events": {
        "customer": "VARCHAR",
        "ts": "BIGINT",
        "kind": "VARCHAR",
        "amount": "DOUBLE",
        "price": "DECIMAL(10,2)",
        "at": "TIMESTAMP",
        "day": "DATE",
    },
}
RANGE = "count(*) OVER (PARTITION BY customer ORDER BY {} RANGE BETWEEN {} PRECEDING AND 1 PRECEDING)"
INTERVALS = "RANGE BETWEEN INTERVAL 30 DAY PRECEDING AND INTERVAL 1 SECOND PRECEDING"

# An expression on the third line, and a part of what is said about it.
DIFFERENT = {
    "integer division": ("ts // 86400", "Spark has no //"),
    "a cast that rounds": ("CAST(ts / 86400 AS BIGINT)", "truncates on Spark"),
    "a cast of a number": ("CAST(amount AS INTEGER)", "truncates on Spark"),
    "division of decimals": ("price / 3", "fewer digits"),
    "mean of decimals": ("AVG(price) OVER (PARTITION BY customer)", "fewer digits"),
    "NULL in a ranking": ("ROW_NUMBER() OVER (PARTITION BY customer ORDER BY ts)", "write NULLS LAST"),
    "NULL in a default frame": ("SUM(amount) OVER (PARTITION BY customer ORDER BY ts)", "write NULLS LAST"),
    "NULL in an unbounded range": (RANGE.format("ts", "UNBOUNDED"), "write NULLS LAST"),
    "difference of timestamps": ("at - at", "difference of two timestamps"),
    "difference of dates": ("day - day", "difference of two timestamps"),
    "date_diff": ("date_diff('day', day, day)", "date_diff"),
    "seconds of a timestamp": ("epoch(at)", "whole seconds"),
    "extract": ("extract(epoch FROM at)", "whole seconds"),
    "RANGE of intervals": (f"count(*) OVER (PARTITION BY customer ORDER BY at NULLS LAST {INTERVALS})", "RANGE"),
    "GROUPS": ("count(*) OVER (ORDER BY ts NULLS LAST GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW)", "GROUPS"),
    "EXCLUDE": ("count(*) OVER (ORDER BY ts NULLS LAST ROWS 1 PRECEDING EXCLUDE CURRENT ROW)", "EXCLUDE"),
    "logarithm": ("log(amount)", "log10(x) or ln(x)"),
    "concat": ("concat(kind, customer)", "returns NULL"),
    "day of the week": ("dayofweek(day)", "days of a week"),
    "approximate count": ("approx_count_distinct(kind)", "count(DISTINCT x)"),
    "quantile": ("quantile_cont(amount, 0.5)", "percentile_cont"),
    "hash": ("hash(kind)", "md5"),
    "round": ("round(amount, 2)", "halves"),
    "power": ("ts ^ 2", "exclusive OR"),
    "regexp_replace": ("regexp_replace(kind, 'a', 'b')", "every one on Spark"),
    "regexp_extract": ("regexp_extract(kind, 'x(a)b')", "group 1 on Spark"),
    "an element of a list": ("array_agg(kind)[1]", "first element"),
    "weekday": ("weekday(day)", "Monday"),
    "substring": ("substr(kind, 0, 2)", "begin with 1"),
}
SAME = {
    "a range of seconds": RANGE.format("ts", "2592000"),
    "a stated place of NULL": "ROW_NUMBER() OVER (PARTITION BY customer ORDER BY ts NULLS LAST)",
    "a descending order": "ROW_NUMBER() OVER (PARTITION BY customer ORDER BY ts DESC)",
    "a division": "CAST(ts / 86400.0 AS DOUBLE)",
    "a stated rounding": "CAST(floor(ts / 86400) AS BIGINT)",
    "a whole number": "CAST(ts AS BIGINT)",
    "a percentile": "percentile_cont(0.5) WITHIN GROUP (ORDER BY amount)",
    "a round number": "round(amount)",
    "a logarithm": "ln(amount) + log10(amount) + log(2, amount)",
    "a power": "power(amount, 2)",
    "a group": "regexp_extract(kind, 'x(a)b', 1)",
    "a part": "substr(kind, 1, 2)",
    "an hour": "extract(hour FROM at)",
    "an interval": "at + INTERVAL 1 DAY",
}


def query(expression: str) -> str:
    return f"SELECT\n    customer,\n    {expression} AS value\nFROM events"


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_difference_is_refused_with_its_line(name: str) -> None:
    expression, text = DIFFERENT[name]
    with pytest.raises(LifecycleError) as error:
        dialect.check(query(expression), "features.sql", TABLES)
    assert error.value.problem.startswith("features.sql:3: ")
    assert text in error.value.problem


@pytest.mark.parametrize("name", SAME)
def test_the_same_meaning_on_both_is_not_refused(name: str) -> None:
    dialect.check(query(SAME[name]), "features.sql", TABLES)


@pytest.mark.parametrize("sql", ["SELECT 1\nFROM events ASOF JOIN spine ON events.ts <= spine.ts", "SELECT 1\nFROM ("])
def test_what_cannot_be_parsed_is_refused_with_its_line(sql: str) -> None:
    with pytest.raises(LifecycleError, match=r"features\.sql:2: "):
        dialect.check(sql, "features.sql", TABLES)


def test_without_known_tables_the_structure_is_checked() -> None:
    with pytest.raises(LifecycleError, match="truncates"):
        dialect.check(query("CAST(ts / 86400 AS BIGINT)"), "features.sql", {})


def test_the_features_of_the_sample_are_the_same_on_both() -> None:
    sql = sample_team().features_sql
    assert sql is not None
    dialect.check(sql, "features.sql", {})


def test_translation_changes_decimals_and_texts_only_and_keeps_the_lines() -> None:
    sql = "SELECT 'VARCHAR 1.5', -- 2.5\n  CAST(x AS VARCHAR), CAST(y AS VARCHAR(3)), \"VARCHAR\", 86400.0, 1e3, 7"
    expected = "SELECT 'VARCHAR 1.5', -- 2.5\n  CAST(x AS STRING), CAST(y AS VARCHAR(3)), \"VARCHAR\", 86400.0D, 1e3, 7"
    assert dialect.translate(sql) == expected
    assert sqlglot.parse_one(expected, read="spark")
