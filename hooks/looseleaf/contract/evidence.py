"""Measure how strongly one column determines the label.

The level of a row (of numbers: a bin of neighbouring values) is judged by the other rows of that level, so that a value
that occurs once is no evidence.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

# Above this correlation, a column equals the label except for measurement or rounding errors.
SAME = 0.999
# The share of each class that a column recovers, above which it determines the label.
SURE = 0.995
# A correlation, an area under the ROC curve, or such an area of a column of two values, to be named.
NEAR_NUMBER, NEAR, NEAR_FLAG, NEAR_ORDER = 0.95, 0.97, 0.93, 0.8
# With fewer rows, or fewer of a class, such a column is found among many by chance.
LEAST_ROWS, LEAST_OF_CLASS, LEAST_NAMED = 20, 4, 10
# Values mark a class if they have this share of its rows, and are this many times as frequent in it as in others.
# Whether a value is null says less about the world than the value itself, so that less is required.
COVERED, TIMES, TIMES_NULL, TIMES_CHANCE, TIMES_LEVEL = 0.1, 40.0, 15.0, 2.0, 15.0
# Values of an honest predictor mark a class at the end of a scale that orders the other rows, too.
MOST_ORDER = 0.8
FILLED_SHARE, CHANCE = 0.3, 0.01
LEAST_BIN, BINS, FEW_LEVELS, MOST_LEVELS = 10, 100, 100, 0.5


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


def alone(name: str, column: "pd.Series", label: Label, columns: int) -> Leak | None:
    """Return what the strongest evidence says about one column of so many; None without evidence."""
    found = _of_number(column, label.values) if label.is_number else _of_classes(column, label, columns)
    leaks = [Leak((name,), how, strength, is_sure) for how, strength, is_sure in found]
    return max(leaks, key=lambda leak: (leak.is_sure, leak.is_sure or leak.strength), default=None)


Evidence = Iterator[tuple[str, float, bool]]


def _of_classes(column: "pd.Series", label: Label, columns: int) -> Evidence:
    codes, levels = _factorized(column)
    is_null = column.isna().to_numpy()
    if LEAST_ROWS <= is_null.sum() < len(column):
        for word, covered, others, flagged in _marks(is_null.astype(np.int64), label, columns, TIMES_NULL):
            filled = not is_null[flagged].any()
            share = f"for {covered:.1%} of {word!r} and {others:.2%} of the others"
            if filled and others <= (1 - SURE) * covered and covered >= FILLED_SHARE:
                yield f"it is filled for {word!r} only ({share}): known only after the label", 1 - others, True
            yield f"it is {'filled' if filled else 'null'} {share}", covered - others, False
    values = column.to_numpy(dtype=np.float64, na_value=np.nan) if column.dtype.kind in "buif" else None
    # Whole numbers may be codes, whose order means nothing.
    is_coded = values is None or not (values[np.isfinite(values)] % 1).any()
    views = [codes] if is_coded and levels <= MOST_LEVELS * len(column) else []
    views += [] if values is None else [_bins(values)]
    if not views:
        return
    measured = [rank_areas(_scores(each, label)[0], label) for each in views]
    areas = np.max(measured + ([] if values is None else [rank_areas(values, label)]), axis=0)
    at = int(np.argmax(areas))
    if areas[at] >= (NEAR_FLAG if levels == 2 else NEAR):
        word, detail = label.classes[at], ""
        if values is None:
            recovered = _recovered(codes, label)
        else:
            recovered = tree_recovered(values, label.codes)
            detail = f", correlation {correlation(values, label.values):.4f}" if len(areas) == 2 else ""
        if recovered >= SURE:
            yield f"it alone determines the label ({recovered:.1%} of each class recovered{detail})", recovered, True
        elif levels == 2 and areas[at] >= SURE:
            yield f"one of its two values marks {word!r} and nothing else", areas[at], True
        how = f"it alone separates {word!r} from the others (area under the ROC curve {areas[at]:.4f})"
        yield how, areas[at], False
    for view in views:
        for word, covered, others, flagged in _marks(view, label, columns, TIMES):
            what = _described(column[flagged])
            yield f"{what} occurs in {covered:.1%} of {word!r} and {others:.2%} of the others", covered - others, False


def _factorized(column: "pd.Series") -> tuple[Codes, int]:
    """Return the code of each row's value, null being a value, and the number of values."""
    import pandas as pd

    codes, levels = pd.factorize(column, use_na_sentinel=False)
    return codes.astype(np.int64), len(levels)


