"""The record of a gate decision: as JSON for programs, as text for a terminal and as a page for people."""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lifecycle import timestamps
from lifecycle.reports import pages
from lifecycle.storage import Store, lock, write_atomically

FORMAT = 1
AGREED, REFUSED = "agreed", "refused"
TITLES = {
    "rows": "Enough rows",
    "unseen": "Rows that neither model was trained on",
    "trivial": "Better than the trivial baseline",
    "linear": "Not worse than a linear model",
    "champion": "Compared with the champion",
    "loss": "Probabilities and errors",
    "slices": "Slices of the rows",
    "skew": "Features at serving equal those of training",
    "threshold": "Another threshold",
}


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
        return REFUSED if self.decision.faults else AGREED


def write(store: Store, record: Record) -> Path:
    """Write the record as JSON, text and page, and return the path of the page."""
    folder = store.reports / record.environment / "decisions"
    stem = f"{record.version}-{datetime.fromtimestamp(record.decided_at, UTC):%Y%m%dT%H%M%SZ}"
    # Two decisions in one second get different names.
    with lock(folder / ".lock"):
        free, number = stem, 1
        while (folder / f"{free}.json").exists():
            number += 1
            free = f"{stem}-{number}"
        write_atomically(folder / f"{free}.txt", text(record).encode())
        write_atomically(folder / f"{free}.html", page(record).encode())
        write_atomically(folder / f"{free}.json", (json.dumps(document(record), indent=2) + "\n").encode())
    return folder / f"{free}.html"


def document(record: Record) -> dict[str, Any]:
    """Return the record as a JSON document."""
    fields = asdict(record) | {"checks": [asdict(check) for check in record.decision.checks]}
    del fields["decision"]
    return (
        {"format": FORMAT, "verdict": record.verdict}
        | fields
        | {"decided_at": timestamps.format_utc(record.decided_at)}
    )


def text(record: Record) -> str:
    """Return the record for a terminal."""
    lines = [_headline(record), _facts(record), ""]
    for check in record.decision.checks:
        lines.append(f"{'yes' if check.passed else 'NO':>4}  {_title(check.name)}: {check.text}")
    lines += ["", threshold(record.proposal)] if record.proposal else []
    return "\n".join(lines) + "\n"


def page(record: Record) -> str:
    """Return the record as a page."""
    proposed = threshold(record.proposal) if record.proposal else ""
    values = {"headline": _headline(record), "facts": _facts(record), "title": _title, "threshold": proposed}
    return pages.render("decision.html.j2", record=record, **values)


def threshold(proposal: dict[str, float | None]) -> str:
    """Return the sentence about the proposed threshold, which only the product role may change."""
    proposed = f"with the costs in `gate`, threshold {proposal['threshold']:.3g} costs {proposal['cost']:.4f} per row"
    if proposal["live_cost"] is None:
        return f"Proposed: {proposed}."
    return f"Proposed: {proposed}; the current threshold of {proposal['live']:.3g} costs {proposal['live_cost']:.4f}."


def _headline(record: Record) -> str:
    return f"{record.version} {'may not' if record.decision.faults else 'may'} be deployed in {record.environment}"


def _facts(record: Record) -> str:
    champion = f"{record.champion} is deployed" if record.champion else "no version is deployed yet"
    why, when = f" ({record.why})" if record.why else "", timestamps.format_utc(record.decided_at)
    return f"Decided {when}, requested by {record.who} (recorded, not verified){why}; the reason is {record.reason}; {champion}."


def _title(name: str) -> str:
    return TITLES.get(name, name.capitalize())
