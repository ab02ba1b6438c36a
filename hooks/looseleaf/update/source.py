"""The template of a repository: a clone of it, its releases, and the commits between which an update goes."""

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml
from packaging.version import InvalidVersion, Version

from looseleaf import releases
from looseleaf.errors import UpdateError
from looseleaf.snapshot import contains, file_at, git

ANSWERS_FILE = ".copier-answers.yml"
VARIABLE = "LOOSELEAF_SOURCE"
HOSTS = {"gh:": "github.com", "gl:": "gitlab.com"}
HINT = f"Set {VARIABLE} to the folder or address of the template."
RESTORE = f"Restore it: git checkout HEAD -- {ANSWERS_FILE}"


def recorded(folder: Path) -> dict[str, Any]:
    """Return the content of the answers file; raises UpdateError when it is missing or invalid."""
    path = folder / ANSWERS_FILE
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problem = f"{path} is missing, and an update needs it"
        hint = f"Run it in a rendered repository; git log -- {ANSWERS_FILE} shows whether a commit removed the file."
        raise UpdateError(problem, hint) from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UpdateError(f"{path} cannot be read: {error}", RESTORE) from None
    if not isinstance(content, dict) or not {"_src_path", "_commit"} <= content.keys():
        raise UpdateError(f"{path} does not name a template and commit", RESTORE)
    return content


