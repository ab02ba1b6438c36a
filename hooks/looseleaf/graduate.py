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

SQL = {"mean": "avg", "median": "median", "min": "min", "max": "max", "sum": "sum", "std": "stddev_samp"}
STEPS = ("__call__", "category", "factorize", "get_dummies", "fit_transform")
AGGREGATE = r"""(\w+)(?:\.groupby\('(.+)'\))?\['(.+)'\]\.(\w+)\(\)"""


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
        self.recorder, self.model = _recorder(learned.Learned), lifted.LiftedModel()
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
        if call.kind == "fit_transform" and "then" not in call.options:
            step = clone(call.arguments[0])
            fitted = step.fit(*before.arguments[1:])
            return f"scikit-learn: {step}", lambda: compared(call.result, fitted.transform(call.arguments[1]))
        if call.kind != "__call__":
            step, table, expected = _encoder(call, values[key])
            return f"scikit-learn: {step}", lambda: compared(expected, step.fit_transform(table))
        expression = getattr(node.args[1], "body", node)
        if hasattr(values[key], "fit") and ast.unparse(getattr(expression, "func", expression)).endswith(".fit"):
            # For a search, the step is its best estimator.
            step = clone(getattr(values[key], "best_estimator_", values[key]))
            names = vars(sys.modules["model.lifted"]) | before.names
            tables = [eval(compile(ast.Expression(each), "lifted", "eval"), names) for each in expression.args]
            return f"scikit-learn: {step}", lambda: self._with(key, step.fit(*tables))
        found = re.fullmatch(AGGREGATE, ast.unparse(expression))
        if not found or found[4] not in SQL:
            raise LookupError("it is neither a fit nor an aggregate of one column")
        value, group = f"{SQL[found[4]]}({quoted(found[3])})", quoted(found[2]) if found[2] else ""
        query = f"SELECT {group}, {value} FROM {found[1]} GROUP BY ALL" if group else f"SELECT {value} FROM {found[1]}"
        rows = duckdb.query_df(before.names[found[1]], found[1], query).fetchall()
        new = pd.Series(dict(rows)).reindex(values[key].index) if group else rows[0][0]
        return f"SQL: {query}", lambda: self._with(key, new)

    def _with(self, key: str, value: Any) -> str:
        """Compare the predictions of the golden rows with another value in place of a learned one."""
        return compared(self.outputs, type(self.model)({**self.model.values, key: value}).predict(self.golden))


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
