"""Run contract inference on a table, without a repository around it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd

from lifecycle.contract import tables
from lifecycle.contract.schema import Contract
from looseleaf.contract import generated
from looseleaf.contract.decide import decide
from looseleaf.contract.draft import derived
from looseleaf.contract.infer import read_labelled_rows
from looseleaf.contract.plan import Plan
from looseleaf.contract.profile import profile_table
from looseleaf.contract.prompts import Chooser, Wishes
from looseleaf.contract.source import open_source


@dataclass(frozen=True)
class Inferred:
    """A plan, the contract that its text declares, and how many labelled rows its data.py reads."""

    plan: Plan
    contract: Contract
    code: str
    data: str
    rows: int

    @property
    def inputs(self) -> dict[str, str]:
        """Kind of each model input, by name."""
        return {column.name: column.kind for column in self.contract.inputs}

    @property
    def excluded(self) -> dict[str, str]:
        """Reason of each excluded column, by name."""
        return self.plan.excluded

    @property
    def notes(self) -> str:
        """All decisions and open points."""
        return "\n".join((*self.plan.decided, *self.plan.unsure))

    @property
    def unsure(self) -> str:
        """All open points."""
        return "\n".join(self.plan.unsure)


def connect() -> duckdb.DuckDBPyConnection:
    """Return a connection as the command makes it."""
    return tables.connect()


def infer(path: Path, label: str, chooser: Chooser | None = None, **wishes: Any) -> Inferred:
    """Profile, decide, generate the code, and read every row through it as training does."""
    connection, charset = connect(), wishes.get("encoding") or ""
    plan = decide(
        profile_table(open_source(str(path), connection, charset), connection),
        Wishes(label, **wishes),
        connection,
        chooser or Chooser(),
    )
    file = plan.table.source.path.name
    code, data = generated.contract(plan, file, 1), generated.data(plan, file)
    contract = derived(code)
    return Inferred(plan, contract, code, data, read_labelled_rows(plan, contract, data, file, connection))


def written(folder: Path, columns: dict[str, list[Any]], name: str = "table.csv") -> Path:
    """The columns as a CSV or a Parquet file."""
    frame = pd.DataFrame(columns)
    path = folder / name
    if path.suffix == ".parquet":
        connect().from_df(frame).write_parquet(str(path))
    else:
        frame.to_csv(path, index=False)
    return path


ROWS = 400
RANDOM = np.random.default_rng(0)
SIGN = RANDOM.integers(0, 2, ROWS)
SIGNAL = (SIGN + RANDOM.normal(0, 1, ROWS)).round(3)
LABEL = np.where(SIGN == 1, "yes", "no")
DAYS = pd.Timestamp("2020-01-01") + pd.to_timedelta(RANDOM.integers(0, 900, ROWS), unit="D")


def every(count: int, value: Any, other: Any) -> list[Any]:
    """Return ROWS values, each `count`-th of them `value`, the others from `other(position)`."""
    return [value if at % count == 0 else other(at) for at in range(ROWS)]
