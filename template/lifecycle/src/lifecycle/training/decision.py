"""The record of a gate decision: as JSON for programs and as a page for people."""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lifecycle import reports, timestamps
from lifecycle.storage import Store, lock, write_atomically

FORMAT = 1


@dataclass(frozen=True)
class Check:
    """One check of the gate: its name, its result, an explanation and the numbers behind it."""

    name: str
    passed: bool
    text: str
    numbers: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """The result of the gate: the candidate may be deployed when no check failed."""

    checks: tuple[Check, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        """The explanations of the failed checks."""
        return tuple(check.text for check in self.checks if not check.passed)

    @property
    def numbers(self) -> dict[str, Any]:
        """The numbers of all checks, by name."""
        return {check.name: check.numbers for check in self.checks if check.numbers}


@dataclass(frozen=True)
class Record:
    """A gate decision with what it was about; `decided_at` in seconds, `proposal` as returned by `gate.proposal`."""

    environment: str
    version: str
    champion: str | None
    reason: str
    decided_at: int
    who: str
    why: str
    decision: Decision
    proposal: dict[str, float | None] | None

    @property
    def verdict(self) -> str:
        """`agreed` or `refused`; the audit log says whether the version was then deployed."""
        return "refused" if self.decision.faults else "agreed"


def write(store: Store, record: Record) -> Path:
    """Write the record as JSON and as a page, and return the path of the page."""
    folder = store.reports / record.environment / "decisions"
    stem = f"{record.version}-{datetime.fromtimestamp(record.decided_at, UTC):%Y%m%dT%H%M%SZ}"
    document: dict[str, Any] = {"format": FORMAT, "verdict": record.verdict} | asdict(record)
    document |= document.pop("decision") | {"decided_at": timestamps.format_utc(record.decided_at)}
    with lock(folder / ".lock"):
        # Two decisions in one second get different names.
        same = len(list(folder.glob(f"{stem}*.json")))
        stem += f"-{same + 1}" if same else ""
        write_atomically(folder / f"{stem}.html", page(record).encode())
        write_atomically(folder / f"{stem}.json", (json.dumps(document, indent=2) + "\n").encode())
    return folder / f"{stem}.html"


def page(record: Record) -> str:
    """Return the record as a page."""
    return reports.render("decision.html.j2", record=record, decided_at=timestamps.format_utc(record.decided_at))
