"""Generate the files of a plan: src/model/contract.py, data.py and estimator.py, settings, and an example request."""

import dataclasses
import re
import shlex
from pathlib import PurePath
from typing import Any

from lifecycle import timestamps
from lifecycle.contract.compatibility import python_name, python_names
from lifecycle.contract.reader import Text
from lifecycle.contract.schema import Contract
from lifecycle.contract.tables import quoted, text
from lifecycle.settings import Gate, Monitor, Train
from looseleaf.contract.keys import DAY
from looseleaf.contract.plan import Field, Plan
from looseleaf.contract.texts import TEXTS, WIDTH, rendered

TYPES = {"number": "float", "integer": "int", "boolean": "bool", "category": "str", "time": "datetime"}
SOURCES = {"key": "Key", "id": "Id", "request": "Request", "logged": "Logged"}
TARGETS = {"regression": "Regression", "binary": "Binary", "multiclass": "Multiclass"}
TAKEN = (*("Row", "Field", "Annotated", "True", "False", "None"), *SOURCES.values(), *TARGETS.values())


def contract(plan: Plan, file: str, version: int) -> str:
    """Return the text of src/model/contract.py, not yet formatted."""
    identifiers = python_names(each.name for each in plan.fields)
    return rendered(
        "contract.py",
        file=file,
        version=version,
        cls=_class_name(file),
        imports={"Row", TARGETS[plan.target.task], *(SOURCES[each.source] for each in plan.fields)},
        kinds={each.kind for each in plan.fields},
        fields=[f"{identifiers[each.name]}: {_annotated(each, identifiers[each.name])}" for each in plan.fields],
        target=_target(plan),
    )


def data(plan: Plan, file: str) -> str:
    """Return the text of src/model/data.py, not yet formatted."""
    label, source = quoted(plan.target.label), plan.table.source.table
    time = _seconds(plan, plan.time) if plan.time else ""
    replaced = f" REPLACE (CAST({label} AS VARCHAR) AS {label})" if plan.labels.is_text else ""
    selected = [f"*{replaced}", *([f"{time} AS ts"] if time else [])]
    selected += [f"{_seconds(plan, plan.seen)} AS seen_ts"] if plan.seen else []
    only = f"IN ({', '.join(map(text, plan.labels.only))})" if plan.labels.only else "IS NOT NULL"
    options = [("separator", source.separator, ","), ("encoding", source.encoding, "utf-8"), ("skip", source.skip, 0)]
    return rendered(
        "data.py",
        file=file,
        readings={type(how).__name__ for how in plan.declared.values()} | {"Table"},
        columns={name: declaration(how) for name, how in plan.declared.items()},
        options=[f"{name}={value!r}" for name, value, default in options if value != default],
        time=time,
        only=plan.labels.only,
        labels=_lines(f"SELECT {', '.join(selected)} ", "FROM source ", f"WHERE {label} {only}"),
        population=_lines("SELECT * FROM source", *([f" WHERE {time} < (SELECT ts FROM as_of)"] if time else [])),
    )


def declaration(how: Text) -> str:
    """Return the Python code of a reading, without the defaults."""
    default = type(how)()
    stated = {each.name: getattr(how, each.name) for each in dataclasses.fields(how)}
    facts = [f"{name}={value!r}" for name, value in stated.items() if value != getattr(default, name)]
    return f"{type(how).__name__}({', '.join(facts)})"


def _lines(*parts: str) -> str:
    """Return the Python code of a long text, a part on each line where one line would be too long."""
    whole = repr("".join(parts))
    return whole if len(whole) < WIDTH - 20 else "(\n" + "\n".join(f"        {part!r}" for part in parts) + "\n    )"


def _seconds(plan: Plan, column: str) -> str:
    """Return SQL of whole seconds since 1970 UTC; an order without a calendar stays as it is."""
    is_time = plan.declared[column].kind == "time"
    return f"CAST(floor(epoch({quoted(column)})) AS BIGINT)" if is_time else quoted(column)


def estimator(pristine: str, is_regression: bool) -> str:
    """Return the text of src/model/estimator.py for the task; the template's own is for classification."""
    if not is_regression:
        return pristine
    for classification, regression in TEXTS["to_regression"].items():
        pristine = pristine.replace(classification, regression)
    pristine = re.sub(r"`trivial` [^;:]*([;:])", r"`trivial` predicts the mean\1", pristine)
    return re.sub(r"\n# For regression[^\n]*\n\n", "", pristine)


def _target(plan: Plan) -> str:
    target = plan.target
    if target.task == "regression":
        return f"Regression(label={target.label!r}" + (f", unit={target.unit!r})" if target.unit else ")")
    if target.task == "binary":
        negative, positive = target.classes
        return f"Binary(label={target.label!r}, positive={positive!r}, negative={negative!r})"
    return f"Multiclass(label={target.label!r}, names={target.classes!r})"


def _annotated(field: Field, identifier: str) -> str:
    kind = TYPES[field.kind] + (" | None" if field.nullable else "")
    notes = [f"unit={field.unit!r}"] if field.unit else []
    notes += [f"expected={field.expected!r}"] if field.expected else []
    source = f"{SOURCES[field.source]}({', '.join(notes)})"
    facts = [f"alias={field.name!r}"] if field.name != identifier else []
    facts += [f"{name}={limit}" for name, limit in zip(("ge", "le"), field.limits, strict=True) if limit is not None]
    facts += [f"max_length={field.max_length}"] if field.max_length else []
    return f"Annotated[{kind}, {source}{f', Field({chr(44).join(facts)})' if facts else ''}]"


def _class_name(file: str) -> str:
    stem = python_name(PurePath(file).name.partition(".")[0]).strip("_")
    name = "".join(part.capitalize() for part in stem.split("_"))
    # A class of the same name would hide a name that the module imports.
    return f"{name}Record" if not name or name in TAKEN else name


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
        return timestamps.format_utc(int(middle // DAY * DAY))
    return round(middle) if field.kind == "integer" else float(f"{middle:.3g}")
