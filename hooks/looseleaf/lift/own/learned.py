"""What a model learned from its training rows, under readable keys: computed in training, returned in serving.

`features` in lifted.py is the author's own code. In training it runs as in the notebook, and every value that depends
on other rows is kept here; in serving the same code runs on new rows and gets the kept values. All rows of a request
stay in their order: what only chooses rows for training returns every row in serving.
"""

# It also runs in the author's own Python, from 3.8 on: there, zip() has no `strict`.
from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd


class Learned:
    """The kept values. Without `values` this is training, which computes them, in the lift from all `files`."""

    def __init__(self, values: dict[str, Any] | None = None, files: bool = False) -> None:
        self.training, self.files = values is None, files
        self.values: dict[str, Any] = {} if values is None else values
        self.model: Any = None
        self.model_input: Any = None
        self.predictions = 0
        # The conditions that removed rows: the reason, the rows before and after, and the positions of those removed.
        self.removed: list[tuple[str, int, int, list[int]]] = []
        self._counts: dict[str, int] = {}
        self._step = ""

    def step(self, name: str) -> None:
        """Begin a statement that calls a function with kept values, which may run several times in it."""
        self._step, self._counts = f"{name}: ", {}

    def __call__(self, key: str, compute: Callable[[], Any]) -> Any:
        """Return the value kept under a key; training computes it."""
        count = self._counts[key] = self._counts.get(key, 0) + 1
        key = f"{self._step}{key}" if count == 1 else f"{self._step}{key} ({count})"
        if self.training:
            value = compute()
            self.values[key] = copy.deepcopy(value)
            return value
        return copy.deepcopy(self.values[key])

    def request(self, read: Callable[[], Any], raw: Any, without: Sequence[str] = (), fit: str = "") -> Any:
        """Return the rows to predict in place of another file, `without` columns, and in the step `fit` those of it."""
        is_of_fit = fit and self._step == f"{fit}: "
        return read() if self.training and self.files and not is_of_fit else raw.drop(columns=list(without))

    def data_set(self, key: str, raw: Any, load: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Return a data set of scikit-learn with the rows of `raw` in place of its own."""
        from sklearn.utils import Bunch

        data, target, shape = raw.drop(columns="target"), raw["target"], options.pop("return_X_y", False)
        if not options.get("as_frame"):
            data, target = data.to_numpy(), target.to_numpy()
        if shape:
            return data, target
        names = ("feature_names", "target_names")
        kept = self(key, lambda: {name: value for name, value in load(*arguments, **options).items() if name in names})
        return Bunch(data=data, target=target, frame=raw.copy(), **kept)

    def stack(self, key: str, stacked: Callable[[], Any], part: Any) -> Any:
        """Return tables below each other; in serving the rows of one of them, with the columns of all."""
        table = stacked() if self.training else part.copy()
        return self.columns(key, table) if hasattr(table, "columns") else table

    def scored(self, key: str, compute: Callable[[], Any]) -> Any:
        """Return a value, such as an accuracy, whose expression contains the prediction; None where it needs labels."""
        before = self.predictions
        try:
            return self(key, compute) if self.training else compute()
        except Exception:
            if self.training or self.predictions == before:
                raise
            return None

    def inputs(self, model: Any, table: Any) -> Any:
        """Note the model and return what it predicts from."""
        self.model, self.model_input, self.predictions = model, table, self.predictions + 1
        return table

    def predict(self, model: Any, method: str, table: Any, /, *arguments: Any, **options: Any) -> Any:
        """Note the model and what it predicts from, and return its prediction."""
        return getattr(model, method)(self.inputs(model, table), *arguments, **options)

    def fit_transform(
        self, key: str, estimator: Any, table: Any, /, *arguments: Any, then: str = "transform", **options: Any
    ) -> Any:
        """Fit an estimator and transform a table, or `then` predict; serving uses the fitted state."""
        if self.training:
            result = getattr(estimator, f"fit_{then}")(table, *arguments, **options)
            self(key, lambda: estimator)
            return result
        # Other names of the notebook may hold the same estimator.
        estimator.__dict__.update(self(key, lambda: estimator).__dict__)
        return getattr(estimator, then)(table)

    def get_dummies(self, key: str, table: Any, /, *arguments: Any, **options: Any) -> Any:
        """Return indicator columns for the levels of the training rows."""
        if isinstance(table, pd.DataFrame):
            given = options.get("columns")
            # What pandas replaces by itself: text and categories.
            text = [name for name in table if str(table[name].dtype) in ("object", "str", "string", "category")]
            names = text if given is None else list(given)
            levels = self(key, lambda: {name: list(pd.Categorical(table[name]).categories) for name in names})
            table = table.copy()
            for name, values in levels.items():
                table[name] = pd.Categorical(table[name], values)
            return pd.get_dummies(table, *arguments, **{**options, "columns": list(levels)})
        levels = self(key, lambda: list(pd.Categorical(table).categories))
        table = pd.Series(pd.Categorical(table, levels), index=getattr(table, "index", None), name=table.name)
        return pd.get_dummies(table, *arguments, **options)

    def category(self, key: str, column: Any) -> Any:
        """Return a column as categories with the levels of the training rows."""
        return column.astype(pd.CategoricalDtype(self(key, lambda: list(column.astype("category").cat.categories))))

    def factorize(self, key: str, column: Any, /, **options: Any) -> Any:
        """Return the codes of a column and its levels, those of the training rows."""
        levels = self(key, lambda: list(pd.factorize(column, **options)[1]))
        return pd.Index(levels).get_indexer(column), pd.Index(levels)

    def cut(self, key: str, column: Any, /, *arguments: Any, function: Any = pd.cut, **options: Any) -> Any:
        """Return the bins of a column with the edges of the training rows, which may be quantiles."""
        edges = self(key, lambda: list(map(float, function(column, *arguments, **{**options, "retbins": True})[1])))
        shared = {name: options[name] for name in ("labels", "right") if name in options}
        return pd.cut(column, edges, include_lowest=options.get("include_lowest", function is pd.qcut), **shared)

    def group_transform(self, key: str, grouped: Any, /, *arguments: Any, **options: Any) -> Any:
        """Return a value for each row's group, or in place of its missing value; none for a group without training."""
        groups, column = _groups(grouped), grouped._selected_obj
        if self.training:
            result = grouped.transform(*arguments, **options)
            self(key, lambda: _by_group(groups, column, result, arguments[0]))
            return result
        kept = self(key, dict)
        lookup = dict(zip(map(tuple, kept["groups"]), kept["values"]))  # noqa: B905
        values = pd.Series([lookup.get(each, np.nan) for each in groups], index=grouped.obj.index)
        return column.where(column.notna(), values) if kept["fills"] else values

    def columns(self, key: str, table: Any) -> Any:
        """Return a table with the columns that it had in training."""
        return table.reindex(columns=self(key, lambda: list(table.columns)))

    def keep(self, reason: str, before: Any, after: Any) -> Any:
        """Return the rows that the author's condition leaves, and note those that it removes."""
        if not self.training and len(after) < len(before):
            missing = ~before.index.isin(after.index) if hasattr(after, "index") else np.ones(len(before), dtype=bool)
            self.removed.append((reason, len(before), len(after), [int(at) for at in np.flatnonzero(missing)]))
        return after

    def rejection(self, count: int) -> tuple[str, list[int]] | None:
        """Return the condition that kept some of `count` rows from the model, and those rows."""
        final, found = (*np.shape(self.model_input), 0)[0], [each for each in self.removed if each[1] == count]
        if final == count or not found:
            return None
        index: Any = getattr(self.model_input, "index", None)
        if hasattr(self.model_input, "iloc") and index.is_unique and not index.equals(pd.RangeIndex(final)):
            # The labels of the rows are still those of the request.
            lost = set(range(count)) - set(index)
            found = [each for each in found if lost & set(each[3])] or found
        # Others may only select the rows of a learned value.
        found.sort(key=lambda each: each[2] != final)
        return found[0][0], found[0][3]

    def training_rows(self, choose: Callable[[], Any], *tables: Any) -> Any:
        """Return the rows that the author's code chooses for training; serving returns every row."""
        # Copies, because the author's code changes one and not the other.
        every = [] if self.training else [copy.copy(table) for table in tables]
        return choose() if self.training else every[0] if len(every) == 1 else every

    def complete_rows(self, key: str, choose: Callable[[], Any], table: Any) -> Any:
        """Return the chosen rows in training; in serving, those without a null where the chosen rows have none."""
        chosen: Any = choose() if self.training else None
        complete = self(key, lambda: [name for name in chosen if chosen[name].notna().all()])
        return chosen if self.training else self.keep(f"dropna() for {key}()", table, table.dropna(subset=complete))

    def split(self, function: Any, /, *tables: Any, **options: Any) -> Any:
        """Return parts of tables; serving returns every row as each part."""
        return function(*tables, **options) if self.training else [copy.copy(each) for each in tables for _ in range(2)]

    def folds(self, function: Any, table: Any, /, *arguments: Any, **options: Any) -> Any:
        """Return the positions of training and test rows; serving returns every row as both."""
        return function(table, *arguments, **options) if self.training else [(np.arange(len(table)),) * 2]


def serve(features: Any, raw: Any, values: dict[str, Any], method: str) -> tuple[Any, Any, dict[int, str]]:
    """Return the model's input and its predictions for the accepted rows, and the reasons of the rejected rows."""
    rejected: dict[int, str] = {}
    positions = np.arange(len(raw))
    while len(positions):
        learned = Learned(values)
        try:
            features(raw.iloc[positions].reset_index(drop=True), learned)
            if not (rejection := learned.rejection(len(positions))):
                return learned.model_input, getattr(learned.model, method)(learned.model_input), rejected
        except Exception:
            if not (rejection := learned.rejection(len(positions))):
                raise
        reason, rows = rejection
        rejected.update({int(positions[at]): reason for at in rows})
        positions = np.delete(positions, rows)
    return None, None, rejected


def as_table(frame: Any, columns: dict[str, dict[str, Any]]) -> Any:
    """Return rows with the columns and types of the table that the notebook reads.

    `columns` gives the `dtype` of each, the `value` that takes the place of one that a request does not have, and the
    `format` in which the table has times as text.
    """
    table = pd.DataFrame(index=range(len(frame)))
    for name, facts in columns.items():
        dtype = facts["dtype"]
        values = frame[name].reset_index(drop=True) if name in frame else pd.Series([facts.get("value")] * len(frame))
        if dtype.startswith("datetime"):
            values = pd.to_datetime(values, utc=True)
            values = values if "UTC" in dtype else values.dt.tz_convert(None)
        elif "format" in facts:
            values = pd.to_datetime(values, utc=True).dt.strftime(facts["format"])
        elif dtype in ("object", "str", "string"):
            # The missing text of a file is NaN, and that of JSON None.
            values = values.astype(object).where(values.notna(), np.nan)
        table[name] = values.astype(dtype)
    return table


def _groups(grouped: Any) -> list[tuple[Any, ...]]:
    """Return the group of each row; the names of pandas for its grouping differ between versions."""
    groupings = (getattr(grouped, "_grouper", None) or grouped.grouper).groupings
    parts = [getattr(each, "grouping_vector", None) for each in groupings]
    parts = [each.grouper if part is None else part for each, part in zip(groupings, parts)]  # noqa: B905
    return list(zip(*(np.asarray(part).tolist() for part in parts)))  # noqa: B905


def _by_group(groups: Any, column: Any, result: Any, function: Any) -> dict[str, Any]:
    """Return the value of each group; where a function fills missing values, the one that it fills in."""
    found = dict(zip(groups, result.tolist()))  # noqa: B905
    fills = not pd.Series([found[each] for each in groups], result.index, object).equals(result.astype(object))
    if fills:
        if not callable(function) or not result[column.notna()].equals(column.dropna()):
            raise ValueError("the rows of a group get different values: merge a table with a value for each group")
        rows = pd.Series(range(len(groups))).groupby(pd.Series(groups)).indices
        found = {
            each: function(pd.concat([column.iloc[at], pd.Series([np.nan])])).iloc[-1] for each, at in rows.items()
        }
    return {"groups": list(map(list, found)), "values": list(found.values()), "fills": fills}
