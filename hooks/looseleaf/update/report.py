"""What an update would do, as facts; as text for a terminal, Markdown for a pull request, and JSON for programs."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

# Lines of one list in a terminal; a page holds them all.
LONGEST = 20


@dataclass(frozen=True)
class Edit:
    """A file of the template's zone that the team has `edited` or `removed`; `seam` says what to use instead."""

    path: str
    kind: str
    seam: str


@dataclass(frozen=True)
class Loss:
    """Something of the team's that Copier would drop without a word."""

    path: str
    why: str


@dataclass(frozen=True)
class Target:
    """An answer that is not what it was: `given` now, a `new` question's default, `reset`, or `dropped`."""

    name: str
    before: Any
    after: Any
    kind: str


@dataclass(frozen=True)
class Offer:
    """A file of the team's zone that the template has otherwise: `new`, `unedited`, `merges` or `conflicts`."""

    path: str
    state: str


@dataclass(frozen=True)
class Report:
    """An update from one version to another. It is safe when nothing of the team's is lost or left to settle."""

    before: str
    after: str
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    kept_deleted: list[str] = field(default_factory=list)
    answers: list[Target] = field(default_factory=list)
    offers: list[Offer] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)

    @property
    def safe(self) -> bool:
        """Whether it may be applied as it is."""
        silent = any(answer.kind in ("reset", "dropped") for answer in self.answers)
        return not (self.conflicts or self.edits or self.losses or silent)

    @property
    def up_to_date(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.added or self.changed or self.removed)

    def json(self) -> str:
        """All of it, for programs; `rendered` is what a pull request says."""
        facts = asdict(self)
        told = {"from": facts.pop("before"), "to": facts.pop("after"), "safe": self.safe, "up_to_date": self.up_to_date}
        return json.dumps(told | facts | {"rendered": self.markdown()}, indent=2, ensure_ascii=False) + "\n"

    def text(self) -> str:
        """For a terminal."""
        lines = [self._title()]
        for title, items in self._parts():
            shown = items if len(items) <= LONGEST else [*items[:LONGEST], f"and {len(items) - LONGEST} more"]
            lines += [f"\n{title}:", *(f"  {item}" for item in shown)]
        return "\n".join(lines) + "\n"

    def markdown(self) -> str:
        """For a pull request."""
        lines = [f"**{self._title()}**"]
        for title, items in self._parts():
            lines += [f"\n### {title}\n", *(f"- {item}" for item in items)]
        return "\n".join(lines) + "\n"

    def as_format(self, name: str) -> str:
        """The report as `text`, `markdown` or `json`."""
        formats = {"text": self.text, "markdown": self.markdown, "json": self.json}
        return formats[name]()

    def _title(self) -> str:
        if self.up_to_date and self.safe:
            return f"The template is at {self.before}: nothing to update."
        verdict = "safe" if self.safe else "NOT safe as it is; nothing is changed"
        return f"Template {self.before} → {self.after}: {verdict}"

    def _parts(self) -> Iterator[tuple[str, list[str]]]:
        reset = [answer for answer in self.answers if answer.kind in ("reset", "dropped")]
        parts = {
            "Edited in the template's zone: move each edit to its seam, then put the file back": [
                f"{edit.path} ({edit.kind}): {edit.seam}" for edit in self.edits
            ],
            "Would be lost": [f"{loss.path}: {loss.why}" for loss in self.losses],
            "Conflicts": self.conflicts,
            "Answers that would change without being asked": [_told(answer) for answer in reset],
            "What you do": self.tasks,
            "Answers": [_told(answer) for answer in self.answers if answer not in reset],
            "Your own files that may still go by an old answer": self._parted(),
            "Added": self.added,
            "Changed": self.changed,
            "Removed": self.removed,
            "Stay deleted, although the template changed them": self.kept_deleted,
            "Offered, for files of yours (TAKE=path takes one)": [
                f"{offer.path} ({OFFERED[offer.state]})" for offer in self.offers
            ],
        }
        yield from ((title, items) for title, items in parts.items() if items)

    def _parted(self) -> list[str]:
        """What a changed answer would have rendered among the files of the team's."""
        if not any(answer.kind == "given" for answer in self.answers if not answer.name.startswith("_")):
            return []
        return [f"{offer.path}: take it with TAKE={offer.path}, or edit it by hand" for offer in self.offers]


OFFERED = {
    "new": "new",
    "unedited": "yours is as it was rendered",
    "merges": "merges with your edits",
    "conflicts": "touches lines that you have edited: by hand",
}


def _told(answer: Target) -> str:
    told = {
        "given": f"{answer.name}: {answer.before!r} → {answer.after!r}",
        "new": f"{answer.name}: new, answered by its default {answer.after!r}",
        "reset": f"{answer.name}: {answer.before!r} → {answer.after!r}",
        "dropped": f"{answer.name}: {answer.before!r} would be dropped",
    }
    return told[answer.kind]
