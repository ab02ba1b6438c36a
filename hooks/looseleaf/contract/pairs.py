"""Find pairs of columns whose sum, difference, product or quotient is the label, or decides its class."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from looseleaf.contract import evidence
from looseleaf.contract.evidence import Floats, Label, Leak

# Columns that are paired, those that depend most on the label, and rows that select pairs.
MOST_COLUMNS, SCREENED = 2000, 1000
# Pairs that are verified on all rows, and the correlation that selects them: with a number, and with a class.
MOST_PAIRS, MOST_OF_CLASS, SCREEN_NUMBER, SCREEN_CLASS = 100, 30, 0.97, 0.3
# Where classes are far apart, two columns that separate them well do so perfectly together: that is no leak, and it is
# one only where each column says little alone. Both are known in this share of the rows.
MOST_ALONE, LESS_ALONE, LEAST_KNOWN = 0.9, 0.8, 0.5
# A pair is one leak if it leaves a tenth of what the better column alone leaves unexplained.
GAIN = 0.1
OPERATIONS = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}
# In a pair, a column that depends less on the label, by this factor, may be an honest one that the other was made from.
BOTH = 0.7


def find(numbers: Mapping[str, Floats], label: Label) -> list[Leak]:
    """Return leaks, and columns that are one with another column."""
    found, own = dict[tuple[str, str], Leak](), dict.fromkeys(numbers, 0.0)
    with np.errstate(all="ignore"):
        for each in _targets(label, len(numbers)):
            own = {
                name: max(own[name], abs(evidence.correlation(numbers[name], each.values, "spearman")))
                for name in numbers
            }
            strongest = {*sorted(own, key=lambda name: -own[name])[:MOST_COLUMNS]}
            for pair, sign in _candidates({name: numbers[name] for name in numbers if name in strongest}, each):
                if pair not in found and (leak := _verified(pair, sign, numbers, each)):
                    found[pair] = leak
    leaks = []
    for pair, leak in found.items():
        weaker, stronger = sorted(pair, key=own.__getitem__)
        if own[weaker] >= BOTH * own[stronger]:
            leaks.append(leak)
        else:
            leaks += [replace(leak, columns=(stronger,)), replace(leak, columns=(weaker,), is_sure=False)]
    return leaks


def _targets(label: Label, columns: int) -> list[Label]:
    """Return the label; of several classes, each one against the others."""
    if len(label.classes) in (0, 2):
        return [label]
    if len(label.classes) * columns > MOST_COLUMNS:
        return []
    return [Label((label.codes == code) * 1.0, ("the others", word)) for code, word in enumerate(label.classes)]


def _candidates(numbers: Mapping[str, Floats], label: Label) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield pairs of columns with the operation that may give the label."""
    if len(numbers) < 2:
        return
    names, values = list(numbers), label.values
    matrix = np.column_stack(list(numbers.values()))
    matrix[~np.isfinite(matrix)] = np.nan
    logs, log_label = (np.where(each != 0, np.log(np.abs(each)), np.nan) for each in (matrix, values))
    for table, target, signs in ((matrix, values, "+-"), (logs, log_label if label.is_number else values, "*/")):
        for one, two, sign in _screened(table, target, label.is_number):
            yield (names[one], names[two]), signs[sign]


def _screened(matrix: Floats, label: Floats, is_number: bool) -> Iterator[tuple[int, int, int]]:
    """Yield the pairs whose sum (0) or difference (1) correlates most with the label, where both columns are known."""
    rows = np.flatnonzero(np.isfinite(label))
    if len(rows) < evidence.LEAST_ROWS:
        return
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), SCREENED)).astype(int)]
    target = label[rows] - label[rows].mean()
    is_known = np.isfinite(matrix[rows])
    known = is_known.astype(np.float64)
    centred = np.where(is_known, matrix[rows], 0.0)
    centred -= known * (centred.sum(axis=0) / np.maximum(1, known.sum(axis=0)))
    # Means over the rows where both columns of a pair are known, for all pairs at once.
    count = known.T @ known
    mean, mean_label = centred.T @ known / count, (known.T * target) @ known / count
    variance = (centred.T**2) @ known / count - mean**2
    variance_label = (known.T * target**2) @ known / count - mean_label**2
    with_label = (centred.T * target) @ known / count - mean * mean_label
    between = centred.T @ centred / count - mean * mean.T
    alone = np.abs(with_label) / np.sqrt(variance * variance_label)
    least = SCREEN_NUMBER if is_number else np.maximum(SCREEN_CLASS, np.fmax(alone, alone.T))
    for at, sign in enumerate((1, -1)):
        spread = variance + variance.T + 2 * sign * between
        strength = np.abs(with_label + sign * with_label.T) / np.sqrt(spread * variance_label)
        # The difference of two columns that are equal is rounding errors.
        is_usable = (count >= evidence.LEAST_ROWS) & (spread > 1e-9 * (variance + variance.T)) & (strength > least)
        first, second = np.nonzero(np.triu(is_usable, 1))
        for place in np.argsort(-strength[first, second], kind="stable")[: MOST_PAIRS if is_number else MOST_OF_CLASS]:
            yield int(first[place]), int(second[place]), at


def _verified(pair: tuple[str, str], sign: str, numbers: Mapping[str, Floats], label: Label) -> Leak | None:
    """Return a pair that gives the label on all rows, unless one of its columns does so alone."""
    for first, second in (pair, pair[::-1]) if sign == "/" else (pair,):
        combined = OPERATIONS[sign](numbers[first], numbers[second])
        known = np.isfinite(combined)
        if known.sum() < evidence.LEAST_ROWS or known.mean() < (0 if label.is_number else LEAST_KNOWN):
            continue
        part = Label(label.values[known], label.classes)
        strength = _strength(combined[known], part)
        if strength < (evidence.SAME if label.is_number else evidence.SURE):
            continue
        single = [_strength(numbers[name][known], part) for name in (first, second)]
        alone, most = f"alone {single[0]:.4f}, {single[1]:.4f}", max(single)
        if label.is_number and most < evidence.SAME and 1 - strength <= GAIN * (1 - most):
            return Leak(pair, f"{first} {sign} {second} is the label (correlation {strength:.4f}; {alone})", 1.0, True)
        if not label.is_number and most <= MOST_ALONE:
            word = label.classes[1]
            how = f"{first} {sign} {second} decides {word!r} ({strength:.1%} of each class recovered; {alone})"
            return Leak(pair, how, strength, most <= LESS_ALONE)
    return None


def _strength(values: Floats, label: Label) -> float:
    if label.is_number:
        return abs(evidence.correlation(values, label.values))
    # A tree is fitted only where the order of the values promises one.
    area = evidence.rank_areas(values, label)[1]
    return evidence.tree_recovered(values, label.codes) if area >= evidence.NEAR else area
