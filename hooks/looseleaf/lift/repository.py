"""Put a lifted notebook into a rendered repository: contract, data, estimator, the model class and its test."""

import hashlib
import json
import os
import re
import shlex
import string
import tempfile
import tomllib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from lifecycle.contract import tables
from lifecycle.contract.reader import Boolean, Number, Text, Time
from lifecycle.contract.tables import quoted, text
from lifecycle.errors import LifecycleError, Refused
from looseleaf.contract import texts
from looseleaf.contract.changes import REPORT, Changes
from looseleaf.contract.decide import complete
from looseleaf.contract.draft import MODEL, NEEDED, PAGES, Draft, formatted
from looseleaf.contract.infer import MEMORY, pristine, read_labelled_rows
from looseleaf.contract.plan import Plan
from looseleaf.contract.profile import Table, profile_table
from looseleaf.contract.prompts import Chooser, Wishes
from looseleaf.contract.reading import Reading
from looseleaf.contract.source import Source, open_source
from looseleaf.contract.target import read_label
from looseleaf.lift.hints import TEXTS
from looseleaf.lift.lifting import LEARNED, Result

DATA, ESTIMATOR = f"{MODEL}/data.py", f"{MODEL}/estimator.py"
CONFTEST, TEST, FACTS = "tests/conftest.py", "tests/test_lifted.py", "tests/lifted.json"
PASSAGES = tomllib.loads(LEARNED.with_name("passages.toml").read_text(encoding="utf-8"))
Consent = Callable[[str], bool]
# The text of a file that pandas reads as null, where a column of text has nulls.
NULLS = ("#N/A", "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null")


def write(root: Path, result: Result, data: str, may_replace: Consent) -> list[str]:
    """Write a verified lift; returns lines for the terminal.

    `data` is the table, where the notebook has another path, and `may_replace` decides about the edited files that it
    names, of which a copy is kept. Raises LifecycleError where the repository cannot take the lift.
    """
    if result.checks["method"] not in ("predict", "predict_proba"):
        problem = f"{result.checks['method']} of the notebook's model returns no probabilities"
        raise LifecycleError(problem, "Let it predict with predict_proba or predict, and lift again.")
    fact = result.trace.facts["sources"][result.plan.source]
    read = fact["given"]
    if fact["of_library"] and not data:
        hint = f"Write {read}(as_frame=True).frame.to_csv('{read}.csv', index=False) and name the file: --data (DATA=)."
        raise LifecycleError(f"{read} of scikit-learn is not a file, which training here reads", hint)
    if unruled := result.checks["unruled"]:
        problem = f"the notebook removes rows by more than one column, which training here cannot do: {unruled[0]}"
        raise LifecycleError(problem, "Write it as conditions on one column each, or remove that line, and lift again.")
    with tempfile.TemporaryDirectory() as scratch:
        connection = tables.connect(memory_limit=MEMORY, temp_directory=scratch)
        source = open_source(data or str(result.notebook.path.parent / read), connection)
        plan = _plan(profile_table(source, connection, partial(_reading, result.checks["columns"])), result, connection)
        draft = Draft.of(root, plan, pristine(root))
        draft.contents.update(_contents(root, draft, result, source))
        read_labelled_rows(plan, draft.contract, draft.data_module, draft.file, connection)
    needed = {*NEEDED, *(name for name in draft.contents if name.startswith((MODEL, CONFTEST, TEST, FACTS)))}
    changed = {*Changes(root, draft.contents, draft.pristine).edited()} - {*PAGES}
    edited, kept = sorted(changed & needed), sorted(changed - needed)
    if edited and not may_replace(", ".join(edited)):
        hint = "Nothing was written. --force (FORCE=1) replaces them and keeps a copy of each."
        raise Refused(f"these files were edited: {', '.join(edited)}", hint)
    for name in kept:
        del draft.contents[name]
    lines = [line for line in draft.write(force=bool(edited)) if line and not line.startswith("next:")]
    # A later `make contract` must keep them.
    report = re.sub(f"\\| `({ESTIMATOR}|{CONFTEST})` .*\n", "", (root / REPORT).read_text("utf-8"))
    (root / REPORT).write_text(report, "utf-8")
    return [*(f"{name} was edited and is unchanged" for name in kept), *lines]


