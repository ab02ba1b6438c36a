"""`looseleaf graduate`: the SQL or scikit-learn step that replaces each learned expression of src/model/lifted.py.

Every step is computed by DuckDB or scikit-learn and compared on the golden rows in tests/lifted.json. No file changes.
"""

import ast
import copy
import importlib
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from lifecycle import features, settings
from lifecycle.contract.tables import quoted
from lifecycle.contract.team import load_contract
from lifecycle.errors import LifecycleError

SQL = {"mean": "avg({})", "median": "median({})", "min": "min({})", "max": "max({})", "sum": "sum({})"}
SQL |= {"std": "stddev_samp({})", "var": "var_samp({})", "count": "count({})", "nunique": "count(DISTINCT {})"}
SQL |= {"quantile": "quantile_cont({}, {})"}
STEPS = ("__call__", "category", "factorize", "get_dummies", "fit_transform", "cut", "group_transform")
# The edges of `bins` bins of the same width; pandas moves the first one, so that the smallest value is inside.
WIDTHS = """SELECT [low + (high - low) * (CASE i WHEN 0 THEN -0.001 ELSE i / {bins} END) FOR i IN range({bins} + 1)]
    FROM (SELECT min({column}) AS low, max({column}) AS high FROM df)"""
MOST_FREQUENT = "SELECT {0} FROM {1} WHERE {0} IS NOT NULL GROUP BY {0} ORDER BY count(*) DESC, {0} LIMIT 1"
# Table, groups, column, function and its argument; and the function that a transformation fills missing values with.
AGGREGATE = r"""(\w+)(?:\.groupby\((.+)\))?\['(.+?)'\]\.(\w+)\((.*)\)"""
FILL = r"""lambda (\w+): \1\.fillna\(\1\.(\w+)\(\)\)"""


