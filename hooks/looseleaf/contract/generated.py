"""Generate the code of a plan: src/model/contract.py, data.py and estimator.py."""

import re
from pathlib import PurePath

from lifecycle.contract.compatibility import python_name, python_names
from lifecycle.contract.tables import quoted, text
from looseleaf.contract.plan import Field, Plan
from looseleaf.contract.profile import PLAIN
from looseleaf.contract.texts import in_triple_quotes, printable, wrapped, wrapped_call

TYPES = {"number": "float", "integer": "int", "boolean": "bool", "category": "str"}
TARGETS = {"regression": "Regression", "binary": "Binary", "multiclass": "Multiclass"}
TAKEN = (*("Row", "Key", "Request", "Field", "Annotated", "True", "False", "None"), *TARGETS.values())

CONTRACT = '''"""{first}

{origin}
"""

from typing import Annotated

from pydantic import Field

from lifecycle.contract import {imports}

VERSION = {version}  # the major version: a change that breaks a caller needs a new one


class {cls}(Row):
    """One row of {file}: the caller sends every field."""

{fields}


ROW = {cls}
TARGET = {target}
'''

FIRST = """
A row and its target. Every other list of columns (requests, matrix, logs, documentation) is derived from this file.
"""
ORIGIN = """
`make contract` inferred it from {file}; docs/contract-report.md gives the reason for each line. Limits in `Field` are
hard: a row outside them is rejected. `expected` is the usual range: a row outside it is predicted and counted. `make
check` reports when `contract.json` is out of date, `make contract` rewrites it.
"""

DATA = '''"""Where rows and labels come from: the file {file} in the data folder.

lifecycle/docs/data.md shows how to replace it by a query of a warehouse.
"""

from pathlib import Path

import duckdb

from lifecycle.errors import {errors}
from lifecycle.contract.tables import quoted, text

FILE = {file_literal}

# Compute the contract's columns from the file. `plain` strips blanks from a text and returns null if it is empty.
COLUMNS = """
{columns}
"""
LABEL = {label}
LABEL_NAME = {label_name}
{time}

def tables(connection: duckdb.DuckDBPyConnection, folder: Path) -> None:
    """Register the file as the view `source`."""
    path = folder / FILE
    if not path.exists():
        problem = "points to a file that does not exist" if path.is_symlink() else "is missing"
        raise NotHere(f"{{path}} {{problem}}", "Put the file there, or name its folder: LIFECYCLE_DATA=folder.")
    connection.execute("{plain}")
    connection.execute(f"""
        CREATE OR REPLACE TEMP VIEW source AS FROM {scan}
    """)


def labels(connection: duckdb.DuckDBPyConnection) -> str:
    """Return SQL for every row whose label is known{only_note}."""
    return f"SELECT {{COLUMNS}}, {{LABEL}} AS {{quoted(LABEL_NAME)}}{ts} FROM source WHERE {{LABEL}} {only}"


def population(connection: duckdb.DuckDBPyConnection) -> str:
    """Return SQL for every row{population_note}, labelled or not."""
    return f"SELECT {{COLUMNS}} FROM source{population}"
'''

LATEST = '''

def latest(connection: duckdb.DuckDBPyConnection) -> int:
    """Return the midnight after the last row, as seconds since 1970. Without this function the clock is used."""
    ((last,),) = connection.execute(f"SELECT max({TIME}) FROM source").fetchall()
    if last is None:
        raise LifecycleError(f"{FILE} has no row with a time", "Add rows with a time.")
    return (int(last) // DAY + 1) * DAY
'''

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
    imports = {"Request", "Row", TARGETS[plan.target.task]}
    imports |= {"Key"} if any(each.is_key for each in plan.fields) else set()
    lines = [f"    {identifiers[each.name]}: {_annotated(each, identifiers[each.name])}" for each in plan.fields]
    whole = CONTRACT.format(
        file=printable(file),
        first=FIRST.strip(),
        origin=wrapped(ORIGIN.format(file=printable(file))),
        imports=", ".join(sorted(imports)),
        version=version,
        cls=_class_name(file),
        fields="\n".join(lines),
        target=_target(plan),
    )
    return whole if "Field(" in whole.partition("class ")[2] else whole.replace("from pydantic import Field\n\n", "")


def data(plan: Plan, file: str) -> str:
    """Return the text of src/model/data.py, not yet formatted."""
    columns = ",\n".join(f"    {each.sql} AS {quoted(each.name)}" for each in plan.fields)
    only = f"IN ({', '.join(map(text, plan.labels.only))})" if plan.labels.only else "IS NOT NULL"
    scan = in_triple_quotes(plan.table.source.scan).replace("{path}", "{text(str(path))}")
    has_time = plan.time is not None
    plain = PLAIN if "plain(" in columns + plan.labels.sql + plan.time_sql else ""
    whole = DATA.format(
        file=printable(file),
        file_literal=repr(file),
        columns=in_triple_quotes(columns),
        errors="LifecycleError, NotHere" if has_time else "NotHere",
        label=repr(plan.labels.sql),
        time=f"TIME = {plan.time_sql!r}\nDAY = 86_400\n" if has_time else "",
        plain=plain,
        scan=wrapped_call(scan),
        label_name=repr(plan.target.label),
        ts=", {TIME} AS ts" if has_time else "",
        only=in_triple_quotes(only).replace("{", "{{").replace("}", "}}").replace('"', '\\"'),
        only_note=" and is one of the target's classes" if plan.labels.only else "",
        population_note=" from before the requested time" if has_time else "",
        population=" WHERE {TIME} < (SELECT ts FROM as_of)" if has_time else "",
    )
    if not plain:
        whole = whole.replace('    connection.execute("")\n', "").replace(
            " `plain` strips blanks from a text and returns null if it is empty.", ""
        )
    return whole + (LATEST if has_time else "")


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
    source = f"{'Key' if field.is_key else 'Request'}({', '.join(notes)})"
    facts = [f"alias={field.name!r}"] if field.name != identifier else []
    facts += [f"ge={-field.limit!r}, le={field.limit!r}"] if field.limit else []
    facts += [f"max_length={field.max_length}"] if field.max_length else []
    return f"Annotated[{kind}, {source}{f', Field({chr(44).join(facts)})' if facts else ''}]"


def _class_name(file: str) -> str:
    stem = python_name(PurePath(file).name.partition(".")[0]).strip("_")
    name = "".join(part.capitalize() for part in stem.split("_"))
    # A class of the same name would hide a name that the module imports.
    return f"{name}Record" if not name or name in TAKEN else name
