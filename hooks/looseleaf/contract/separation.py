"""Find evidence that one column determines the class, or that some of its values occur with one class only.

The level of a row (of numbers: a bin of neighbouring values) is judged by the other rows of that level, so that a value
that occurs once is no evidence.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from looseleaf.contract import evidence
from looseleaf.contract.evidence import Codes, Floats, Found, Label, Mask

# The area under the ROC curve from which a column of two values is named: honest ones rarely come so close.
NEAR_FLAG = 0.93
# Values mark a class if they are this many times as frequent in it as in the others. Whether a value is null says less
# about the world than the value itself, so that less is required. Both rates are measured: the first must not be
# possible by chance where the values are TIMES_CHANCE as frequent, and each single level must reach TIMES_LEVEL.
TIMES, TIMES_NULL, TIMES_CHANCE, TIMES_LEVEL = 40.0, 15.0, 2.0, 15.0
CHANCE = 0.01
# Values of an honest predictor mark a class at the end of a scale that orders the other rows, too: the area under the
# ROC curve of the other rows is larger.
MOST_ORDER = 0.75
# A column that is filled for this share of one class, and for no other, was filled because of it.
FILLED_SHARE = 0.3
# Narrow bins follow the limits of a leak, and wide ones have enough rows of a frequent class.
LEAST_BIN, BINS = 10, (100, 20)


def of_column(column: pd.Series, label: Label, columns: int) -> Found:
    """Yield the evidence about one column of so many."""
    codes, levels = evidence.factorized(column)
    is_null = column.isna().to_numpy()
    if evidence.LEAST_ROWS <= is_null.sum() < len(column):
        for word, covered, others, flagged in _marks(is_null.astype(np.int64), label, columns, TIMES_NULL):
            filled = not is_null[flagged].any()
            share = f"for {covered:.1%} of {word!r} and {others:.2%} of the others"
            if filled and others <= (1 - evidence.SURE) * covered and covered >= FILLED_SHARE:
                yield f"it is filled for {word!r} only ({share}): known only after the label", 1 - others, True
            yield f"it is {'filled' if filled else 'null'} {share}", covered - others, False
    values = column.to_numpy(dtype=np.float64, na_value=np.nan) if column.dtype.kind in "buif" else None
    # Whole numbers may be codes, whose order means nothing.
    is_coded = values is None or not (values[np.isfinite(values)] % 1).any()
    views = [codes] if is_coded and levels <= evidence.MOST_LEVELS * len(column) else []
    views += [] if values is None else [_bins(values, most) for most in BINS]
    if not views:
        return
    measured = [evidence.rank_areas(_scores(each, label)[0], label) for each in views]
    areas = np.max(measured + ([] if values is None else [evidence.rank_areas(values, label)]), axis=0)
    at = int(np.argmax(areas))
    if areas[at] >= (NEAR_FLAG if levels == 2 else evidence.NEAR):
        word, detail = label.classes[at], ""
        if values is None:
            recovered = _recovered(codes, label)
        else:
            recovered = evidence.tree_recovered(values, label.codes)
            detail = f", correlation {evidence.correlation(values, label.values):.4f}" if len(areas) == 2 else ""
        if recovered >= evidence.SURE:
            yield f"it alone determines the label ({recovered:.1%} of each class recovered{detail})", recovered, True
        elif levels == 2 and areas[at] >= evidence.SURE:
            yield f"one of its two values marks {word!r} and nothing else", areas[at], True
        how = f"it alone separates {word!r} from the others (area under the ROC curve {areas[at]:.4f})"
        yield how, areas[at], False
    for view in views:
        for word, covered, others, flagged in _marks(view, label, columns, TIMES):
            what = _described(column[flagged])
            yield f"{what} occurs in {covered:.1%} of {word!r} and {others:.2%} of the others", covered - others, False


def _bins(values: Floats, most: int) -> Codes:
    """Return so many bins of neighbouring numbers; a frequent value is a bin of its own, and so is null."""
    known = np.isfinite(values)
    codes = np.zeros(len(values), dtype=np.int64)
    codes[known] = 1 + evidence.ranks(values[known]) // max(LEAST_BIN, known.sum() / most)
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
    found = evidence.recall(scores.argmax(axis=1)[known], label.codes[known])
    return found if known.mean() >= evidence.MOST_LEVELS else 0.0


def _marks(codes: Codes, label: Label, columns: int, times: float) -> Iterator[tuple[str, float, float, Mask]]:
    """Yield classes that some levels mark: the class, the shares of its and of other rows with them, and their rows.

    The limit of chance is corrected for the number of columns and classes (Bonferroni).
    """
    others = _others(codes, label)
    size = others.sum(axis=1)
    for code, word in enumerate(label.classes):
        inside = int(label.counts[code])
        outside = len(codes) - inside
        if min(inside, outside) < evidence.LEAST_NAMED:
            continue
        of_class = others[:, code]
        flagged = of_class * (outside + 1) >= TIMES_LEVEL * inside * (size - of_class + 0.5)
        own = label.codes == code
        true, false = int((flagged & own).sum()), int((flagged & ~own).sum())
        covered = true / inside
        if covered < evidence.COVERED or covered < times * (false + 0.5) / (outside + 1):
            continue
        usual, rate = outside / (outside + TIMES_CHANCE * inside), false / (true + false)
        if _exponent(rate, usual) * (true + false) < np.log(columns * len(label.classes) / CHANCE):
            continue
        rest = ~flagged
        share = (of_class / np.maximum(1, size))[rest]
        order = evidence.rank_areas(np.column_stack([-share, share]), Label(own[rest].astype(np.float64), ("", word)))
        if order[1] <= MOST_ORDER:
            yield word, covered, false / outside, flagged


def _exponent(rate: float, usual: float) -> float:
    """Return the exponent, a row, of the bound for a rate below the usual one by chance (Chernoff 1952); else 0."""
    parts = ((rate, usual), (1 - rate, 1 - usual))
    return float(sum(one * np.log(one / other) for one, other in parts if one)) if rate < usual else 0.0


def _described(values: pd.Series) -> str:
    """Describe values for a report: the most frequent levels, or a range of numbers."""
    if values.isna().all():
        return "null"
    if values.dtype.kind in "uif":
        low, high = values.min(), values.max()
        return f"a value of {low:.3g}" if low == high else f"a value from {low:.3g} to {high:.3g}"
    frequent = values.value_counts().index
    return ", ".join(repr(each) for each in frequent[:3]) + (" …" if len(frequent) > 3 else "")
