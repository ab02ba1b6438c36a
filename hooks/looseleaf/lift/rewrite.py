"""Rewrite the expressions of a statement that learn from rows or choose rows; every other character is the author's."""

import ast
import re
from collections import Counter
from typing import Any

from lifecycle.errors import LifecycleError
from looseleaf.lift.read import Source
from looseleaf.lift.slicing import Fact, Plan, Trace, is_part, place, stacked

CROSS = "The line needs other rows of the table, which a request does not have: compute the column in features.sql."
BINNED = ("cut", "qcut", "factorize", "get_dummies")


class Rewriter:
    """Rewrites statements of a trace. `learned` and `filters` list what it wrapped, for the report."""

    def __init__(self, trace: Trace, plan: Plan, prediction: Fact) -> None:
        self.trace, self.plan, self.prediction = trace, plan, prediction
        self._keys: Counter[str] = Counter()
        self.learned: list[Fact] = []
        self.filters: list[Fact] = []
        self._nodes: dict[tuple[Any, ...], Fact] = {}
        self._sources: dict[tuple[Any, ...], list[Fact]] = {}
        for each in trace.facts["sources"]:
            if each["statement"] in plan.kept:
                self._sources.setdefault(tuple(each["place"]), []).append(each)
        raw = trace.facts["sources"][plan.source]
        for each in trace.facts["nodes"]:
            where = (each["statement"], *each["span"])
            is_table = each["kind"] == "source" and not all(is_part(it, raw) for it in self._sources.get(where, [{}]))
            self._nodes[where] = {**each, "kind": "table"} if is_table else each

    def statement(self, at: int, node: ast.stmt, only: tuple[str, ...] = ()) -> str:
        """Return the text of a statement with its expressions rewritten, of which only some kinds for training."""
        first, start, last, end = self.trace.statements[at]["span"]
        source = self._source(at)
        return self._range(at, node, source.offset(first, start), source.offset(last, end), only)

    def expression(self, at: int, node: ast.expr) -> str:
        """Return the text of an expression, rewritten."""
        fact = self._fact(at, node)
        return self._one(at, node, fact) if fact else self._inside(at, node)

    def segment(self, at: int, node: ast.expr) -> str:
        """Return the author's text of an expression, except for the read of the raw table."""
        return _one_line(self._inside(at, node, only=("source",)))

    def note(self, at: int, wanted: str, kind: str, short: str) -> str:
        """Return a key for a learned value, and list it for the report."""
        self._keys[wanted] += 1
        key = wanted if self._keys[wanted] == 1 else f"{wanted}_{self._keys[wanted]}"
        statement = self.trace.statements[at]
        place = {"cell": statement["cell"], "line": statement["line"]}
        self.learned.append({"key": key, "kind": kind, "value": short, **place})
        return key

    def _fact(self, at: int, node: ast.AST) -> Fact | None:
        if not isinstance(node, ast.expr):
            return None
        if self.prediction["place"] == [at, *place(node)] and isinstance(node, ast.Call):
            return {"kind": "predict"}
        return self._nodes.get((at, *place(node)))

    def _source(self, at: int) -> Source:
        return Source(self.trace.codes[self.trace.statements[at]["cell"]])

    def _inside(self, at: int, node: ast.expr, only: tuple[str, ...] = ()) -> str:
        """Return the text of an expression with those in it rewritten."""
        return self._range(at, node, *self._source(at).range(node), only)

    def _range(self, at: int, parent: ast.AST, start: int, end: int, only: tuple[str, ...] = ()) -> str:
        """Return the text of a range with the outermost expressions below `parent` rewritten."""
        source, parts, position = self._source(at), [], start
        for node, fact in self._outermost(at, parent, only):
            stands_alone = isinstance(node, ast.Expr)
            first, last = source.range(node.value if stands_alone else node)
            text = self._standing(at, node, fact) if stands_alone else self._one(at, node, fact)
            parts += [source.text(position, first), text]
            position = last
        return "".join([*parts, source.text(position, end)])

    def _outermost(self, at: int, parent: ast.AST, only: tuple[str, ...]) -> list[tuple[Any, Fact]]:
        found: list[tuple[Any, Fact]] = []
        for node in ast.iter_child_nodes(parent):
            inner = node.value if isinstance(node, ast.Expr) else node
            fact = self._fact(at, inner)
            if fact and (not only or fact["kind"] in only):
                found.append((node, fact))
            else:
                found += self._outermost(at, node, only)
        if isinstance(parent, ast.Expr) and not only and (fact := self._fact(at, parent.value)):
            return [(parent, fact)]
        return sorted(found, key=lambda each: (each[0].lineno, each[0].col_offset))

    def _standing(self, at: int, node: Any, fact: Fact) -> str:
        """Return the text of an expression that stands alone: a fit, or a method that changes a frame in place."""
        source, call = self._source(at), node.value
        is_method = isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)
        receiver = call.func.value if is_method else None
        if fact["kind"] == "value" and isinstance(receiver, ast.Name) and call.func.attr == "fit":
            key = self.note(at, receiver.id, "fitted", fact["short"])
            return f'{receiver.id} = learned("{key}", lambda: {_one_line(source.of(call))})'
        if fact["kind"].endswith("_in_place") and receiver is not None:
            name = source.of(receiver)
            given = [each for each in (*call.args, *call.keywords) if getattr(each, "arg", "") != "inplace"]
            arguments = map(source.of, given)
            changed = f"{name}.{call.func.attr}({', '.join(arguments)})"
            return f"{name} = {self._rows(at, fact['kind'], name, changed)}"
        return self._one(at, call, fact)

    def _rows(self, at: int, kind: str, before: str, after: str) -> str:
        statement = self.trace.statements[at]
        reason = " ".join(after.split())[:160].replace('"', "'")
        rejects = kind.startswith("reject") and reason not in self.plan.choosing
        entry = {"cell": statement["cell"], "line": statement["line"], "text": reason}
        self.filters.append({**entry, "rejects": rejects})
        if rejects:
            return f"learned.keep({reason!r}, {before}, {after})"
        return f"learned.training_rows(lambda: {_one_line(after)}, {before})"

    def _one(self, at: int, node: Any, fact: Fact) -> str:
        kind, source = fact["kind"], self._source(at)
        seg = source.of(node)
        if kind == "cross_row":
            cell = self.trace.statements[at]["cell"]
            raise LifecycleError(f"cell {cell} computes a row from other rows: {_one_line(seg)[:120]}", CROSS)
        if kind == "source":
            return self._read(at, node)
        if kind == "table":
            return f'learned("{self.note(at, _wanted(node), "table", fact["short"])}", lambda: {_one_line(seg)})'
        if kind == "stack":
            key, number = self.note(at, _wanted(node), "columns", fact["short"]), self.plan.parts[at, *place(node)]
            parts = stacked(node)
            several = len(parts) == len(fact["parts"])
            part = self.expression(at, parts[number if several else 0])
            return f'learned.stack("{key}", lambda: {_one_line(seg)}, {part}{"" if several else f"[{number}]"})'
        if kind == "fit_method":
            key = self.note(at, _wanted(node), "fit_transform", fact["short"])
            receiver = self.expression(at, node.value)
            return f'lambda column: learned.fit_transform("{key}", {receiver}, column)'
        if kind == "value":
            name, text = "learned", seg
            if self._predicts(at, node):
                name, text = "learned.scored", self._inside(at, node)
            key = self.note(at, _wanted(node), "value", fact["short"])
            return f'{name}("{key}", lambda: {_one_line(text)})'
        inner = self._inside(at, node)
        if kind in ("reject", "choose"):
            return self._selection(at, node, kind, inner)
        arguments = [self.expression(at, each) for each in node.args]
        for each in sorted(node.keywords, key=lambda each: each.arg not in ("data", "x", "values")):
            if kind in BINNED and each.arg in ("data", "x", "values"):
                arguments.insert(0, self.expression(at, each.value))
                continue
            arguments.append((f"{each.arg}=" if each.arg else "**") + self.expression(at, each.value))
        receiver = self.expression(at, node.func.value) if isinstance(node.func, ast.Attribute) else ""
        if kind == "predict":
            return f"learned.predict({', '.join([receiver, repr(node.func.attr), *arguments])})"
        if kind in ("split", "folds"):
            return f"learned.{kind}({', '.join([source.of(node.func), *arguments])})"
        if kind == "choose_by_function":
            key = self.note(at, source.of(node.func), "columns", "")
            return f'learned.complete_rows("{key}", lambda: {_one_line(inner)}, {arguments[0]})'
        if kind == "resample":
            tables = arguments[: len(node.args)] or [self.expression(at, each.value) for each in node.keywords]
            return f"learned.training_rows(lambda: {_one_line(seg)}, {', '.join(tables)})"
        key = self.note(at, _wanted(node), kind, fact["short"])
        if kind == "expand":
            return f'learned.columns("{key}", {inner})'
        if kind == "category":
            arguments = []
        if kind == "fit_predict":
            kind, arguments = "fit_transform", [*arguments, 'then="predict"']
        if kind == "qcut":
            kind, arguments = "cut", [*arguments, f"function={source.of(node.func)}"]
        if kind in BINNED:
            of_module = receiver in ("pd", "pandas", "")
            return f'learned.{kind}("{key}", {", ".join(arguments if of_module else [receiver, *arguments])})'
        return f'learned.{kind}("{key}", {", ".join([receiver, *arguments])})'

    def _predicts(self, at: int, node: ast.expr) -> bool:
        """Whether the prediction is part of an expression, or is made by a function that it calls."""
        calls = [each for each in ast.walk(node) if isinstance(each, ast.Call)]
        if any([at, *place(each)] == self.prediction["place"] for each in calls):
            return True
        names = {each.func.id for each in calls if isinstance(each.func, ast.Name)}
        kept = (self.trace.statements[each] for each in self.plan.kept)
        defined = {name for each in kept if each["kind"] == "FunctionDef" for name in each["writes"]}
        return at == self.plan.target != self.prediction["place"][0] and bool(names & defined)

    def _read(self, at: int, node: Any) -> str:
        """Return the text for a read of the raw table, or of a file whose rows have its columns."""
        here, raw = self._sources[at, *place(node)], self.trace.facts["sources"][self.plan.source]
        source = self._source(at)
        # A file may be read more than once.
        same = [each for each in here if (each["given"], each["columns"]) == (raw["given"], raw["columns"])]
        if len(same) == len(here) and not raw["of_library"]:
            return "raw.copy()"
        if same and raw["of_library"]:
            arguments = map(source.of, (node.func, *node.args, *node.keywords))
            return f'learned.data_set("{self.note(at, _wanted(node), "value", "names")}", raw, {", ".join(arguments)})'
        other = next(each for each in here if each not in same)
        without = [name for name in raw["columns"] if name not in other["columns"]]
        options = [f"without={without}"] if without else []
        if same:
            of_fit = self.trace.statements[same[0]["statement"]]
            options.append(f'fit="cell {of_fit["cell"]}, line {of_fit["line"]}"')
        return f"learned.request({', '.join([f'lambda: {_one_line(source.of(node))}', 'raw', *options])})"

    def _selection(self, at: int, node: Any, kind: str, inner: str) -> str:
        if isinstance(node, ast.Call):
            receiver = node.func.value if isinstance(node.func, ast.Attribute) else node.func
            return self._rows(at, kind, self.expression(at, receiver), inner)
        base, key, indexer = node.value, node.slice, ""
        if isinstance(base, ast.Attribute) and base.attr in ("loc", "iloc"):
            indexer, base = f".{base.attr}", base.value
        before = self.expression(at, base)
        if isinstance(key, ast.Tuple) and len(key.elts) > 1:
            before = f"{before}{indexer}[:, {self.expression(at, key.elts[1])}]"
        return self._rows(at, kind, before, inner)


def _one_line(text: str) -> str:
    """Return an expression on one line, because a lambda with line breaks needs brackets."""
    return text if "\n" not in text else f"({text})"


def _wanted(node: Any) -> str:
    """Return a readable key for the value of an expression: the texts and attributes in it, as in `age_mean`."""
    parts = []
    for each in ast.walk(node):
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            parts.append((each.lineno, each.col_offset, each.value))
        elif isinstance(each, ast.Attribute):
            parts.append((each.end_lineno or 0, each.end_col_offset or 0, each.attr))
    words = [re.sub(r"\W+", "_", text).strip("_").lower() for _, _, text in sorted(parts)]
    words = [word for word in words if word and word not in ("values", "columns", "loc", "iloc")]
    return "_".join(words[:1] + words[-1:] if len(words) > 1 else words)[:40] or "value"
