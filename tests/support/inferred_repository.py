"""Columns of a table, and the files of a repository that inference writes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lifecycle.contract.schema import Contract

ROWS = 300
RANDOM = np.random.default_rng(0)
SIGNAL = RANDOM.normal(size=ROWS).round(3)
COLUMNS: dict[str, list[Any]] = {
    "customer_id": [f"secret-{at}" for at in range(ROWS)],
    "signal": list(SIGNAL),
    "city": [("Aix", "Bonn", "Köln")[at % 3] for at in range(ROWS)],
    "churn": [("no", "yes")[int(each)] for each in SIGNAL + RANDOM.normal(size=ROWS) > 0],
    "spend": list((SIGNAL * 3 + RANDOM.normal(size=ROWS) + 20).round(2)),
}

Run = Callable[..., tuple[int, str]]


def everything(folder: Path) -> dict[str, bytes]:
    """Return every file of the repository except .git and the environment."""
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    names = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
    return {name: content for name, content in names.items() if not name.startswith((".git/", ".venv/"))}


def released(repository: Path) -> Contract:
    return Contract.from_json((repository / "contract.json").read_bytes())
