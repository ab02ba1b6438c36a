"""The label, a leak, and measures of how strongly a column determines the label."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# Above this correlation, a column equals the label except for measurement or rounding errors.
SAME = 0.999
# The share of each class that a column recovers, above which it determines the label.
SURE = 0.995
# A correlation, and an area under the ROC curve, from which a column is named.
NEAR_NUMBER, NEAR = 0.95, 0.97
# With fewer rows, or fewer of a class, such a column is found among many by chance.
LEAST_ROWS, LEAST_OF_CLASS, LEAST_NAMED = 20, 4, 10
# A column with more different values, as a share of the rows, has no levels; and a class needs this share of its rows.
MOST_LEVELS, COVERED = 0.5, 0.1
# Each is the text, the strength, and whether it is sure.
Found = Iterator[tuple[str, float, bool]]


@dataclass(frozen=True)
class Leak:
    """Columns that leak the label, how, and how strongly (a correlation or a share); named only, unless `is_sure`."""

    columns: tuple[str, ...]
    how: str
    strength: float
    is_sure: bool = False

    @property
    def description(self) -> str:
        """One line for reports."""
        return f"{' and '.join(self.columns)}: {self.how}"

    @property
    def is_twin(self) -> bool:
        """Whether a single column equals the label, so that either may be the real label."""
        return self.is_sure and len(self.columns) == 1 and self.strength >= SAME


@dataclass(frozen=True)
class Label:
    """The label of the examined rows: numbers, or class codes."""

    values: Floats
    classes: tuple[str, ...] = ()

    @property
    def is_number(self) -> bool:
        """Whether the label has no classes."""
        return not self.classes

    @cached_property
    def codes(self) -> Codes:
        """Class codes, shape (rows,)."""
        return self.values.astype(np.int64)

    @cached_property
    def counts(self) -> Codes:
        """The rows of each class, shape (classes,)."""
        return np.bincount(self.codes, minlength=len(self.classes))


def factorized(column: pd.Series) -> tuple[Codes, int]:
    """Return the code of each row's value, null being a value, and the number of values."""
    codes, levels = pd.factorize(column, use_na_sentinel=False)
    return codes.astype(np.int64), len(levels)


def ranks(values: Floats) -> Floats:
    """Return the rank of each value in its column, equal values having their mean rank."""
    return pd.DataFrame(values).rank().to_numpy().reshape(values.shape)


def recall(predicted: Codes, codes: Codes) -> float:
    """Return the mean share of each class that is predicted; of a class of few rows, one row would say too much."""
    counts = np.bincount(codes)
    classes = np.flatnonzero(counts >= LEAST_OF_CLASS)
    return float(np.mean([(predicted[codes == code] == code).mean() for code in classes])) if len(classes) > 1 else 0.0


def rank_areas(scores: Floats, label: Label) -> Floats:
    """Return the area under the ROC curve for each class, by scores of it or by one score in the better direction."""
    areas = np.zeros(len(label.classes))
    known = np.isfinite(scores.reshape(len(scores), -1)).all(axis=1)
    ranked = ranks(scores[known])
    for code in range(len(areas)):
        own = label.codes[known] == code
        inside, outside = int(own.sum()), int((~own).sum())
        if min(inside, outside) >= LEAST_NAMED and inside >= COVERED * label.counts[code]:
            total = (ranked if ranked.ndim == 1 else ranked[:, code])[own].sum()
            area = (total - inside * (inside + 1) / 2) / inside / outside
            areas[code] = area if ranked.ndim == 2 else max(area, 1 - area)
    return areas


def tree_recovered(values: Floats, codes: Codes) -> float:
    """Return the mean share of each class that a tree on this column recovers on unseen rows (two folds)."""
    from sklearn.tree import DecisionTreeClassifier

    matrix = np.where(np.isfinite(values), values, np.nan).astype(np.float32).reshape(-1, 1)
    # Every second row of each class, so that both halves contain every class.
    half = np.zeros(len(codes), dtype=bool)
    half[np.argsort(codes, kind="stable")[::2]] = True
    predicted = np.empty_like(codes)
    for side in (half, ~half):
        tree = DecisionTreeClassifier(max_leaf_nodes=max(64, 2 * codes.max()), random_state=0)
        predicted[~side] = tree.fit(matrix[side], codes[side]).predict(matrix[~side])
    return recall(predicted, codes)


def correlation(column: Floats, label: Floats, method: Literal["pearson", "spearman"] = "pearson") -> float:
    """Return the correlation over the rows that have a value in the column; 0 if it is constant."""
    known = pd.DataFrame({"column": column, "label": label}).replace([np.inf, -np.inf], np.nan)
    found = known.corr(method, min_periods=LEAST_ROWS).to_numpy()[0, 1]
    return float(found) if np.isfinite(found) else 0.0
