"""Find the statements that a prediction needs: all of them for training, and those that new rows have to pass."""

import ast
from dataclasses import dataclass, field
from typing import Any

from lifecycle.errors import LifecycleError
from looseleaf.lift.hints import hint_for

Fact = dict[str, Any]
MOST_PAIRS = 3
# A prediction inside of one of these may run several times, or in another scope.
REPEATED = (ast.FunctionDef, ast.ClassDef, ast.For, ast.While, ast.Lambda, ast.ListComp, ast.DictComp, ast.GeneratorExp)


@dataclass(frozen=True)
class Trace:
    """The facts that the author's interpreter recorded; `codes` maps the number of a cell to its code."""

    facts: Fact
    codes: dict[int, str]

    @property
    def statements(self) -> list[Fact]:
        """The statements in the order in which they ran."""
        found: list[Fact] = self.facts["statements"]
        return found

    def expression(self, where: list[int]) -> tuple[int, str]:
        """Return the cell of an expression, and its code."""
        every = (each for each in ast.walk(self.node(where[0])) if isinstance(each, ast.expr))
        return self.statements[where[0]]["cell"], next(ast.unparse(each) for each in every if place(each) == where[1:])

    def node(self, at: int) -> ast.stmt:
        """Return the parsed statement, with places in the code of its cell."""
        line = self.statements[at]["line"]
        tree = ast.parse(self.codes[self.statements[at]["cell"]])
        column = self.statements[at]["span"][1]
        # The end differs between versions of Python: some include a last semicolon.
        return next(each for each in tree.body if (each.lineno, each.col_offset) == (line, column))


@dataclass
class Plan:
    """The statements of a lift, as positions in a trace.

    `kept` are all that the prediction depends on. Those in `serving` run for new rows as well; `learned` names what the
    others leave behind, which is kept instead. `source` is the position of the read of the raw table in training, and
    `request` that of the rows of the prediction, which may be another file with the same columns. Where the notebook
    puts tables below each other, new rows take the place of one in `parts`; they need no name in `left_out`.
    """

    target: int
    kept: list[int]
    serving: set[int] = field(default_factory=set)
    learned: dict[int, set[str]] = field(default_factory=dict)
    source: int = 0
    request: int = 0
    parts: dict[tuple[int, ...], int] = field(default_factory=dict)
    left_out: dict[int, set[str]] = field(default_factory=dict)
    # Conditions by which rows are only chosen for training, because the repository cannot select by several columns.
    choosing: set[str] = field(default_factory=set)


def dependencies(statements: list[Fact]) -> list[dict[str, int]]:
    """Return for each statement the names that it reads, with the last statement that wrote or changed each."""
    last: dict[str, int] = {}
    found = []
    for at, each in enumerate(statements):
        found.append({name: last[name] for name in each["reads"] if name in last})
        last |= dict.fromkeys([*each["writes"], *each["mutated"], *each.get("missing", ())], at)
    return found


def plans(trace: Trace, prediction: Fact) -> list[Plan]:
    """Return what a prediction needs, one plan for each table that may be the raw one, the likely first.

    Raises LifecycleError where a statement that it needs failed.
    """
    target, needs = prediction["statement"], dependencies(trace.statements)
    kept: set[int] = set()
    todo = [target, *(at for at in trace.facts["seeds"] if at < target)]
    while todo:
        at = todo.pop()
        if at not in kept:
            kept.add(at)
            todo += needs[at].values()
    for at in sorted(kept):
        statement = trace.statements[at]
        if error := statement["error"]:
            line = trace.codes[statement["cell"]].split("\n")[statement["line"] - 1].strip()
            problem = f"cell {statement['cell']} fails, and the prediction needs it: {error}\n  {line}"
            raise LifecycleError(problem, hint_for(error))
    names = _needed_names(trace, prediction)
    start = [(name, at) for name, at in needs[target].items() if name in names]
    found = []
    for source, request in pairs(trace, prediction, kept, _passed(trace, needs, start, Plan(target, []))):
        made = Plan(target, sorted(kept), source=source, request=request)
        _choose_parts(trace, needs, made)
        made.serving = _passed(trace, needs, start, made) | {target}
        # What a serving statement learns is kept where its expression stands.
        made.learned = {at: names for at, names in made.learned.items() if at not in made.serving}
        found.append(made)
    return found


def _passed(trace: Trace, needs: list[dict[str, int]], start: list[tuple[str, int]], made: Plan) -> set[int]:
    """Return the statements that new rows pass on their way to names; notes in the plan what is learned instead."""
    todo, passed = list(start), set()
    while todo:
        name, at = todo.pop()
        if _is_learned(trace.statements[at], name):
            made.learned.setdefault(at, set()).add(name)
        elif at not in passed:
            passed.add(at)
            todo += [each for each in needs[at].items() if each[0] not in made.left_out.get(at, ())]
    return passed