def _bins(values: Floats) -> Codes:
    """Return bins of neighbouring numbers; a frequent value is a bin of its own, and so is null."""
    from scipy.stats import rankdata

    known = np.isfinite(values)
    codes = np.zeros(len(values), dtype=np.int64)
    codes[known] = 1 + rankdata(values[known]) // max(LEAST_BIN, known.sum() / BINS)
    return np.unique(codes, return_inverse=True)[1]


def _others(codes: Codes, label: Label) -> Floats:
    """Return how many other rows of its level have each class, shape (rows, classes)."""
    width = len(label.classes)
    counts = np.bincount(codes * width + label.codes, minlength=(codes.max() + 1) * width).reshape(-1, width)
    others = counts[codes].astype(np.float64)
    others[np.arange(len(codes)), label.codes] -= 1
    return others


def _scores(codes: Codes, label: Label) -> tuple[Floats, Mask]:
    """Return the share of each class among the other rows of a row's level, and whether there are such rows."""
    others = _others(codes, label)
    size = others.sum(axis=1)
    return (others + label.counts / len(codes)) / (size + 1)[:, None], size > 0


def _recovered(codes: Codes, label: Label) -> float:
    """Return the mean share of each class that the other rows of a row's level predict."""
    scores, known = _scores(codes, label)
    return _recall(scores.argmax(axis=1)[known], label.codes[known]) if known.mean() >= MOST_LEVELS else 0.0


def _recall(predicted: Codes, codes: Codes) -> float:
    """Return the mean share of each class that is predicted; of a class of few rows, one row would say too much."""
    counts = np.bincount(codes)
    classes = np.flatnonzero(counts >= LEAST_OF_CLASS)
    return float(np.mean([(predicted[codes == code] == code).mean() for code in classes])) if len(classes) > 1 else 0.0


def rank_areas(scores: Floats, label: Label) -> Floats:
    """Return the area under the ROC curve for each class, by scores of it or by one score in the better direction."""
    from scipy.stats import rankdata

    areas = np.zeros(len(label.classes))
    known = np.isfinite(scores.reshape(len(scores), -1)).all(axis=1)
    ranks = rankdata(scores[known], axis=0)
    for code in range(len(areas)):
        own = label.codes[known] == code
        inside, outside = int(own.sum()), int((~own).sum())
        if min(inside, outside) >= LEAST_NAMED and inside >= COVERED * label.counts[code]:
            total = (ranks if ranks.ndim == 1 else ranks[:, code])[own].sum()
            area = (total - inside * (inside + 1) / 2) / inside / outside
            areas[code] = area if ranks.ndim == 2 else max(area, 1 - area)
    return areas


def _marks(codes: Codes, label: Label, columns: int, times: float) -> Iterator[tuple[str, float, float, Mask]]:
    """Yield classes that some levels mark: the class, the shares of its and of other rows with them, and their rows.

    The limit of chance is corrected for the number of columns and classes (Bonferroni).
    """
    from scipy.stats import binom

    others = _others(codes, label)
    size = others.sum(axis=1)
    for code, word in enumerate(label.classes):
        inside = int(label.counts[code])
        outside = len(codes) - inside
        if min(inside, outside) < LEAST_NAMED:
            continue
        of_class = others[:, code]
        flagged = of_class * (outside + 1) >= TIMES_LEVEL * inside * (size - of_class + 0.5)
        own = label.codes == code
        true, false = int((flagged & own).sum()), int((flagged & ~own).sum())
        covered = true / inside
        if covered < COVERED or covered < times * (false + 0.5) / (outside + 1):
            continue
        usual = outside / (outside + TIMES_CHANCE * inside)
        if binom.cdf(false, true + false, usual) > CHANCE / columns / len(label.classes):
            continue
        rest = ~flagged
        share = (of_class / np.maximum(1, size))[rest]
        order = rank_areas(np.column_stack([-share, share]), Label(own[rest].astype(np.float64), ("", word)))
        if order[1] <= MOST_ORDER:
            yield word, covered, false / outside, flagged