def choices_in(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the choices in the content of the answers file."""
    return {name: value for name, value in content.items() if not name.startswith("_")}


@dataclass(frozen=True)
class Source:
    """A clone of the template, the address that the answers file has, and the address it gets by the update."""

    clone: Path
    recorded: str = ""
    address: str = ""

    @classmethod
    def fetch(cls, content: Mapping[str, Any], root: Path, into: Path) -> "Source":
        """Clone the template that `located` finds."""
        address, new = located(content, root)
        try:
            git("clone", "--quiet", "--no-checkout", address, str(into), folder=root)
        except subprocess.CalledProcessError as error:
            reason = str(error.stderr).strip().splitlines() or [f"git ended with {error.returncode}"]
            raise UpdateError(f"the template cannot be fetched from {address}: {reason[-1]}", HINT) from None
        return cls(into, str(content["_src_path"]), new)

    def commit(self, name: str) -> str:
        """Return the full hash of a version, tag, branch or commit; raises UpdateError for an unknown name."""
        # `git describe` of a commit without a tag ends in its hash.
        short = re.sub(r"^.*-\d+-g(?=[0-9a-f]{7,40}\Z)", "", name)
        version = _version(name)
        if version in self.releases:
            short = self.releases[version]
        for candidate in (short, f"origin/{short}"):
            with contextlib.suppress(subprocess.CalledProcessError):
                options = ("--verify", "--quiet", "--end-of-options")
                return git("rev-parse", *options, f"{candidate}^{{commit}}", folder=self.clone)
        known = ", ".join(map(str, self.releases)) or "none"
        raise UpdateError(f"the template has no version or commit {name}", f"Its releases: {known}. {HINT}")

    def newest(self, before: str) -> str:
        """Return the commit to update to: that of the newest final release after `before`.

        A commit after all releases stays. A template without releases updates to its newest commit.
        """
        final = [commit for version, commit in self._available() if not version.is_prerelease]
        after = [commit for commit in final if contains(commit, before, self.clone)]
        if after or (final and contains(before, final[-1], self.clone)):
            return after[-1] if after else before
        return self.commit("HEAD")

    @cached_property
    def releases(self) -> dict[Version, str]:
        """Commit or tag by version, oldest first: the records of the template and of a fork, and the tags."""
        tagged = {_version(tag): f"refs/tags/{tag}" for tag in git("tag", "--list", folder=self.clone).splitlines()}
        known = {version: tag for version, tag in tagged.items() if version}
        for name in releases.RECORDS:
            try:
                known |= releases.read(record, name) if (record := file_at("HEAD", name, self.clone)) else {}
            except ValueError as error:
                raise UpdateError(f"the template's record of its releases is invalid: {error}", HINT) from None
        return dict(sorted(known.items()))

    def _available(self) -> Iterator[tuple[Version, str]]:
        """Yield the releases whose commits are in the clone, because a record may be ahead of the history."""
        for version in self.releases:
            with contextlib.suppress(UpdateError):
                yield version, self.commit(str(version))

    def questions(self, commit: str) -> set[str]:
        """Return the names of the questions in copier.yml as of a commit."""
        try:
            documents = yaml.load_all(file_at(commit, "copier.yml", self.clone), Loader=_WithoutIncludes)
            entries = {name: value for document in documents for name, value in document.items()}
        except (yaml.YAMLError, AttributeError):
            return set()
        hidden = {name for name, value in entries.items() if isinstance(value, dict) and value.get("when") is False}
        return {name for name in entries.keys() - hidden if not name.startswith("_")}

    def last_release(self, commit: str) -> Version | None:
        """Return the newest release in the history of a commit."""
        return max((version for version, at in self.releases.items() if contains(commit, at, self.clone)), default=None)

    def label(self, commit: str) -> str:
        """Return a readable name of a commit: `0.2.0`, or `1a2b3c4 (after 0.2.0)`."""
        last = self.last_release(commit)
        if last and self.commit(str(last)) == commit:
            return str(last)
        return f"{commit[:7]} (after {last})" if last else commit[:7]

    def changelog(self, before: str, after: str) -> list[tuple[str, str]]:
        """Return the version and text of each release between two commits, also of a fork's, the newest first."""
        since, until = self.last_release(before) or Version("0"), self.last_release(after) or Version("0")
        changelogs = [file_at(after, name, self.clone) for name in releases.CHANGELOGS]
        sections = {version: text for each in changelogs for version, text in releases.sections(each).items()}
        return [(str(each), sections[each]) for each in sorted(sections, reverse=True) if since < each <= until]

    def tasks(self, before: str, after: str, usage: Container[str] | None = None) -> list[str]:
        """Return the tasks in the changelogs for the releases between two commits, the oldest first.

        Tasks for a usage that the repository does not have are left out; None stands for every usage.
        """
        changes = reversed(self.changelog(before, after))
        return [f"{version}: {task}" for version, text in changes for task in releases.tasks(text, usage)]


def located(content: Mapping[str, Any], root: Path) -> tuple[str, str]:
    """Return the address of the template, and the one to record, which has no credentials.

    It is the one that LOOSELEAF_SOURCE names (ADDRESS or ADDRESS@REF), else the recorded one. Where this command was
    installed from another repository (`uvx --from`), that repository counts as named.
    """
    named, recorded = os.environ.get(VARIABLE, ""), str(content["_src_path"])
    if not named and _place(installed := installed_from()[0]) != _place(_expanded(recorded, root)):
        named = installed
    # The reference selects the version of this tool; the option --to selects the version to update to.
    named, _ = split_reference(named, root)
    address = _address(named, root, VARIABLE) if named else _address(recorded, root, f"_src_path in {ANSWERS_FILE}")
    public = without_credentials(address)
    return address, public if named and public != _expanded(recorded, root) else recorded


def split_reference(named: str, root: Path) -> tuple[str, str]:
    """Return address and reference of ADDRESS or ADDRESS@REF; a path that exists below `root` has no reference."""
    found = None if (root / named).exists() else re.fullmatch(r"(.*[/\w])@([\w.-]+)", named)
    return (found[1], found[2]) if found else (named, "")


def without_credentials(address: str) -> str:
    """Return an address without the user and password that it may contain."""
    return re.sub(r"^(https?://)[^/@]*@", r"\1", address)


def installed_from() -> tuple[str, str]:
    """Return address and commit of the git repository that this command was installed from; empty for others."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        source = json.loads(metadata.distribution("looseleaf").read_text("direct_url.json") or "{}")
        return (str(source["url"]), str(source["vcs_info"]["commit_id"])) if "vcs_info" in source else ("", "")
    return "", ""


class _WithoutIncludes(yaml.SafeLoader):
    """Reads copier.yml without its includes, which have no questions."""


_WithoutIncludes.add_constructor("!include", lambda loader, node: {})


def _address(given: str, root: Path, where: str) -> str:
    address = _expanded(given, root)
    if not _is_remote(address) and not Path(address).exists():
        raise UpdateError(f"{where}: the template {address} does not exist", HINT)
    return address


def _expanded(given: str, root: Path) -> str:
    for start, host in HOSTS.items():
        if given.startswith(start):
            return f"https://{host}/{given.removeprefix(start).removesuffix('.git')}.git"
    address = given.removeprefix("git+")
    local = address.removeprefix("file://")
    return address if _is_remote(local) else str((root / Path(local).expanduser()).resolve())


def _place(address: str) -> str:
    """Return host and path of an address, so that different ways to reach a repository are equal."""
    place = re.sub(r"^(\w+://)?([^/@]*@)?", "", unquote(address).rstrip("/").removesuffix(".git"))
    return place.replace(":", "/", 1)


def _is_remote(address: str) -> bool:
    return "://" in address or bool(re.match(r"[\w.-]+@[\w.-]+:", address))


def _version(name: str) -> Version | None:
    try:
        return Version(name)
    except InvalidVersion:
        return None
