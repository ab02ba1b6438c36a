"""Requirements on the tables and features.sql; skipped, visibly, where a table is missing."""

from types import SimpleNamespace
from typing import Any

import duckdb
import pytest

from lifecycle import features
from lifecycle.contract import Contract
from lifecycle.contract.tables import quoted, subquery
from lifecycle.contract.team import Team, load_contract
from lifecycle.training.train import codes
from model import data

# A part of a large table is tested here; the jobs check every row.
SOME_ROWS, SOME_CELLS = 50_000, 2_000_000


@pytest.fixture
def some(contract: Contract) -> Any:
    """Return src/model/data.py with queries that give only the first rows."""
    count = min(SOME_ROWS, SOME_CELLS // len(contract.columns))

    def first(query: str) -> str:
        return f"SELECT * FROM {subquery(query)} LIMIT {count}"

    return SimpleNamespace(
        labels=lambda connection: first(data.labels(connection)),
        population=lambda connection: first(data.population(connection)),
    )


def test_labelled_rows_satisfy_the_contract(table: duckdb.DuckDBPyConnection, some: Any) -> None:
    project = Team("", *load_contract(), some, None)
    assert features.training_rows(table, project, features.latest(table, data)) > 0


def test_rows_to_score_satisfy_the_contract(table: duckdb.DuckDBPyConnection, some: Any) -> None:
    assert features.population_rows(table, some, *load_contract(), features.latest(table, data)) > 0


def test_every_label_is_one_that_the_target_names(
    table: duckdb.DuckDBPyConnection, some: Any, contract: Contract
) -> None:
    label = f"SELECT {quoted(contract.target.label)} AS label FROM {subquery(some.labels(table))}"
    if contract.target.classes:
        label = f"SELECT DISTINCT {quoted(contract.target.label)} AS label FROM {subquery(data.labels(table))}"
    # `codes` raises for a null, an unknown class or text in place of a number.
    found = codes(table.execute(label).df()["label"], contract.target)
    assert set(range(len(contract.target.classes))) <= set(found)


def test_no_row_lacks_its_key(table: duckdb.DuckDBPyConnection, contract: Contract) -> None:
    if not contract.keys:
        pytest.skip("the contract has no key")
    missing = " OR ".join(f"{quoted(column.name)} IS NULL" for column in contract.keys)
    query = f"SELECT count(*) FROM {subquery(data.labels(table))} WHERE {missing}"
    assert table.execute(query).fetchall() == [(0,)]
