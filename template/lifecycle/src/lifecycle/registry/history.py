"""Which version and threshold answered from when to when, who decided it and why: the audit, read as a history."""

import json
from dataclasses import dataclass
from typing import Any

from lifecycle import timestamps
from lifecycle.errors import LifecycleError
from lifecycle.registry.deployments import AUDIT_HINT, audit_breaks, audit_halves
from lifecycle.storage import Store

CHANGES = ("promote", "rollback")


@dataclass(frozen=True)
class Period:
    """A version and a threshold that answered from `first` to before `last` (None: until now), in seconds."""

    environment: str
    version: str
    threshold: float | None
    first: int
    last: int | None
    action: str
    who: str
    why: str
    decision: str | None


def read(store: Store, environment: str) -> list[Period]:
    """The periods of an environment, oldest first; lines that are none of ours or half written are passed by."""
    lines = [line for line in _lines(store) if line.get("environment") == environment]
    found: list[Period] = []
    # The last has none after it.
    for line, after in zip(lines, [*lines[1:], None], strict=False):
        live, last = line["live"], timestamps.parse(after["changed"]) if after else None
        decision = line.get("evidence", {}).get("decision")
        first = timestamps.parse(line["changed"])
        told = line["action"], line["who"], line["why"], decision
        found.append(Period(environment, live["version"], live["threshold"], first, last, *told))
    return found


def at(periods: list[Period], moment: int) -> Period:
    """The period of a moment (seconds); raises LifecycleError before the first."""
    # Of two changes within a second, the later one holds.
    for period in reversed(periods):
        if period.first <= moment and (period.last is None or moment < period.last):
            return period
    raise LifecycleError(f"nothing answered at {timestamps.format_utc(moment)}", "`make history` lists what did.")


def sound(store: Store) -> None:
    """Raise LifecycleError when a line of the audit was edited or removed: then no history can be told from it."""
    if breaks := audit_breaks(store):
        lines = ", ".join(map(str, breaks))
        raise LifecycleError(f"{store.audit} does not follow from itself at line {lines}", AUDIT_HINT)


def _lines(store: Store) -> list[dict[str, Any]]:
    content = store.audit.read_bytes().splitlines() if store.audit.exists() else []
    halves = set(audit_halves(store))
    lines = [json.loads(line) for number, line in enumerate(content, 1) if number not in halves]
    return [line for line in lines if isinstance(line, dict) and line.get("action") in CHANGES]
