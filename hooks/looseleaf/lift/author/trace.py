"""Run every statement of a notebook and record what it reads, writes and changes."""

from __future__ import annotations

import ast
import contextlib
import io
import random
import signal
import sys
import types
from typing import Any

import numpy as np

from . import stubs
from .instrument import Instrument, loaded, span, stored
from .recorder import Recorder
from .values import fingerprint, is_estimator, is_storable, short

NAME = "__notebook__"
MESSAGE = 300
TIMEOUT = "CellTimeout: the cell ran longer than its limit"


class CellTimeout(BaseException):
    """A cell ran longer than its limit. No Exception, so that no `except Exception` of the notebook catches it."""


class NeedsInput(Exception):
    """A cell waits for a person."""


def run(job: Any, report: Any) -> Tracer:
    """Trace the cells of a job; `report` is called with a fact about each cell."""
    stubs.install(job["drawing"])
    tracer = Tracer(Recorder(job.get("data")))
    for cell in job["cells"]:
        report({"cell": cell["number"], "of": len(job["cells"])})
        tracer.run_cell(cell["number"], cell["code"], job["seconds"])
    return tracer


class Tracer:
    """The namespace of a notebook and the facts about its statements."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        module = types.ModuleType(NAME)
        sys.modules[NAME] = module
        self.namespace = module.__dict__
        shown = {"display": lambda *_, **__: None, "get_ipython": lambda: stubs.Stub(), "input": _input}
        self.namespace.update(shown, __lift__=recorder)
        self.facts: list[dict[str, Any]] = []
        self.states: dict[int, Any] = {}
        # The names that imports of missing packages would have defined.
        self.lacking: set[str] = set()

    def run_cell(self, number: int, code: str, seconds: int) -> None:
        """Run the statements of a cell; the first that fails ends it, as in Jupyter."""
        try:
            tree = ast.parse(code)
        except SyntaxError as error:
            self._fail(number, error.lineno or 1, f"SyntaxError: {error.msg}", [])
            return
        start = len(self.facts)
        try:
            with time_limit(seconds):
                for at, node in enumerate(tree.body):
                    # A package that is missing matters only where its names are used.
                    if not self._run(number, node) and not isinstance(node, (ast.Import, ast.ImportFrom)):
                        # What the rest of the cell should have written is missing from now on.
                        self.facts[-1]["missing"] = sorted(set().union(*map(stored, tree.body[at:])))
                        return
        except CellTimeout:
            # The alarm came while no statement ran.
            if left := tree.body[len(self.facts) - start :]:
                self._fail(number, left[0].lineno, TIMEOUT, left)

    def _fail(self, number: int, line: int, error: str, nodes: list[ast.stmt]) -> None:
        """Add a statement that did not run, and the names that `nodes` should have written."""
        fact = {"cell": number, "line": line, "span": (line, 0, line, 0), "error": error, "aligned": []}
        missing = sorted(set().union(*map(stored, nodes)))
        self.facts.append({**fact, "reads": [], "writes": {}, "mutated": {}, "missing": missing})

    def _run(self, number: int, node: ast.stmt) -> bool:
        recorder, names = self.recorder, self.namespace
        at = len(self.facts)
        recorder.start(at)
        reads = self._closure(loaded(node))
        watched = {name: fingerprint(names[name]) for name in self._with_aliases(reads) if name in names}
        before = dict(names)
        aligned = sorted(name for name in reads if recorder.is_aligned(names.get(name)))
        state, key = (np.random.get_state(), random.getstate()), _generators()
        error = ""
        try:
            module = Instrument(at).transform(node)
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                exec(compile(module, f"<cell {number}>", "exec"), names)
        except CellTimeout:
            error = TIMEOUT
        except (Exception, SystemExit) as problem:
            error = f"{type(problem).__name__}: {problem}"[:MESSAGE]
        if _generators() != key:
            self.states[at] = state
        written = [n for n, value in names.items() if n[:2] != "__" and before.get(n, before) is not value]
        kept = {name: old for name, old in watched.items() if name in names and name not in written}
        changed = {id(names[name]) for name, old in kept.items() if fingerprint(names[name]) != old}
        mutated = [name for name, value in names.items() if id(value) in changed]
        fact = {"cell": number, "span": _whole_span(node), "error": error, "aligned": aligned, "line": node.lineno}
        fact["reads"] = sorted(reads & (names.keys() | self.lacking) | set(mutated))
        fact.update(writes=self._described(written), mutated=self._described(mutated), kind=type(node).__name__)
        if error and isinstance(node, (ast.Import, ast.ImportFrom)):
            fact["missing"] = sorted(stored(node))
            self.lacking |= stored(node)
        self.facts.append(fact)
        return not error

    def _described(self, names: list[str]) -> dict[str, Any]:
        described = {}
        for name in names:
            value = self.namespace[name]
            described[name] = {
                "aligned": self.recorder.is_aligned(value),
                "storable": self.recorder.can_keep(value),
                "estimator": is_estimator(value),
                "code": isinstance(value, (type, types.FunctionType, types.ModuleType, types.BuiltinFunctionType)),
                "short": short(value) if is_storable(value) else "",
            }
        return described

    def _closure(self, loaded: set[str]) -> set[str]:
        """Return the names that a statement reads, also through the functions that it calls."""
        todo, seen = list(loaded), set(loaded)
        while todo:
            for name in _globals_of(self.namespace.get(todo.pop())):
                if name in self.namespace and name not in seen:
                    seen.add(name)
                    todo.append(name)
        return seen - {"__lift__"}

    def _with_aliases(self, reads: set[str]) -> set[str]:
        """Return the names of values that lists and dictionaries among the read values hold as well."""
        inner = set()
        for value in map(self.namespace.get, reads):
            if isinstance(value, (list, tuple, dict)) and len(value) < 50:
                inner |= {id(each) for each in (value.values() if isinstance(value, dict) else value)}
        aliases = {n for n, v in self.namespace.items() if id(v) in inner and not isinstance(v, (int, str, float))}
        return reads | aliases

    def result(self) -> dict[str, Any]:
        """Return the facts that the caller needs, without arrays."""
        recorder = self.recorder
        for each in recorder.predictions:
            each["names"] = [n for n, v in self.namespace.items() if id(v) == each["identity"] and n[:1] != "_"]
            each["saved"] = each["identity"] in recorder.saved
        hidden = ("inputs", "outputs", "index", "identity", "object")
        predictions = [{k: v for k, v in each.items() if k not in hidden} for each in recorder.predictions]
        nodes = [{"statement": place[0], "span": place[1:], **fact} for place, fact in recorder.nodes.items()]
        facts = {"statements": self.facts, "nodes": nodes, "sources": recorder.sources, "predictions": predictions}
        # A statement that only seeds a generator writes no name.
        seeds = [at for at in recorder.seeds if not (self.facts[at]["error"] or self.facts[at]["aligned"])]
        drawing = {"draws": recorder.draws, "seeds": seeds, "random": sorted(self.states)}
        return {**facts, **drawing, "python": sys.version.split()[0], "versions": _versions()}


@contextlib.contextmanager
def time_limit(seconds: int) -> Any:
    """Raise CellTimeout in the body after some seconds, where the system has signals."""

    def stop(*_: Any) -> None:
        raise CellTimeout

    if not hasattr(signal, "setitimer"):
        yield
        return
    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _input(prompt: str = "") -> str:
    raise NeedsInput("the cell waits for input from the keyboard")


def _generators() -> Any:
    legacy: Any = np.random.get_state()
    return hash(legacy[1].tobytes()), legacy[2], hash(random.getstate())


def _globals_of(value: Any) -> set[str]:
    if isinstance(value, types.FunctionType) and value.__globals__.get("__name__") == NAME:
        return _names_in(value.__code__)
    cls = value if isinstance(value, type) else type(value)
    if cls.__module__ != NAME:
        return set()
    methods = [each for each in vars(cls).values() if isinstance(each, types.FunctionType)]
    return {name for each in methods for name in _names_in(each.__code__)}


def _names_in(code: types.CodeType) -> set[str]:
    inner = [each for each in code.co_consts if isinstance(each, types.CodeType)]
    return set(code.co_names).union(*map(_names_in, inner))


def _whole_span(node: Any) -> Any:
    first = min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", []))])
    return (first, *span(node)[1:])


def _versions() -> dict[str, str]:
    names = ("numpy", "pandas", "sklearn", "scipy", "xgboost", "lightgbm", "catboost")
    return {name: str(getattr(sys.modules[name], "__version__", "")) for name in names if name in sys.modules}
