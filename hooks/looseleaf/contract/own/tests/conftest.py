"""Shared fixtures: synthetic rows of the contract, and one model trained on them.

The tests run anywhere in seconds, whatever the size of the table; test_data.py tests the table itself where it exists.
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
from lifecycle.contract.tables import quoted
from lifecycle.contract.team import load_contract
from lifecycle.errors import NotHere
from lifecycle.models import predictor
from lifecycle.sample.synthetic import Table
from model import data

# On a busy machine, several threads are slower than one for models of this size.
os.environ.setdefault("OMP_NUM_THREADS", "1")

Rows = list[dict[str, Any]]


@pytest.fixture(scope="session")
def contract() -> Contract:
    """Return the contract that src/model/contract.py declares."""
    return load_contract()[0]


def synthetic_features(contract: Contract) -> str | None:
    """Return SQL that looks up features in the synthetic rows, or None for a contract without `Lookup()` fields."""
    if not contract.lookups:
        return None
    key, *lookups = [quoted(column.name) for column in contract.looked_up]
    columns = ", ".join(f"synthetic.{name}" for name in lookups)
    rows = f"spine ASOF JOIN synthetic ON spine.{key} = synthetic.{key} AND spine.ts >= synthetic.ts"
    return f"SELECT spine.{key}, spine.ts, {columns} FROM {rows}"


@pytest.fixture(scope="session")
def synthetic(contract: Contract) -> Iterator[Table]:
    """Replace src/model/data.py and features.sql by synthetic rows of the contract; test_data.py runs yours."""
    table = Table.of(contract)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(team, "load_data", lambda: table)
        patch.setattr(team, "load_contract", lambda: (load_contract()[0], synthetic_features(contract)))
        # The settings for the table do not apply to synthetic rows.
        patch.setenv("LIFECYCLE_GATE__MIN_ROWS", "200")
        patch.setenv("LIFECYCLE_TRAIN__HOLDOUT", "0.2")
        yield table


@pytest.fixture(scope="session")
def trained(synthetic: Table, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a project with one trained version; a test that changes its storage copies it first."""
    project = Project(tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("storage") / "storage")
    project.succeed("train")
    return project


@pytest.fixture
def rows(synthetic: Table, contract: Contract) -> Rows:
    """Return some rows as callers send them."""
    names = [column.name for column in contract.columns]
    some = synthetic.frame[names].head(40).astype(object)
    return some.where(some.notna(), None).to_dict("records")


@pytest.fixture(scope="session")
def predict(trained: Project) -> Callable[[Rows], list[dict[str, Any]]]:
    """Return a function from rows to predictions, as the service returns them."""
    model = predictor.Predictor(trained.newest)
    return lambda rows: model.predict(rows, threshold=trained.newest.facts["threshold"])


@pytest.fixture(scope="session")
def folder() -> Path:
    """Return the folder with the tables; skip the test where one is missing."""
    folder = ROOT / settings.load(ROOT).settings.data
    try:
        features.connect(data, folder).close()
    except NotHere as missing:
        pytest.skip(f"a table is missing: {missing.problem}")
    return folder


@pytest.fixture
def table(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Return a connection with the tables registered; a test may change them."""
    with features.connect(data, folder) as connection:
        yield connection
