"""What the tests share: rows invented from the contract, and one model trained on them.

So they run anywhere, in seconds, whatever the size of the table; test_data.py looks at the table itself, where it is.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from project import ROOT, Project

from lifecycle import features, settings
from lifecycle.contract import Contract, team
from lifecycle.contract.synthetic import Table
from lifecycle.errors import NotHere
from lifecycle.models import predictor
from model import data

# On a busy machine several threads wait for each other longer than these small models take on one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

Rows = list[dict[str, Any]]


@pytest.fixture(scope="session")
def contract() -> Contract:
    """What src/model/contract.py declares."""
    return team.load_contract()[0]


@pytest.fixture(scope="session")
def invented(contract: Contract) -> Iterator[Table]:
    """Rows of the contract that nobody sent, in the place of src/model/data.py."""
    table = Table.of(contract)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(team, "load_data", lambda: table)
        # How many rows the gate wants of the table, and how they are divided, is no matter of these.
        patch.setenv("LIFECYCLE_GATE__MIN_ROWS", "200")
        patch.setenv("LIFECYCLE_TRAIN__HOLDOUT", "0.2")
        yield table


@pytest.fixture(scope="session")
def trained(invented: Table, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with one trained version; whoever changes its storage copies it first."""
    project = Project(tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("storage") / "storage")
    project.done("train")
    return project


@pytest.fixture
def rows(invented: Table, contract: Contract) -> Rows:
    """Some rows as callers send them."""
    names = [column.name for column in contract.columns]
    some = invented.frame[names].head(40).astype(object)
    return some.where(some.notna(), None).to_dict("records")


@pytest.fixture(scope="session")
def answers(trained: Project) -> Callable[[Rows], list[dict[str, Any]]]:
    """The trained model: from rows to answers as the service gives them."""
    model = predictor.Predictor(trained.newest)
    return lambda rows: model.predict(rows, threshold=trained.newest.facts["threshold"])


@pytest.fixture(scope="session")
def folder() -> Path:
    """The folder with the table; where the table is not, the test is skipped."""
    folder = ROOT / settings.load(ROOT).settings.data
    try:
        features.connect(data, folder).close()
    except NotHere as missing:
        pytest.skip(f"the table is not here: {missing.problem}")
    return folder


@pytest.fixture
def table(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection with the table registered; what a test changes in it is its own."""
    with features.connect(data, folder) as connection:
        yield connection