def _reading(columns: dict[str, Any], name: str, found: Reading) -> Reading:
    """Return how a column is read as the notebook does, by its type in the notebook's table."""
    facts, how = columns.get(name, {"dtype": ""}), found.how
    dtype = facts["dtype"]
    if dtype.startswith(("int", "uint", "float")):
        number = how if isinstance(how, Number) else Number()
        return replace(found, how=replace(number, whole=not dtype.startswith("float")))
    if dtype == "bool" or dtype.startswith("datetime"):
        kind = Boolean if dtype == "bool" else Time
        return found if isinstance(how, kind) else Reading(kind())
    # A column with times of several formats is text for the notebook as well.
    if dtype and not (isinstance(how, Time) and len(how.formats) < 2):
        return Reading(Text(strip=False, missing=NULLS if facts["nulls"] else ()))
    return found


def _plan(table: Table, result: Result, connection: Any) -> Plan:
    """Return the plan of a contract with the columns that the notebook uses, each as it is in the notebook's table."""
    checks, label, file = result.checks, result.checks["label"], table.source.path.name
    if label not in checks["columns"]:
        problem = f"{file} has no column {label!r}" if label else f"the label of the model in {file} is unclear"
        raise LifecycleError(problem, f"Name it with --label (LABEL=): {', '.join(checks['columns'])}.")
    # pandas calls a column without a name, often the index that was saved, `Unnamed: 0`.
    if lacking := checks["columns"].keys() - table.profiles.keys() - set(checks["unused"]):
        problem = f"{file} has no column {min(lacking)!r}: the notebook names the columns itself"
        raise LifecycleError(problem, "Write the table as CSV with these names, and let the notebook read that.")
    wishes = Wishes(label, task="classification" if checks["classes"] else "regression")
    labels = read_label(table, wishes, connection)
    if len(labels.target.classes) == 2 == len(checks["levels"]):
        last = [each for each in labels.target.classes if _same(each, checks["levels"][1])]
        labels = read_label(table, replace(wishes, positive=last[0] if last else None), connection)
    if not all(any(_same(each, level) for level in checks["levels"]) for each in labels.target.classes):
        problem = f"the classes of {label} in {file} are not those of the notebook's model"
        raise LifecycleError(problem, "Fit the model to the values of that column, or to codes of one each.")
    plan = Plan(table, wishes, Chooser(), labels)
    used = [name for name in checks["columns"] if name not in (*checks["unused"], label)]
    for name in table.profiles.keys() - {*used, label}:
        plan.exclude(name, "the notebook's prediction does not depend on it")
    complete(plan, dict.fromkeys(used, "request"), None, None, None)
    required = {rule["column"] for rule in checks["rules"] if rule["kind"] == "null"}
    plan.fields = [replace(each, nullable=each.nullable and each.column not in required) for each in plan.fields]
    for rule in checks["rules"]:
        if rule["column"] not in (*used, label):
            plan.declared[rule["column"]] = table.profiles[rule["column"]].reading.how
        plan.decided.append(f"{rule['rows']} rows are left out, as in the notebook: {rule['reason']}")
    return plan


def _same(word: str, level: Any) -> bool:
    """Whether a text of the contract is a value of the label in the notebook."""
    try:
        return float(word) == float(level)
    except ValueError:
        return word.casefold() == str(level).strip().casefold()


def model_files(result: Result, plan: Plan) -> dict[str, bytes]:
    """Return the files in src/model/ of the lifted model; lifted.json is what LiftedModel reads."""
    checks, names = result.checks, {each.column: each.name for each in plan.fields}
    columns = {name: {**facts} for name, facts in checks["columns"].items()}
    for each in plan.fields:
        if isinstance(each.how, Time) and not columns[each.column]["dtype"].startswith("datetime"):
            columns[each.column]["format"] = (*each.how.formats, "%Y-%m-%d %H:%M:%S")[0]
    order = [[_same(name, level) for level in checks["levels"]].index(True) for name in plan.target.classes]
    facts = {name: checks[name] for name in ("label", "method", "classes", "inverse")}
    facts |= {"notebook": result.notebook.path.name, "names": {names.get(name, name): name for name in columns}}
    facts |= {"columns": columns, "order": order, "levels": [checks["levels"][at] for at in order]}
    copies = {f"{MODEL}/{name}": LEARNED.with_name(name).read_bytes() for name in ("learned.py", "lifted_model.py")}
    return {f"{MODEL}/lifted.py": result.lifted.text.encode(), f"{MODEL}/lifted.json": as_json(facts), **copies}


