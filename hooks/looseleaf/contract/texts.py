"""The code that a plan becomes: contract, data and estimator, and the request that shows how to ask."""

import re
import shlex
import textwrap
from pathlib import PurePath
from typing import Any

from lifecycle.contract import names
from lifecycle.contract.schema import Contract
from lifecycle.contract.tables import quoted, text
from lifecycle.settings import Gate, Train
from looseleaf.contract.decide import DAY, Field, Plan
from looseleaf.contract.profile import PLAIN

TYPES = {"number": "float", "integer": "int", "boolean": "bool", "category": "str"}
INLINE_FIELDS = 40
WIDTH = 120
TAKEN = ("Row", "Key", "Request", "Field", "Annotated", "Binary", "Classes", "Number", "True", "False", "None")
REQUEST = "docs/example-request.json"

CONTRACT = '''"""{first}

{told}
"""

from typing import Annotated

from pydantic import Field

from lifecycle.contract import {imports}

VERSION = {version}  # the major version: a change that breaks a caller needs a new one


class {cls}(Row):
    """One row of {file}: the caller sends every field."""

{fields}


ROW = {cls}
TARGET = {answer}
'''

FIRST = """
A row and an answer. Every other list of columns (requests, matrix, logs, documentation) is derived from this file.
"""
TOLD = """
`make contract` inferred it from {file}; docs/contract-report.md says what each line rests on. Limits in `Field` are
what is impossible: such a row is refused. `expected` is what is usual: a row outside is answered. `make check` says
when `contract.json` is behind, `make contract` rewrites it.
"""

DATA = '''"""Where rows and labels come from: the file {file} in the data folder.

lifecycle/docs/data.md says how a query of a warehouse takes its place.
"""

from pathlib import Path

import duckdb

from lifecycle.errors import {errors}
from lifecycle.contract.tables import quoted, text

FILE = {file_literal}

# From what the file holds to what the contract says. `plain` is text without the blanks around it, null when empty.
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
        gone = "points to a file that is gone" if path.is_symlink() else "is missing"
        raise NotHere(f"{{path}} {{gone}}", "Put the file there, or name its folder: LIFECYCLE_DATA=folder.")
    connection.execute("{plain}")
    connection.execute(f"""
        CREATE OR REPLACE TEMP VIEW source AS FROM {scan}
    """)


def labels(connection: duckdb.DuckDBPyConnection) -> str:
    """Every row whose label is known{only_told}."""
    return f"SELECT {{COLUMNS}}, {{LABEL}} AS {{quoted(LABEL_NAME)}}{ts} FROM source WHERE {{LABEL}} {only}"


def population(connection: duckdb.DuckDBPyConnection) -> str:
    """Every row{population_told}, labelled or not."""
    return f"SELECT {{COLUMNS}} FROM source{population}"
'''

LATEST = '''

def latest(connection: duckdb.DuckDBPyConnection) -> int:
    """The moment that stands for now: the midnight after the last row. Without this function it is the clock."""
    ((last,),) = connection.execute(f"SELECT max({TIME}) FROM source").fetchall()
    if last is None:
        raise LifecycleError(f"{FILE} has no row with a time", "Give it rows.")
    return (int(last) // DAY + 1) * DAY
'''

TO_NUMBER = (
    ("from sklearn.dummy import DummyClassifier", "from sklearn.dummy import DummyRegressor"),
    ("import HistGradientBoostingClassifier", "import HistGradientBoostingRegressor"),
    ("import LogisticRegression", "import Ridge"),
    ("return HistGradientBoostingClassifier(", "return HistGradientBoostingRegressor("),
    ('DummyClassifier(strategy="prior")', 'DummyRegressor(strategy="mean")'),
    ("LogisticRegression(max_iter=1000, random_state=seed)", "Ridge(random_state=seed)"),
    ("`trivial` knows only the label rate", "`trivial` knows only the mean"),
)


def contract(plan: Plan, file: str, version: int) -> str:
    """The text of src/model/contract.py, not yet formatted."""
    columns = plan.fields
    safe = names.python_names(each.name for each in columns)
    answer = plan.target
    word = {"regression": "Regression", "binary": "Binary", "multiclass": "Multiclass"}[answer.task]
    imports = ", ".join(sorted({"Request", "Row", word} | ({"Key"} if any(each.is_key for each in columns) else set())))
    said = f"Multiclass(label={answer.label!r}, names={answer.classes!r})"
    if answer.task == "regression":
        said = f"Regression(label={answer.label!r}" + (f", unit={answer.unit!r})" if answer.unit else ")")
    elif answer.task == "binary":
        negative, positive = answer.classes
        said = f"Binary(label={answer.label!r}, positive={positive!r}, negative={negative!r})"
    lines = [f"    {safe[each.name]}: {_annotated(each, safe[each.name])}" for each in columns]
    whole = CONTRACT.format(
        file=printable(file),
        first=FIRST.strip(),
        told=wrapped(TOLD.format(file=printable(file))),
        imports=imports,
        version=version,
        cls=_class_name(file),
        fields="\n".join(lines),
        answer=said,
    )
    return whole if "Field(" in whole.partition("class ")[2] else whole.replace("from pydantic import Field\n\n", "")


