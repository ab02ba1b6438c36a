"""Counts of a window in SQL equal those of the same rows in memory, and do not need the memory of the window."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.contract.tables import Connection, connect, describe
from lifecycle.models.reference import Distribution, build_profile
from lifecycle.monitoring import counts
from lifecycle.monitoring.counts import count_column, count_scores, estimated_accuracy
from lifecycle.monitoring.quality import MAX_ROWS, evenly_spaced
from support.drift import counted

COLUMNS = (
    Column("amount", "request", "number", nullable=True, expected=(10.0, 300.0)),
    Column("items", "request", "integer", expected=(0, 5)),
    Column("gift", "request", "boolean", nullable=True),
    Column("city", "request", "category", nullable=True, expected=("city 0", "city 1", "it's")),
    Column("at", "request", "time", nullable=True, expected=("2020-02-01", None)),
    Column("always", "request", "number"),
)
CONTRACT = Contract(1, Target("binary", "returned", ("keeps", "returns")), COLUMNS)
KNOWN = [f"city {at}" for at in range(40)]
QUALITY = "FROM (SELECT range AS lifecycle_place, range % 7 AS day FROM range(0, {}, 2)) WHERE day < 6"


def rows(seed: int, size: int = 3000) -> pd.DataFrame:
    """Return rows with nulls, values on the edges of bins, infinite ones, and levels that training did not contain."""
    random = np.random.default_rng(seed)
    amount = random.gamma(2, 50, size).round(1)
    amount[random.random(size) < 0.1] = np.nan
    amount[1:3] = [np.inf, -np.inf][: size - 1]
    city = np.array([f"city {at}" for at in random.geometric(0.05, size)], dtype=object)
    city[random.random(size) < 0.1] = None
    at = np.datetime64("2020-01-01", "us") + random.integers(0, 400 * 86_400_000_000, size)
    return pd.DataFrame(
        {
            "amount": amount,
            "items": random.poisson(2, size),
            "gift": random.choice(np.array([True, False, None], dtype=object), size),
            "city": pd.Series(city).where(random.random(size) < 0.9, "it's"),
            "at": pd.Series(at).where(random.random(size) < 0.95),
            "always": 7.0,
            "probability": random.beta(1, 3, size),
        }
    )


PROFILE = build_profile(CONTRACT, rows(0).iloc[3:], rows(1), rows(1)["probability"].to_numpy())


@pytest.fixture
def connection() -> Iterator[Connection]:
    with connect() as opened:
        for size in (1, 3000):
            opened.register("frame", rows(2, size))
            opened.execute(f"CREATE TABLE w{size} AS FROM frame")
        yield opened


def different(connection: Connection, size: int) -> set[str]:
    """Return the columns whose counts in SQL differ from those of the rows in memory."""
    frame, found, types = rows(2, size), set(), describe(connection, f"FROM w{size}")
    for column in COLUMNS:
        bins = PROFILE.columns[column.name]
        in_sql = count_column(connection, f"w{size}", types, column, bins, KNOWN)
        assert in_sql is not None
        in_memory = counted(column, bins, frame, KNOWN)
        if replace(in_sql, by_bin=[*in_sql.by_bin]) != replace(in_memory, by_bin=[*in_memory.by_bin]):
            found.add(column.name)
    return found


@pytest.mark.parametrize("size", [1, 3000])
def test_counts_equal_those_of_the_rows_in_memory(connection: Connection, size: int) -> None:
    assert different(connection, size) == set()
    scores = count_scores(connection, f"w{size}", {"probability": "DOUBLE"}, CONTRACT.target, PROFILE.scores)
    probability = rows(2, size)["probability"]
    assert scores.by_bin.tolist() == PROFILE.scores.count(probability).by_bin.tolist()
    estimate = estimated_accuracy(connection, f"w{size}", CONTRACT.target)
    assert estimate == pytest.approx(np.maximum(probability, 1 - probability).mean(), rel=1e-12)
    nothing = f"(SELECT * FROM w{size} WHERE FALSE)"
    assert estimated_accuracy(connection, nothing, CONTRACT.target) is None
    assert estimated_accuracy(connection, nothing, Target("regression", "days")) is None


@pytest.mark.parametrize(
    ("name", "defect", "columns"),
    [
        ("_double", lambda value: f"CAST('{value}' AS FLOAT)", {"amount", "always"}),
        ("_number", lambda value: f"CAST({value} AS DOUBLE)", {"amount"}),
        ("_among", lambda value, levels: f"{value} = ''", {"gift", "city"}),
    ],
)
def test_a_defect_in_the_sql_is_found(
    connection: Connection, name: str, defect: Any, columns: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, name, defect)
    connection.execute("UPDATE w3000 SET amount = 'nan' WHERE amount IS NULL")
    assert different(connection, 3000) == columns


def test_levels_of_equal_frequency_are_ordered_by_name(connection: Connection) -> None:
    connection.execute("CREATE TABLE tied AS SELECT unnest(['b', 'a', 'c', 'a', 'b']) AS city")
    bins = Distribution((), levels=("x",))
    found = count_column(connection, "tied", {"city": "VARCHAR"}, COLUMNS[3], bins, [])
    assert found is not None
    assert found.other == bins.count(pd.Series(["b", "a", "c", "a", "b"])).other == ("a", 2)


@pytest.mark.parametrize("size", [0, 10, 3 * MAX_ROWS])
def test_quality_is_measured_on_evenly_spaced_rows(connection: Connection, size: int) -> None:
    query = QUALITY.format(size)
    every = [place for place in range(0, size, 2) if place % 7 < 6]
    at = np.unique(np.linspace(0, len(every) - 1, min(len(every), MAX_ROWS)).astype(int))
    assert evenly_spaced(connection, query, len(every))["lifecycle_place"].tolist() == [every[each] for each in at]
