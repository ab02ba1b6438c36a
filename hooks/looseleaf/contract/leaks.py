"""Find target leakage: columns that determine the label alone or in pairs, and columns that nearly do.

A leak that determines the label is left out of the contract. One that is weaker, such as a level that occurs with one
class only, may as well be an honest predictor: it is named with its evidence, and a person decides.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import pandas as pd

from looseleaf.contract import pairs, separation, similarity
from looseleaf.contract.evidence import LEAST_OF_CLASS, LEAST_ROWS, Label, Leak

MOST_ROWS, CELLS = 20_000, 4_000_000
# Shares of rows in which a time is after the time of the row: a date of the result, or possibly one.
ALWAYS, MOSTLY = 0.995, 0.5
# So many different distances, in whole days, are those of a term that was agreed on before.
FEW_TERMS = 12
DAY = 86_400


def find(columns: Mapping[str, pd.Series], label: Label) -> tuple[list[Leak], list[Leak]]:
    """Return leaks, and columns that may be one; columns and label have the same rows."""
    chosen = _sample(label, max(2000, min(MOST_ROWS, CELLS // max(1, len(columns)))))
    label = Label(label.values[chosen], label.classes)
    if len(chosen) < LEAST_ROWS or (label.classes and np.sort(label.counts)[-2] < LEAST_OF_CLASS):
        return [], []
    sure, near, numbers = list[Leak](), list[Leak](), {}
    for name, column in columns.items():
        part = column.iloc[chosen].reset_index(drop=True)
        found = _alone(name, part, label, len(columns))
        if found:
            (sure if found.is_sure else near).append(found)
        if part.dtype.kind in "buif" and not (found and found.is_sure):
            numbers[name] = part.to_numpy(dtype=np.float64, na_value=np.nan)
    for leak in pairs.find(numbers, label):
        (sure if leak.is_sure else near).append(leak)
    return sure, near


def _alone(name: str, column: pd.Series, label: Label, columns: int) -> Leak | None:
    """Return what the strongest evidence says about one column of so many; None without evidence."""
    is_number, of_classes = label.is_number, separation.of_column
    found = similarity.of_column(column, label.values) if is_number else of_classes(column, label, columns)
    leaks = [Leak((name,), *each) for each in found]
    return max(leaks, key=lambda leak: (leak.is_sure, leak.is_sure or leak.strength), default=None)


def _sample(label: Label, most: int) -> "np.ndarray":
    """Return positions of at most so many rows, with as many as possible of the rarer classes.

    All evidence about classes compares shares of one class with shares of the others, which this does not change.
    """
    order = np.random.default_rng(0).permutation(len(label.values))
    if label.classes:
        within = pd.Series(label.values[order]).groupby(label.values[order]).cumcount().to_numpy()
        order = order[np.argsort(within, kind="stable")]
    return np.sort(order[:most])


def later_times(times: Mapping[str, pd.Series], row_times: pd.Series, time: str) -> Iterator[Leak]:
    """Yield columns of seconds since 1970 that are after the row's `time`: they may be unknown at prediction time."""
    for name, column in times.items():
        distance = (column - row_times).dropna()
        after = float((distance > 0).mean()) if len(distance) >= LEAST_ROWS else 0.0
        if after > MOSTLY:
            is_term = (distance / DAY).round().nunique() <= FEW_TERMS
            how = f"it lies after {time} in {after:.1%} of rows: known only later"
            how += ", unless it is a term that was agreed on before" if is_term else ""
            yield Leak((name,), how, after, is_sure=after >= ALWAYS and not is_term)
