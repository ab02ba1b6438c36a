"""Fixtures: the tables of a sample, and one model trained on them."""

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

# On a busy machine, these small models train faster on one thread than on several.
os.environ.setdefault("OMP_NUM_THREADS", "1")

Rows = list[dict[str, Any]]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the tables of a sample."""
    folder = tmp_path_factory.mktemp("data")
    sample.write(folder, seed=1)
    return folder


@pytest.fixture
def tables(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Yield a connection with the tables registered; changes affect one test only."""
    with features.connect(data, folder) as connection:
        yield connection


@pytest.fixture(scope="session")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with one trained version; a test that changes its storage copies it first."""
    project = Project(folder, tmp_path_factory.mktemp("storage"))
    project.succeed("train")
    return project


@pytest.fixture
def rows(tables: duckdb.DuckDBPyConnection) -> Rows:
    """Return the completed rows of all customers at the latest time."""
    contract, sql = team.load_contract()
    features.population_rows(tables, data, contract, sql, data.latest(tables))
    found = tables.execute(f"SELECT * EXCLUDE (ts) FROM {features.ROWS}")
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


@pytest.fixture(scope="session")
def probabilities(trained: Project) -> Callable[[Rows], list[float]]:
    """Return the trained model: a function from completed rows to the probability that each customer leaves."""
    model = predictor.Predictor(trained.newest)
    return lambda rows: [prediction["probability"] for prediction in model.predict(rows)]
