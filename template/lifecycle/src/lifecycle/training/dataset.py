"""The labelled rows known at one time, divided into rows to fit models, to choose one of them, and to evaluate it.

With a time, the newest period is for choosing and evaluating; else whole entities, or rows, by a hash.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from lifecycle import timestamps
from lifecycle.contract.rows import Seconds, seconds_of, time_column
from lifecycle.contract.schema import Contract, Target
from lifecycle.contract.tables import Connection, Frame, Series
from lifecycle.contract.team import Team
from lifecycle.errors import LifecycleError
from lifecycle.features import point_in_time
from lifecycle.models.metrics import Floats
from lifecycle.settings import Settings
from lifecycle.training.logged import Logged, add_logged

FEW_DISTINCT_ROWS = 100
# Of the rows that are not fitted, those for choosing; the others are the holdout.
SELECTION = 1 / 3

Mask = npt.NDArray[np.bool_]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Split:
    """The rows to fit, to choose with and to hold out, as masks of shape (rows,), and the rule of the division.

    A row is in none of them where its label became known only in the newest period, which also has its entity: that
    label may reveal the entity's label there. `seconds` is the time of each row, and `age` how many periods before the
    newest one it lies, both of shape (rows,); zeros without a time. `identity` names the columns that identify a row;
    it is empty where only its position does.
    """

    training: Mask
    selection: Mask
    holdout: Mask
    rule: str
    seconds: Seconds
    age: npt.NDArray[np.int64]
    identity: tuple[str, ...] = ()

    def window(self, periods: int | None) -> Mask:
        """Return which rows lie in the newest period or at most `periods` before it; all rows for None."""
        return np.full(len(self.age), True) if periods is None else self.age <= periods


@dataclass(frozen=True)
class LabelledRows:
    """Completed rows and their labels, as class codes or numbers of shape (rows,)."""

    frame: Frame
    label: Floats

    def take(self, mask: Mask) -> "LabelledRows":
        """Return the rows of a mask."""
        return LabelledRows(self.frame[mask], self.label[mask])

    def without_values(self, contract: Contract) -> tuple[str, ...]:
        """Return the inputs that are null in all rows, from which a model cannot learn."""
        return tuple(column.name for column in contract.inputs if self.frame[column.name].isna().all())


@dataclass(frozen=True)
class Dataset:
    """Every labelled row known at `as_of` (seconds), how they are divided, and how many come from `labels()`."""

    connection: Connection
    team: Team
    as_of: int
    split: Split
    rows: LabelledRows
    from_labels: int
    logged: Logged

    @cached_property
    def holdout(self) -> LabelledRows:
        """The rows that evaluate the chosen model."""
        return self.rows.take(self.split.holdout)

    def class_counts(self, mask: Mask) -> list[int]:
        """Return the number of rows of each class in a mask; empty for a regression."""
        label, classes = self.rows.label[mask], range(len(self.team.contract.target.classes))
        return [int((label == code).sum()) for code in classes]

    def missing_class(self, name: str, code: int) -> LifecycleError:
        """Return the error about a class that no row to fit has."""
        problem, seconds = f"no training row is labelled {name}", self.split.seconds[self.rows.label == code]
        if len(seconds):
            first = f"first appears at {timestamps.format_utc(int(seconds.min()))}" if seconds.any() else "appears only"
            problem += f": this class {first} in rows that are not fitted ({self.split.rule})"
        hint = f"Give earlier rows of it. Until there are some, remove {name!r} from TARGET in src/model/contract.py, "
        return LifecycleError(problem, f"{hint}and exclude its rows in labels() of src/model/data.py.")

    @property
    def digest(self) -> str:
        """SHA-256 of all rows and labels, in hexadecimal."""
        rows = _hashes(self.rows.frame, [*self.rows.frame.columns])
        return hashlib.sha256(rows.tobytes() + self.rows.label.tobytes()).hexdigest()

    @cached_property
    def row_hashes(self) -> Hashes:
        """A hash of each row's identity, shape (rows,)."""
        return _hashes(self.rows.frame, [*self.split.identity])


