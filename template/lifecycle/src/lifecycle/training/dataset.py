"""The labelled rows of a moment, divided into those that train and those held out."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lifecycle import timestamps
from lifecycle.contract.schema import Target
from lifecycle.contract.team import Team
from lifecycle.errors import LifecycleError
from lifecycle.features import point_in_time
from lifecycle.models.metrics import Floats
from lifecycle.training import evidence, split
from lifecycle.training.split import Holdout

if TYPE_CHECKING:
    import duckdb
    import pandas as pd


@dataclass(frozen=True)
class Rows:
    """One side of the split: a frame, and its label as codes or numbers."""

    frame: "pd.DataFrame"
    label: Floats


@dataclass(frozen=True)
class Division:
    """Every labelled row that was known at `moment` (seconds), and on which side it stands."""

    team: Team
    moment: int
    rows: Rows
    sides: Holdout

    @property
    def training(self) -> Rows:
        """What a model learns from."""
        return Rows(self.rows.frame[self.sides.training], self.rows.label[self.sides.training])

    @property
    def held(self) -> Rows:
        """What it is measured on."""
        return Rows(self.rows.frame[self.sides.held], self.rows.label[self.sides.held])

    @property
    def data(self) -> str:
        """SHA-256 of all rows and labels."""
        import pandas as pd

        hashed = pd.util.hash_pandas_object(self.rows.frame, index=False).to_numpy()
        return hashlib.sha256(hashed.tobytes() + self.rows.label.tobytes()).hexdigest()

    def ids(self) -> tuple[evidence.Ids, evidence.Ids]:
        """Hashes of the questions that train, and of those held out."""
        found = evidence.ids(self.rows.frame, self.sides.identity)
        return found[self.sides.training], found[self.sides.held]


def divide(connection: "duckdb.DuckDBPyConnection", team: Team, moment: int, share: float) -> Division:
    """The rows of `moment`; raises LifecycleError where there are none or they cannot be divided."""
    if not point_in_time.training_rows(connection, team, moment):
        raise LifecycleError(
            f"no label is known at {timestamps.format_utc(moment)}", "Give a later --as-of, or more labels."
        )
    frame = connection.execute(f"FROM {point_in_time.ROWS}").df()
    label = codes(frame.pop(team.contract.target.label), team.contract.target)
    return Division(team, moment, Rows(frame, label), split.split(frame, team.contract, share))


def codes(label: "pd.Series[Any]", target: Target) -> Floats:
    """The label as class codes 0, 1, … or as numbers; raises LifecycleError naming what is neither."""
    if label.isna().any():
        problem = f"the label {target.label} is null in {int(label.isna().sum())} of {len(label)} rows"
        raise LifecycleError(problem, "Leave rows without a label out in labels() (src/model/data.py).")
    numeric = label.dtype.kind in "buif"
    if target.task == "regression" and not numeric:
        raise LifecycleError(f"the label {target.label} is {label.dtype}, and the answer is a number", "Cast it.")
    if target.task != "multiclass" and numeric:
        found = label.to_numpy(dtype=np.float64)
        wrong = ~np.isfinite(found) if target.task == "regression" else ~np.isin(found, (0.0, 1.0))
    else:
        found = label.astype(str).map({name: float(at) for at, name in enumerate(target.classes)}).to_numpy(np.float64)
        wrong = np.isnan(found)
    if wrong.any():
        raise LifecycleError(
            f"the label {target.label} holds values that TARGET does not name, in {int(wrong.sum())} rows",
            f"TARGET in src/model/contract.py says: {target.task} {', '.join(target.classes)}".strip(),
        )
    return np.asarray(found)
