"""A trial of an update in a clone of the repository, compared with renders of the old and the new template."""

import re
import runpy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import copier

from looseleaf.snapshot import IDENTITY, git
from looseleaf.update import trees
from looseleaf.update.offers import MANIFEST, ZONE, Offers
from looseleaf.update.report import Edit, Loss, Report, choice_changes
from looseleaf.update.settings import default_changes
from looseleaf.update.source import ANSWERS_FILE, Source, choices_in, recorded
from looseleaf.update.targets import collisions
from looseleaf.update.trees import cloned, copier_errors, is_same, refuse_links, render, tracked

# The folders that an update may write to, besides the answers file.
WRITTEN = (ZONE, ".github/", "uv.toml")
MANIFEST_CHECK = "lifecycle/tools/manifest_check.py"
MARKER = re.compile(rb"^(<<<<<<< before updating|>>>>>>> after updating)", re.MULTILINE)


@dataclass(frozen=True)
class Trial(Offers):
    """A tried update, with what the user must know about it."""

    @classmethod
    def run(cls, root: Path, source: Source, before: str, after: str, given: Mapping[str, Any], work: Path) -> "Trial":
        """Update a clone of the repository of the project `root` between two commits of the template.

        `given` has the choices that the user changes, `work` is an empty folder. Raises UpdateError when Copier cannot
        render or update.
        """
        clone = cloned(root, work / "project")
        head = tracked(clone)
        modes = trees.executable(clone, head)
        old_choices = choices_in(recorded(clone))
        old = render(source, before, old_choices, work / "old")
        refuse_links(clone, [ANSWERS_FILE, *(name for name in old if name.startswith(WRITTEN))])
        # Copier reads the template's address and commit from the answers file; here, it must use the clone.
        trees.write_answers_file(clone, {"_src_path": str(source.clone), "_commit": before})
        options = ("--quiet", "--no-verify", "--all", "--message", "use the clone of the template")
        git("-c", "commit.gpgsign=false", "commit", *options, folder=clone, **IDENTITY)
        with copier_errors(f"it cannot be updated to {source.label(after)}"):
            copier.run_update(
                clone, data=dict(given), vcs_ref=after, defaults=True, overwrite=True, quiet=True, unsafe=False
            )
        new_choices = choices_in(recorded(clone))
        new = render(source, after, new_choices, work / "new")
        trees.write_answers_file(clone, {"_src_path": source.address})
        return cls(source, before, after, work, clone, head, modes, old, new, given, (old_choices, new_choices))

    def contents(self) -> dict[str, bytes | None]:
        """Read the clone again and return the content of each changed file; None for a removed one."""
        self.forget()
        return {name: self.now.get(name) for name in self.changed()}

    def without_update(self) -> Path:
        """Return another clone of the repository, without the update."""
        folder = self.work / "committed"
        git("clone", "--quiet", str(self.work / "project"), str(folder), folder=self.work)
        # The last commit is the trial's own.
        git("checkout", "--quiet", "HEAD~1", folder=folder)
        return folder / self.clone.relative_to(self.work / "project")

    def report(self, checked: bool = False) -> Report:
        """Return everything that the user must know before the update is applied; `checked`: after its checks."""
        changed, offers = self.changed(), list(self.offers())
        follows = {*changed, *(offer.path for offer in offers if offer.state == "unedited")}
        overridden = "The template has a new command `make {}`, which your Makefile overrides: rename yours."
        tasks = [overridden.format(name) for name in collisions(self.old, self.new, self.head, are_theirs=True)]
        return Report(
            before=self.source.label(self.before),
            after=self.source.label(self.after),
            added=[name for name in changed if name not in self.head],
            changed=[name for name in changed if name in self.head and name in self.now],
            removed=[name for name in changed if name not in self.now],
            conflicts=self._conflicts(),
            edits=list(self._edits()),
            losses=list(self._losses()),
            kept_deleted=[
                name
                for name in sorted(self.old)
                if name not in {*self.head, *self.now} and self.new.get(name, self.old[name]) != self.old[name]
            ],
            choices=list(choice_changes(*self.choices, self.given, (self.source.recorded, self.source.address))),
            offers=offers,
            tasks=tasks + self.source.tasks(self.before, self.after, self.choices[1].get("usage")),
            yours=[name for name in changed if name != ANSWERS_FILE and not self.is_templates(name)],
            edited=sorted(name for name in self._edited() if name not in follows and not self.is_templates(name)),
            settings=default_changes(self.old, self.new),
            changelog=self.source.changelog(self.before, self.after),
            checks=self.checks if checked else None,
        )

    def _edited(self) -> Iterator[str]:
        """Yield the files that the team has edited since they were rendered."""
        for name in self.head.keys() & self.old.keys() - {ANSWERS_FILE}:
            if not is_same(self.head[name], self.old[name]):
                yield name

    def _conflicts(self) -> list[str]:
        listed = git("diff", "--name-only", "-z", "--diff-filter=U", "--relative", folder=self.clone)
        unmerged = {name for name in listed.split("\0") if name}
        marked = {name for name in self.changed() if MARKER.search(self.now.get(name, b""))}
        return sorted(unmerged | marked | {name for name in self.now.keys() - self.head if name.endswith(".rej")})

    def _edits(self) -> Iterator[Edit]:
        """Yield edits in the template's zone, also those that Copier could merge: the zone belongs to the template."""
        if ANSWERS_FILE in self.head and self._answers_file_was_edited():
            hint = f"Change a choice with SET='name=value'; see git log -- {ANSWERS_FILE}"
            yield Edit(ANSWERS_FILE, "edited by hand", hint)
        for name in sorted(self.head.keys() - self.old.keys()):
            fresh = self.new.get(name)
            ours = name.startswith(ZONE) if fresh is None else not is_same(self.head[name], fresh)
            if ours and self.manifest and (fresh is None or self.is_templates(name)):
                yield Edit(name, "your own", self._hint(name))
        for name in sorted(self.old):
            current = self.head.get(name)
            if name in (ANSWERS_FILE, MANIFEST) or not self.is_templates(name):
                continue
            if current is None and name.startswith(ZONE):
                yield Edit(name, "removed", self._hint(name))
            elif current is not None and not any(
                is_same(current, tree.get(name, b"")) for tree in (self.old, self.new)
            ):
                yield Edit(name, "edited", self._hint(name))

    def _answers_file_was_edited(self) -> bool:
        """Apply the check of the new release, which the repository will apply to itself."""
        check = runpy.run_path(str(self.work / "new" / MANIFEST_CHECK)) if MANIFEST_CHECK in self.new else {}
        return bool(check and check["edited_by_hand"](self.head[ANSWERS_FILE].decode("utf-8", "replace")))

    def _losses(self) -> Iterator[Loss]:
        for name in collisions(self.old, self.new, self.head, are_theirs=False):
            why = f"a new command of the template would replace your target `{name}`"
            yield Loss("Makefile", f"{why}: rename yours, or move it below the include")
        for name in sorted(self.new.keys() - self.now.keys()):
            if self.is_templates(name) and (self.clone / name).is_file():
                yield Loss(name, "your .gitignore hides this file of the template, so git would not add it")
        for name in sorted({*self._edited()} - self.taken):
            ours, now, old = self.head[name], self.now.get(name), self.old[name]
            if now is None:
                yield Loss(name, "the template renamed or removed it, and your edit would be lost")
            elif b"\0" in ours and now != ours:
                yield Loss(name, "your binary file would be replaced by the template's")
            elif not MARKER.search(now):
                kept = {line for text in (old, now, self.new.get(name, b"")) for line in text.splitlines()}
                if lost := {*ours.splitlines()} - kept:
                    yield Loss(name, f"{len(lost)} of your lines would be lost without a conflict")

    def _hint(self, name: str) -> str:
        hints = self.manifest.get("seams", {}) | {"*": "Keep it outside lifecycle/: everything else is yours."}
        return next(str(hint) for pattern, hint in hints.items() if fnmatch(name, pattern))
