"""Find target leakage: columns that determine the label, alone or in pairs.

Each measure is computed on rows that it was not fitted on, or is adjusted for the number of levels, so that a value
that occurs once cannot look informative.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]

# Above this correlation, a column equals the label except for measurement or rounding errors.
SAME = 0.999
NEAR = 0.97
SURE = 0.995
# With fewer rows, or fewer of a class, such a column is found among many by chance.
LEAST_ROWS, LEAST_OF_CLASS = 20, 4
MOST_ROWS, CELLS = 20_000, 4_000_000
# A column that is filled for this many rows of one class only was filled because of it.
LEAST_FILLED, FILLED_SHARE, MOST_USUAL = 20, 0.3, 0.9
# Pairs of columns that are examined one by one, the strongest first.
MOST_PAIRS = 500


@dataclass(frozen=True)
class Leak:
    """Columns that leak the label, how, and how strongly (correlation, or recovered share)."""

    columns: tuple[str, ...]
    how: str
    strength: float

    @property
    def description(self) -> str:
        """One line for reports."""
        return f"{' and '.join(self.columns)}: {self.how}"

    @property
    def is_twin(self) -> bool:
        """Whether a single column equals the label, so that either may be the real label."""
        return len(self.columns) == 1 and self.strength >= SAME


@dataclass(frozen=True)
class Label:
    """The label of the examined rows: numbers, or class codes."""

    values: Floats
    classes: tuple[str, ...] = ()

    @property
    def is_number(self) -> bool:
        """Whether the label has no classes."""
        return not self.classes


def find(columns: Mapping[str, "pd.Series"], label: Label) -> tuple[list[Leak], list[Leak]]:
    """Return leaks, and columns that are close to being one; columns and label have the same rows."""
    most = max(2000, min(MOST_ROWS, CELLS // max(1, len(columns))))
    chosen = np.unique(np.linspace(0, len(label.values) - 1, min(len(label.values), most)).astype(int))
    label = Label(label.values[chosen], label.classes)
    if len(chosen) < LEAST_ROWS or (label.classes and min(np.bincount(label.values.astype(int))) < LEAST_OF_CLASS):
        return [], []
    leaks, near, numbers = [], [], {}
    for name, column in columns.items():
        part = column.iloc[chosen].reset_index(drop=True)
        found = _filled(name, part, label) or _alone(name, part, label)
        if found and found.strength >= (SAME if label.is_number else SURE):
            leaks.append(found)
            continue
        if found and found.strength >= NEAR:
            near.append(found)
        if part.dtype.kind in "buif":
            numbers[name] = part.to_numpy(dtype=np.float64, na_value=np.nan)
    return leaks + list(_pairs(numbers, label)), near


def correlation(column: Floats, label: Floats) -> float:
    """Return Pearson's correlation over the rows that have both values; 0 if one of them is constant."""
    known = np.isfinite(column) & np.isfinite(label)
    column, label = column[known], label[known]
    if len(column) < LEAST_ROWS:
        return 0.0
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        column, label = _scaled(column), _scaled(label)
        found = float(np.mean(column * label))
    return found if np.isfinite(found) else 0.0


def _scaled(values: Floats) -> Floats:
    values = values / max(1.0, float(np.abs(values).max()))
    spread = values.std()
    return (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)


def _ranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _filled(name: str, column: "pd.Series", label: Label) -> Leak | None:
    """Return a leak if a column is filled for (almost) one class only, such as a reason for cancelling."""
    known = column.notna().to_numpy()
    if label.is_number or known.all() or known.sum() < LEAST_FILLED:
        return None
    for code, word in enumerate(label.classes):
        of_class = label.values == code
        share, usual, covered = (float(each.mean()) for each in (of_class[known], of_class, known[of_class]))
        # For a frequent class every column looks like this; for a rarer one, none does by chance.
        if usual <= MOST_USUAL and share >= SURE and covered >= FILLED_SHARE:
            how = f"it is filled for {word!r} only ({share:.1%} of {known.sum()} rows): known only after the label"
            return Leak((name,), how, share)
    return None


def _alone(name: str, column: "pd.Series", label: Label) -> Leak | None:
    is_number = column.dtype.kind in "buif"
    if label.is_number:
        if not is_number:
            return _explained(name, column, label.values)
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        linear, known = correlation(values, label.values), np.isfinite(values)
        if known.sum() < LEAST_ROWS:
            return None
        monotone = correlation(_ranks(values[known]), _ranks(label.values[known]))
        strength = max(abs(linear), abs(monotone))
        word = "equals" if np.array_equal(values[known], label.values[known]) else "almost equals"
        how = f"it {word} the label (correlation {linear:.4f})"
        if abs(monotone) >= SAME > abs(linear):
            how = f"it is the label on another scale (rank correlation {monotone:.4f})"
        return Leak((name,), how, strength)
    if not is_number and column.nunique() > len(column) / 5:
        return None
    if (marked := _marked(column, label)) is not None:
        return Leak((name,), f"one of its two values marks {marked!r} and nothing else", 1.0)
    recovered = _recovered(column, label)
    detail = ""
    if len(label.classes) == 2 and is_number:
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        detail = f", correlation {correlation(values, label.values):.4f}"
    return Leak((name,), f"it alone determines the label ({recovered:.1%} of each class recovered{detail})", recovered)


