"""Text of generated files: escaping, wrapping, the command to repeat, settings, and an example request."""

import re
import shlex
import textwrap
from typing import Any

from lifecycle.contract.schema import Contract
from lifecycle.settings import Gate, Train
from looseleaf.contract.columns import DAY
from looseleaf.contract.plan import Field, Plan

INLINE_FIELDS = 40
WIDTH = 120
REQUEST = "docs/example-request.json"


def printable(value: str) -> str:
    """Return a text that is safe in prose, docstrings and Markdown: one line without quotes, bars and backslashes."""
    return re.sub(r"[\\\"`|*{}<>\x00-\x1f\x7f-\x9f\u2028\u2029]+", "_", value)


def in_triple_quotes(value: str) -> str:
    """Return the inside of a string literal in triple quotes."""
    escaped = value.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return re.sub(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]", lambda sign: f"\\u{ord(sign[0]):04x}", escaped)


def wrapped(paragraph: str) -> str:
    """Return a paragraph wrapped as on the repository's pages."""
    return textwrap.fill(" ".join(paragraph.split()), WIDTH, break_long_words=False, break_on_hyphens=False)


def wrapped_call(call: str) -> str:
    """Return a SQL function call with its arguments on lines of their own if one line would be too long."""
    name, _, arguments = call.partition("(")
    if "," not in arguments:
        return call
    lines = textwrap.wrap(arguments.removesuffix(")"), WIDTH - 20, break_long_words=False, break_on_hyphens=False)
    return "\n            ".join([f"{name}(", *lines]) + "\n        )"


def command(plan: Plan, path: str) -> str:
    """Return the command that repeats the inference on the file at `path`."""
    wishes = plan.wishes
    variables = {"DATA": path, "LABEL": wishes.label, "KEY": wishes.key, "TIME": wishes.time}
    variables |= {"TASK": wishes.task, "KEEP": ",".join(sorted(wishes.keep))}
    return " ".join(["make contract", *(f"{name}={shlex.quote(value)}" for name, value in variables.items() if value)])


def config(plan: Plan, pristine: str) -> tuple[str, str | None]:
    """Return config/base.yaml and, if the table is too small for the gate, config/local.yaml."""
    base, local, rows = pristine, None, plan.labels.rows
    if plan.share > Train().holdout:
        reason = f"{rows:,} labelled rows: a share of {Train().holdout:g} would leave too few for the gate"
        base += f"train:\n  holdout: {plan.share:g}  # {reason}\n"
    if plan.min_rows < Gate().min_rows:
        held = plan.share * rows
        reason = f"about {held:.0f} rows can be held out; staging and production keep {Gate().min_rows}"
        local = f"gate:\n  min_rows: {plan.min_rows}  # {reason}\n"
    return base, local


def request(contract: Contract, plan: Plan) -> dict[str, Any]:
    """Return a synthetic request: a usual value of each field, and an example key."""
    fields = {each.name: each for each in plan.fields}
    return {
        column.name: 1 if column.source == "key" and column.kind == "integer" else _usual(fields[column.name], plan)
        for column in contract.request
    }


def _usual(field: Field, plan: Plan) -> Any:
    if field.is_key:
        return "example-1"
    if not len(known := plan.table.profiles[field.column].sample.dropna()):
        return None
    if field.kind == "boolean":
        return bool(known.mean() > 0.5)
    if field.kind == "category":
        return field.expected[0] if field.expected else "example"
    middle = float(known.astype(float).quantile(0.5)) / (DAY if field.unit.startswith("days since") else 1)
    return round(middle) if field.kind == "integer" else float(f"{middle:.3g}")
