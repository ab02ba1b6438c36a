"""Record what each expression of a notebook did: read a file, learn a value, choose rows, predict."""

from __future__ import annotations

import copy
import types
from typing import Any

import pandas as pd

from . import kinds
from .values import FEWEST_ROWS, comparable, is_estimator, is_storable, rows, short

# A loop over rows would be recorded for each row.
MOST_VISITS = 2000
SHARE = 0.01
# Attributes that depend on the columns only.
OF_COLUMNS = ("columns", "name", "ndim")
DUMPERS = ("dump", "save_model", "log_model")


class Recorder:
    """The object behind `__lift__` in the namespace of a notebook.

    A value is *aligned* when it has one entry for each row: its length is one of `lengths`, those of the tables that
    were read and of what was selected from them.
    """

    def __init__(self, data: str | None) -> None:
        self.data = data
        self.statement = 0
        self.lengths: set[int] = set()
        self.largest = 0
        self.nodes: dict[Any, dict[str, Any]] = {}
        self.predictions: list[dict[str, Any]] = []
        self.sources: list[dict[str, Any]] = []
        self.tables: list[Any] = []
        self.saved: set[int] = set()
        # The table and the target of the last fit of each estimator. They are found by the identity of the estimator,
        # which is kept here so that no new object takes the identity over.
        self.fits: dict[int, Any] = {}
        self._open: list[list[bool]] = [[False]]
        self._visits: dict[Any, int] = {}
        self._deep = 0
        self.draws: list[dict[str, Any]] = []
        self.seeds: list[int] = []
        # The path in place of which `data` is read.
        self.replaced: Any = None

    def start(self, statement: int) -> None:
        """Begin a statement, also after one that failed."""
        self.statement, self._open, self._deep = statement, [[False]], 0

    def is_aligned(self, value: Any) -> bool:
        """Return whether a value has one entry for each row."""
        count = rows(value)
        return count is not None and count >= FEWEST_ROWS and count in self.lengths

    def can_keep(self, value: Any) -> bool:
        """Return whether a value can be a learned one: it is neither None nor a list or dictionary of whole tables."""
        return value is not None and is_storable(value) and not self._holds_rows(value)

    def _holds_rows(self, value: Any) -> bool:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
        return any(self.is_aligned(each) or self._holds_rows(each) for each in list(inner)[:50])

    def enter(self, *place: int) -> Any:
        """Begin an expression; its parts are evaluated next."""
        visits = self._visits[place] = self._visits.get(place, 0) + 1
        if self._deep or visits > MOST_VISITS:
            return None
        self._open.append([False])
        return place, len(self._open) - 1

    def whole(self, token: Any, value: Any) -> Any:
        """Record an expression without parts of interest, such as an operator."""
        return self._leave(token, value, "", ())

    def attribute(self, token: Any, receiver: Any, name: str) -> Any:
        """Record `receiver.name`."""
        parts = () if name in OF_COLUMNS else (receiver,)
        if name in OF_COLUMNS and token:
            self._open[token[1]] = [False]
        kind = "fit_method" if name == "fit_transform" and is_estimator(receiver) else ""
        return self._leave(token, getattr(receiver, name), kind, parts)

    def item(self, token: Any, receiver: Any, key: Any) -> Any:
        """Record `receiver[key]`."""
        value = receiver[key]
        if token is None:
            return value
        base = getattr(receiver, "obj", receiver) if type(receiver).__name__.endswith("Indexer") else receiver
        kind = kinds.of_item(base, key, value) if self.is_aligned(base) and self._is_many(value) else ""
        if kind:
            self._add_length(value)
        return self._leave(token, value, kind, (base, key))

    def call(self, token: Any, function: Any, /, *arguments: Any, **options: Any) -> Any:
        """Record `function(…)`."""
        name = getattr(function, "__name__", "")
        return self._called(token, None, name, function, arguments, options)

    def method(self, token: Any, receiver: Any, name: str, /, *arguments: Any, **options: Any) -> Any:
        """Record `receiver.name(…)`."""
        function = getattr(receiver, name)
        owner = None if isinstance(receiver, types.ModuleType) else receiver
        return self._called(token, owner, name, function, arguments, options)

    def _called(self, token: Any, receiver: Any, name: str, function: Any, arguments: Any, options: Any) -> Any:
        if isinstance(receiver, pd.DataFrame) and name in ("query", "eval"):
            # They look for variables in the frame of their caller.
            options["level"] = options.get("level", 0) + 2
        if token is None:
            return function(*arguments, **options)
        if kinds.is_reader(receiver, name, function):
            return self._read(token, function, arguments, options)
        before = rows(receiver) if self.is_aligned(receiver) else None
        first = arguments[0] if arguments else next(iter(options.values()), None)
        deep = kinds.is_deep(receiver, name, arguments, options)
        self._deep += deep
        try:
            value = function(*arguments, **options)
        finally:
            self._deep -= deep
        if kinds.is_draw(function, value):
            self.draws.append({"place": token[0]})
        if name == "seed":
            self.seeds.append(self.statement)
        if name in DUMPERS:
            self.saved |= {id(each) for each in _flat(arguments) if is_estimator(each)}
        if is_estimator(receiver) and name.startswith("fit"):
            for each in (receiver, getattr(receiver, "best_estimator_", None)):
                target = arguments[1] if len(arguments) > 1 else options.get("y")
                self.fits[id(each)] = (first, target, each)
        if is_estimator(receiver) and name in kinds.PREDICTORS:
            self._note_prediction(token[0], receiver, name, first, value)
        parts = (receiver, *arguments, *options.values())
        kind = ""
        if any(map(self.is_aligned, parts)) or type(receiver).__name__.endswith(("GroupBy", "StringMethods")):
            kind = kinds.of_call(receiver, name, function, arguments, options)
        after = receiver if value is None else value
        kind = kind or (kinds.of_rows(receiver, name, value, before, options) if self._is_many(after) else "")
        if not kind and arguments and self.is_aligned(first) and self._is_many(value):
            kind = "choose_by_function" if kinds.returns_rows(function, first, value) else ""
        if kind in ("split", "resample"):
            for each in value if isinstance(value, (list, tuple)) else [value]:
                self._add_length(each)
            counts = [rows(first) or 0, rows(each) or 1]
        elif kind.startswith(("reject", "choose")):
            self._add_length(after)
        elif name in ("merge", "join", "concat", "append") and any(map(self.is_aligned, _flat(parts))):
            self._add_length(value)
            counts = [rows(each) or 0 for each in _flat(parts) if isinstance(each, (pd.DataFrame, pd.Series))]
            if name in ("concat", "append") and len(counts) > 1 and sum(counts) == rows(value):
                kind = "stack"
        result = self._leave(token, value, kind, parts)
        if token is not None and kind in ("stack", "resample"):
            self.nodes[token[0]]["parts"] = counts
        return result

    def _leave(self, token: Any, value: Any, kind: str, parts: Any) -> Any:
        if token is None:
            return value
        place, depth = token
        learns = self._open[depth][0] or any(map(self.is_aligned, parts))
        del self._open[depth:]
        aligned = self.is_aligned(value)
        self._open[-1][0] = self._open[-1][0] or learns or aligned
        if not kind and learns and not aligned and self.can_keep(value):
            kind = "value"
        if kind and self.nodes.get(place, {}).get("kind") in (None, "value"):
            self.nodes[place] = {"kind": kind, "short": short(value)}
        return value

    def _read(self, token: Any, function: Any, arguments: Any, options: Any) -> Any:
        arguments = arguments or tuple(options.pop(name) for name in kinds.PATHS if name in options)
        is_raw = self.data and arguments and kinds.is_missing(arguments[0], self.data)
        if is_raw and self.replaced in (None, arguments[0]):
            self.replaced, arguments = arguments[0], (self.data, *arguments[1:])
        if type(function).__name__ == "Stub":
            # seaborn is replaced, and its tables are files of the network.
            arguments, function = (self.data or kinds.cached(arguments[0]),), pd.read_csv
        value = function(*arguments, **options)
        of_library = not isinstance(value, (pd.DataFrame, pd.Series)) and kinds.is_data_set(function)
        table = kinds.table_of(function, arguments, options) if of_library else value
        count = rows(table) or 0
        if count >= FEWEST_ROWS:
            self.lengths.add(count)
        self.largest = max(self.largest, count)
        columns = list(map(str, table.columns)) if isinstance(table, pd.DataFrame) else []
        given = str(arguments[0]) if arguments else getattr(function, "__name__", "")
        fact = {"statement": self.statement, "place": token[0], "rows": count, "columns": columns, "given": given}
        fact["of_library"] = of_library
        self.sources.append(fact)
        self.tables.append(copy.copy(table))
        return self._leave(token, value, "source", ())

    def _note_prediction(self, place: Any, model: Any, method: str, inputs: Any, value: Any) -> None:
        count = rows(inputs)
        if not count:
            return
        outputs = model.predict(inputs) if method == "score" else value
        same = {"statement": self.statement, "place": place, "method": "predict" if method == "score" else method}
        self.predictions = [each for each in self.predictions if any(each[name] != same[name] for name in same)]
        on_fit = id(model) in self.fits and self.fits[id(model)][0] is inputs
        fact = {"model": type(model).__name__, "identity": id(model), "object": model, "rows": count, "on_fit": on_fit}
        fact.update(outputs=comparable(outputs), inputs=comparable(inputs), classes=_classes(model))
        index = getattr(inputs, "index", None)
        fact["index"] = None if index is None or not hasattr(inputs, "iloc") else comparable(index)
        self.predictions.append({**same, **fact})

    def _is_many(self, value: Any) -> bool:
        return (rows(value) or 0) >= max(FEWEST_ROWS, SHARE * self.largest)

    def _add_length(self, value: Any) -> None:
        if self._is_many(value):
            self.lengths.add(rows(value) or 0)


def _flat(values: Any) -> list[Any]:
    """Return values and the entries of lists and tuples among them."""
    inner = [each for value in values if isinstance(value, (list, tuple)) and len(value) < 50 for each in value]
    return [*values, *inner]


def _classes(model: Any) -> list[Any]:
    try:
        return [each.item() if hasattr(each, "item") else each for each in model.classes_]
    except Exception:
        return []
