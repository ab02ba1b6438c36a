"""The record of a decision of the gate: for programs, for a terminal and as a page."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from lifecycle import timestamps
from lifecycle.reports import html_page
from lifecycle.storage import Store, lock, write_atomically
from lifecycle.training.gate import Check, Decision

FORMAT = 1
AGREED, REFUSED = "agreed", "refused"
READING = (
    "Held-out rows are past questions that no model has learned from. The bounds say how far luck with these rows may "
    "have moved a number: what holds at both bounds is meant by surely."
)
TITLES = {
    "rows": "Enough rows",
    "unseen": "Rows that no model has seen",
    "trivial": "Better than answering without looking",
    "linear": "Not worse than a linear model",
    "champion": "Against what answers now",
    "loss": "Probabilities and errors",
    "slices": "In each part of the rows",
    "skew": "The service sees what training saw",
    "latency": "Time to answer",
    "size": "Size",
    "threshold": "Another threshold",
    "callers": "Callers",
    "owners": "Owners",
}


@dataclass(frozen=True)
class Record:
    """A decision and all that it was about."""

    environment: str
    version: str
    champion: str | None
    reason: str
    moment: int
    who: str
    why: str
    decision: Decision
    proposal: dict[str, float | None] | None

    @property
    def verdict(self) -> str:
        """`agreed` or `refused`. Whether the version then began to answer, the audit says."""
        return REFUSED if self.decision.faults else AGREED


def write(store: Store, record: Record) -> Path:
    """Write the record as JSON, text and page; returns the path of the page."""
    folder = store.reports / record.environment / "decisions"
    stem = f"{record.version}-{datetime.fromtimestamp(record.moment, UTC):%Y%m%dT%H%M%SZ}"
    # Two decisions of one second keep a file each.
    with lock(folder / ".lock"):
        free, at = stem, 1
        while (folder / f"{free}.json").exists():
            at += 1
            free = f"{stem}-{at}"
        write_atomically(folder / f"{free}.txt", text(record).encode())
        write_atomically(folder / f"{free}.html", page(record).encode())
        write_atomically(folder / f"{free}.json", (json.dumps(document(record), indent=2) + "\n").encode())
    return folder / f"{free}.html"


def document(record: Record) -> dict[str, Any]:
    """The record for programs."""
    told = asdict(record) | {"checks": [asdict(check) for check in record.decision.checks]}
    del told["decision"]
    return {"format": FORMAT, "verdict": record.verdict} | told | {"moment": timestamps.format_utc(record.moment)}


def text(record: Record) -> str:
    """The record for a terminal."""
    lines = [_headline(record), *_facts(record), ""]
    lines += [
        f"{'yes' if check.passed else 'NO':>4}  {_title(check)}: {check.text}" for check in record.decision.checks
    ]
    lines += ["", threshold(record.proposal)] if record.proposal else []
    return "\n".join(lines) + "\n"


def page(record: Record) -> str:
    """The record as a page of its own."""
    look = "incident" if record.decision.faults else "ok"
    parts = [f'<p class="verdict {look}"><strong>{record.verdict}</strong>: {escape(_headline(record))}</p>']
    parts += [html_page.paragraph(fact) for fact in _facts(record)]
    rows = [(_title(each), "yes" if each.passed else "no", each.text) for each in record.decision.checks]
    parts.append(html_page.table(("check", "passed", "what was found"), rows, "What the gate looked at"))
    parts.append(html_page.paragraph(READING))
    parts += [html_page.paragraph(threshold(record.proposal))] if record.proposal else []
    return html_page.page(f"Decision on {record.version}", "\n".join(parts), f"{record.environment}, {_when(record)}")


def threshold(proposal: dict[str, float | None]) -> str:
    """What the gate proposes about the threshold; it is product's to change."""
    told = f"by the costs in `gate`, the threshold {proposal['threshold']:.3g} costs {proposal['cost']:.4f} a row"
    if proposal["live_cost"] is None:
        return f"Proposed: {told}."
    return f"Proposed: {told}; the one that holds, {proposal['live']:.3g}, costs {proposal['live_cost']:.4f}."


def _headline(record: Record) -> str:
    may = "may not answer" if record.decision.faults else "may answer"
    return f"{record.version} {may} in {record.environment}"


def _facts(record: Record) -> list[str]:
    champion = f"{record.champion} answers now" if record.champion else "nothing answers yet"
    why = f" ({record.why})" if record.why else ""
    return [f"Decided {_when(record)}, asked by {record.who}{why}; the reason is {record.reason}; {champion}."]


def _when(record: Record) -> str:
    return timestamps.format_utc(record.moment)


def _title(check: Check) -> str:
    return TITLES.get(check.name, check.name)
