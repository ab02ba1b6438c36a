"""What the tests share: the tables of a sample, and one model trained on them. All calls of lifecycle stand here."""

import contextlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lifecycle import bundle, cli, features, predictor, sample, store, team
from model import data

ROOT = Path(__file__).parents[1]
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Project:
    """The verbs of this repository, on tables and a storage that only the tests use."""

    data: Path
    storage: Path
    root: Path = ROOT

    def run(self, *words: str, **environment: str) -> tuple[int, str]:
        """Run `lifecycle WORDS`; returns the exit code and all that was printed."""
        told = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            patch.chdir(self.root)
            given = {"DATA": self.data, "STORAGE": self.storage, "TRACKING__ENABLED": "false"} | environment
            for name, value in given.items():
                patch.setenv(f"LIFECYCLE_{name}", str(value))
            code = cli.main(list(words))
        return code, told.getvalue()

    def done(self, *words: str) -> str:
        """As `run`, for what must succeed."""
        code, told = self.run(*words)
        assert code == 0, told
        return told

    @property
    def newest(self) -> bundle.Bundle:
        """The bundle that was trained last."""
        places = store.Store(self.storage)
        return bundle.open_version(places, places.versions()[-1])


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
    return lambda rows: [answer["probability"] for answer in model.answers(rows, threshold=None)]
