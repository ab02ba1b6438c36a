"""Find evidence that one column is the label, a number, on any scale, in part of the rows, or in bins."""

import numpy as np
import pandas as pd

from looseleaf.contract import evidence
from looseleaf.contract.evidence import Codes, Floats, Found

# The agreement of a column's levels with intervals of the label from which it is named.
NEAR_ORDER = 0.8
FEW_LEVELS = 100


def of_column(column: pd.Series, label: Floats) -> Found:
    """Yield the evidence about one column."""
    codes, levels = evidence.factorized(column)
    if column.dtype.kind in "buif":
        values = column.to_numpy(dtype=np.float64, na_value=np.nan)
        known = np.isfinite(values)
        yield from _correlated(values[known], label[known], "")
        usual = np.bincount(codes[known]).argmax() if known.any() else 0
        other = known & (codes != usual)
        if 2 * evidence.LEAST_ROWS <= other.sum() < 0.9 * known.sum():
            yield from _correlated(values[other], label[other], f" where it is not {values[codes == usual][0]:.3g}")
            what = "whether it is the most frequent value"
            yield from (
                (how, share, False) for how, share, _ in _ordered(other[known].astype(np.int64), label[known], what)
            )
    if column.isna().sum() >= evidence.LEAST_ROWS:
        yield from _ordered(column.isna().to_numpy().astype(np.int64), label, "whether it is null")
    if levels <= (FEW_LEVELS if column.dtype.kind in "buif" else evidence.MOST_LEVELS * len(column)):
        share = _explained(codes, label)
        how = f"its levels determine the label (they explain {share:.2%} of its variance)"
        yield from [(how, share, share >= evidence.SAME)] if share >= evidence.NEAR_NUMBER else []
        if levels <= FEW_LEVELS:
            yield from _ordered(codes, label, "its level")


def _correlated(values: Floats, label: Floats, where: str) -> Found:
    if len(values) < evidence.LEAST_ROWS:
        return
    linear, monotone = evidence.correlation(values, label), evidence.correlation(values, label, "spearman")
    word = "equals" if np.array_equal(values, label) else "almost equals"
    how = f"it {word} the label{where} (correlation {linear:.4f})"
    if abs(monotone) >= evidence.SAME > abs(linear) or abs(linear) < evidence.NEAR_NUMBER:
        how = f"it is the label on another scale{where} (rank correlation {monotone:.4f})"
    strength = max(abs(linear), abs(monotone))
    if strength >= evidence.NEAR_NUMBER:
        yield how, strength, strength >= evidence.SAME


def _explained(codes: Codes, label: Floats) -> float:
    """Return the share of the label's variance that the mean of the other rows of each row's level explains."""
    size = np.bincount(codes)[codes] - 1
    known = size > 0
    if known.mean() < evidence.MOST_LEVELS:
        return 0.0
    others = (np.bincount(codes, weights=label)[codes] - label)[known] / size[known]
    spread = label[known].var()
    return 1 - float(((label[known] - others) ** 2).mean() / spread) if spread > 0 else 0.0


def _ordered(codes: Codes, label: Floats, what: str) -> Found:
    """Yield evidence that intervals of the label determine a column's level, as bins of the label do."""
    counts = np.bincount(codes)
    sizes = counts[counts > 0]
    if len(sizes) < 2 or np.sort(sizes)[-2] < evidence.LEAST_NAMED:
        return
    # Rows of equal labels are in no order, so that they are not runs of a level.
    ordered = codes[np.lexsort((np.random.default_rng(0).random(len(codes)), label))]
    changes = (ordered[1:] != ordered[:-1]).sum() - (len(sizes) - 1)
    usual = 1 - ((sizes / len(codes)) ** 2).sum()
    share = 1 - changes / len(codes) / usual
    if share >= NEAR_ORDER:
        yield f"{what} is determined by intervals of the label ({share:.1%} agreement)", share, share >= evidence.SURE
