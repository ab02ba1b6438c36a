"""The report of an update: facts, formatted as text for a terminal, Markdown for a pull request, or JSON."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from looseleaf.releases import TASKS

# Lines of one list in a terminal, and of a list in Markdown that is not folded; the other formats have all of them.
LONGEST = 20
# GitHub accepts 65,536 characters as the text of a pull request.
LONGEST_TEXT = 60_000
# The goals of make that are run in the updated clone before a file of the repository is changed.
GOALS = ("setup", "check", "test")
OFFERS = {
    "new": "new",
    "unedited": "yours is as it was rendered",
    "merges": "merges with your edits",
    "conflicts": "touches lines that you have edited: merge it by hand",
}


@dataclass(frozen=True)
class Edit:
    """A file of the template's zone that the team `edited`, `removed` or added; `hint` says what to do instead."""

    path: str
    kind: str
    hint: str


@dataclass(frozen=True)
class Loss:
    """A change of the team that Copier would drop without a message."""

    path: str
    why: str


@dataclass(frozen=True)
class ChoiceChange:
    """A choice that changes: `given` by the user, `new` with its default, `reset` or `dropped` by the template.

    One that is `unchanged` was given with the value that it has.
    """

    name: str
    before: Any
    after: Any
    kind: str

    def __str__(self) -> str:
        if self.kind == "new":
            return f"{self.name}: a new question, its default is {self.after!r}"
        if self.kind == "unchanged":
            return f"{self.name}: it is {self.after!r} already"
        return f"{self.name}: {self.before!r} " + ("is dropped" if self.kind == "dropped" else f"→ {self.after!r}")


def choice_changes(
    before: Mapping[str, Any], after: Mapping[str, Any], given: Iterable[str], addresses: tuple[str, str]
) -> Iterator[ChoiceChange]:
    """Yield the choices that an update changes, after the address of the template if that changes."""
    if addresses[0] != addresses[1]:
        yield ChoiceChange("address of the template", *addresses, "given")
    for name in sorted({*before, *after}):
        kind = "given" if name in given else "dropped" if name not in after else "reset"
        if kind != "given" and name not in before:
            yield ChoiceChange(name, None, after[name], "new")
        elif before.get(name) != after.get(name):
            yield ChoiceChange(name, before.get(name), after.get(name), kind)
        elif kind == "given":
            yield ChoiceChange(name, before[name], after[name], "unchanged")


@dataclass(frozen=True)
class Offer:
    """A file of the team's zone that a new repository gets in another version; `state` is a key of OFFERS."""

    path: str
    state: str


@dataclass(frozen=True)
class Check:
    """A command of the updated repository that was run, and the last line of its output."""

    command: str
    passed: bool
    result: str


# An item of a list: code, such as a path, and the text after it.
Item = tuple[str, str]
NO_TASK = ("", "No release in between has a task for you. Read the changes and merge them.")
LEFT_OUT = "Too long for this page: `make update DRY_RUN=1 FORMAT=json` has all of it."


