"""Training: divide the rows, fit, evaluate, compare and write the bundle; here, the record of the gate's decision."""

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from lifecycle import reports, timestamps
from lifecycle.storage import Store, write_atomically

FORMAT = 2
Outcome = Literal["passed", "failed", "not compared"]
PASSED: Outcome = "passed"
FAILED: Outcome = "failed"
NOT_COMPARED: Outcome = "not compared"
# The check of approvals and of what else production requires, which no reason overrides.
OWNERS = "owners"
IMPROVE = "The deployed version stays. Improve the rows, the columns or the estimator, then run `make train promote`."
ANYWAY = 'Compare both models on later rows, then run `make promote OVERRIDE="reason"`.'
# What to do about a check that did not pass, by its name.
HINTS = {
    "rows": "Add labelled rows, or lower gate.min_rows in config/, then run `make train promote`.",
    "unseen": "Run `make train promote`; where it happens again, report it as a defect.",
    "refit": "Look for wrong labels among the newest rows, then run `make train promote`.",
    "trivial": "Add informative columns or more rows, then run `make train promote`.",
    "linear": "Run `make train promote`: training keeps the linear model where it is better.",
    "champion": IMPROVE,
    "loss": IMPROVE,
    "slices": "Add rows or columns that describe these slices, then run `make train promote`.",
    "fairness": "Improve the model in these slices, or agree on another slice limit in docs/agreement.md.",
    "skew": "Fix what `make monitor` reports about skew, then run `make promote`.",
    "latency": "Use a smaller estimator and run `make train promote`, or raise the limit in config/.",
    "size": "Use a smaller estimator and run `make train promote`, or raise the limit in config/.",
}


@dataclass(frozen=True)
class Check:
    """One check of the gate: its name, its outcome, an explanation, the numbers behind it, and what to do about it.

    `hint` is empty for a check that passed. A check whose numbers are unknown or not valid is not compared.
    """

    name: str
    outcome: Outcome
    text: str
    numbers: dict[str, Any] = field(default_factory=dict)
    hint: str = ""

    @property
    def passed(self) -> bool:
        """Whether the outcome is `passed`."""
        return self.outcome == PASSED

    @property
    def fault(self) -> str:
        """The outcome, the explanation and, on a line of its own, what to do."""
        return f"{self.outcome}: {self.text}" + (f"\n    {self.hint}" if self.hint else "")


def checked(name: str, passed: bool, text: str, numbers: dict[str, Any] | None = None, hint: str = "") -> Check:
    """Return a check that passed or failed; where it failed, the hint is by default that of its name."""
    return Check(name, PASSED if passed else FAILED, text, numbers or {}, "" if passed else hint or HINTS[name])


@dataclass(frozen=True)
class Decision:
    """The result of the gate: the candidate may be deployed when every check passed."""

    checks: tuple[Check, ...]

    @property
    def outcome(self) -> Outcome:
        """`failed` where a check failed, else `not compared` where one was not compared, else `passed`."""
        found = {check.outcome for check in self.checks}
        return next((each for each in (FAILED, NOT_COMPARED) if each in found), PASSED)

    @property
    def numbers(self) -> dict[str, Any]:
        """The numbers of all checks, by name."""
        return {check.name: check.numbers for check in self.checks if check.numbers}


@dataclass(frozen=True)
class Record:
    """A gate decision with what it was about.

    `decided_at` is in seconds, `override` the reason for which a version is deployed although checks did not pass, and
    `calibration` what `gate.calibration` returns, `slices` the measure in each declared slice. The audit log says
    whether the version was then deployed.
    """

    environment: str
    version: str
    champion: str | None
    reason: str
    decided_at: int
    who: str
    why: str
    decision: Decision
    override: str = ""
    calibration: dict[str, Any] | None = None
    slices: dict[str, Any] = field(default_factory=dict)

    @property
    def overridden(self) -> list[str]:
        """The names of the checks that did not pass and are overridden."""
        names = [check.name for check in self.decision.checks if not check.passed and check.name != OWNERS]
        return [*dict.fromkeys(names)] if self.override else []

    @property
    def blocking(self) -> list[Check]:
        """The checks that did not pass and are not overridden."""
        return [check for check in self.decision.checks if not check.passed and check.name not in self.overridden]


def write_record(store: Store, record: Record) -> Path:
    """Write the record as JSON and as a page, and return the path of the page."""
    folder = store.reports / record.environment / "decisions"
    stem = f"{record.version}-{datetime.fromtimestamp(record.decided_at, UTC):%Y%m%dT%H%M%SZ}"
    document: dict[str, Any] = {"format": FORMAT, "verdict": record.decision.outcome} | asdict(record)
    document["overridden"] = record.overridden
    document |= document.pop("decision") | {"decided_at": timestamps.format_utc(record.decided_at)}
    with store.exclusive(folder / ".lock"):
        # Two decisions in one second get different names.
        same = len(list(folder.glob(f"{stem}*.json")))
        stem += f"-{same + 1}" if same else ""
        write_atomically(folder / f"{stem}.html", page(record).encode())
        write_atomically(folder / f"{stem}.json", (json.dumps(document, indent=2) + "\n").encode())
    return folder / f"{stem}.html"


def page(record: Record) -> str:
    """Return the record as a page."""
    return reports.render("decision.html.j2", record=record, decided_at=timestamps.format_utc(record.decided_at))
