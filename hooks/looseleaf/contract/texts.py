"""Text of generated files: their templates, escaping, the command to repeat, settings, and an example request."""

import importlib.resources
import re
import shlex
import textwrap
from datetime import UTC, datetime
from typing import Any

import jinja2

from lifecycle.contract.schema import Contract
from lifecycle.settings import Gate, Monitor, Train
from looseleaf.contract.keys import DAY
from looseleaf.contract.plan import Field, Plan

INLINE_FIELDS = 40
WIDTH = 120
REQUEST = "docs/example-request.json"
OWN = importlib.resources.files("looseleaf.contract") / "own"


def rendered(name: str, **facts: Any) -> str:
    """Return the text that a template of `own/texts` makes of these facts."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"printable": printable, "wrapped": wrapped, "repr": repr}
    return environment.from_string((OWN / f"texts/{name}.j2").read_text(encoding="utf-8")).render(facts)


def printable(value: str) -> str:
    """Return a text that is safe in prose, docstrings and Markdown: one line without quotes, bars and backslashes."""
    return re.sub(r"[\\\"`|*{}<>\x00-\x1f\x7f-\x9f\u2028\u2029]+", "_", value)


def wrapped(paragraph: str) -> str:
    """Return a paragraph wrapped as on the repository's pages."""
    return textwrap.fill(" ".join(paragraph.split()), WIDTH, break_long_words=False, break_on_hyphens=False)


def command(plan: Plan, path: str) -> str:
    """Return the command that repeats the inference on the file at `path`."""
    wishes = plan.wishes
    variables = {"DATA": path} | {name: ",".join(columns) for name, columns in wishes.columns.items()}
    variables |= {"TASK": wishes.task or "", "POSITIVE": wishes.positive or "", "ENCODING": wishes.encoding or ""}
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
    if plan.label_days is not None and plan.label_days != Monitor().label_days:
        base += f"monitor:\n  label_days: {plan.label_days}  # 95 % of the labels are known by then\n"
    return base, local


def request(contract: Contract, plan: Plan) -> dict[str, Any]:
    """Return a synthetic request: a usual value of each field, and an example key."""
    fields = {each.name: each for each in plan.fields}
    return {column.name: _usual(fields[column.name], plan) for column in contract.request}


def _usual(field: Field, plan: Plan) -> Any:
    if field.source in ("key", "id"):
        return 1 if field.kind == "integer" else "example-1"
    if not len(known := plan.table.profiles[field.column].sample.dropna()):
        return None
    if field.kind == "boolean":
        return bool(known.mean() > 0.5)
    if field.kind == "category":
        return field.expected[0] if field.expected else "example"
    middle = float(known.astype(float).quantile(0.5))
    if field.kind == "time":
        return f"{datetime.fromtimestamp(middle // DAY * DAY, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return round(middle) if field.kind == "integer" else float(f"{middle:.3g}")