def _contents(root: Path, draft: Draft, result: Result, source: Source) -> dict[str, bytes]:
    """Return the files of a lift, and those of the contract that it changes."""
    checks, fields = result.checks, {each.column: each for each in draft.plan.fields}
    contents = model_files(result, draft.plan)
    facts = json.loads(contents[f"{MODEL}/lifted.json"])
    golden = {"sha256": hashlib.sha256(source.path.read_bytes()).hexdigest(), "different": 0, "largest": 0.0}
    golden["rows"] = [_row(each["row"], facts) for each in checks["golden"]]
    golden["outputs"] = [_output(each["output"], facts) for each in checks["golden"]]
    contents |= {FACTS: as_json(golden), TEST: (texts.OWN / TEST).read_bytes()}
    conditions = " AND ".join(_sql(rule, fields) for rule in checks["rules"])
    values = {"notebook": shlex.quote(os.path.relpath(result.notebook.path, root))}
    values["kind"] = re.findall(r"import (HistGradientBoosting\w+)", (draft.contents[ESTIMATOR] or b"").decode())[0]
    values["query"] = repr(f"CREATE OR REPLACE TEMP VIEW source AS FROM file WHERE {conditions}")
    # A page that the user wrote need not have the passage.
    edited = Changes(root, {"README.md": None}, draft.pristine).edited()
    for name, passages in PASSAGES.items():
        if (before := draft.contents.get(name)) and (conditions or name != DATA):
            after = _replaced(name, before.decode(), passages, values, name in edited)
            contents[name] = formatted(root, name, after) if name.endswith(".py") else after.encode()
    return contents


def _replaced(name: str, content: str, passages: list[Any], values: dict[str, str], may_differ: bool) -> str:
    """Return the content of a file with its passages replaced; raises LifecycleError where one is not found."""
    for each in passages:
        new = string.Template(each["put"]).substitute(values).replace("\\", r"\\")
        content, count = re.subn(each["find"], new, content, count=1, flags=re.MULTILINE | re.DOTALL)
        if not count and not may_differ:
            problem = f"{name} of the template has no passage {each['find']!r}, which a lift replaces"
            raise LifecycleError(problem, "Please report this.")
    return content


def _sql(rule: dict[str, Any], fields: dict[str, Any]) -> str:
    """Return the condition of a rule in SQL; a null satisfies all but the one that forbids it."""
    column = quoted(fields[rule["column"]].name if rule["column"] in fields else rule["column"])
    value = ", ".join(map(text, rule["value"])) if rule["kind"] in ("levels", "words") else rule["value"]
    if rule["kind"] == "levels" and set(rule["value"]) <= {"True", "False"}:
        # pandas reads every spelling of them as a truth value, which DuckDB writes in lower case.
        return f"coalesce(lower(CAST({column} AS VARCHAR)) IN ({value.lower()}), TRUE)"
    return str(TEXTS["conditions"][rule["kind"]]).format(column=column, value=value)


def _row(row: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the notebook's table as the contract has it."""
    times = {name: each["format"] for name, each in facts["columns"].items() if "format" in each and row[name]}
    row = row | {name: pd.to_datetime(row[name], format=form).isoformat() for name, form in times.items()}
    return {name: row[raw] for name, raw in facts["names"].items() if raw in row}


def _output(output: Any, facts: dict[str, Any]) -> Any:
    """Return a prediction of the notebook as LiftedModel returns it."""
    if not facts["classes"]:
        return output[0] if isinstance(output, list) else output
    shares = output if isinstance(output, list) else [float(_same(str(one), output)) for one in facts["classes"]]
    shares = [shares[at] for at in facts["order"]]
    return shares[1] if len(shares) == 2 else shares


def as_json(facts: Any) -> bytes:
    """Return the content of a file of JSON."""
    return (json.dumps(facts, ensure_ascii=False, indent=1) + "\n").encode()