def _described(values: "pd.Series") -> str:
    """Describe values for a report: the most frequent levels, or a range of numbers."""
    if values.isna().all():
        return "null"
    if values.dtype.kind in "uif":
        low, high = values.min(), values.max()
        return f"a value of {low:.3g}" if low == high else f"a value from {low:.3g} to {high:.3g}"
    frequent = values.value_counts().index
    return ", ".join(repr(each) for each in frequent[:3]) + (" …" if len(frequent) > 3 else "")


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
    return _recall(predicted, codes)


def _of_number(column: "pd.Series", label: Floats) -> Evidence:
    codes, levels = _factorized(column)
    if column.dtype.kind in "buif":
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        known = np.isfinite(values)
        yield from _correlated(values[known], label[known], "")
        usual = np.bincount(codes[known]).argmax() if known.any() else 0
        other = known & (codes != usual)
        if 2 * LEAST_ROWS <= other.sum() < 0.9 * known.sum():
            yield from _correlated(values[other], label[other], f" where it is not {values[codes == usual][0]:.3g}")
            what = "whether it is the most frequent value"
            yield from (
                (how, share, False) for how, share, _ in _ordered(other[known].astype(np.int64), label[known], what)
            )
    if column.isna().sum() >= LEAST_ROWS:
        yield from _ordered(column.isna().to_numpy().astype(np.int64), label, "whether it is null")
    if levels <= (FEW_LEVELS if column.dtype.kind in "buif" else 0.5 * len(column)):
        share = _explained(codes, label)
        how = f"its levels determine the label (they explain {share:.2%} of its variance)"
        yield from [(how, share, share >= SAME)] if share >= NEAR_NUMBER else []
        if levels <= FEW_LEVELS:
            yield from _ordered(codes, label, "its level")


def _correlated(values: Floats, label: Floats, where: str) -> Evidence:
    from scipy.stats import rankdata

    if len(values) < LEAST_ROWS:
        return
    linear, monotone = correlation(values, label), correlation(rankdata(values), rankdata(label))
    word = "equals" if np.array_equal(values, label) else "almost equals"
    how = f"it {word} the label{where} (correlation {linear:.4f})"
    if abs(monotone) >= SAME > abs(linear) or abs(linear) < NEAR_NUMBER:
        how = f"it is the label on another scale{where} (rank correlation {monotone:.4f})"
    strength = max(abs(linear), abs(monotone))
    if strength >= NEAR_NUMBER:
        yield how, strength, strength >= SAME


def _explained(codes: Codes, label: Floats) -> float:
    """Return the share of the label's variance that the mean of the other rows of each row's level explains."""
    size = np.bincount(codes)[codes] - 1
    mean = (np.bincount(codes, weights=label)[codes] - label) / np.maximum(1, size)
    error = label - np.where(size > 0, mean, label.mean())
    spread = float(((label - label.mean()) ** 2).sum())
    return 1 - float((error**2).sum()) / spread if spread > 0 else 0.0


def _ordered(codes: Codes, label: Floats, what: str) -> Evidence:
    """Yield evidence that intervals of the label determine a column's level, as bins of the label do."""
    counts = np.bincount(codes)
    sizes = counts[counts > 0]
    if len(sizes) < 2 or np.sort(sizes)[-2] < LEAST_NAMED:
        return
    # Rows of equal labels are in no order, so that they are not runs of a level.
    ordered = codes[np.lexsort((np.random.default_rng(0).random(len(codes)), label))]
    changes = (ordered[1:] != ordered[:-1]).sum() - (len(sizes) - 1)
    usual = 1 - ((sizes / len(codes)) ** 2).sum()
    share = 1 - changes / len(codes) / usual
    if share >= NEAR_ORDER:
        yield f"{what} is determined by intervals of the label ({share:.1%} agreement)", share, share >= SURE


def correlation(column: Floats, label: Floats) -> float:
    """Return Pearson's correlation over the rows that have both values; 0 if one of them is constant."""
    known = np.isfinite(column) & np.isfinite(label)
    column, label = column[known], label[known]
    if len(column) < LEAST_ROWS:
        return 0.0
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        found = float(np.mean(_scaled(column) * _scaled(label)))
    return found if np.isfinite(found) else 0.0


def _scaled(values: Floats) -> Floats:
    values = values / max(1.0, float(np.abs(values).max()))
    spread = values.std()
    return (values - values.mean()) / spread if spread > 0 else np.zeros_like(values)
