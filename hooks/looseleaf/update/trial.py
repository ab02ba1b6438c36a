"""A trial of an update in a clone of the repository, compared with renders of the old and the new template."""

import json
import re
import runpy
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

import copier
import yaml

from looseleaf.errors import UpdateError
from looseleaf.snapshot import IDENTITY, git
from looseleaf.update import trees
from looseleaf.update.report import Edit, Loss, Offer, Report, choice_changes
from looseleaf.update.source import ANSWERS_FILE, Source, choices_in, recorded
from looseleaf.update.trees import copier_errors, is_same, refuse_links, render, tracked

ZONE = "lifecycle/"
# The folders that an update may write to, besides the answers file.
WRITTEN = (ZONE, ".github/", "uv.toml")
MANIFEST = "lifecycle/manifest.json"
MANIFEST_CHECK = "lifecycle/tools/manifest_check.py"
MARKER = re.compile(rb"^(<<<<<<< before updating|>>>>>>> after updating)", re.MULTILINE)


@dataclass(frozen=True)
class Trial:
    """A tried update: `head` has the committed files, `clone` the updated ones, `old` and `new` are fresh renders."""

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

    @classmethod
    def run(cls, root: Path, source: Source, before: str, after: str, given: Mapping[str, Any], work: Path) -> "Trial":
        """Update a clone of the repository of the project `root` between two commits of the template.

        `given` has the choices that the user changes, `work` is an empty folder. Raises UpdateError when Copier cannot
        render or update.
        """
        top = Path(git("rev-parse", "--show-toplevel", folder=root))
        git("clone", "--quiet", "--no-hardlinks", str(top), str(work / "project"), folder=root)
        clone = work / "project" / root.resolve().relative_to(top.resolve())
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

    def contents(self) -> dict[str, bytes | None]:
        """Read the clone again and return the content of each changed file; None for a removed one."""
        self.__dict__.pop("now", None)
        return {name: self.now.get(name) for name in self.changed()}

    def without_update(self) -> Path:
        """Return another clone of the repository, without the update."""
        folder = self.work / "committed"
        git("clone", "--quiet", str(self.work / "project"), str(folder), folder=self.work)
        # The last commit is the trial's own.
        git("checkout", "--quiet", "HEAD~1", folder=folder)
        return folder / self.clone.relative_to(self.work / "project")

    def report(self) -> Report:
        """Return everything that the user must know before the update is applied."""
        changed = self.changed()
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
            offers=list(self.offers()),
            tasks=self.source.tasks(self.before, self.after),
        )

    def _conflicts(self) -> list[str]:
        listed = git("diff", "--name-only", "-z", "--diff-filter=U", "--relative", folder=self.clone)
        unmerged = {name for name in listed.split("\0") if name}
        marked = {name for name in self.changed() if MARKER.search(self.now.get(name, b""))}
        return sorted(unmerged | marked | {name for name in self.now.keys() - self.head if name.endswith(".rej")})

    def _edits(self) -> Iterator[Edit]:
        """Yield edits in the template's zone, also those that Copier could merge: the zone belongs to the template."""
        if ANSWERS_FILE in self.head and self._answers_file_was_edited():
            yield Edit(
                ANSWERS_FILE, "edited by hand", f"Change a choice with SET='name=value'; see git log -- {ANSWERS_FILE}"
            )
        for name in sorted(self.head.keys() - self.old.keys()):
            fresh = self.new.get(name)
            ours = name.startswith(ZONE) if fresh is None else not is_same(self.head[name], fresh)
            if ours and self.manifest and (fresh is None or self._is_templates(name)):
                yield Edit(name, "your own", self._seam(name))
        for name in sorted(self.old):
            current = self.head.get(name)
            if name in (ANSWERS_FILE, MANIFEST) or not self._is_templates(name):
                continue
            if current is None and name.startswith(ZONE):
                yield Edit(name, "removed", self._seam(name))
            elif current is not None and not any(
                is_same(current, tree.get(name, b"")) for tree in (self.old, self.new)
            ):
                yield Edit(name, "edited", self._seam(name))

    def _answers_file_was_edited(self) -> bool:
        """Apply the check of the new release, which the repository will apply to itself."""
        if MANIFEST_CHECK not in self.new:
            return False
        check = runpy.run_path(str(self.work / "new" / MANIFEST_CHECK))
        return bool(check["edited_by_hand"](self.head[ANSWERS_FILE].decode("utf-8", "replace")))

    def _losses(self) -> Iterator[Loss]:
        for name in sorted(self.new.keys() - self.now.keys()):
            if self._is_templates(name) and (self.clone / name).is_file():
                yield Loss(name, "your .gitignore hides this file of the template, so git would not add it")
        for name in sorted(self.head.keys() & self.old.keys() - self.taken - {ANSWERS_FILE}):
            ours, now, old = self.head[name], self.now.get(name), self.old[name]
            if is_same(ours, old):
                continue
            if now is None:
                yield Loss(name, "the template renamed or removed it, and your edit would be lost")
            elif b"\0" in ours and now != ours:
                yield Loss(name, "your binary file would be replaced by the template's")
            elif not MARKER.search(now):
                kept = {line for text in (old, now, self.new.get(name, b"")) for line in text.splitlines()}
                if lost := {*ours.splitlines()} - kept:
                    yield Loss(name, f"{len(lost)} of your lines would be lost without a conflict")

    def offers(self) -> Iterator[Offer]:
        """Yield the files of the team's zone that a new repository would get in another version."""
        for name in sorted(self.new):
            fresh, old, now = self.new[name], self.old.get(name), self.now.get(name)
            if fresh in (old, now) or name == ANSWERS_FILE or self._is_templates(name) or name in self.changed():
                continue
            if now is None and old is None:
                yield Offer(name, "new")
            elif now is None:
                continue  # the team deleted it
            elif old is not None and is_same(now, old):
                yield Offer(name, "unedited")
            else:
                yield Offer(name, "merges" if self.merged(name) is not None else "conflicts")

    def merged(self, name: str) -> bytes | None:
        """Return the team's file with the template's changes, or None when both change the same lines."""
        if name not in self.new:
            raise UpdateError(f"{self.source.label(self.after)} has no {name}", "The report lists the offered files.")
        ours, base, theirs = self.now.get(name), self.old.get(name, b""), self.new[name]
        if is_same(base, theirs):
            # This update does not change the file, but an earlier one may have offered a change that was not taken.
            earlier = (files.get(name, b"") for files in self._earlier())
            base = next((content for content in earlier if not is_same(content, theirs)), base)
        if ours is None or is_same(ours, base):
            return theirs
        return trees.merge(ours, base, theirs, self.work / "merge")

    def _earlier(self) -> Iterator[dict[str, bytes]]:
        """Yield renders of the commits and choices that the repository had before, the latest first."""
        seen = [(self.before, self.choices[0])]
        for commit in git("log", "--format=%H", "--", ANSWERS_FILE, folder=self.clone).split():
            # Commits that the template no longer has, and choices that it no longer accepts, are skipped.
            with suppress(UpdateError, subprocess.CalledProcessError, yaml.YAMLError, KeyError, TypeError):
                content = yaml.safe_load(git("show", f"{commit}:./{ANSWERS_FILE}", folder=self.clone))
                state = (self.source.commit(str(content["_commit"])), choices_in(content))
                if state not in seen:
                    seen.append(state)
                    yield render(self.source, *state, self.work / f"earlier-{len(seen)}")

    def take(self, names: list[str]) -> None:
        """Write offered files to the clone; raises UpdateError for one that would change the team's own lines."""
        for name in dict.fromkeys(names):
            content = self.merged(name)
            if content == self.now.get(name):
                problem = f"nothing is offered for {name}: it has every change of the template"
                raise UpdateError(problem, "The report (DRY_RUN=1) lists the offered files.")
            if content is None:
                problem = f"{name}: the template's changes and yours touch the same lines"
                raise UpdateError(problem, f"Edit it by hand; the template's text is template/{name} of its release.")
            path = self.clone / name
            refuse_links(self.clone, [name])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod((self.work / "new" / name).stat().st_mode)
            self.taken.add(name)
        self.__dict__.pop("now", None)

    def _is_templates(self, name: str) -> bool:
        return name.startswith(ZONE) or name in self.manifest.get("files", ())

    def _seam(self, name: str) -> str:
        seams = self.manifest.get("seams", {}) | {"*": "Keep it outside lifecycle/: everything else is yours."}
        return next(str(hint) for pattern, hint in seams.items() if fnmatch(name, pattern))
