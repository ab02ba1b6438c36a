"""Accept what monitoring found in a column, such as a new level that is legitimate: one line of the audit log.

An accepted column counts as drifted instead of broken, until another version is deployed.
"""

import difflib
import json
from dataclasses import dataclass

from lifecycle import timestamps
from lifecycle.errors import LifecycleError, complete_commands
from lifecycle.models.bundle import open_version
from lifecycle.registry import Identity, deployments
from lifecycle.reports import LATEST
from lifecycle.storage import Store

ACTION = "accept"


@dataclass(frozen=True)
class Acceptance:
    """Who accepted what was found in a column, when (ISO 8601) and why; the name is recorded, not verified."""

    column: str
    kind: str
    who: str
    when: str
    why: str


def accepted(store: Store, environment: str, version: str, as_of: int) -> list[Acceptance]:
    """Return what was accepted for a version by a time in seconds, since it was deployed instead of another one."""
    found: list[Acceptance] = []
    for entry in deployments.audit_entries(store):
        if entry.get("environment") != environment:
            continue
        if "live" in entry and entry["live"]["version"] != version:
            found = []
        elif entry["action"] == ACTION and entry["version"] == version and timestamps.parse(entry["changed"]) <= as_of:
            found.append(Acceptance(entry["column"], entry["kind"], entry["who"], entry["changed"], entry["why"]))
    return found


def accept(store: Store, environment: str, name: str, who: Identity, why: str) -> str:
    """Accept what the newest report found in a column, and return that finding; `who` and `why` go to the audit log.

    Raises:
        LifecycleError: the reason is missing, the column is unknown or not broken, the rows violate the contract, or
            the report does not describe the deployed version.
    """
    again = complete_commands("Run `make monitor` first.", environment)
    if not why.strip():
        problem = f"{name} is accepted only with a reason, which the audit log and later reports state"
        raise LifecycleError(problem, complete_commands(f'Run `make accept COLUMN={name} WHY="…"`.', environment))
    version = deployments.required(store, environment).current.version
    names = [column.name for column in open_version(store, version).contract.inputs]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        problem = f"the contract of {version} has no input {name!r}" + (f"; is {near[0]} meant?" if near else "")
        raise LifecycleError(problem, f"Its inputs are: {', '.join(names)}.")
    try:
        report = json.loads((store.reports / environment / LATEST).read_bytes())
        column, reported = report["windows"][-1]["columns"].get(name, {}), report["version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LifecycleError(f"there is no report of monitoring about {environment}", again) from error
    if reported != version:
        raise LifecycleError(f"the newest report is about {reported}, and {version} is deployed", again)
    finding, kind = column.get("broken"), column.get("kind")
    if not finding:
        raise LifecycleError(f"{name} is not broken in the newest report", "Drift needs no acceptance.")
    if not kind:
        hint = "Fix the data at their source, or change the column in src/model/contract.py, and train a new version."
        raise LifecycleError(f"{name} violates the contract of the deployed version: it {finding}", hint)
    entry = {"action": ACTION, "environment": environment, "version": version, "column": name, "kind": kind}
    entry |= {"finding": finding, "who": who.name, "source": who.source, "why": why.strip()}
    deployments.append_audit(store, entry | {"changed": timestamps.format_utc(timestamps.now())})
    return str(finding)
