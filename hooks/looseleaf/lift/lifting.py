"""Lift a notebook: trace it in the author's Python, choose a prediction, write the function, and verify it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from looseleaf.lift import choose
from looseleaf.lift.emit import Lifted, emit
from looseleaf.lift.hints import TEXTS
from looseleaf.lift.interpreter import Progress, Session, build, find
from looseleaf.lift.read import Notebook, read
from looseleaf.lift.slicing import Fact, Plan, Trace, plans

LEARNED = Path(__file__).with_name("own") / "learned.py"
PARITIES: dict[str, str] = TEXTS["parities"]


@dataclass(frozen=True)
class Options:
    """What the user wants.

    `choose` returns one of several predictions, by their descriptions; `tidy` formats the text before it is verified.
    """

    data: str = ""
    label: str = ""
    model: str = ""
    kernel: str = ""
    packages: str = ""
    seconds: int = 600
    progress: Progress | None = None
    choose: Callable[[dict[str, str], str], str] = field(default=lambda options, default: default)
    tidy: Callable[[str], str] = field(default=lambda text: text)


@dataclass(frozen=True)
class Result:
    """A lifted notebook: `checks` is what the verification found."""

    notebook: Notebook
    trace: Trace
    plan: Plan
    prediction: Fact
    lifted: Lifted
    checks: dict[str, Any]

    @property
    def is_verified(self) -> bool:
        """Whether every parity holds."""
        parities = self.checks["parities"]
        return parities.keys() == PARITIES.keys() and all(each["equal"] for each in parities.values())


def lift(path: Path, options: Options) -> Result:
    """Return the lifted notebook with its checks; raises LifecycleError where it cannot be lifted."""
    notebook = read(path)
    built = build(options.packages, "\n".join(each.code for each in notebook.cells)) if options.packages else ""
    with Session(find(options.kernel or built, notebook.path.parent), options.progress) as session:
        return lift_in(session, notebook, options)


def lift_in(session: Session, notebook: Notebook, options: Options) -> Result:
    """Return a notebook that was lifted in a running session."""
    cells = [{"number": each.number, "code": each.code} for each in notebook.cells]
    data = str(Path(options.data).resolve()) if options.data else None
    job = {"stage": "trace", "cells": cells, "folder": str(notebook.path.parent), "seconds": options.seconds}
    facts = session.run({**job, "data": data, "drawing": TEXTS["drawing"]}, options.seconds)
    trace = Trace(facts, {each.number: each.code for each in notebook.cells})
    at = _chosen(trace, options)
    prediction = trace.facts["predictions"][at]
    results = []
    for made in plans(trace, prediction):
        results.append(_verified(session, notebook, options, trace, made, at))
        if unruled := set(results[-1].checks.get("unruled", ())):
            chosen = _verified(session, notebook, options, trace, replace(made, choosing=unruled), at)
            results[-1] = chosen if chosen.is_verified else results[-1]
        parities = results[-1].checks["parities"]
        # With another raw table, only the comparison of all rows can differ.
        if not parities["slice"]["equal"] or parities["batch"]["equal"]:
            return results[-1]
    return results[0]


def _verified(session: Session, notebook: Notebook, given: Options, trace: Trace, made: Plan, at: int) -> Result:
    prediction = trace.facts["predictions"][at]
    lifted = emit(trace, made, prediction, notebook.path.name)
    lifted.text = given.tidy(lifted.text)
    seeds, drawing = (set(made.kept) & set(trace.facts[name]) for name in ("seeds", "random"))
    job = {"stage": "verify", "prediction": at, "source": made.source, "request": made.request, "label": given.label}
    job |= {"text": lifted.text, "learned": LEARNED.read_text(encoding="utf-8")}
    job["text_with_states"] = emit(trace, made, prediction, notebook.path.name, with_states=True).text
    resampled = [each for each in trace.facts["nodes"] if each["kind"] == "resample" and each["statement"] in made.kept]
    job["resampled"] = max((1 - before / after for before, after in (each["parts"] for each in resampled)), default=0)
    job["random"] = TEXTS["seeded" if seeds else "unseeded"] if drawing - seeds else ""
    checks = session.run(job, given.seconds * max(1, len(made.kept)))
    different = [each for each in checks["parities"].values() if not each["equal"]]
    draws = [each["place"] for each in trace.facts["draws"] if each["place"][0] in made.serving]
    if different and draws:
        cell, code = trace.expression(draws[0])
        different[0]["error"] += f"; cell {cell} draws random numbers for the rows: {code[:80]}. {TEXTS['draws']}"
    return Result(notebook, trace, made, prediction, lifted, checks)


def _chosen(trace: Trace, options: Options) -> int:
    found = choose.candidates(trace, options.model)
    described = {str(at): choose.describe(trace, trace.facts["predictions"][at]) for at in reversed(found)}
    models = {(each["model"], *each["names"]) for each in (trace.facts["predictions"][at] for at in found)}
    if len(models) == 1:
        return found[-1]
    return int(options.choose(described, str(found[-1])))
