"""Describe and compare the values of a notebook: their rows, what changes them, whether they can be kept."""

from __future__ import annotations

import json
import pickle
import sys
import traceback
import types
import zlib
from typing import Any

import numpy as np
import pandas as pd

# Fewer rows cannot be distinguished from a list of columns.
FEWEST_ROWS = 20
TOLERANCE = 1e-9
SIMPLE = (int, float, str, bool, bytes, type(None), np.generic, pd.Timestamp, pd.Timedelta)
TABULAR = (pd.DataFrame, pd.Series, pd.Index, np.ndarray)


def is_sparse(value: Any) -> bool:
    """Return whether a value is a sparse matrix."""
    return type(value).__module__.startswith("scipy.sparse") and hasattr(value, "toarray")


def is_estimator(value: Any) -> bool:
    """Return whether a value has the interface of scikit-learn: fit, and predict or transform."""
    has_method = any(hasattr(value, name) for name in ("predict", "transform", "get_params"))
    return not isinstance(value, type) and callable(getattr(value, "fit", None)) and has_method


def rows(value: Any) -> int | None:
    """Return the number of rows of a table, its index, an array or a list; None for anything else."""
    if isinstance(value, TABULAR) or is_sparse(value):
        return int(value.shape[0]) if value.ndim else None
    return len(value) if isinstance(value, (list, tuple)) else None


def is_storable(value: Any) -> bool:
    """Return whether a value can be kept as a learned value: data of Python, NumPy and pandas, or an estimator."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(is_storable(each) for each in value)
    if isinstance(value, dict):
        return all(is_storable(each) for pair in value.items() for each in pair)
    return isinstance(value, (*SIMPLE, *TABULAR)) or is_estimator(value)


def fingerprint(value: Any) -> Any:
    """Return something that changes when a value is changed in place; None for values that are not watched."""
    try:
        if isinstance(value, pd.DataFrame):
            return (value.shape, tuple(map(str, value.columns)), tuple(map(str, value.dtypes)), _hashed(value))
        if isinstance(value, (pd.Series, pd.Index)):
            return (value.shape, str(value.dtype), _hashed(value))
        if isinstance(value, np.ndarray) and value.dtype != object:
            return (value.shape, str(value.dtype), zlib.crc32(np.ascontiguousarray(value).tobytes()))
        if isinstance(value, (np.ndarray, list, dict, set)) or is_estimator(value):
            return zlib.crc32(pickle.dumps(value))
    except Exception:
        return id(value)
    return None


def _hashed(value: Any) -> int:
    try:
        return zlib.crc32(pd.util.hash_pandas_object(value, index=True).to_numpy().tobytes())
    except TypeError:
        return zlib.crc32(pickle.dumps(value))


def dense(value: Any) -> Any:
    """Return a table, array or list as a NumPy array of two or fewer dimensions."""
    return np.asarray(value.toarray() if is_sparse(value) else value)


def comparable(value: Any) -> Any:
    """Return a table as an array that a file without pickle can hold: of float64, else of text."""
    array = dense(value)
    try:
        return array.astype("float64")
    except (TypeError, ValueError):
        return array.astype(str)


def compared(expected: Any, outputs: Any, inputs: Any = None) -> dict[str, Any]:
    """Compare outputs; `inputs` are both inputs of the model and the names of its columns, to describe a difference."""
    expected, outputs = np.asarray(expected), np.asarray(outputs)
    if expected.shape != outputs.shape:
        return {"equal": False, "rows": len(expected), "error": f"shapes {expected.shape} and {outputs.shape}"}
    per_row = _equal(expected, outputs).reshape(len(expected), expected[:1].size or 1).all(axis=1)
    result: dict[str, Any] = {"equal": bool(per_row.all()), "rows": len(per_row), "equal_rows": int(per_row.sum())}
    if not result["equal"]:
        at = int(np.flatnonzero(~per_row)[0])
        text = f"{result['equal_rows']} of {len(per_row)} rows are equal; the first that differs is number {at + 1}"
        result["error"] = f"{text}, {outputs[at]} instead of {expected[at]}{_cause(at, inputs)}"
    return result


def _cause(at: int, inputs: Any) -> str:
    if inputs is None or inputs[0].shape != inputs[1].shape:
        return ""
    before, after = inputs[0][at].ravel(), inputs[1][at].ravel()
    different = np.flatnonzero(~_equal(before, after))
    if not len(different):
        return ", from the same input of the model"
    column = different[0]
    name = inputs[2][column] if len(inputs[2]) == len(before) else f"number {column + 1}"
    return f", because column {name} of the model's input is {after[column]} instead of {before[column]}"


def _equal(expected: Any, outputs: Any) -> Any:
    if expected.dtype.kind == "f" and outputs.dtype.kind == "f":
        return np.isclose(expected, outputs, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    return expected.astype(str) == outputs.astype(str)


def row_keys(table: Any) -> list[bytes]:
    """Return a key for the content of each row of an array."""
    table = table.reshape(len(table), -1)
    table = np.round(table, 7) + 0.0 if table.dtype.kind == "f" else table
    return [row.tobytes() for row in np.ascontiguousarray(table)]


def plain(value: Any) -> Any:
    """Return a value of NumPy or pandas as JSON has it."""
    value = value.item() if isinstance(value, np.generic) else value
    return value.isoformat() if hasattr(value, "isoformat") else value


def as_json(table: Any) -> str:
    """Return a table as a JSON list of rows."""
    missing = table.astype(object).where(table.notna(), None)
    return json.dumps(missing.to_dict("records"), default=plain)


def frequent(values: Any) -> Any:
    """Return the most frequent value of a column; None where it has none."""
    return next(iter(values.mode()), None)


def placeholder(values: Any) -> Any:
    """Return what takes the place of a column: no text, and no number of a single row."""
    value = plain(frequent(values))
    return "" if isinstance(value, str) else 0 if values.is_unique else value


def short(value: Any) -> str:
    """Return a value on one line of at most 80 characters; of estimators only their parameters."""
    text = " ".join(repr(value.item() if isinstance(value, np.generic) else value).split())
    return text if len(text) <= 80 else f"{text[:79]}…"


def line_of(error: Exception, job: Any) -> str:
    """Return the line of the lifted text in which an error was raised, or an empty text."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename[:12] == "model.lifted"]
    if not frames:
        return ""
    text = job["text" if frames[-1].filename == "model.lifted" else "text_with_states"]
    return f", in the line: {text.splitlines()[(frames[-1].lineno or 1) - 1].strip()[:120]}"


def module(name: str, text: str, **names: Any) -> Any:
    """Return a module with this text, whose namespace has more names."""
    made = types.ModuleType(name)
    sys.modules.setdefault("model", types.ModuleType("model"))
    sys.modules[name] = made
    made.__dict__.update(names)
    exec(compile(text, name, "exec"), made.__dict__)
    return made
