"""The files of the team's zone that a new repository gets in another version: offered, shown and taken, never forced.

What an earlier update offered and the team has not taken is offered again.
"""

import difflib
import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from looseleaf.errors import UpdateError
from looseleaf.snapshot import git
from looseleaf.update import trees
from looseleaf.update.report import Check, Offer
from looseleaf.update.source import ANSWERS_FILE, Source, choices_in
from looseleaf.update.trees import is_same, refuse_links, render, tracked

ZONE = "lifecycle/"
MANIFEST = "lifecycle/manifest.json"


@dataclass(frozen=True)
class Offers:
    """The trees of an update: `head` has the committed files, `clone` the updated ones, `old` and `new` are renders."""

    source: Source
    before: str
    after: str
    work: Path
    clone: Path
    head: Mapping[str, bytes]
    executable: frozenset[str]
    old: Mapping[str, bytes]
    new: Mapping[str, bytes]
    given: Mapping[str, Any]
    choices: tuple[Mapping[str, Any], Mapping[str, Any]]
    taken: set[str] = field(default_factory=set)
    checks: list[Check] = field(default_factory=list)

    @cached_property
    def now(self) -> dict[str, bytes]:
        """The files of the clone after the update."""
        return tracked(self.clone)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest of the new render; empty when the template has none."""
        return dict(json.loads(self.new.get(MANIFEST, b"{}")))

    def changed(self) -> list[str]:
        """Return the paths that differ from the commit in content or mode, with new and removed ones."""
        modes = self.executable ^ trees.executable(self.clone, self.now)
        names = {*self.head, *self.now}
        return sorted(name for name in names if self.head.get(name) != self.now.get(name) or name in modes)

    def is_templates(self, name: str) -> bool:
        """Return whether a file is in the template's zone."""
        return name.startswith(ZONE) or name in self.manifest.get("files", ())

    @cached_property
    def earlier(self) -> list[dict[str, bytes]]:
        """Renders of the commits and choices that the repository had before, the latest first."""
        seen, renders = [(self.before, self.choices[0])], []
        for commit in git("log", "--format=%H", "--", ANSWERS_FILE, folder=self.clone).split():
            # Commits that the template no longer has, and choices that it no longer accepts, are skipped.
            with suppress(UpdateError, subprocess.CalledProcessError, yaml.YAMLError, KeyError, TypeError):
                content = yaml.safe_load(git("show", f"{commit}:./{ANSWERS_FILE}", folder=self.clone))
                state = (self.source.commit(str(content["_commit"])), choices_in(content))
                if state not in seen:
                    seen.append(state)
                    renders.append(render(self.source, *state, self.work / f"earlier-{len(seen)}"))
        return renders

    def forget(self) -> None:
        """Read the files of the clone again when they are needed next."""
        self.__dict__.pop("now", None)

    def offers(self) -> Iterator[Offer]:
        """Yield the offers of an update."""
        changed = {*self.changed(), ANSWERS_FILE}
        for name in sorted(self.new.keys() - changed):
            fresh, now = self.new[name], self.now.get(name)
            if self.is_templates(name) or (now is not None and is_same(now, fresh)):
                continue
            if now is None:
                if self._is_new(name):
                    yield Offer(name, "new")
            elif not is_same(base := self._base(name), fresh):
                merges = "merges" if self.merged(name) is not None else "conflicts"
                yield Offer(name, "unedited" if is_same(now, base) else merges)

    def merged(self, name: str) -> bytes | None:
        """Return the team's file with the template's changes, or None when both change the same lines."""
        if name not in self.new:
            raise UpdateError(f"{self.source.label(self.after)} has no {name}", "The report lists the offered files.")
        ours, base, theirs = self.now.get(name), self._base(name), self.new[name]
        if ours is None or is_same(ours, base):
            return theirs
        return trees.merge(ours, base, theirs, self.work / "merge")

    def difference(self, name: str) -> str:
        """Return what taking a file changes in it; for one that conflicts, what the template changes in its own."""
        new = self.merged(name)
        sides = (self._base(name), self.new[name]) if new is None else (self.now.get(name, b""), new)
        before, after = (side.decode("utf-8", "replace").splitlines() for side in sides)
        one, other = ("template, before", "template") if new is None else ("yours", "offered")
        return "\n".join(difflib.unified_diff(before, after, f"{name} ({one})", f"{name} ({other})", lineterm=""))

    def take(self, names: list[str]) -> None:
        """Write offered files to the clone; raises UpdateError for one that would change the team's own lines."""
        for name in dict.fromkeys(names):
            content = self.merged(name)
            if content == self.now.get(name):
                problem = f"nothing is offered for {name}: it has every change of the template"
                raise UpdateError(problem, "The report (DRY_RUN=1) lists the offered files.")
            if content is None:
                problem = f"{name}: the template's changes and yours touch the same lines"
                raise UpdateError(problem, f"Edit it by hand; TAKE={name} DIFF=1 shows what the template changes.")
            path = self.clone / name
            refuse_links(self.clone, [name])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod((self.work / "new" / name).stat().st_mode)
            self.taken.add(name)
        self.forget()

    def _is_new(self, name: str) -> bool:
        """Return whether the repository never had a file: one that the team has deleted stays deleted."""
        if name not in self.old:
            return True
        was_rendered = not self.earlier or name in self.earlier[-1]
        return not was_rendered and not git("log", "-1", "--format=%h", "--", name, folder=self.clone)

    def _base(self, name: str) -> bytes:
        """Return the template's text that the team's file comes from: the nearest of all that the repository had.

        It is not always the latest, because the team may not have taken what an update offered.
        """
        ours, old = self.now.get(name, b""), self.old.get(name)
        if old is not None and is_same(ours, old):
            return old
        texts = [text for files in (self.old, *self.earlier) if (text := files.get(name)) is not None]
        return min(texts, key=lambda text: _distance(ours, text), default=b"")


def _distance(one: bytes, other: bytes) -> int:
    """Return the number of words that only one text has: two edits of one line differ in a few words."""
    left, right = Counter(re.findall(rb"\w+", one)), Counter(re.findall(rb"\w+", other))
    return (left - right).total() + (right - left).total()
