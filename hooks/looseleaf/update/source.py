"""The template a repository came from: a clone of it, its releases, and the commits an update goes between."""

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from packaging.version import InvalidVersion, Version

from looseleaf import releases
from looseleaf.snapshot import git
from looseleaf.update.errors import UpdateError

ANSWERS = ".copier-answers.yml"
VARIABLE = "LOOSELEAF_SOURCE"
HOSTS = {"gh:": "github.com", "gl:": "gitlab.com"}
HINT = f"Name the template's checkout or address: {VARIABLE}=…"


def remembered(folder: Path) -> dict[str, Any]:
    """What Copier wrote into the answers file; raises UpdateError where there is none."""
    path = folder / ANSWERS
    try:
        told = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problem = f"{path} is missing: no update without it"
        raise UpdateError(problem, f"Restore it: git log -- {ANSWERS} shows when it went.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UpdateError(f"{path} cannot be read: {error}", f"Put it back: git checkout HEAD -- {ANSWERS}") from None
    if not isinstance(told, dict) or not {"_src_path", "_commit"} <= told.keys():
        problem = f"{path} does not say from which template and commit this came"
        raise UpdateError(problem, f"Put it back: git checkout HEAD -- {ANSWERS}")
    return told


def asked(told: Mapping[str, Any]) -> dict[str, Any]:
    """The answers among what Copier wrote."""
    return {name: value for name, value in told.items() if not name.startswith("_")}


@dataclass(frozen=True)
class Source:
    """A clone of the template; where the answers file says that it is, and where it is to say so after the update."""

    clone: Path
    recorded: str = ""
    address: str = ""

    @classmethod
    def fetch(cls, told: Mapping[str, Any], root: Path, into: Path) -> "Source":
        """Clone the template that LOOSELEAF_SOURCE names (ADDRESS or ADDRESS@REF), else the one that was recorded."""
        named, recorded = os.environ.get(VARIABLE, ""), str(told["_src_path"])
        if not (root / named).exists():
            # The reference says which tool runs; where the update leads is said by --to.
            named = re.sub(r"(?<=[/\w])@[\w.-]+\Z", "", named)
        address = _address(named, root, VARIABLE) if named else _address(recorded, root, f"_src_path in {ANSWERS}")
        try:
            git("clone", "--quiet", "--no-checkout", address, str(into), folder=root)
        except subprocess.CalledProcessError as error:
            raise UpdateError(f"the template cannot be fetched from {address}: {_last(error)}", HINT) from None
        # A password stays where it was typed.
        public = re.sub(r"^(https?://)[^/@]*@", r"\1", address)
        return cls(into, recorded, public if named and public != _expanded(recorded, root) else recorded)

    def commit(self, name: str) -> str:
        """The full hash of a version, tag, branch or commit; raises UpdateError where the template has none such."""
        # `git describe` of a commit without a tag of its own ends in its hash.
        short = re.sub(r"^.*-\d+-g(?=[0-9a-f]{7,40}\Z)", "", name)
        version = _version(name)
        if version in self.releases:
            short = self.releases[version]
        for candidate in (short, f"origin/{short}"):
            try:
                return git(
                    "rev-parse", "--verify", "--quiet", "--end-of-options", f"{candidate}^{{commit}}", folder=self.clone
                )
            except subprocess.CalledProcessError:
                continue
        known = ", ".join(map(str, self.releases)) or "none"
        raise UpdateError(f"the template has no version or commit {name}", f"Its releases: {known}. {HINT}")

    def newest(self, before: str) -> str:
        """The commit that an update leads to from another: that of the newest release after it, previews apart.

        A commit after all releases waits for the next one. A fork that makes none of its own is at its newest commit.
        """
        final = [commit for version, commit in self._within() if not version.is_prerelease]
        after = [commit for commit in final if self.contains(commit, before)]
        if after or (final and self.contains(before, final[-1])):
            return after[-1] if after else before
        return self.commit("HEAD")

    @cached_property
    def releases(self) -> dict[Version, str]:
        """Commit by version, the oldest first: what releases.toml records, and the tags that are there."""
        tagged = {_version(tag): f"refs/tags/{tag}" for tag in git("tag", "--list", folder=self.clone).splitlines()}
        found = {version: tag for version, tag in tagged.items() if version}
        record = self.file("HEAD", "releases.toml")
        try:
            found |= releases.read(record) if record else {}
        except ValueError as error:
            raise UpdateError(f"the template's record of its releases is damaged: {error}", HINT) from None
        return dict(sorted(found.items()))

    def _within(self) -> Iterator[tuple[Version, str]]:
        """The releases whose commits are in the clone: a record may be ahead of the history."""
        for version in self.releases:
            with contextlib.suppress(UpdateError):
                yield version, self.commit(str(version))

    def questions(self, commit: str) -> set[str]:
        """What copier.yml asks as of a commit."""
        try:
            documents = yaml.load_all(self.file(commit, "copier.yml") or "", Loader=_Questions)
            told = {name: value for document in documents for name, value in document.items()}
        except (yaml.YAMLError, AttributeError):
            return set()
        asked = {name for name, value in told.items() if not (isinstance(value, dict) and value.get("when") is False)}
        return {name for name in asked if not name.startswith("_")}

    def file(self, commit: str, name: str) -> str | None:
        """A file of the template as of a commit; None where it has none."""
        try:
            return git("show", f"{commit}:{name}", folder=self.clone)
        except subprocess.CalledProcessError:
            return None

    def contains(self, newer: str, older: str) -> bool:
        """Whether a commit has another one in its history."""
        command = ["git", "-C", str(self.clone), "merge-base", "--is-ancestor", older, newer]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def last_release(self, commit: str) -> Version | None:
        """The newest release in the history of a commit."""
        within = [version for version, at in self.releases.items() if self.contains(commit, at)]
        return max(within, default=None)

    def label(self, commit: str) -> str:
        """A commit as a person calls it: `0.2.0`, or `1a2b3c4 (after 0.2.0)`."""
        last = self.last_release(commit)
        if last and self.commit(str(last)) == commit:
            return str(last)
        return f"{commit[:7]} (after {last})" if last else commit[:7]

    def tasks(self, before: str, after: str) -> list[str]:
        """What the changelog asks the owner to do for the releases between two commits."""
        since, until = self.last_release(before) or Version("0"), self.last_release(after) or Version("0")
        changelog = self.file(after, "CHANGELOG.md") or ""
        return [f"{task.version}: {task.text}" for task in releases.tasks(changelog, since, until)]


class _Questions(yaml.SafeLoader):
    """Reads copier.yml without following its includes: what they hold is not asked here."""


_Questions.add_constructor("!include", lambda loader, node: {})


def _address(given: str, root: Path, where: str) -> str:
    address = _expanded(given, root)
    if not _is_remote(address) and not Path(address).exists():
        raise UpdateError(f"the template is not in {address}, which {where} names", HINT)
    return address


def _expanded(given: str, root: Path) -> str:
    for start, host in HOSTS.items():
        if given.startswith(start):
            return f"https://{host}/{given.removeprefix(start).removesuffix('.git')}.git"
    address = given.removeprefix("git+")
    local = address.removeprefix("file://")
    return address if _is_remote(local) else str((root / Path(local).expanduser()).resolve())


def _is_remote(address: str) -> bool:
    return "://" in address or bool(re.match(r"[\w.-]+@[\w.-]+:", address))


def _version(name: str) -> Version | None:
    try:
        return Version(name)
    except InvalidVersion:
        return None


def _last(error: subprocess.CalledProcessError) -> str:
    lines = str(error.stderr).strip().splitlines()
    return lines[-1] if lines else f"git ended with {error.returncode}"
