"""Write the statements of a plan as one function: the author's lines, with what they learn from rows kept by name."""

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from looseleaf.lift.hints import TEXTS
from looseleaf.lift.rewrite import Rewriter
from looseleaf.lift.slicing import Fact, Plan, Trace, top_level_call

# Modules that the lifted lines do not import.
NOT_IMPORTED = (*TEXTS["drawing"], "warnings", "IPython")
TEXT = Path(__file__).with_name("own") / "lifted.txt"


@dataclass
class Lifted:
    """The text of lifted.py. `learned` has each learned value with its kind, cell and text."""

    text: str
    learned: list[Fact] = field(default_factory=list)
    filters: list[Fact] = field(default_factory=list)


def emit(trace: Trace, plan: Plan, prediction: Fact, name: str, with_states: bool = False) -> Lifted:
    """Return the function of a plan.

    `with_states` adds a line before each statement that uses a random generator, which restores the generator's state
    of the notebook: only so can a notebook without a seed be compared with itself.
    """
    return _Emitter(trace, plan, prediction, with_states).run(name)


class _Emitter:
    """Collects imports and lines."""

    def __init__(self, trace: Trace, plan: Plan, prediction: Fact, with_states: bool) -> None:
        self.trace, self.plan, self.prediction, self.with_states = trace, plan, prediction, with_states
        self.imports: dict[str, None] = {}
        self.lines: list[str] = []
        self.in_training = False
        self.rewriter = Rewriter(trace, plan, prediction)
        # The lines of these functions keep values, and may run several times.
        learning = plan.serving & {each["statement"] for each in trace.facts["nodes"]}
        statements = [trace.statements[at] for at in learning]
        self.functions = {name for each in statements if each["kind"] == "FunctionDef" for name in each["writes"]}

    def run(self, name: str) -> Lifted:
        """Return the text of the module."""
        for at in self.plan.kept:
            if at == self.plan.target:
                self._target(at)
            else:
                self._statement(at)
        body = indented("\n".join(self.lines))
        imports = "\n".join([*self.imports, "from typing import Any", "from model.learned import Learned"])
        # The name must not end the docstring.
        text = TEXT.read_text("utf-8").format(name=re.sub(r"[^\w .()-]", "", name), imports=imports, body=body)
        return Lifted(text, self.rewriter.learned, self.rewriter.filters)

    def _statement(self, at: int) -> None:
        node = self.trace.node(at)
        if isinstance(node, ast.Import | ast.ImportFrom):
            self._import(node)
            return
        names = sorted(self.plan.learned.get(at, ()))
        if at in self.plan.serving:
            self._add(self.rewriter.statement(at, node), at)
        elif len(names) == 1 and (inline := self._inline(at, node, names[0])):
            self._add(inline, at)
        else:
            self._add(self.rewriter.statement(at, node, ("source",)), at, training=True)
            for name in names:
                self._add(f'{name} = learned("{self._noted(at, name)}", lambda: {name})')

    def _inline(self, at: int, node: Any, name: str) -> str:
        """Return `name = learned(key, lambda: …)` for an assignment to one name and for `name.fit(…)`."""
        is_assignment = isinstance(node, ast.Assign) and list(map(ast.unparse, node.targets)) == [name]
        is_call = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        # In scikit-learn it returns the fitted estimator.
        is_fit = is_call and ast.unparse(node.value.func) == f"{name}.fit"
        if not is_assignment and not is_fit:
            return ""
        return f'{name} = learned("{self._noted(at, name)}", lambda: {self.rewriter.segment(at, node.value)})'

    def _noted(self, at: int, name: str) -> str:
        """Note that a statement learns the value of a name, and return its key."""
        statement = self.trace.statements[at]
        value = statement["writes"].get(name) or statement["mutated"][name]
        return self.rewriter.note(at, name, "fitted" if value["estimator"] else "value", value["short"])

    def _target(self, at: int) -> None:
        call = top_level_call(self.trace, self.prediction)
        node = self.trace.node(at)
        if call is None:
            self._add(self.rewriter.statement(at, node), at)
            self._add("return learned.model_input")
            return
        assert isinstance(call.func, ast.Attribute)
        table = call.args[0] if call.args else call.keywords[0].value
        parts = (self.rewriter.expression(at, each) for each in (call.func.value, table))
        self._add(f"return learned.inputs({', '.join(parts)})", at)

    def _add(self, text: str, at: int | None = None, training: bool = False) -> None:
        lines = []
        if at is not None:
            if self.functions & set(self.trace.statements[at]["reads"]):
                statement = self.trace.statements[at]
                lines.append(f'learned.step("cell {statement["cell"]}, line {statement["line"]}")')
            if self.with_states and at in self.trace.facts["random"]:
                lines.append(f"if learned.training: __restore__({at})")
        lines.append(text)
        if training and not self.in_training:
            self.lines.append("if learned.training:")
        self.in_training = training
        whole = "\n".join(lines)
        self.lines.append(indented(whole) if training else whole)

    def _import(self, node: ast.Import | ast.ImportFrom) -> None:
        modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names]
        if not all(each.split(".")[0] in NOT_IMPORTED for each in modules):
            self.imports[ast.unparse(node)] = None


def indented(text: str) -> str:
    """Indent statements, without the lines that start inside of a string."""
    strings = [each for each in ast.walk(ast.parse(text)) if isinstance(each, ast.Constant | ast.JoinedStr)]
    inside = {line for each in strings for line in range(each.lineno + 1, (each.end_lineno or 0) + 1)}
    lines = enumerate(text.split("\n"), 1)
    return "\n".join(line if at in inside or not line.strip() else f"    {line}" for at, line in lines)
