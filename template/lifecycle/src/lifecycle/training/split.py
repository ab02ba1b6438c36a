"""Which rows are held out: later ones where there is a time, else whole entities, else rows by a stable hash."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lifecycle import timestamps
from lifecycle.contract.schema import Contract
from lifecycle.errors import LifecycleError

if TYPE_CHECKING:
    import pandas as pd

FEW = 100


@dataclass(frozen=True)
class Holdout:
    """Which rows train and which are held out; `told` says by what rule, in words.

    A row is neither when its label became known only after the holdout had begun: a model of that day had not seen it.
    """

    training: npt.NDArray[np.bool_]
    held: npt.NDArray[np.bool_]
    told: str
    entities_also_in_training: float | None
    # The columns that tell one question from another; none where rows are known by their place.
    identity: tuple[str, ...] = ()


def split(frame: "pd.DataFrame", contract: Contract, share: float) -> Holdout:
    """Hold out about `share` of the rows; raises LifecycleError when a side would be empty."""
    import pandas as pd

    time = "ts" if "ts" in frame.columns else contract.time.name if contract.time else None
    key = contract.key.name if contract.key else None
    names = tuple(column.name for column in contract.columns)
    identity = tuple(dict.fromkeys(((key,) if key else names) + ((time,) if time else ())))
    if time is not None and frame[time].nunique() > 1:
        cut = _cut(frame[time], share)
        held, told = (frame[time] >= cut).to_numpy(), f"rows from {_moment(cut)} on"
        training = ~held & ~(frame["seen_ts"] > cut).to_numpy() if {"ts", "seen_ts"} <= set(frame.columns) else ~held
    elif key is not None:
        held, told = _by_hash(frame[[key]], share), f"whole entities by a hash of {key}"
        training = ~held
    else:
        whole = frame[list(names)]
        held, told = _by_hash(whole, share), "rows by a hash"
        if len(whole.drop_duplicates()) < min(FEW, len(whole) / 2):
            # Equal rows would all be on one side: a handful of them cannot be divided by what they hold.
            places = pd.DataFrame({"place": range(len(frame))})
            held, told = _by_hash(places, share), f"rows by a hash of their place: fewer than {FEW} are different"
            identity = ()
        training = ~held
    if not training.any() or not held.any():
        raise LifecycleError(
            f"{len(frame)} rows cannot be divided into training and holdout ({told})",
            "Give more labelled rows, or change train.holdout in config/.",
        )
    return Holdout(training, held, told, _also_in_training(frame, key, training, held), identity)


def _cut(times: "pd.Series[Any]", share: float) -> Any:
    # Whole moments stay together: the first one with no more than `share` of the rows at or after it.
    counts = times.value_counts().sort_index()
    at_or_after = counts[::-1].cumsum()[::-1] / len(times)
    later = at_or_after[at_or_after <= share]
    return later.index[0] if len(later) else counts.index[-1]


def _moment(cut: Any) -> str:
    return str(cut) if hasattr(cut, "isoformat") else timestamps.format_utc(int(cut))


def _by_hash(frame: "pd.DataFrame", share: float) -> npt.NDArray[np.bool_]:
    import pandas as pd

    hashed = pd.util.hash_pandas_object(frame, index=False).to_numpy(dtype=np.uint64)
    # The high bits, so that the share is a plain threshold.
    return np.asarray((hashed >> np.uint64(11)).astype(np.float64) / 2**53 < share)


def _also_in_training(
    frame: "pd.DataFrame", key: str | None, training: npt.NDArray[np.bool_], held: npt.NDArray[np.bool_]
) -> float | None:
    if key is None:
        return None
    return float(frame.loc[held, key].drop_duplicates().isin(frame.loc[training, key].unique()).mean())
