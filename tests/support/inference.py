"""A table as a file, and what `looseleaf contract infer` makes of it, without a repository around it."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pandas as pd

from lifecycle.contract.declare import derive
from lifecycle.contract.schema import Contract
from looseleaf.contract import texts
from looseleaf.contract.ask import Defaults
from looseleaf.contract.decide import Ask, Plan, Wishes, decide
from looseleaf.contract.infer import try_out
from looseleaf.contract.profile import look
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
        """What the model sees, by name: the kind."""
        return {column.name: column.kind for column in self.contract.inputs}

    @property
    def excluded(self) -> dict[str, str]:
        """What was left out, and why."""
        return {each.column: each.reason for each in self.plan.excluded}

    @property
    def told(self) -> str:
        """All that was decided and not sure."""
        return "\n".join((*self.plan.decided, *self.plan.unsure))

    @property
    def unsure(self) -> str:
        """What nobody could be sure of."""
        return "\n".join(self.plan.unsure)


def connect() -> duckdb.DuckDBPyConnection:
    """As the verb connects."""
    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def infer(path: Path, label: str, who: Ask | None = None, **wishes: Any) -> Inferred:
    """Look, decide, write the texts, and read every row through them as training does."""
    connection = connect()
    scratch = path.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    plan = decide(
        look(open_source(str(path), connection, scratch), connection),
        Wishes(label, **wishes),
        connection,
        who or Defaults(),
    )
    file = plan.table.source.readable.name
    code, data = texts.contract(plan, file, 1), texts.data(plan, file)
    module = ModuleType("contract")
    exec(compile(code, "contract.py", "exec"), module.__dict__)
    contract = derive(module.ROW, module.TARGET, module.VERSION)
    return Inferred(plan, contract, code, data, try_out(plan, contract, data, file, connection))


def written(folder: Path, columns: dict[str, list[Any]], name: str = "table.csv") -> Path:
    """The columns as a CSV or a Parquet file."""
    frame = pd.DataFrame(columns)
    path = folder / name
    if path.suffix == ".parquet":
        connect().from_df(frame).write_parquet(str(path))
    else:
        frame.to_csv(path, index=False)
    return path
