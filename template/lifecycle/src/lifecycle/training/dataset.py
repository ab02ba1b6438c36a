"""The labelled rows known at one time, divided: later rows, whole entities or rows by a hash become the holdout."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lifecycle import timestamps
from lifecycle.contract.schema import Contract, Target
from lifecycle.contract.team import Team
from lifecycle.errors import LifecycleError
from lifecycle.features import point_in_time
from lifecycle.models.metrics import Floats

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

FEW_DISTINCT_ROWS = 100

Mask = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Split:
    """The rows for training and the holdout, as masks of shape (rows,), and the rule that chose them.

    A row is in neither when its label became known only after the holdout began: a model trained then could not have
    used it. `identity` names the columns that identify a row; it is empty where only its position does.
    """

    training: Mask
    holdout: Mask
    rule: str
    entities_also_in_training: float | None
    identity: tuple[str, ...] = ()


@dataclass(frozen=True)
class LabelledRows:
    """Completed rows and their labels, as class codes or numbers of shape (rows,)."""

    frame: "pd.DataFrame"
    label: Floats


@dataclass(frozen=True)
class Dataset:
    """Every labelled row known at `as_of` (seconds), the rows for training, and the holdout for evaluation."""

    connection: "duckdb.DuckDBPyConnection"
    team: Team
    as_of: int
    split: Split
    rows: LabelledRows
    training: LabelledRows
    holdout: LabelledRows

    @property
    def digest(self) -> str:
        """SHA-256 of all rows and labels, in hexadecimal."""
        rows = _hashes(self.rows.frame, [*self.rows.frame.columns])
        return hashlib.sha256(rows.tobytes() + self.rows.label.tobytes()).hexdigest()

    def row_hashes(self) -> Hashes:
        """Return a hash of each row's identity, shape (rows,)."""
        return _hashes(self.rows.frame, [*self.split.identity])


def load_dataset(connection: "duckdb.DuckDBPyConnection", team: Team, as_of: int, share: float) -> Dataset:
    """Complete the labelled rows known at `as_of` (seconds) and hold out about `share` of them."""
    if not point_in_time.training_rows(connection, team, as_of):
        problem = f"no label is known at {timestamps.format_utc(as_of)}"
        raise LifecycleError(problem, "Give a later --as-of, or more labels.")
    frame = connection.execute(f"FROM {point_in_time.ROWS}").df()
    label = codes(frame.pop(team.contract.target.label), team.contract.target)
    divided = split(frame, team.contract, share)
    training, holdout = (LabelledRows(frame[mask], label[mask]) for mask in (divided.training, divided.holdout))
    return Dataset(connection, team, as_of, divided, LabelledRows(frame, label), training, holdout)


def split(frame: "pd.DataFrame", contract: Contract, share: float) -> Split:
    """Hold out about `share` of the rows of a frame; raise LifecycleError where one part would be empty."""
    time = "ts" if "ts" in frame.columns else contract.time.name if contract.time else None
    key = contract.key.name if contract.key else None
    columns = [column.name for column in contract.columns]
    identity = tuple(dict.fromkeys([*([key] if key else columns), *([time] if time else [])]))
    late = np.zeros(len(frame), dtype=bool)
    if time is not None and frame[time].nunique() > 1:
        cut = _cut(frame[time], share)
        holdout = (frame[time] >= cut).to_numpy()
        rule = f"rows from {cut if hasattr(cut, 'isoformat') else timestamps.format_utc(int(cut))} on"
        if {"ts", "seen_ts"} <= set(frame.columns):
            late = (frame["seen_ts"] > cut).to_numpy()
    elif key is not None:
        holdout, rule = _by_hash(frame, [key], share), f"whole entities by a hash of {key}"
    elif len(frame[columns].drop_duplicates()) >= min(FEW_DISTINCT_ROWS, len(frame) / 2):
        holdout, rule = _by_hash(frame, columns, share), "rows by a hash"
    else:
        # Equal rows have equal hashes: a few distinct rows could not be divided by their content.
        rule = f"rows by a hash of their position: fewer than {FEW_DISTINCT_ROWS} are different"
        holdout, identity = _by_hash(frame, [], share), ()
    training = ~holdout & ~late
    if not training.any() or not holdout.any():
        problem = f"{len(frame)} rows cannot be divided into training and holdout ({rule})"
        raise LifecycleError(problem, "Give more labelled rows, or change train.holdout in config/.")
    shared = None
    if key is not None:
        entities = frame.loc[holdout, key].drop_duplicates()
        shared = float(entities.isin(frame.loc[training, key].unique()).mean())
    return Split(training, holdout, rule, shared, identity)


def codes(label: "pd.Series[Any]", target: Target) -> Floats:
    """Return labels as class codes or numbers, shape (rows,); raise LifecycleError where one is null or not valid."""
    if label.isna().any():
        problem = f"the label {target.label} is null in {int(label.isna().sum())} of {len(label)} rows"
        raise LifecycleError(problem, "Exclude rows without a label in labels() (src/model/data.py).")
    numeric = label.dtype.kind in "buif"
    if target.task == "regression" and not numeric:
        problem = f"the label {target.label} is {label.dtype}, and a regression predicts a number"
        raise LifecycleError(problem, "Cast it to a number in labels() (src/model/data.py).")
    if target.task != "multiclass" and numeric:
        values = label.to_numpy(dtype=np.float64)
        wrong = ~np.isfinite(values) if target.task == "regression" else ~np.isin(values, (0.0, 1.0))
    else:
        code_of = {name: float(at) for at, name in enumerate(target.classes)}
        values = label.astype(str).map(code_of).to_numpy(np.float64)
        wrong = np.isnan(values)
    if wrong.any():
        problem = f"the label {target.label} holds values that TARGET does not name, in {int(wrong.sum())} rows"
        hint = f"TARGET in src/model/contract.py is: {target.task} {', '.join(target.classes)}".strip()
        raise LifecycleError(problem, hint)
    return np.asarray(values)


def _cut(times: "pd.Series[Any]", share: float) -> Any:
    # Rows of one time stay together: the first time with no more than `share` of the rows at or after it.
    counts = times.value_counts().sort_index()
    at_or_after = counts[::-1].cumsum()[::-1] / len(times)
    later = at_or_after[at_or_after <= share]
    return later.index[0] if len(later) else counts.index[-1]


def _by_hash(frame: "pd.DataFrame", columns: list[str], share: float) -> Mask:
    # The high bits, so that the share is a plain threshold.
    return np.asarray((_hashes(frame, columns) >> np.uint64(11)).astype(np.float64) / 2**53 < share)


def _hashes(frame: "pd.DataFrame", columns: list[str]) -> Hashes:
    """Return a hash of the columns of each row, or of its position where there are no columns."""
    import pandas as pd

    hashed = frame[columns] if columns else pd.DataFrame({"place": range(len(frame))})
    return np.asarray(pd.util.hash_pandas_object(hashed, index=False).to_numpy(dtype=np.uint64))
