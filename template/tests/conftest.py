"""What the tests share: the tables of a sample, and one model trained on them."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from project import Project

from lifecycle import features, sample
from lifecycle.contract import team
from lifecycle.models import predictor
from model import data

# On a busy machine several threads wait for each other longer than these small models take on one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

Rows = list[dict[str, Any]]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tables of a sample."""
    folder = tmp_path_factory.mktemp("data")
    sample.write(folder, seed=1)
    return folder


@pytest.fixture
def tables(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the tables registered; what a test changes in it is its own."""
    with features.connect(data, folder) as connection:
        yield connection


@pytest.fixture(scope="session")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with one trained version; whoever changes its storage copies it first."""
    project = Project(folder, tmp_path_factory.mktemp("storage"))
    project.done("train")
    return project


@pytest.fixture
def rows(tables: duckdb.DuckDBPyConnection) -> Rows:
    """The completed rows of all customers there are at the latest moment."""
    contract, sql = team.load_contract()
    features.population_rows(tables, data, contract, sql, data.latest(tables))
    found = tables.execute(f"SELECT * EXCLUDE (ts) FROM {features.ROWS}")
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


@pytest.fixture(scope="session")
def chances(trained: Project) -> Callable[[Rows], list[float]]:
    """The trained model: from completed rows to the probability that each customer leaves."""
    model = predictor.Predictor(trained.newest)
    return lambda rows: [answer["probability"] for answer in model.predict(rows, threshold=None)]