@dataclass(frozen=True)
class Report:
    """An update from one version to another. It is safe when nothing of the team's is lost or needs a decision.

    `yours` are the changed files outside the template's zone, `edited` those that the team has edited and the update
    does not change, `settings` name, old and new default, `changelog` version and text, the newest first. `checks` are
    None as long as the checks of the updated repository have not been run.
    """

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
    yours: list[str] = field(default_factory=list)
    edited: list[str] = field(default_factory=list)
    settings: list[tuple[str, str | None, str | None]] = field(default_factory=list)
    changelog: list[tuple[str, str]] = field(default_factory=list)
    checks: list[Check] | None = None

    @property
    def safe(self) -> bool:
        """Whether the update may be applied without a decision of a person, if its checks pass."""
        unrequested = self._choices("reset", "dropped")
        return not (self.conflicts or self.edits or self.losses or unrequested or self._failed())

    @property
    def up_to_date(self) -> bool:
        """Whether no file changes."""
        return not (self.added or self.changed or self.removed)

    def json(self) -> str:
        """Return the facts as JSON; `safe` is null before the checks, `rendered` is the text of a pull request."""
        facts = asdict(self)
        unknown = self.safe and self.checks is None and not self.up_to_date
        head = {"from": facts.pop("before"), "to": facts.pop("after"), "safe": None if unknown else self.safe}
        facts |= {"up_to_date": self.up_to_date, "rendered": self.markdown()}
        return json.dumps(head | facts, indent=2, ensure_ascii=False) + "\n"

    def text(self) -> str:
        """Return the report for a terminal."""
        lines = [self.title()]
        for title, items in self._parts().items():
            shown = [f"  {code}{sentence}" for code, sentence in items[:LONGEST]]
            more = [f"  and {len(items) - LONGEST} more"] if len(items) > LONGEST else []
            lines += [f"\n{title}:", *shown, *more]
        return "\n".join(lines) + "\n"

    def markdown(self) -> str:
        """Return the report for a pull request, without the parts that are too long for the hosts."""
        parts = {"What you do": [NO_TASK]} if self.safe else {}
        parts |= self._parts() | {"Edited by you, not changed": code(self.edited)}
        blocks = [_section(title, items) for title, items in parts.items() if items]
        changes = ((version, text.partition(TASKS)[0].strip()) for version, text in self.changelog)
        blocks += [f"### Changes in {version}\n\n{_folded('Changelog', text)}" for version, text in changes]
        page = f"**{self.title()}**\n\n{self._counts()}\n"
        for block in blocks:
            fits = len(page) + len(block) < LONGEST_TEXT
            page += f"\n{block}\n" if fits else f"\n{block.splitlines()[0]}\n\n{LEFT_OUT}\n"
        return page

    def title(self) -> str:
        """Return the versions and the verdict, which is stated after the checks only."""
        if self.up_to_date and self.safe:
            return f"The template is at {self.before}: nothing to update."
        goals = ", ".join(f"make {goal}" for goal in GOALS)
        verdict = "safe" + (f": {goals} have passed" if self.checks else "")
        if self._failed():
            verdict = f"NOT safe: {self._failed()[0]} fails; nothing is changed"
        elif not self.safe:
            verdict = "NOT safe as it is; nothing is changed"
        elif self.checks is None:
            verdict = f"no decision is needed; {goals} run with it before a file of yours changes"
        return f"Template {self.before} → {self.after}: {verdict}"

    def _failed(self) -> list[str]:
        return [check.command for check in self.checks or () if not check.passed]

    def _choices(self, *kinds: str) -> list[ChoiceChange]:
        return [choice for choice in self.choices if choice.kind in kinds]

    def _counts(self) -> str:
        added, changed, removed = (len({*names} - {*self.yours}) for names in (self.added, self.changed, self.removed))
        return (
            f"Files of the template: {added} added, {changed} changed, {removed} removed. "
            f"Your files: {len(self.yours)} changed, {len(self.offers)} offered, {len(self.edited)} edited by you."
        )

    def _parts(self) -> dict[str, list[Item]]:
        requested = self._choices("given", "new", "unchanged")
        changed = any(not choice.name.startswith("_") for choice in self._choices("given"))
        offered = "Your own files that may still follow the old choice" if changed else "Offered, for files of yours"
        offered += " (TAKE=path takes one, with DIFF=1 it only shows the change)"
        parts = {
            "Edited files of the template: do what each line says instead, then restore the file": [
                (edit.path, f" ({edit.kind}): {edit.hint}") for edit in self.edits
            ],
            "Would be lost": [(loss.path, f": {loss.why}") for loss in self.losses],
            "Conflicts": code(self.conflicts),
            "Choices that the template would change": code(self._choices("reset", "dropped")),
            "What you do": [("", task) for task in self.tasks],
            "Checked": code(
                f"{check.command} {'passed' if check.passed else 'FAILED'}: {check.result}"
                for check in self.checks or ()
            ),
            "Choices": code(requested),
            "Settings with another default": code(
                f"{name}: {before} → {after}" for name, before, after in self.settings if before and after
            ),
            "New settings": code(f"{name}: {after}" for name, before, after in self.settings if not before),
            "Settings that are gone": code(name for name, _, after in self.settings if not after),
            "Your files, changed": code(self.yours),
            "Added": code(name for name in self.added if name not in self.yours),
            "Changed": code(name for name in self.changed if name not in self.yours),
            "Removed": code(self.removed),
            "Stay deleted, although the template changed them": code(self.kept_deleted),
            offered: [(offer.path, f" ({OFFERS[offer.state]})") for offer in self.offers],
        }
        return {title: items for title, items in parts.items() if items}


def code(names: Iterable[object]) -> list[Item]:
    """Return items that are code only."""
    return [(str(name), "") for name in names]


def _section(title: str, items: list[Item]) -> str:
    # Names in code are neither formatted nor, with an @, notify a person.
    listed = "\n".join(f"- `{name}`{sentence}" if name else f"- {sentence}" for name, sentence in items)
    return f"### {title}\n\n" + (listed if len(items) <= LONGEST else _folded(f"{len(items)} entries", listed))


def _folded(title: str, text: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{text}\n\n</details>"