def load_dataset(
    connection: Connection, team: Team, as_of: int, settings: Settings, environment: str, share: float
) -> Dataset:
    """Complete the labelled rows known at `as_of` (seconds), logged ones last, and hold out about `share` of them."""
    from_labels = point_in_time.training_rows(connection, team, as_of)
    logged = add_logged(connection, team, settings, environment, as_of)
    if not from_labels + logged.joined:
        problem = f"no label is known at {timestamps.format_utc(as_of)}"
        raise LifecycleError(problem, "Give a later --as-of, or more labels.")
    frame = connection.execute(f"FROM {point_in_time.ROWS}").df()
    label = codes(frame.pop(team.contract.target.label), team.contract.target)
    rows = LabelledRows(frame, label)
    return Dataset(connection, team, as_of, split(frame, team.contract, share), rows, from_labels, logged)


def split(frame: Frame, contract: Contract, share: float) -> Split:
    """Divide the rows of a frame, about `share` of which are held out.

    With a time, the newest period is divided by a hash of entities, or of rows. LifecycleError where a part is empty.
    """
    time = time_column(contract, frame)
    key, columns = ([column.name for column in each] for each in (contract.entity_key, contract.framed))
    entity = pd.Series(_hashes(frame, key), index=frame.index)
    identity = tuple(dict.fromkeys(column.name for column in contract.row_identity))
    identity += (time,) if time and time not in identity and not contract.id else ()
    hashed: list[str] = []
    age, late = np.zeros(len(frame), dtype=np.int64), np.zeros(len(frame), dtype=bool)
    seconds = np.zeros(len(frame), dtype=np.int64) if time is None else seconds_of(frame[time])
    if len(np.unique(seconds)) > 1:
        start, length = timestamps.newest_period(seconds, share / (1 - SELECTION))
        newest = seconds >= start
        age = np.where(newest, 0, -((seconds - start) // length))
        rule = f"two thirds of the rows from {timestamps.format_utc(start)} on"
        few = not key or entity[newest].nunique() < FEW_DISTINCT_ROWS
        selection = newest & _by_hash(frame, [*identity] if few else key, SELECTION)
        holdout = newest & ~selection
        if key and {"ts", "seen_ts"} <= set(frame.columns):
            late = ((frame["seen_ts"] > start) & entity.isin(entity[newest])).to_numpy()
    else:
        if key:
            hashed, rule = key, f"whole entities by a hash of {', '.join(key)}"
        elif len(frame[columns].drop_duplicates()) >= min(FEW_DISTINCT_ROWS, len(frame) / 2):
            hashed, rule = columns, "rows by a hash"
        else:
            # Equal rows have equal hashes: a few distinct rows could not be divided by their content.
            rule = f"rows by a hash of their position: fewer than {FEW_DISTINCT_ROWS} are different"
            identity = ()
        newest, holdout = (_by_hash(frame, hashed, part) for part in (share / (1 - SELECTION), share))
        selection = newest & ~holdout
    training = ~newest & ~late
    if not (training.any() and selection.any() and holdout.any()):
        problem = f"{len(frame)} rows cannot be divided into rows to fit, to choose with and to hold out ({rule})"
        hint = "Give more labelled rows, or change train.holdout in config/."
        if key and hashed == key:
            names = ", ".join(key)
            problem = f"{names} has {entity.nunique()} values: {problem}"
            hint = f"If {names} is a property of a row and not the entity, declare it as Request() in "
            hint += "src/model/contract.py; else give rows of more entities, or their time in labels()."
        raise LifecycleError(problem, hint)
    return Split(training, selection, holdout, rule, seconds, age, identity)


def codes(label: Series, target: Target) -> Floats:
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
        raise LifecycleError(problem, f"{hint}. Exclude other rows in labels() (src/model/data.py).")
    return np.asarray(values)


def _by_hash(frame: Frame, columns: list[str], share: float) -> Mask:
    # The high bits, so that the share is a plain threshold.
    return np.asarray((_hashes(frame, columns) >> np.uint64(11)).astype(np.float64) / 2**53 < share)


def _hashes(frame: Frame, columns: list[str]) -> Hashes:
    """Return a hash of the columns of each row, or of its position where there are no columns."""
    hashed = frame[columns] if columns else pd.DataFrame({"place": range(len(frame))})
    return np.asarray(pd.util.hash_pandas_object(hashed, index=False).to_numpy(dtype=np.uint64))