def run(root: Path) -> int:
    """Print every learned expression with its replacement and the comparison; returns 0, or 1 for an error."""
    try:
        print("\n".join(Graduation(root).lines()))
    except (LifecycleError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
    # The author's lines, the team's data.py and a package that is missing raise their own types.
    except Exception as error:
        print(f"error: the lifted model cannot be trained here ({type(error).__name__}: {error})", file=sys.stderr)
        print("  `make test` shows where; `make train` must work first.", file=sys.stderr)
    else:
        return 0
    return 1


class Graduation:
    """The lifted model, trained on the table of the repository, with all calls of `learned` that it made."""

    def __init__(self, root: Path) -> None:
        """Train; raises LifecycleError for a repository without a lift, its golden rows or its table."""
        if not (golden := root / "tests/lifted.json").exists():
            raise LifecycleError(f"{golden} is missing", "Lift a notebook first: make lift NOTEBOOK=FILE.")
        sys.path.insert(0, str(root / "src"))
        self.text, target = (root / "src/model/lifted.py").read_text(encoding="utf-8"), load_contract()[0].target
        data, learned, lifted = map(importlib.import_module, ("model.data", "model.learned", "model.lifted_model"))
        with features.connect(data, root / settings.load(root).settings.data) as connection:
            frame = connection.execute(data.labels(connection)).df()
        self.learned, self.recorder, self.model = learned, _recorder(learned.Learned), lifted.LiftedModel()
        vars(learned)["Learned"] = vars(lifted)["Learned"] = self.recorder
        label = frame[target.label]
        is_text = target.task == "multiclass" or label.dtype.kind not in "buif"
        self.model.fit(frame, label.astype(str).map(list(target.classes).index) if is_text else label)
        self.golden = pd.DataFrame(json.loads(golden.read_bytes())["rows"])
        self.outputs = self.model.predict(self.golden)

    def lines(self) -> Iterator[str]:
        """Yield the lines of the report."""
        calls = [each for each in ast.walk(ast.parse(self.text)) if isinstance(each, ast.Call) and _key(each)]
        for node in sorted(calls, key=lambda each: each.lineno):
            yield f"\n{_key(node)}, line {node.lineno}: {ast.get_source_segment(self.text, node)}"
            try:
                step, compare = self._replacement(node)
                yield from (f"  {' '.join(step.split())}", f"  {compare()}")
            # The author's lines, and steps of any library, raise their own types.
            except Exception as error:
                yield f"  no replacement is known, keep the line ({error})"

    def _replacement(self, node: ast.Call) -> tuple[str, Callable[[], str]]:
        """Return a step, and a function that compares it; raises LookupError where none is known."""
        key, values = _key(node), self.model.values
        call, before = (self.recorder.calls[trains].get(key) for trains in (False, True))
        if call is None or before is None or key not in values:
            raise LookupError("a function learns it, or it has no counterpart in SQL and scikit-learn")
        if call.kind == "cut":
            query, edges = _edges(*before.arguments[:2], **before.options)
            return f"SQL: {query}", lambda: self._with(key, edges)
        if call.kind == "fit_transform" and "then" not in call.options:
            step = clone(call.arguments[0])
            fitted = step.fit(*before.arguments[1:])
            return f"scikit-learn: {step}", lambda: compared(call.result, fitted.transform(call.arguments[1]))
        if call.kind not in ("__call__", "group_transform"):
            step, table, expected = _encoder(call, values[key])
            return f"scikit-learn: {step}", lambda: compared(expected, step.fit_transform(table))
        expression = getattr(node.args[1], "body", node)
        if hasattr(values[key], "fit") and ast.unparse(getattr(expression, "func", expression)).endswith(".fit"):
            # For a search, the step is its best estimator.
            step = clone(getattr(values[key], "best_estimator_", values[key]))
            names = vars(sys.modules["model.lifted"]) | before.names
            tables = [eval(compile(ast.Expression(each), "lifted", "eval"), names) for each in expression.args]
            return f"scikit-learn: {step}", lambda: self._with(key, step.fit(*tables))
        if call.kind == "group_transform":
            grouped, how = ast.unparse(node.args[1]), ast.unparse(node.args[2])
            fill = re.fullmatch(FILL, how)
            # A group of one column does not contain the columns that it is grouped by.
            columns = (
                before.arguments[0]._selected_obj,
                *zip(*vars(self.learned)["_groups"](before.arguments[0]), strict=True),
            )
            names = re.findall(r"'(.+?)'", grouped)
            table = pd.DataFrame(dict(zip([names[-1], *names], columns, strict=False)))
            query, rows = _aggregate(f"{grouped}.{fill[2] if fill else how.strip(chr(39))}()", table)
            new: Any = {"groups": [each[:-1] for each in rows], "values": [each[-1] for each in rows]}
            return f"SQL: {query}", lambda: self._with(key, new | {"fills": values[key]["fills"]})
        source = ast.unparse(expression)
        query, rows = _aggregate(source, before.names.get(source.partition(".")[0].partition("[")[0]))
        new = rows[0][0]
        if ".groupby(" in source:
            groups = [each[0] if len(each) == 2 else each[:-1] for each in rows]
            new = pd.Series([each[-1] for each in rows], groups).reindex(values[key].index)
        return f"SQL: {query}", lambda: self._with(key, new)

    def _with(self, key: str, value: Any) -> str:
        """Compare the predictions of the golden rows with another value in place of a learned one."""
        return compared(self.outputs, type(self.model)({**self.model.values, key: value}).predict(self.golden))


def _aggregate(source: str, table: Any) -> tuple[str, list[tuple[Any, ...]]]:
    """Return SQL of an aggregate of one column, and its rows; raises LookupError for any other expression."""
    found = re.fullmatch(AGGREGATE, re.sub(r"\.mode\(\)(\[0\]|\.iloc\[0\])$", ".mode()", source))
    if not found or found[4] not in (*SQL, "mode") or bool(found[5]) != (found[4] == "quantile"):
        raise LookupError("it is neither a fit nor an aggregate of one column")
    column, groups = quoted(found[3]), ast.literal_eval(found[2]) if found[2] else []
    keys = "".join(f"{quoted(each)}, " for each in ([groups] if isinstance(groups, str) else groups))
    query = (
        f"SELECT {keys}{SQL.get(found[4], '').format(column, found[5])} FROM {found[1]}{' GROUP BY ALL' * bool(keys)}"
    )
    if found[4] == "mode":
        if keys:
            raise LookupError("SQL has no function for the most frequent value that decides ties as pandas does")
        query = MOST_FREQUENT.format(column, found[1])
    return query, duckdb.query_df(table, found[1], query).fetchall()


def _edges(column: Any, bins: Any, function: Any = pd.cut, **options: Any) -> tuple[str, list[float]]:
    """Return SQL of the edges of bins, and the edges; raises LookupError where the line states them."""
    table, name = column.to_frame(column.name or "value"), quoted(str(column.name or "value"))
    if function is pd.qcut:
        shares = np.linspace(0, 1, bins + 1) if isinstance(bins, int) else bins
        query = f"SELECT quantile_cont({name}, {[float(each) for each in shares]}) FROM df"
    elif isinstance(bins, int):
        query = WIDTHS.format(bins=bins, column=name)
    else:
        raise LookupError("the line states the edges, so that nothing is learned")
    [(edges,)] = duckdb.query_df(table, "df", query).fetchall()
    # Equal quantiles are one edge, as with duplicates="drop".
    return query, [*dict.fromkeys(edges)]


def compared(expected: Any, found: Any) -> str:
    """Return that two results are equal on all rows, or the first difference."""
    pair = [np.asarray(each.toarray() if hasattr(each, "toarray") else each, object) for each in (expected, found)]
    one, other = (each.reshape(len(each), -1) for each in pair)
    try:
        same = np.isclose(one.astype(float), other.astype(float), equal_nan=True)
    except ValueError:
        same = one == other
    for at, column in np.argwhere(~same):
        return f"differs in row {at + 1}: {other[at, column]} instead of {one[at, column]}"
    return f"equal on {len(one)} rows"


def _recorder(base: Any) -> Any:
    """Return a subclass of Learned that records each call in `calls[is_training][key]`."""

    def recorded(kind: str) -> Any:
        def step(self: Any, key: str, *arguments: Any, **options: Any) -> Any:
            names, given = {}, copy.deepcopy(arguments)
            if kind == "__call__" and self.training:
                cells = zip(arguments[0].__code__.co_freevars, arguments[0].__closure__ or (), strict=True)
                names = {name: copy.copy(cell.cell_contents) for name, cell in cells}
            result = getattr(base, kind)(self, key, *arguments, **options)
            facts = SimpleNamespace(kind=kind, arguments=given, options=options, names=names, result=result)
            made.calls[self.training][key] = facts
            return result

        return step

    made: Any = type("Recorder", (base,), {kind: recorded(kind) for kind in STEPS})
    made.calls = {True: {}, False: {}}
    return made


def _key(node: ast.Call) -> str:
    """Return the key of a call of `learned`; empty for any other call."""
    match node:
        # Its first argument is the reason of a filter, which learns nothing.
        case ast.Call(ast.Attribute(ast.Name("learned"), "keep")):
            return ""
        case ast.Call(ast.Name("learned") | ast.Attribute(ast.Name("learned")), [ast.Constant(str(key)), _, *_]):
            return key
    return ""


def _encoder(call: Any, kept: Any) -> tuple[Any, Any, Any]:
    """Return an encoder with the kept levels, its table and what it has to return."""
    table, result = call.arguments[0], call.result
    if call.kind == "get_dummies":
        made = {f"{name}_{level}" for name, levels in kept.items() for level in levels}
        one_hot = OneHotEncoder(categories=[*kept.values()], handle_unknown="ignore", sparse_output=False)
        return one_hot, table[list(kept)], result[[name for name in result if name in made]]
    options = {"handle_unknown": "use_encoded_value", "unknown_value": -1, "encoded_missing_value": -1}
    return (
        OrdinalEncoder(categories=[kept], **options),
        table.to_frame(),
        result.cat.codes if call.kind == "category" else result[0],
    )
