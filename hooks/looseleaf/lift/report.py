"""Describe a lifted notebook: docs/lift-report.md and docs/lift-report.html."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from looseleaf.lift.choose import describe
from looseleaf.lift.hints import TEXTS
from looseleaf.lift.lifting import PARITIES, Result

TEMPLATES = Path(__file__).with_name("own")
KINDS: dict[str, str] = TEXTS["kinds"]
# The learned values that are shown; others, such as levels of a text, may name a person.
NUMBER = r"[-+.\de]+|nan|True|False|None"
# What a difference or an error has of a row.
OF_ROW = r"(?s)(?<=Error|etime): .*?(?=, in the line|$)|, (?!because)[^,;]* instead of [^,;]*|(?<=input is) .* of [^;]*"


def pages(result: Result) -> tuple[str, str]:
    """Return the report as Markdown and as HTML, without values of rows."""
    import jinja2

    facts, texts = _facts(result), []
    for each in facts["parities"]:
        each["result"] = re.sub(OF_ROW, " (not shown)", each["result"])
    for each in facts["learned"]:
        if each["kind"] != "fitted object" and not re.fullmatch(NUMBER, each["value"]):
            each["value"] = "not shown"
    for suffix in ("md", "html"):
        environment = jinja2.Environment(
            undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=suffix == "html",
            finalize=_cell if suffix == "md" else None, keep_trailing_newline=True,
        )  # fmt: skip
        template = environment.from_string((TEMPLATES / f"report.{suffix}.j2").read_text(encoding="utf-8"))
        texts.append(template.render(facts))
    return texts[0], texts[1]


def lines(result: Result) -> list[str]:
    """Return the short form for the terminal."""
    facts = _facts(result)
    shown = [f"{facts['name']}: {facts['verdict']}", f"prediction  {facts['prediction']}"]
    shown += [f"{each['name']:<11} {each['result']}" for each in facts["parities"]]
    shown += [f"learned     {', '.join(each['key'] for each in facts['learned']) or 'nothing'}"]
    return [*shown, f"used        {facts['used']}", f"label       {facts['label']}"]


def _cell(value: Any) -> Any:
    """Escape what would end a cell of a Markdown table."""
    return value.replace("|", "\\|") if isinstance(value, str) else value


def _facts(result: Result) -> dict[str, Any]:
    checks, trace = result.checks, result.trace
    unused, label = checks.get("unused", []), checks["label"]
    used = [name for name in checks["columns"] if name not in (*unused, label)]
    counts = checks.get("rejected", {})
    verdict = "Not every comparison is equal, so no code was written."
    if result.is_verified:
        share = f"{len(result.plan.kept)} of {len(trace.statements)}"
        verdict = f"Every comparison is equal: {share} statements predict as the notebook does."
    facts = {"name": result.notebook.path.name, "verified": result.is_verified, "verdict": verdict}
    return facts | {
        "prediction": describe(trace, result.prediction),
        "python": trace.facts["python"],
        "versions": ", ".join(f"{name} {version}" for name, version in trace.facts["versions"].items()),
        "parities": [*_parities(checks["parities"])],
        "learned": [{**each, "kind": KINDS.get(each["kind"], each["kind"])} for each in result.lifted.learned],
        "filters": [{**each, "effect": _effect(each, counts)} for each in result.lifted.filters],
        "used": ", ".join(used) or "none",
        "unused": ", ".join(name for name in unused if name != label) or "none",
        "label": label or "not found; name it with --label",
        "leaks": checks.get("leaks", []),
        "cells": [*_cells(result)],
        "skipped": "; ".join(result.notebook.skipped),
        "text": result.lifted.text,
        "next": [*next_steps(result)],
    }


def _parities(found: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, meaning in PARITIES.items():
        each = found.get(name, {"equal": False, "error": "not compared, because an earlier one differs"})
        result = "equal" if each["equal"] else each.get("error", "")
        result = result or f"{each['equal_rows']} of {each['rows']} rows are equal"
        note = f" ({each['note']})" if "note" in each else ""
        facts = {"name": name, "equal": each["equal"], "meaning": meaning}
        yield {**facts, "result": f"{result}{note}", "rows": each.get("rows", "")}


def _effect(each: dict[str, Any], counts: dict[str, int]) -> str:
    if not each["rejects"]:
        return "chooses rows for training; every new row is predicted."
    count = counts.get(each["text"], 0)
    return f"removes rows; a new row that it would remove is rejected with this reason ({count} of the table)."


def _cells(result: Result) -> Iterator[dict[str, Any]]:
    kept: dict[int, list[int]] = {}
    errors: dict[int, str] = {}
    for at, each in enumerate(result.trace.statements):
        if at in result.plan.kept:
            kept.setdefault(each["cell"], []).append(each["line"])
        if each["error"]:
            errors[each["cell"]] = each["error"].partition(":")[0]
    for cell in result.notebook.cells:
        found = kept.get(cell.number, [])
        remark = f"fails: {errors[cell.number]}" if cell.number in errors else ""
        remark = remark or ("" if found else "left out: the prediction does not depend on it")
        yield {"number": cell.number, "kept": ", ".join(map(str, found)) or "none", "remark": remark}


def next_steps(result: Result) -> Iterator[str]:
    """Yield what to do after the lift."""
    if not result.is_verified:
        yield "Change the line of the notebook that the first comparison which differs names, and lift it again."
    if not result.checks["label"]:
        yield "Name the label: --label COLUMN."
    if leaks := result.checks.get("leaks"):
        yield f"Check whether {', '.join(leaks)} is known before the prediction."
    if result.is_verified:
        yield from TEXTS["next"]