def _marked(column: "pd.Series", label: Label) -> str | None:
    """Return the class that one of a column's two values marks, as a one-hot code of the label does."""
    if len(label.classes) < 3 or column.nunique() != 2 or column.isna().any():
        return None
    one = (column == column.iloc[0]).to_numpy()
    for code, word in enumerate(label.classes):
        of = label.values == code
        within, outside = float(one[of].mean()), float(one[~of].mean())
        # Both shares count, so that a rare class or a rare value does not match by chance.
        if max(min(within, 1 - outside), min(1 - within, outside)) >= SURE:
            return word
    return None


def _explained(name: str, column: "pd.Series", label: Floats) -> Leak | None:
    """Return a leak if the levels of a category explain the label's variance (adjusted R²)."""
    import pandas as pd

    codes, levels = pd.factorize(column, use_na_sentinel=False)
    size, spread = len(label), float(((label - label.mean()) ** 2).sum())
    if len(levels) > size / 5 or spread == 0:
        return None
    means = np.bincount(codes, weights=label) / np.bincount(codes)
    within = float(((label - means[codes]) ** 2).sum())
    share = 1 - (within / (size - len(levels))) / (spread / (size - 1))
    return Leak((name,), f"its levels determine the label (they explain {share:.2%} of its variance)", share)


def _recovered(column: "pd.Series", label: Label) -> float:
    """Return the mean share of each class that a tree on this column recovers on unseen rows (two folds)."""
    import pandas as pd
    from sklearn.tree import DecisionTreeClassifier

    if column.dtype.kind in "buif":
        values = column.to_numpy(dtype=np.float32, na_value=np.nan)
        values[~np.isfinite(values)] = np.nan
    else:
        values = pd.factorize(column, use_na_sentinel=False)[0].astype(np.float32)
    matrix, codes = values.reshape(-1, 1), label.values.astype(int)
    # Every second row of each class, so that both halves contain every class.
    order = np.argsort(codes, kind="stable")
    half = np.zeros(len(codes), dtype=bool)
    half[order[::2]] = True
    predicted = np.empty_like(codes)
    for side in (half, ~half):
        tree = DecisionTreeClassifier(max_leaf_nodes=max(64, 2 * len(label.classes)), random_state=0)
        predicted[~side] = tree.fit(matrix[side], codes[side]).predict(matrix[~side])
    return float(np.mean([(predicted[codes == code] == code).mean() for code in np.unique(codes)]))


def _pairs(numbers: Mapping[str, Floats], label: Label) -> list[Leak]:
    """Return pairs of columns whose sum, difference, product or quotient is the label."""
    if len(label.classes) > 2 or len(numbers) < 2:
        return []
    found = _sums(numbers, label.values, ("+", "-"))
    if label.is_number and (label.values > 0).all():
        positive = {name: np.log(values) for name, values in numbers.items() if np.nanmin(values) > 0}
        seen = {leak.columns for leak in found}
        found += [each for each in _sums(positive, np.log(label.values), ("*", "/")) if each.columns not in seen]
    return found


def _sums(numbers: Mapping[str, Floats], label: Floats, signs: tuple[str, str]) -> list[Leak]:
    names = [name for name, values in numbers.items() if np.isfinite(values).mean() > 0.8 and np.nanstd(values) > 0]
    if len(names) < 2:
        return []
    matrix = np.column_stack([numbers[name] for name in names])
    matrix = np.where(np.isfinite(matrix), matrix, np.nanmean(np.where(np.isfinite(matrix), matrix, np.nan), axis=0))
    scaled = np.column_stack([_scaled(column) for column in matrix.T])
    alone = scaled.T @ _scaled(label) / len(label)
    among = scaled.T @ scaled / len(label)
    # R² of the regression on two columns, computed for all pairs at once from their correlations.
    with np.errstate(divide="ignore", invalid="ignore"):
        both = (alone[:, None] ** 2 + alone[None, :] ** 2 - 2 * np.outer(alone, alone) * among) / (1 - among**2)
    # Two columns that are nearly equal add nothing to each other.
    strength = np.triu(np.where(among**2 > SAME, 0.0, np.nan_to_num(both, nan=0.0, posinf=0.0)), 1)
    first, second = np.where(strength >= 0.98)
    strongest = np.argsort(-strength[first, second], kind="stable")[:MOST_PAIRS]
    first, second = first[strongest], second[strongest]
    leaks = []
    for one, two in zip(first.tolist(), second.tolist(), strict=True):
        leak = _sum_of(names[one], names[two], numbers, label, signs)
        leaks += [leak] if leak else []
    return leaks


def _sum_of(one: str, two: str, numbers: Mapping[str, Floats], label: Floats, signs: tuple[str, str]) -> Leak | None:
    known = np.isfinite(numbers[one]) & np.isfinite(numbers[two]) & np.isfinite(label)
    if known.sum() < LEAST_ROWS:
        return None
    first, second, target = numbers[one][known], numbers[two][known], label[known]
    single = [correlation(first, target), correlation(second, target)]
    for sign, combined in zip(signs, (first + second, first - second), strict=True):
        strength = abs(correlation(combined, target))
        # The pair must explain much more than the better one of the two columns.
        if strength >= SAME and 1 - strength**2 <= 0.1 * (1 - max(abs(each) for each in single) ** 2):
            alone = f"alone {single[0]:.4f}, {single[1]:.4f}"
            how = f"{one} {sign} {two} is the label (correlation {strength:.4f}; {alone})"
            return Leak((one, two), how, strength)
    return None
