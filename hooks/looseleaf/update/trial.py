"""The update, tried: the old render, the updated clone of the repository, and the new render beside it."""

import json
import os
import re
import runpy
import subprocess
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

import copier
import yaml

from looseleaf.snapshot import IDENTITY, git
from looseleaf.update.errors import UpdateError
from looseleaf.update.report import Edit, Loss, Offer, Report, Target
from looseleaf.update.source import ANSWERS, Source, asked, remembered

ZONE = "lifecycle/"
# What an update may write to, the answers apart.
TEMPLATES = (ZONE, ".github/")
MANIFEST = "lifecycle/manifest.json"
RULES = "lifecycle/tools/manifest_check.py"
MARKER = re.compile(rb"^(<<<<<<< before updating|>>>>>>> after updating)", re.MULTILINE)


@dataclass(frozen=True)
class Trial:
    """What an update would do; `head` is the repository as committed, `clone` the same after the update.

    Both renders and the clone lie in `work`.
    """

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
    answers: tuple[Mapping[str, Any], Mapping[str, Any]]
    taken: set[str] = field(default_factory=set)

    @classmethod
    def run(cls, root: Path, source: Source, before: str, after: str, given: Mapping[str, Any], work: Path) -> "Trial":
        """Update a clone of the repository at `root` from one commit to another, with changed answers, in `work`.

        Raises UpdateError where Copier cannot do it.
        """
        top = Path(git("rev-parse", "--show-toplevel", folder=root))
        below = root.resolve().relative_to(top.resolve())
        git("clone", "--quiet", "--no-hardlinks", str(top), str(work / "project"), folder=root)
        clone = work / "project" / below
        head = _tracked(clone)
        executable = _executable(clone, head)
        told = remembered(clone)
        old = _render(source, before, asked(told), work / "old")
        _refuse_links(clone, [ANSWERS, *(name for name in old if name.startswith(TEMPLATES))])
        # Copier reads from where to where in the answers file; here it is the clone of the template.
        _record(clone, {"_src_path": str(source.clone), "_commit": before})
        said = ("--quiet", "--no-verify", "--all", "--message", "as of the clone")
        git("-c", "commit.gpgsign=false", "commit", *said, folder=clone, **IDENTITY)
        with _copiers(f"it cannot be updated to {source.label(after)}"):
            copier.run_update(
                clone, data=dict(given), vcs_ref=after, defaults=True, overwrite=True, quiet=True, unsafe=False
            )
        now = remembered(clone)
        new = _render(source, after, asked(now), work / "new")
        _record(clone, {"_src_path": source.address})
        return cls(source, before, after, work, clone, head, executable, old, new, given, (asked(told), asked(now)))

    @cached_property
    def now(self) -> dict[str, bytes]:
        """The files of the clone after the update."""
        return _tracked(self.clone)

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest of the new render; empty where the template has none."""
        found: dict[str, Any] = json.loads(self.new.get(MANIFEST, b"{}"))
        return found

    def changed(self) -> list[str]:
        """Paths that differ from the commit, new and removed ones too."""
        turned = self.executable ^ _executable(self.clone, self.now)
        both = {*self.head, *self.now}
        return sorted(name for name in both if self.head.get(name) != self.now.get(name) or name in turned)

    def contents(self) -> dict[str, bytes | None]:
        """What is in the clone by now, of the files that differ from the commit; None for one that is gone."""
        self._look_again()
        return {name: self.now.get(name) for name in self.changed()}

    def as_committed(self) -> Path:
        """The repository without the update, in another clone."""
        folder = self.work / "committed"
        git("clone", "--quiet", str(self.work / "project"), str(folder), folder=self.work)
        # The last commit is the trial's own.
        git("checkout", "--quiet", "HEAD~1", folder=folder)
        return folder / self.clone.relative_to(self.work / "project")

    def _look_again(self) -> None:
        self.__dict__.pop("now", None)

    def report(self) -> Report:
        """All that a person has to know before it is applied."""
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
            answers=list(self._answers()),
            offers=list(self.offers()),
            tasks=self.source.tasks(self.before, self.after),
        )

    def _conflicts(self) -> list[str]:
        listed = git("diff", "--name-only", "-z", "--diff-filter=U", "--relative", folder=self.clone)
        unmerged = [name for name in listed.split("\0") if name]
        marked = [name for name in self.changed() if MARKER.search(self.now.get(name, b""))]
        rejected = [name for name in self.now if name.endswith(".rej") and name not in self.head]
        return sorted({*unmerged, *marked, *rejected})

    def _edits(self) -> Iterator[Edit]:
        """Edits in the template's zone. Copier might merge them, but what is here is the template's for good."""
        if ANSWERS in self.head and not self._is_as_copier_wrote_it(self.head[ANSWERS]):
            yield Edit(ANSWERS, "edited by hand", f"An answer changes by SET='name=value'; git log -- {ANSWERS}")
        for name in sorted(self.head.keys() - self.old.keys() - self.new.keys()):
            if name.startswith(ZONE) and self.manifest:
                yield Edit(name, "your own", self._seam(name))
        for name in sorted(self.old):
            here = self.head.get(name)
            if name in (ANSWERS, MANIFEST) or not self._is_templates(name):
                continue
            if here is None and name.startswith(ZONE):
                yield Edit(name, "removed", self._seam(name))
            elif here is not None and not is_same(here, self.old[name]) and not is_same(here, self.new.get(name, b"")):
                yield Edit(name, "edited", self._seam(name))

    def _is_as_copier_wrote_it(self, answers: bytes) -> bool:
        """By the checksum in the file; the rule for it is the one that the repository holds itself to."""
        if RULES not in self.new:
            return True
        rules = runpy.run_path(str(self.work / "new" / RULES))
        return not rules["edited_by_hand"](answers.decode("utf-8", "replace"))

    def _losses(self) -> Iterator[Loss]:
        for name in sorted(self.new.keys() - self.now.keys()):
            if self._is_templates(name) and (self.clone / name).is_file():
                yield Loss(name, "your .gitignore hides this file of the template's, and it would not arrive")
        for name in sorted(self.head):
            here, now, old = self.head[name], self.now.get(name), self.old.get(name)
            if old is None or is_same(here, old) or name == ANSWERS or name in self.taken:
                continue
            if now is None:
                yield Loss(name, "the template renamed or removed it, and your edit would go with it")
            elif b"\0" in here and now != here:
                yield Loss(name, "your own binary file would be the template's again")
            elif not MARKER.search(now):
                mine = (
                    {*here.splitlines()}
                    - {*old.splitlines()}
                    - {*now.splitlines()}
                    - {*self.new.get(name, b"").splitlines()}
                )
                if mine:
                    yield Loss(name, f"{len(mine)} line(s) of yours would vanish without a mark")

    def _answers(self) -> Iterator[Target]:
        was, now = self.answers
        if self.source.address != self.source.recorded:
            yield Target("_src_path", self.source.recorded, self.source.address, "given")
        for name in sorted({*was, *now}):
            if name in self.given:
                if was.get(name) != now.get(name):
                    yield Target(name, was.get(name), now.get(name), "given")
            elif name not in was:
                yield Target(name, None, now[name], "new")
            elif name not in now:
                yield Target(name, was[name], None, "dropped")
            elif was[name] != now[name]:
                yield Target(name, was[name], now[name], "reset")

    def offers(self) -> Iterator[Offer]:
        """Files of the team's zone that a new repository would get otherwise than this one did."""
        for name in sorted(self.new):
            fresh, old, now = self.new[name], self.old.get(name), self.now.get(name)
            if fresh in (old, now) or name == ANSWERS or self._is_templates(name) or name in self.changed():
                continue
            if now is None:
                # What the team has deleted stays deleted.
                if old is None:
                    yield Offer(name, "new")
            elif old is not None and is_same(now, old):
                yield Offer(name, "unedited")
            else:
                yield Offer(name, "merges" if self.merged(name) is not None else "conflicts")

    def merged(self, name: str) -> bytes | None:
        """The team's file with what the template changed in it since; None where the two touch the same lines.

        Raises UpdateError where the new release has no such file.
        """
        if name not in self.new:
            raise UpdateError(
                f"there is no {name} in {self.source.label(self.after)}", "The report lists what is offered."
            )
        ours, base, theirs = self.now.get(name), self.old.get(name, b""), self.new[name]
        if is_same(base, theirs):
            # Not of this update: what an earlier one has offered can still be taken.
            earlier = (render.get(name, b"") for render in self._earlier())
            base = next((text for text in earlier if not is_same(text, theirs)), base)
        if ours is None or is_same(ours, base):
            return theirs
        folder = self.clone.parent / f"{self.clone.name}-merge"
        folder.mkdir(exist_ok=True)
        for side, content in (("ours", ours), ("base", base), ("theirs", theirs)):
            (folder / side).write_bytes(content)
        command = ["git", "merge-file", "-p", "ours", "base", "theirs"]
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
        return done.stdout if done.returncode == 0 else None

    def _earlier(self) -> Iterator[dict[str, bytes]]:
        """What the template rendered from the commits and answers that this repository had before, the latest first."""
        seen = [(self.before, self.answers[0])]
        for commit in git("log", "--format=%H", "--", ANSWERS, folder=self.clone).split():
            # A commit that the template has no more, or answers that it no longer takes, tell nothing.
            with suppress(UpdateError, subprocess.CalledProcessError, yaml.YAMLError, KeyError, TypeError):
                told = yaml.safe_load(git("show", f"{commit}:./{ANSWERS}", folder=self.clone))
                at = (self.source.commit(str(told["_commit"])), asked(told))
                if at not in seen:
                    seen.append(at)
                    folder = self.work / f"earlier-{len(seen)}"
                    yield _rendered(folder) if folder.exists() else _render(self.source, *at, folder)

    def take(self, names: list[str]) -> None:
        """Put offered files into the clone; raises UpdateError for one that would touch the team's own lines."""
        for name in dict.fromkeys(names):
            content = self.merged(name)
            if content == self.now.get(name):
                problem = f"nothing is offered for {name}: what the template has changed in it, if anything, is there"
                raise UpdateError(problem, "The report (DRY_RUN=1) lists what this update offers.")
            if content is None:
                problem = f"{name}: the template's changes and yours touch the same lines"
                raise UpdateError(problem, f"Edit it by hand; the template's text is template/{name} of its release.")
            path = self.clone / name
            _refuse_links(self.clone, [name])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod((self.work / "new" / name).stat().st_mode)
            self.taken.add(name)
        self._look_again()

    def _is_templates(self, name: str) -> bool:
        return name.startswith(ZONE) or name in self.manifest.get("files", ())

    def _seam(self, name: str) -> str:
        seams: dict[str, str] = self.manifest.get("seams", {})
        return next(
            (told for pattern, told in seams.items() if fnmatch(name, pattern)), "Keep it in a file of your own."
        )