def data(plan: Plan, file: str) -> str:
    """The text of src/model/data.py, not yet formatted."""
    columns = ",\n".join(f"    {each.sql} AS {quoted(each.name)}" for each in plan.fields)
    only = f"IN ({', '.join(map(text, plan.labels.only))})" if plan.labels.only else "IS NOT NULL"
    scan = _in_quotes(plan.table.source.scan).replace("{path}", "{text(str(path))}")
    dated = plan.time is not None
    plain = PLAIN if "plain(" in columns + plan.labels.sql + plan.time_sql else ""
    whole = DATA.format(
        file=printable(file),
        file_literal=repr(file),
        columns=_in_quotes(columns),
        errors="LifecycleError, NotHere" if dated else "NotHere",
        label=repr(plan.labels.sql),
        time=f"TIME = {plan.time_sql!r}\nDAY = 86_400\n" if dated else "",
        plain=plain,
        scan=_wrapped_call(scan),
        label_name=repr(plan.target.label),
        ts=", {TIME} AS ts" if dated else "",
        only=_in_quotes(only).replace("{", "{{").replace("}", "}}").replace('"', '\\"'),
        only_told=" and is one of the answer's classes" if plan.labels.only else "",
        population_told=" from before the moment" if dated else "",
        population=" WHERE {TIME} < (SELECT ts FROM as_of)" if dated else "",
    )
    if not plain:
        whole = whole.replace('    connection.execute("")\n', "").replace(
            " `plain` is text without the blanks around it, null when empty.", ""
        )
    return whole + (LATEST if dated else "")


def estimator(pristine: str, is_number: bool) -> str:
    """The text of src/model/estimator.py for the task; the template's own is for classes."""
    if not is_number:
        return pristine
    for classes, number in TO_NUMBER:
        pristine = pristine.replace(classes, number)
    return re.sub(r"\n# For an answer that is a Number: .*\n\n", "", pristine)


def call(plan: Plan, path: str) -> str:
    """What a person types to run the inference again, on the file at `path`."""
    wishes = plan.wishes
    words = {"DATA": path, "LABEL": wishes.label, "KEY": wishes.key, "TIME": wishes.time}
    words |= {"ANSWER": wishes.task, "KEEP": ",".join(sorted(wishes.keep))}
    return " ".join(["make contract", *(f"{name}={shlex.quote(word)}" for name, word in words.items() if word)])


def config(plan: Plan, pristine: str) -> tuple[str, str | None]:
    """config/base.yaml and, where the table is too small for the gate, config/local.yaml."""
    base, local, rows = pristine, None, plan.labels.rows
    if plan.share > Train().holdout:
        why = f"{rows:,} labelled rows: of {Train().holdout:g}, too few would be held out for the gate to decide on"
        base += f"train:\n  holdout: {plan.share:g}  # {why}\n"
    if plan.min_rows < Gate().min_rows:
        why = f"about {plan.share * rows:.0f} rows can be held out; staging and production keep {Gate().min_rows}"
        local = f"gate:\n  min_rows: {plan.min_rows}  # {why}\n"
    return base, local


def request(made: Contract, plan: Plan) -> dict[str, Any]:
    """A request that nobody sent: what is usual for each field, and an invented key."""
    fields = {each.name: each for each in plan.fields}
    return {
        column.name: 1 if column.source == "key" and column.kind == "integer" else _usual(fields[column.name], plan)
        for column in made.request
    }


def _annotated(field: Field, python: str) -> str:
    kind = TYPES[field.kind] + (" | None" if field.nullable else "")
    said = [f"unit={field.unit!r}"] if field.unit else []
    said += [f"expected={field.expected!r}"] if field.expected else []
    note = f"{'Key' if field.is_key else 'Request'}({', '.join(said)})"
    facts = [f"alias={field.name!r}"] if field.name != python else []
    facts += [f"ge={-field.limit!r}, le={field.limit!r}"] if field.limit else []
    facts += [f"max_length={field.max_length}"] if field.max_length else []
    return f"Annotated[{kind}, {note}{f', Field({chr(44).join(facts)})' if facts else ''}]"


def _usual(field: Field, plan: Plan) -> Any:
    if field.is_key:
        return "example-1"
    known = plan.table.profiles[field.column].sample.dropna()
    if not len(known):
        return None
    if field.kind == "boolean":
        return bool(known.mean() > 0.5)
    if field.kind == "category":
        return field.expected[0] if field.expected else "example"
    middle = float(known.astype(float).quantile(0.5)) / (DAY if field.unit.startswith("days since") else 1)
    return round(middle) if field.kind == "integer" else float(f"{middle:.3g}")


def _class_name(file: str) -> str:
    stem = names.python_name(PurePath(file).name.partition(".")[0]).strip("_")
    name = "".join(part.capitalize() for part in stem.split("_"))
    # A name of the module itself would be hidden by it.
    return f"{name}Record" if not name or name in TAKEN else name


def printable(value: str) -> str:
    """A text as it can stand in prose, a docstring and Markdown: one line, without quotes, bars and backslashes."""
    return re.sub(r"[\\\"`|*{}<>\x00-\x1f\x7f-\x9f\u2028\u2029]+", "_", value)


def _in_quotes(value: str) -> str:
    """The inside of a literal in triple quotes."""
    escaped = value.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    escaped = re.sub(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff]", lambda sign: f"\\u{ord(sign[0]):04x}", escaped)
    return escaped


def _wrapped_call(call: str) -> str:
    """A call in SQL with its arguments on lines of their own, where one line would be too long."""
    name, _, arguments = call.partition("(")
    if "," not in arguments:
        return call
    lines = textwrap.wrap(arguments.removesuffix(")"), WIDTH - 20, break_long_words=False, break_on_hyphens=False)
    return "\n            ".join([f"{name}(", *lines]) + "\n        )"


def wrapped(paragraph: str) -> str:
    """A paragraph of prose in lines as the pages of the repository have them."""
    return textwrap.fill(" ".join(paragraph.split()), WIDTH, break_long_words=False, break_on_hyphens=False)
