"""The result of a check, and what all checks use."""

from dataclasses import dataclass
from typing import Any

from looseleaf.ready.evidence import Evidence, Item

HALF, WHOLE = 0.5, 1.0
PASSED = "passed"


@dataclass(frozen=True)
class Found:
    """The points of a row (0, 0.5 or 1), the reason in one sentence, and the evidence, the decisive one first."""

    points: float
    text: str
    items: tuple[Item, ...] = ()


class Lost(Exception):
    """There is no evidence, or it contradicts what the row requires."""


def need(item: Item | None, missing: str) -> Item:
    """Return the item; raise Lost with a text about what is missing."""
    if item is None:
        raise Lost(missing)
    return item


def drill(evidence: Evidence, name: str) -> Item:
    """Return the record of a drill; raise Lost where it was not run on this version, or failed."""
    item = need(evidence.drills.get(name), f"the drill `{name}` was not run on this version")
    if problem := item.document.get("problem"):
        raise Lost(f"the drill `{name}`: {problem}")
    return item


def passed(evidence: Evidence, check: str) -> tuple[Item, dict[str, Any]]:
    """Return the gate's decision and one of its checks; raise Lost unless the check passed."""
    decision = need(evidence.decision, "there is no decision of the gate about this version")
    found = evidence.numbers(check)
    if found.get("outcome") != PASSED:
        raise Lost(f"the gate's check `{check}` {found.get('outcome', 'was not made')}: {found.get('text', '')}")
    return decision, found


def report_of(evidence: Evidence) -> Item:
    """Return the report of monitoring; raise Lost where no prediction was logged, in production or in a simulation."""
    return need(evidence.report, "no monitoring report covers this version, and no simulated year has its contract")


def quality_of(evidence: Evidence) -> tuple[Item, dict[str, Any], dict[str, Any]]:
    """Return the newest report with quality, its quality and the interval; raise Lost where none was measured."""
    report = need(evidence.quality, "too few served predictions of this version have a label to measure quality")
    quality: dict[str, Any] = report.document["quality"]
    if quality.get("expected") is None:
        raise Lost("the holdout has no measure to compare with")
    return report, quality, quality["overall"]


def tests(evidence: Evidence, *words: str) -> Item:
    """Return the outcomes of `make test`; raise Lost if a test in files named by `words` failed or none passed."""
    item = need(evidence.tests, "`make test` was not run since the version was trained and its code last changed")
    chosen = {name: each for name, each in item.document.items() if not words or any(word in name for word in words)}
    if failed := sorted(name for name, outcome in chosen.items() if outcome in ("failure", "error")):
        raise Lost(f"{len(failed)} of {len(chosen)} tests failed: {failed[0]}")
    if PASSED not in chosen.values():
        raise Lost(f"no test passed{' in files of ' + ' or '.join(words) if words else ''}")
    return item