@contextmanager
def _copiers(problem: str) -> Iterator[None]:
    """Turn what Copier raises into the one error that people read, and keep its warnings to itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except Exception as error:
            told = " ".join(str(error).split()) or type(error).__name__
            raise UpdateError(f"{problem}: {told}", "An answer changes by SET='name=value'.") from None


def _refuse_links(clone: Path, names: list[str]) -> None:
    """Raise UpdateError where a link stands for one of the template's files: it would be written through."""
    for path in (clone / name for name in names):
        for link in (path, *path.parents[: len(path.relative_to(clone).parts) - 1]):
            if link.is_symlink():
                problem = f"{link.relative_to(clone)} is a symbolic link here, and a file of the template's"
                raise UpdateError(problem, "Put what it leads to in its place, commit, and update again.")


def _render(source: Source, commit: str, answers: Mapping[str, Any], into: Path) -> dict[str, bytes]:
    with _copiers(f"{source.label(commit)} cannot be rendered with the answers of this repository"):
        copier.run_copy(
            str(source.clone), into, data=dict(answers), vcs_ref=commit, defaults=True, quiet=True, unsafe=False
        )
    return _rendered(into)


def _record(folder: Path, values: Mapping[str, str]) -> None:
    """Write where the template is and at which commit, and leave every other line as it is."""
    path = folder / ANSWERS
    lines, left = [], False
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        name = line.split(":")[0]
        left = (left and line.startswith(" ")) or name in values
        if name in values:
            lines.append(yaml.safe_dump({name: values[name]}, allow_unicode=True, width=10**6))
        elif not left:
            lines.append(line)
    path.write_text("".join(lines), encoding="utf-8")


def _rendered(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _tracked(folder: Path) -> dict[str, bytes]:
    """Every file that git sees in a folder of a repository, and does not ignore."""
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", folder=folder)
    names = {name for name in listed.split("\0") if name}
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def _executable(folder: Path, names: Iterable[str]) -> frozenset[str]:
    return frozenset(name for name in names if os.access(folder / name, os.X_OK))


def is_same(one: bytes, other: bytes) -> bool:
    """Whether two contents are equal, the ends of lines apart: git may have turned them."""
    return one.replace(b"\r\n", b"\n") == other.replace(b"\r\n", b"\n")
