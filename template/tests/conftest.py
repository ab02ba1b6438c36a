"""What the tests share: the tables of a sample, written once."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from lifecycle import sample
from model import data


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the tables."""
    folder = tmp_path_factory.mktemp("data")
    sample.write(folder, seed=1)
    return folder


@pytest.fixture
def tables(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the tables registered."""
    with duckdb.connect(config={"threads": 1}) as connection:
        data.tables(connection, folder)
        yield connection
