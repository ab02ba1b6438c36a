"""Rewrite a statement so that a recorder sees the value of each expression; the statement does what it did before."""

from __future__ import annotations

import ast
import copy
import re
from typing import Any

# Names whose calls depend on the calling frame, or print.
UNTOUCHED = ("super", "locals", "globals", "vars", "eval", "exec", "print", "display")


def span(node: Any) -> tuple[int, int, int, int]:
    """Return the place of a node in the code of its cell."""
    return (node.lineno, node.col_offset, node.end_lineno, node.end_col_offset)


class Instrument(ast.NodeTransformer):
    """Wrap expressions in calls of `__lift__`, the recorder in the notebook's namespace.

    `__lift__.enter(id)` is evaluated before the parts of an expression and its result is passed on with their values,
    so the order of evaluation and the scopes stay those of the author.
    """

    def __init__(self, statement: int) -> None:
        self.statement = statement

    def transform(self, statement: ast.stmt) -> ast.Module:
        """Return a module with the rewritten statement."""
        module = ast.Module([self.visit(copy.deepcopy(statement))], [])
        return ast.fix_missing_locations(module)

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        """Leave classes alone, because libraries copy estimators."""
        return node

    def visit_Lambda(self, node: ast.Lambda) -> Any:
        """Rewrite the body only, because defaults belong to another scope."""
        node.body = self.visit(node.body)
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        """Rewrite the body only, because decorators and defaults belong to another scope."""
        node.body = [self.visit(each) for each in node.body]
        return node

    def visit_Call(self, node: ast.Call) -> Any:
        """Rewrite `f(…)` and `receiver.f(…)`."""
        original = node
        if isinstance(node.func, ast.Name) and node.func.id in UNTOUCHED:
            return self.generic_visit(node) if node.func.id == "print" else node
        arguments = [self.visit(each) for each in node.args]
        keywords = [ast.keyword(each.arg, self.visit(each.value)) for each in node.keywords]
        if isinstance(node.func, ast.Attribute):
            parts = [self.visit(node.func.value), ast.Constant(node.func.attr)]
            return self._wrapped("method", original, [*parts, *arguments], keywords)
        return self._wrapped("call", original, [self.visit(node.func), *arguments], keywords)

    def visit_Subscript(self, node: ast.Subscript) -> Any:
        """Rewrite `value[key]` where it is read."""
        if not isinstance(node.ctx, ast.Load):
            node.slice = self.visit(node.slice)
            return node
        return self._wrapped("item", node, [self.visit(node.value), self._key(node.slice)], [])

    def visit_Attribute(self, node: ast.Attribute) -> Any:
        """Rewrite `value.name` where it is read."""
        if not isinstance(node.ctx, ast.Load):
            return node
        return self._wrapped("attribute", node, [self.visit(node.value), ast.Constant(node.attr)], [])

    def _visit_whole(self, node: Any) -> Any:
        original = copy.deepcopy(node)
        return self._wrapped("whole", original, [self.generic_visit(node)], [])

    # The names are those of ast.
    visit_BinOp = visit_Compare = visit_UnaryOp = _visit_whole  # noqa: N815
    visit_ListComp = visit_SetComp = visit_DictComp = _visit_whole  # noqa: N815

    def _key(self, key: Any) -> Any:
        kind = type(key).__name__
        # Python 3.8 wraps keys.
        if kind == "Index":
            return self._key(key.value)
        if kind == "ExtSlice":
            return ast.Tuple([self._key(each) for each in key.dims], ast.Load())
        if isinstance(key, ast.Slice):
            bounds = (key.lower, key.upper, key.step)
            parts = [self.visit(each) if each else ast.Constant(None) for each in bounds]
            return ast.Call(ast.Name("slice", ast.Load()), parts, [])
        if isinstance(key, ast.Tuple):
            return ast.Tuple([self._key(each) for each in key.elts], ast.Load())
        return self.visit(key)

    def _wrapped(self, how: str, node: Any, parts: list[Any], keywords: list[Any]) -> Any:
        recorder = ast.Name("__lift__", ast.Load())
        place: list[ast.expr] = [ast.Constant(self.statement), *(ast.Constant(each) for each in span(node))]
        enter = ast.Call(ast.Attribute(recorder, "enter", ast.Load()), place, [])
        method = ast.Attribute(recorder, how, ast.Load())
        return ast.copy_location(ast.Call(method, [enter, *parts], keywords), node)


def loaded(node: Any, bound: frozenset[str] = frozenset()) -> set[str]:
    """Return the names that code reads, without those that a loop, a comprehension or a function in it binds first."""
    if isinstance(node, ast.Name):
        return {node.id} - bound if isinstance(node.ctx, ast.Load) else set()
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        # DataFrame.query and eval name variables in their text.
        return set(re.findall(r"@(\w+)", node.value)) - bound
    before: list[Any] = []
    inner = bound
    if isinstance(node, ast.For):
        before, inner = [node.iter], bound | stored(node.target)
    elif isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)):
        before = [node.generators[0].iter]
        inner = bound.union(*(stored(each.target) for each in node.generators))
    elif isinstance(node, (ast.FunctionDef, ast.Lambda)):
        before = [*getattr(node, "decorator_list", []), *node.args.defaults, *filter(None, node.args.kw_defaults)]
        given = {each.arg for each in ast.walk(node.args) if isinstance(each, ast.arg)}
        inner = bound | given | (stored(node) if isinstance(node, ast.FunctionDef) else set())
    names = {node.target.id} - bound if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name) else set()
    names = names.union(*(loaded(each, bound) for each in before))
    return names.union(*(loaded(each, inner) for each in ast.iter_child_nodes(node) if each not in before))


def stored(node: ast.AST) -> set[str]:
    """Return the names that a statement assigns, also to their columns and attributes."""
    found = set()
    for each in ast.walk(node):
        if isinstance(getattr(each, "ctx", None), ast.Store):
            while isinstance(each, (ast.Subscript, ast.Attribute)):
                each = each.value
            if isinstance(each, ast.Name):
                found.add(each.id)
        elif isinstance(each, (ast.FunctionDef, ast.ClassDef)):
            found.add(each.name)
        elif isinstance(each, ast.alias):
            found.add((each.asname or each.name).split(".")[0])
    return found
