"""One process of this environment's Python that lifts the notebooks of all tests, because its imports take seconds."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from looseleaf.lift.interpreter import Session
from looseleaf.lift.lifting import Options, Result, lift_in
from looseleaf.lift.read import read
from support import notebooks

Lift = Callable[..., Result]


@pytest.fixture(scope="session")
def session() -> Iterator[Session]:
    with Session(sys.executable) as running:
        yield running


@pytest.fixture
def lift(session: Session, tmp_path: Path) -> Lift:
    """Return a function that lifts a notebook of these cells."""

    def run(
        *cells: str, table: pd.DataFrame | None = None, change: Callable[[str], str] | None = None, **given: Any
    ) -> Result:
        notebook = read(notebooks.write(tmp_path / "work", *cells, table=table))
        return lift_in(session, notebook, Options(tidy=change or (lambda text: text), **given))

    return run
