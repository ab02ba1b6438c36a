"""The audit log: one JSON line for each change of a deployment and each approval, only ever appended to."""

import json
import os
from dataclasses import dataclass
from typing import Any

from lifecycle import timestamps
from lifecycle.errors import LifecycleError
from lifecycle.storage import Store, explain_disk_errors, lock


@dataclass(frozen=True)
class Period:
    """A version and threshold that were deployed from `first` until before `last` (None: until now), in seconds."""

    version: str
    threshold: float | None
    first: int
    last: int | None
    entry: dict[str, Any]  # the line of the audit log


def append(store: Store, entry: dict[str, Any]) -> None:
    """Append one line and flush it to the disk; raises LifecycleError when the disk refuses."""
    with lock(store.root / ".audit.lock"), explain_disk_errors(store.audit), store.audit.open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - 1, 0))
        # A writer that was killed may have left half a line, which must not swallow this one.
        separator = b"\n" if file.read(1) not in (b"", b"\n") else b""
        file.write(separator + json.dumps(entry, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def entries(store: Store) -> list[dict[str, Any]]:
    """Return every line as an object, oldest first; lines that a killed writer left incomplete are skipped."""
    return [entry for entry in _parsed_lines(store) if entry is not None]


def incomplete_lines(store: Store) -> list[int]:
    """Return the numbers (from 1) of the lines that a killed writer left incomplete."""
    return [number for number, entry in enumerate(_parsed_lines(store), 1) if entry is None]


def periods(store: Store, environment: str) -> list[Period]:
    """Return what was deployed in an environment from when to when, oldest first."""
    changes = [each for each in entries(store) if "live" in each and each["environment"] == environment]
    starts = [timestamps.parse(each["changed"]) for each in changes]
    return [
        Period(each["live"]["version"], each["live"]["threshold"], first, last, each)
        for each, first, last in zip(changes, starts, [*starts[1:], None], strict=False)
    ]


def period_at(deployed: list[Period], as_of: int) -> Period:
    """Return the period that contains a timestamp in seconds; raises LifecycleError when nothing was deployed then."""
    begun = [period for period in deployed if period.first <= as_of]
    if not begun:
        problem = f"nothing was deployed at {timestamps.format_utc(as_of)}"
        raise LifecycleError(problem, "`make history` lists all periods.")
    return begun[-1]


def _parsed_lines(store: Store) -> list[dict[str, Any] | None]:
    parsed: list[dict[str, Any] | None] = []
    for line in store.audit.read_bytes().splitlines() if store.audit.exists() else []:
        try:
            parsed.append(json.loads(line))
        except ValueError:
            parsed.append(None)
    return parsed
