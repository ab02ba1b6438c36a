"""The audit log: one JSON line for each change of a deployment and each approval, only ever appended to."""

import json
import os
from dataclasses import dataclass
from typing import Any

from lifecycle import timestamps
from lifecycle.errors import LifecycleError
from lifecycle.storage import Store, explain_disk_errors, lock

CHANGES = ("promote", "rollback")


@dataclass(frozen=True)
class Period:
    """A version and threshold that were deployed from `first` until before `last` (None: until now), in seconds."""

    environment: str
    version: str
    threshold: float | None
    first: int
    last: int | None
    action: str
    who: str
    why: str
    decision: str | None


def append(store: Store, entry: dict[str, Any]) -> None:
    """Append one line and flush it to the disk.

    Raises:
        LifecycleError: the disk refuses the write.
    """
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
    return [entry for line in _lines(store) if (entry := _parse(line)) is not None]


def incomplete_lines(store: Store) -> list[int]:
    """Return the numbers (from 1) of the lines that a killed writer left incomplete."""
    return [number for number, line in enumerate(_lines(store), 1) if _parse(line) is None]


def periods(store: Store, environment: str) -> list[Period]:
    """Return what was deployed in an environment from when to when, oldest first."""
    changes = [
        each for each in entries(store) if each.get("action") in CHANGES and each.get("environment") == environment
    ]
    starts = [timestamps.parse(each["changed"]) for each in changes]
    return [
        Period(
            environment,
            each["live"]["version"],
            each["live"]["threshold"],
            first,
            last,
            each["action"],
            each["who"],
            each["why"],
            each.get("evidence", {}).get("decision"),
        )
        for each, first, last in zip(changes, starts, [*starts[1:], None], strict=False)
    ]


def period_at(deployed: list[Period], as_of: int) -> Period:
    """Return the period that contains a timestamp in seconds.

    Raises:
        LifecycleError: nothing was deployed then.
    """
    # Of two changes within a second, the later one holds.
    for period in reversed(deployed):
        if period.first <= as_of and (period.last is None or as_of < period.last):
            return period
    raise LifecycleError(f"nothing was deployed at {timestamps.format_utc(as_of)}", "`make history` lists all periods.")


def _lines(store: Store) -> list[bytes]:
    return store.audit.read_bytes().splitlines() if store.audit.exists() else []


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
