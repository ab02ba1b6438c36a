"""Find the label of a model among the columns of the raw table, and the columns that determine it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from .values import FEWEST_ROWS, compared, dense, plain

# A column with more different values, as a share of the rows, identifies rows rather than the label.
MOST_LEVELS = 0.2
# A comparison with a number after the name of a column, as in `df["age"] <= 65`.
NUMBER = r"\W*?([<>]=?)\s*(-?\d+\.?\d*(?:[eE][+-]?\d+)?)(?![\w.])"
# A condition on a whole table, or on the columns of a loop.
UNNAMED = r"\.(?:any|all)\((?:axis|1)|\[[A-Za-z_]\w*\](?:\s*[<>]|\.between)"
# What turns the logarithm or the root of a label into the label.
INVERSES = ("exp", "expm1", "square", "exp2")


def search(table: Any, target: Any, label: str, by_content: Any) -> tuple[str, str, Any, dict[Any, Any]]:
    """Return the label, the function that turns the target of a fit into it, a frequent one, and that of each target.

    `label` is what the user named. `by_content` finds the rows of the fit where their index is lost.
    """
    for rows_of in () if target is None else (by_index, by_content):
        try:
            positions = rows_of(table, target)
        except Exception:
            continue
        if positions is None or sum(positions >= 0) < FEWEST_ROWS:
            continue
        known, given = table.iloc[positions[positions >= 0]], dense(target).ravel()[positions >= 0]
        found = label or match(known, given, getattr(target, "name", None))
        if found in known:
            frequent = table[found][table[found].isin(known[found])].mode().iloc[0]
            pairs = dict(zip(given.tolist(), known[found].tolist()))
            return found, inverse(known[found], given) or "", frequent, pairs
    return label, "", None, {}


def by_index(table: Any, target: Any) -> Any:
    """Return the positions of the rows in a table that a model was fitted to, or None where their labels are lost."""
    index = getattr(target, "index", None)
    if index is not None and table.index.is_unique and index.isin(table.index).all():
        return table.index.get_indexer(index)
    return np.arange(len(table)) if len(dense(target)) == len(table) else None


def match(rows: Any, target: Any, name: Any) -> str:
    """Return the column with the name, or with values that correspond one to one to the target, or an empty text."""
    if name in rows:
        return str(name)
    codes = pd.factorize(target)[0]
    names = [name for name in rows if _is_one_to_one(rows[name], codes)]
    # A column that identifies rows corresponds to every label without repetitions.
    return str(next((name for name in names if inverse(rows[name], target) is not None), (*names, "")[0]))


def inverse(values: Any, target: Any) -> str | None:
    """Return the function of NumPy that turns what a model was fitted to into the label: an empty text for none."""
    try:
        known, given = values.to_numpy("float64"), target.astype("float64")
        results = {"": given, **{name: getattr(np, name)(given) for name in INVERSES}}
        return next((name for name, result in results.items() if np.allclose(known, result, 1e-9, 1e-9)), None)
    except (TypeError, ValueError):
        return None


def leaks(table: Any, used: list[Any], label: str) -> list[str]:
    """Return the used columns that determine the label."""
    if label not in table:
        return []
    codes = pd.factorize(table[label])[0]
    return [str(name) for name in used if str(name) == label or _determines(table[name], codes)]


def rules(table: Any, rejected: dict[int, str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return conditions on one column each that exclude rejected rows and no others, and the reasons of the rest."""
    left = set(rejected)
    good, bad = table.drop(index=list(rejected)), table.loc[list(rejected)]
    reasons, found = pd.Series(rejected, bad.index, object), []
    words = {name: rf"(?<!\w){re.escape(str(name))}(?!\w)" for name in table.columns}
    is_on_all = reasons.str.contains(UNNAMED, regex=True).astype(bool)
    for name, word in words.items():
        is_named = is_on_all | reasons.str.contains(word).astype(bool)
        known, other = good[name].dropna(), bad[name]
        is_on_null = is_named | reasons.str.contains("dropna(", regex=False).astype(bool)
        tests: dict[str, Any] = {} if good[name].isna().any() else {"null": (False, other.isna() & is_on_null)}
        if known.dtype.kind not in "iufb" and pd.to_numeric(known, errors="coerce").notna().all():
            # In a column of numbers, the notebook treats text as missing.
            mask = other.notna() & pd.to_numeric(other, errors="coerce").isna() & is_on_null
            tests["words"] = (sorted(map(str, set(other[mask]))), mask)
        if len(known) and known.dtype.kind in "iuf":
            for kind, mask in (("low", is_named & (other < known.min())), ("high", is_named & (other > known.max()))):
                tests[kind] = (limit(kind == "high", word, reasons[mask], known, other[mask]), mask)
        if known.dtype.kind not in "f" and known.nunique() <= MOST_LEVELS * len(known):
            mask = other.notna() & ~other.isin(set(known)) & is_named
            tests["levels"] = (sorted(map(str, set(known))), mask)
        for kind, (value, mask) in tests.items():
            found.append((set(other.index[mask]), {"column": str(name), "kind": kind, "value": value}))
    chosen = []
    while found:
        rows, rule = max(found, key=lambda each: sum(1 + (each[1]["column"] in rejected[at]) for at in each[0] & left))
        if not rows & left:
            break
        chosen.append({**rule, "rows": len(rows), "reason": rejected[min(rows & left)]})
        left -= rows
    return chosen, sorted({rejected[at] for at in left})


def limit(is_high: bool, word: str, reasons: Any, known: Any, lost: Any) -> Any:
    """Return the author's number between the kept values and the lost ones, else the last that is kept."""
    for sign, text in re.findall(word + NUMBER, "\n".join(reasons.unique())):
        is_kept = sign in (("<=", ">") if is_high else (">=", "<"))
        value = float(text) if is_kept else float(np.nextafter(float(text), -np.inf if is_high else np.inf))
        if known.max() <= value < lost.min() if is_high else lost.max() < value <= known.min():
            return value
    return (known.max() if is_high else known.min()).item()


def levels(classes: list[Any], pairs: dict[Any, Any], label: Any) -> list[Any]:
    """Return the label of the table for each class of the model, or nothing where they are not known."""
    found = [plain(pairs.get(each)) for each in classes]
    is_label = not pairs and label is not None and set(classes) <= set(label)
    return classes if is_label else found if len(set(found)) == len(found) and None not in found else []


def droppable(names: list[str], label: str, predicted: Any) -> list[str]:
    """Return the label and the columns without which `predicted` returns what it returns with all of them."""
    dropped = [name for name in names if name == label]
    expected, todo = predicted([]), [[name for name in names if name != label]]
    while todo and expected is not None:
        part = todo.pop()
        outputs = predicted([*dropped, *part])
        if outputs is not None and compared(expected, outputs)["equal"]:
            dropped += part
        elif len(part) > 1:
            todo += [part[len(part) // 2 :], part[: len(part) // 2]]
    return dropped


def _is_one_to_one(values: Any, codes: Any) -> bool:
    other = pd.factorize(values.to_numpy())[0]
    return len(set(zip(codes, other))) == len(set(codes)) == len(set(other))


def _determines(values: Any, label: Any) -> bool:
    codes = pd.factorize(values)[0]
    levels = len(set(codes))
    return len(set(zip(codes, label))) == levels <= max(20, MOST_LEVELS * len(codes)) and len(set(label)) > 1
