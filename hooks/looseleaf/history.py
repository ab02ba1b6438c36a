"""Compare the releases in releases.toml with the history of git, and create their tags."""

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.version import Version

from looseleaf import releases
from looseleaf.snapshot import contains, file_at, git, succeeds
from looseleaf.steps import StepFailed

RECORD, CHANGELOG, PROJECT = "releases.toml", "CHANGELOG.md", "pyproject.toml"
FETCH = "`git fetch --unshallow` completes a shallow clone, `git fetch --all` fetches missing branches."


def check(root: Path) -> list[str]:
    """Return the problems of the record: a missing commit, a wrong order, a version or section that differs."""
    try:
        releases_by_version = recorded(root)
    except StepFailed as failed:
        return [f"{failed}."]
    for version, commit in releases_by_version.items():
        if not succeeds("cat-file", "-e", f"{commit}^{{commit}}", folder=root):
            return [f"{RECORD}: {version} is the commit {commit}, and this clone does not have it. {FETCH}"]
    return [*_order_problems(root, releases_by_version), *_content_problems(root, releases_by_version)]


def _order_problems(root: Path, known: dict[Version, str]) -> Iterator[str]:
    before = None
    for version, commit in known.items():
        if not contains("HEAD", commit, root):
            yield f"{RECORD}: {commit} of {version} is not in the history of HEAD. {FETCH}"
        if before and (commit == before or not contains(commit, before, root)):
            yield f"{RECORD}: {commit} of {version} does not come after the release before it."
        before = commit


def _content_problems(root: Path, known: dict[Version, str]) -> Iterator[str]:
    for version, commit in known.items():
        if (found := _version(file_at(commit, PROJECT, root))) != str(version):
            yield f"{RECORD}: the {PROJECT} of {commit} has the version {found}, not {version}."
        # The first release is older than the record, and its changelog has no section for it.
        if file_at(commit, RECORD, root) and version not in releases.sections(file_at(commit, CHANGELOG, root)):
            yield f"{RECORD}: the {CHANGELOG} of {commit} has no section {version}."
    sections, current = [*releases.sections(read(root, CHANGELOG))], _version(read(root, PROJECT))
    expected = [*reversed(known)]
    # In the release commit itself, the record does not have the release yet.
    if sections != expected and sections[1:] != expected:
        yield f"{CHANGELOG} has the sections {_listed(sections)}, and {RECORD} the releases {_listed(expected)}."
    elif sections and current != str(sections[0]):
        yield f"{PROJECT} has the version {current}, and the newest section of {CHANGELOG} is {sections[0]}."


def _listed(versions: list[Version]) -> str:
    return ", ".join(map(str, versions)) or "none"


def _version(project: str) -> str:
    return str(tomllib.loads(project).get("project", {}).get("version"))


def make_tags(root: Path) -> None:
    """Create a tag for each recorded release; raises StepFailed when an existing tag has another commit."""
    known = recorded(root)
    refuse_moved_tags(root, known)
    for version, commit in known.items():
        exists = bool(_tagged(root, version))
        if not exists:
            name, mail, date = git("show", "--no-patch", "--format=%cn%n%ce%n%cI", commit, folder=root).splitlines()
            # The identity and date of the commit give equal tags in every clone, which can be fetched and pushed.
            identity = {"GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": mail, "GIT_COMMITTER_DATE": date}
            message = ("--annotate", "--message", f"Release {version}")
            git("tag", *message, f"v{version}", commit, folder=root, **identity)
        print(f"v{version}  {commit}  {'existed' if exists else 'created'}")


def push_tags(root: Path) -> None:
    """Push the tags of all recorded releases to origin; a failure is reported and not an error."""
    names = [f"refs/tags/v{version}" for version in recorded(root)]
    try:
        git("push", "origin", *names, folder=root, GIT_TERMINAL_PROMPT="0")
    except subprocess.CalledProcessError as error:
        reason = error.stderr.strip()
        print(f"The tags could not be pushed; make tags PUSH=1 tries again. git reports:\n{reason}", file=sys.stderr)


def refuse_moved_tags(root: Path, known: dict[Version, str]) -> None:
    """Raise StepFailed when a tag and the record disagree."""
    for version, commit in known.items():
        if (tagged := _tagged(root, version)) not in ("", commit):
            hint = f"A published tag is never moved. If the tag is local only: git tag --delete v{version}"
            raise StepFailed(f"The tag v{version} is at {tagged}, and {RECORD} has {commit}", hint)


def recorded(root: Path) -> dict[Version, str]:
    """Return each release's commit as the checkout records it; raises StepFailed for an invalid record."""
    try:
        return releases.read(read(root, RECORD))
    except ValueError as error:
        raise StepFailed(str(error), f"git log -p {RECORD} shows its earlier content.") from error


def read(root: Path, name: str) -> str:
    """Return the text of a file of the checkout; raises StepFailed when it cannot be read."""
    try:
        return (root / name).read_text(encoding="utf-8")
    except OSError as error:
        problem = f"{name} cannot be read ({error.strerror})"
        raise StepFailed(problem, "Run it in a checkout of the template.") from error


def _tagged(root: Path, version: Version) -> str:
    tag = f"refs/tags/v{version}^{{commit}}"
    return git("rev-parse", tag, folder=root) if succeeds("rev-parse", "--verify", tag, folder=root) else ""
