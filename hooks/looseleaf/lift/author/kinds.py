"""Recognise the calls of pandas and scikit-learn that learn from the rows, choose rows, or mix rows."""

from __future__ import annotations

import os
import types
from typing import Any

import numpy as np
import pandas as pd

from .values import is_estimator, rows

READERS = (
    "read_csv", "read_excel", "read_parquet", "read_json", "read_table", "read_feather", "read_pickle", "read_sql",
    "read_sas", "read_stata", "loadtxt", "genfromtxt", "load_dataset",
)  # fmt: skip
PATHS = ("filepath_or_buffer", "io", "path", "path_or_buf", "fname")
PREDICTORS = ("predict", "predict_proba", "decision_function", "score")
# Values of other rows: a single row cannot have them.
CROSS_ROW = (
    "shift", "diff", "rolling", "expanding", "ewm", "cumsum", "cumcount", "cumprod", "cummax", "cummin", "rank",
    "ffill", "bfill", "pad", "pct_change", "interpolate", "resample", "ngroup",
)  # fmt: skip
# Rows that are missing afterwards cannot be predicted; the others are a choice for training.
REJECTING = ("dropna", "query")
CHOOSING = ("drop_duplicates", "sample", "head", "tail", "nlargest", "nsmallest", "truncate", "drop", "sort_values")
POSITIONS = (slice, list, pd.Index, pd.Series, np.ndarray)
DEEP = ("apply", "map", "applymap", "transform", "agg", "aggregate")


def is_reader(receiver: Any, name: str, function: Any) -> bool:
    """Return whether a call reads a file or a data set of a library."""
    if isinstance(receiver, (pd.DataFrame, pd.Series)):
        return False
    return name in READERS or (is_data_set(function) and name.startswith(("load_", "fetch_")))


def is_missing(path: Any, data: str) -> bool:
    """Return whether a file is not found, or has the name of `data`, which is read in its place."""
    is_path = isinstance(path, (str, os.PathLike))
    return is_path and (not os.path.exists(path) or os.path.basename(path) == os.path.basename(data))


def is_data_set(function: Any) -> bool:
    """Return whether a function belongs to scikit-learn's data sets."""
    return (getattr(function, "__module__", None) or "").startswith("sklearn.datasets")


def table_of(function: Any, arguments: Any, options: Any) -> Any:
    """Return a data set of scikit-learn as a table with the column `target`; None where it has no columns."""
    whole = function(*arguments, **{each: value for each, value in options.items() if each != "return_X_y"})
    if getattr(whole.get("data"), "ndim", 0) != 2 or len(whole.data) != len(whole.get("target", ())):
        return None
    columns = whole.get("feature_names")
    table = pd.DataFrame(whole.data, columns=None if columns is None else list(columns))
    return table.rename(columns=str).assign(target=whole.target)


def cached(name: str) -> str:
    """Return the path of a table that seaborn has downloaded before."""
    path = os.path.expanduser("~/seaborn-data/" + str(name) + ".csv")
    if not os.path.exists(path):
        raise ConnectionError("seaborn downloads the table " + repr(name))
    return path


def is_draw(function: Any, value: Any) -> bool:
    """Return whether a call returned random numbers."""
    module = type(getattr(function, "__self__", None)).__module__
    is_generator = module == "random" or module.startswith("numpy.random")
    return is_generator and isinstance(value, (int, float, list, np.ndarray, np.generic))


def is_deep(receiver: Any, name: str, arguments: Any, options: Any) -> bool:
    """Return whether a method calls a function for each value, row or group, rather than for each column."""
    if type(receiver).__name__.endswith("GroupBy"):
        return True
    axis = options.get("axis", arguments[1] if name == "apply" and len(arguments) > 1 else 0)
    is_by_column = isinstance(receiver, pd.DataFrame) and name == "apply" and axis in (0, "index")
    return isinstance(receiver, (pd.DataFrame, pd.Series)) and name in DEEP and not is_by_column


def of_call(receiver: Any, name: str, function: Any, arguments: Any, options: Any) -> str:
    """Return the kind of a call on aligned rows, or an empty text where the result decides."""
    module = getattr(function, "__module__", None) or ""
    if is_estimator(receiver):
        if name in ("fit_resample", "fit_sample"):
            return "resample"
        return name if name in ("fit_transform", "fit_predict") else ""
    if name == "train_test_split":
        return "split"
    if name in ("shuffle", "resample") and module.startswith("sklearn.utils"):
        return "resample"
    if name == "split" and type(receiver).__module__.startswith("sklearn.model_selection"):
        return "folds"
    of_pandas = module.startswith("pandas")
    if of_pandas and name in ("get_dummies", "cut", "qcut", "factorize"):
        return name
    if type(receiver).__name__ == "StringMethods" and name in ("split", "rsplit") and options.get("expand"):
        return "expand"
    if type(receiver).__name__ in ("SeriesGroupBy", "DataFrameGroupBy"):
        return "group_transform" if name == "transform" else "cross_row" if name in CROSS_ROW else ""
    if isinstance(receiver, (pd.DataFrame, pd.Series)):
        given = [*arguments, *options.values()]
        if name == "astype" and any(isinstance(each, str) and each == "category" for each in given):
            return "category"
        if name in CROSS_ROW or (name == "fillna" and options.get("method")):
            return "cross_row"
    return ""


def of_rows(receiver: Any, name: str, value: Any, before: int | None, options: Any) -> str:
    """Return the kind of a method of a frame by what it did to the rows; `before` is their number before the call."""
    if not isinstance(receiver, (pd.DataFrame, pd.Series)) or before is None:
        return ""
    in_place = value is None and bool(options.get("inplace"))
    after = rows(receiver if in_place else value)
    # `sort_values` and `sample` may return all rows in another order.
    if name in ("sort_values", "sample"):
        return "choose_in_place" if in_place else "choose"
    if after is None or after == before or not after:
        return ""
    kind = "reject" if name in REJECTING else "choose" if name in CHOOSING else ""
    return f"{kind}_in_place" if kind and in_place else kind


def returns_rows(function: Any, table: Any, value: Any) -> bool:
    """Return whether a function of the notebook returned some rows of a table as they are, chosen for training."""
    is_author = isinstance(function, types.FunctionType) and function.__globals__.get("__lift__") is not None
    if not is_author or not isinstance(value, pd.DataFrame) or not isinstance(table, pd.DataFrame):
        return False
    if not 0 < len(value) < len(table) or list(value.columns) != list(table.columns):
        return False
    before, after = (pd.util.hash_pandas_object(each, index=False) for each in (table, value))
    return bool(after.isin(before).all())


def of_item(base: Any, key: Any, value: Any) -> str:
    """Return the kind of `base[key]` on aligned rows: a condition rejects rows, a range or positions choose them."""
    before, after = rows(base), rows(value)
    if after is None or before is None or getattr(value, "ndim", 0) < 1:
        return ""
    row_key = key[0] if isinstance(key, tuple) else key
    if getattr(getattr(row_key, "dtype", None), "kind", "") == "b" and rows(row_key) == before:
        return "reject" if after <= before else ""
    moved = isinstance(value, (pd.DataFrame, pd.Series)) and isinstance(base, (pd.DataFrame, pd.Series))
    changed = after != before or (moved and not value.index.equals(base.index))
    return "choose" if changed and isinstance(row_key, POSITIONS) else ""
