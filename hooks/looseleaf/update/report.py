"""The report of an update: facts, formatted as text for a terminal, Markdown for a pull request, or JSON."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# Lines of one list in a terminal; the other formats have all of them.
LONGEST = 20
OFFERS = {
    "new": "new",
    "unedited": "yours is as it was rendered",
    "merges": "merges with your edits",
    "conflicts": "touches lines that you have edited: merge it by hand",
}


@dataclass(frozen=True)
class Edit:
    """A file of the template's zone that the team `edited`, `removed` or added; `seam` says what to do instead."""

    path: str
    kind: str
    seam: str


@dataclass(frozen=True)
class Loss:
    """A change of the team that Copier would drop without a message."""

    path: str
    why: str


@dataclass(frozen=True)
class ChoiceChange:
    """A choice that changes: `given` by the user, `new` with its default, `reset` or `dropped` by the template."""

    name: str
    before: Any
    after: Any
    kind: str

    def __str__(self) -> str:
        if self.kind == "new":
            return f"{self.name}: a new question, its default is {self.after!r}"
        return f"{self.name}: {self.before!r} " + ("is dropped" if self.kind == "dropped" else f"→ {self.after!r}")


def choice_changes(
    before: Mapping[str, Any], after: Mapping[str, Any], given: Iterable[str], addresses: tuple[str, str]
) -> Iterator[ChoiceChange]:
    """Yield the choices that an update changes, after the address of the template if that changes."""
    if addresses[0] != addresses[1]:
        yield ChoiceChange("_src_path", *addresses, "given")
    for name in sorted({*before, *after}):
        kind = "given" if name in given else "dropped" if name not in after else "reset"
        if kind != "given" and name not in before:
            yield ChoiceChange(name, None, after[name], "new")
        elif before.get(name) != after.get(name):
            yield ChoiceChange(name, before.get(name), after.get(name), kind)


@dataclass(frozen=True)
class Offer:
    """A file of the team's zone that a new repository gets in another version; `state` is a key of OFFERS."""

    path: str
    state: str


@dataclass(frozen=True)
class Report:
    """An update from one version to another. It is safe when nothing of the team's is lost or needs a decision."""

    before: str
    after: str
    added: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    kept_deleted: list[str] = field(default_factory=list)
    choices: list[ChoiceChange] = field(default_factory=list)
    offers: list[Offer] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)

    @property
    def safe(self) -> bool:
        """Whether the update may be applied without a decision of a person."""
        return not (self.conflicts or self.edits or self.losses or self._unrequested())

    @property
    def up_to_date(self) -> bool:
        """Whether no file changes."""
        return not (self.added or self.changed or self.removed)

    def json(self) -> str:
        """Return the facts as JSON; `rendered` is the Markdown for a pull request."""
        facts = asdict(self)
        head = {"from": facts.pop("before"), "to": facts.pop("after"), "safe": self.safe, "up_to_date": self.up_to_date}
        return json.dumps(head | facts | {"rendered": self.markdown()}, indent=2, ensure_ascii=False) + "\n"

    def text(self) -> str:
        """Return the report for a terminal."""
        lines = [self._title()]
        for title, items in self._parts().items():
            shown = items if len(items) <= LONGEST else [*items[:LONGEST], f"and {len(items) - LONGEST} more"]
            lines += [f"\n{title}:", *(f"  {item}" for item in shown)]
        return "\n".join(lines) + "\n"

    def markdown(self) -> str:
        """Return the report for a pull request."""
        lines = [f"**{self._title()}**"]
        for title, items in self._parts().items():
            lines += [f"\n### {title}\n", *(f"- {item}" for item in items)]
        return "\n".join(lines) + "\n"

    def as_format(self, name: str) -> str:
        """Return the report as `text`, `markdown` or `json`."""
        return {"text": self.text, "markdown": self.markdown, "json": self.json}[name]()

    def _unrequested(self) -> list[ChoiceChange]:
        return [choice for choice in self.choices if choice.kind in ("reset", "dropped")]

    def _title(self) -> str:
        if self.up_to_date and self.safe:
            return f"The template is at {self.before}: nothing to update."
        verdict = "safe" if self.safe else "NOT safe as it is; nothing is changed"
        return f"Template {self.before} → {self.after}: {verdict}"

    def _parts(self) -> dict[str, list[str]]:
        unrequested = self._unrequested()
        changed_choice = any(choice.kind == "given" and not choice.name.startswith("_") for choice in self.choices)
        parts = {
            "Edited files of the template: do what is said of each file, then restore it": [
                f"{edit.path} ({edit.kind}): {edit.seam}" for edit in self.edits
            ],
            "Would be lost": [f"{loss.path}: {loss.why}" for loss in self.losses],
            "Conflicts": self.conflicts,
            "Choices that the template would change": [str(choice) for choice in unrequested],
            "What you do": self.tasks,
            "Choices": [str(choice) for choice in self.choices if choice not in unrequested],
            "Your own files that may still follow the old choice": [
                f"{offer.path}: take it with TAKE={offer.path}, or edit it by hand"
                for offer in self.offers
                if changed_choice
            ],
            "Added": self.added,
            "Changed": self.changed,
            "Removed": self.removed,
            "Stay deleted, although the template changed them": self.kept_deleted,
            "Offered, for files of yours (TAKE=path takes one)": [
                f"{offer.path} ({OFFERS[offer.state]})" for offer in self.offers
            ],
        }
        return {title: items for title, items in parts.items() if items}
