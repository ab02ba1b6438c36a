"""Generate the code of a plan: src/model/contract.py, data.py and estimator.py."""

import dataclasses
import re
from pathlib import PurePath

from lifecycle.contract.compatibility import python_name, python_names
from lifecycle.contract.reader import Text
from lifecycle.contract.tables import quoted, text
from looseleaf.contract.plan import Field, Plan
from looseleaf.contract.texts import WIDTH, rendered

TYPES = {"number": "float", "integer": "int", "boolean": "bool", "category": "str", "time": "datetime"}
SOURCES = {"key": "Key", "id": "Id", "request": "Request", "logged": "Logged"}
TARGETS = {"regression": "Regression", "binary": "Binary", "multiclass": "Multiclass"}
TAKEN = (*("Row", "Field", "Annotated", "True", "False", "None"), *SOURCES.values(), *TARGETS.values())

TO_REGRESSION = (
    ("from sklearn.dummy import DummyClassifier", "from sklearn.dummy import DummyRegressor"),
    ("import HistGradientBoostingClassifier", "import HistGradientBoostingRegressor"),
    ("import LogisticRegression", "import Ridge"),
    ("return HistGradientBoostingClassifier(", "return HistGradientBoostingRegressor("),
    ('DummyClassifier(strategy="prior")', 'DummyRegressor(strategy="mean")'),
    ("LogisticRegression(max_iter=1000, random_state=seed)", "Ridge(random_state=seed)"),
)


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
    for classification, regression in TO_REGRESSION:
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