def _is_learned(statement: Fact, name: str) -> bool:
    """Whether a statement learned a value from rows that can be kept, so that new rows do not pass the statement."""
    value = statement["writes"].get(name) or statement["mutated"][name]
    is_kept = value["storable"] and not value["aligned"] and not value["code"]
    return bool(is_kept and statement["aligned"])


def _needed_names(trace: Trace, prediction: Fact) -> set[str]:
    """Return the names in the expression that predicts; all of the statement where a function or loop predicts."""
    statement = trace.statements[prediction["statement"]]
    call = top_level_call(trace, prediction)
    if call is None:
        return set(statement["reads"])
    names = {each.id for each in ast.walk(call) if isinstance(each, ast.Name)}
    called = {each.func.id for each in ast.walk(call) if isinstance(each, ast.Call) and isinstance(each.func, ast.Name)}
    return set(statement["reads"]) if called & set(statement["reads"]) else names


def top_level_call(trace: Trace, prediction: Fact) -> ast.Call | None:
    """Return the call that predicts, or None where it stands in a function, a class, a loop or a lambda."""
    if prediction["place"][0] != prediction["statement"]:
        return None
    node = trace.node(prediction["statement"])
    if any(isinstance(each, REPEATED) for each in ast.walk(node)):
        return None
    calls = (each for each in ast.walk(node) if isinstance(each, ast.Call))
    return next((each for each in calls if place(each) == prediction["place"][1:]), None)


def place(node: ast.expr) -> list[Any]:
    """Return the place of an expression in the code of its cell."""
    return [node.lineno, node.col_offset, node.end_lineno, node.end_col_offset]


def pairs(trace: Trace, prediction: Fact, kept: set[int], passed: set[int]) -> list[tuple[int, int]]:
    """Return the reads that may be the raw table, the likely first: the table of the fit, and that of the prediction.

    They differ where another file with the same columns, of which the label may be missing, is predicted. The
    comparison of all rows decides. `passed` are the statements that new rows pass, and more.
    """
    every = trace.facts["sources"]
    read = [(at, each) for at, each in enumerate(every) if each["statement"] in kept]
    tables = {(each["given"], *each["columns"]): at for at, each in reversed(read) if each["columns"]}
    if not tables:
        cells = sorted({trace.statements[each["statement"]]["cell"] for _, each in read})
        where = f"cell {cells[0]} reads no table with named columns" if cells else "the prediction depends on no file"
        raise LifecycleError(where, "Read a CSV or Parquet file with pandas, so that rows and columns have names.")

    def likelihood(at: int) -> tuple[bool, bool, int]:
        each = every[at]
        return each["statement"] in passed, each["rows"] == prediction["rows"], each["rows"]

    found = []
    for request in sorted(tables.values(), key=likelihood, reverse=True):
        others = [at for at in tables.values() if at != request and is_part(every[request], every[at])]
        found += [(at, request) for at in others]
        if all(is_part(every[at], every[request]) for at in others):
            found.append((request, request))
    return found[:MOST_PAIRS]


def is_part(source: Fact, other: Fact) -> bool:
    """Whether a table has the columns of another, of which some, such as the label, may be missing."""
    columns, whole = set(source.get("columns", ())), set(other["columns"])
    return columns <= whole and 2 * len(columns) >= len(whole)


def _choose_parts(trace: Trace, needs: list[dict[str, int]], made: Plan) -> None:
    """Choose among tables that the notebook puts below each other the one whose place new rows take."""
    request = trace.facts["sources"][made.request]
    for fact in trace.facts["nodes"]:
        at = fact["statement"]
        if fact["kind"] != "stack" or at not in made.kept:
            continue
        calls = (each for each in ast.walk(trace.node(at)) if isinstance(each, ast.Call))
        node = next(each for each in calls if place(each) == list(fact["span"]))
        names = [{each.id for each in ast.walk(part) if isinstance(each, ast.Name)} for part in stacked(node)]
        if len(names) == len(fact["parts"]):
            starts = [[(name, needs[at][name]) for name in part if name in needs[at]] for part in names]
            paths = [_passed(trace, needs, start, Plan(at, [])) for start in starts]
            is_hit = [request["statement"] in path | {at} for path in paths]
        else:
            names, is_hit = [], [True] * len(fact["parts"])
        ranks = [(hit, rows == request["rows"], rows) for hit, rows in zip(is_hit, fact["parts"], strict=True)]
        chosen = ranks.index(max(ranks))
        made.parts[at, *fact["span"]] = chosen
        if names:
            made.left_out.setdefault(at, set()).update(set().union(*names) - names[chosen])


def stacked(node: ast.Call) -> list[ast.expr]:
    """Return the tables that `pd.concat([a, b])` or `a.append(b)` names."""
    first = node.args[:1] or [each.value for each in node.keywords if each.arg == "objs"]
    if isinstance(node.func, ast.Attribute) and node.func.attr == "append":
        first.insert(0, node.func.value)
    return [part for each in first for part in (each.elts if isinstance(each, ast.List | ast.Tuple) else [each])]
