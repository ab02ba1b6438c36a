"""What git knows about the releases that releases.toml names: whether it agrees, and their tags."""

import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.version import Version

from looseleaf import releases
from looseleaf.snapshot import git
from looseleaf.steps import StepFailed

RECORD, CHANGELOG, PROJECT = "releases.toml", "CHANGELOG.md", "pyproject.toml"
WHOLE = "`git fetch --unshallow` gets the history that was cut off, `git fetch --all` what was never fetched."


def check(root: Path) -> list[str]:
    """What is wrong with the record: a commit that is missing, an order, a version or a section that differs."""
    try:
        known = recorded(root)
    except StepFailed as failed:
        return [f"{failed}."]
    missing = [f"{version} is the commit {commit}" for version, commit in known.items() if not _has(root, commit)]
    if missing:
        return [f"{RECORD} says that {missing[0]}, and this clone does not have it. {WHOLE}"]
    return [*_out_of_place(root, known), *_unlike(root, known)]


def _out_of_place(root: Path, known: dict[Version, str]) -> Iterator[str]:
    before = None
    for version, commit in known.items():
        if not _is_ancestor(root, commit, "HEAD"):
            yield f"{RECORD}: {commit} of {version} is not in the history of HEAD. {WHOLE}"
        if before and (commit == before or not _is_ancestor(root, before, commit)):
            yield f"{RECORD}: {commit} of {version} does not come after the release before it."
        before = commit


def _unlike(root: Path, known: dict[Version, str]) -> Iterator[str]:
    for version, commit in known.items():
        if (said := _version(_shown(root, commit, PROJECT))) != str(version):
            yield f"{RECORD}: the {PROJECT} of {commit} says {said}, not {version}."
        # The first release is older than the record, and its changelog has no section for it.
        if _shown(root, commit, RECORD) and version not in releases.sections(_shown(root, commit, CHANGELOG)):
            yield f"{RECORD}: the {CHANGELOG} of {commit} has no section {version}."
    told, current = [*releases.sections(read(root, CHANGELOG))], _version(read(root, PROJECT))
    wanted = [*reversed(known)]
    # In the release commit itself, the line is still to come.
    if told != wanted and told[1:] != wanted:
        yield f"{CHANGELOG} has the sections {_listed(told)}, and {RECORD} the releases {_listed(wanted)}."
    elif told and current != str(told[0]):
        yield f"{PROJECT} says {current}, and the newest section of {CHANGELOG} is {told[0]}."


def _listed(versions: list[Version]) -> str:
    return ", ".join(map(str, versions)) or "none"


def _version(project: str) -> str:
    return str(tomllib.loads(project).get("project", {}).get("version"))


def make_tags(root: Path) -> None:
    """A tag for each recorded release. One that stands is left; StepFailed where one names another commit."""
    known = recorded(root)
    refuse_moved_tags(root, known)
    for version, commit in known.items():
        there = _tagged(root, version)
        if not there:
            _tag(root, version, commit)
        print(f"v{version}  {commit}  {'was there' if there else 'made'}")


def push_tags(root: Path) -> None:
    """Push the tags of all recorded releases to origin; where that does not work, say why."""
    names = [f"refs/tags/v{version}" for version in recorded(root)]
    try:
        git("push", "origin", *names, folder=root, GIT_TERMINAL_PROMPT="0")
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip()
        print(f"The tags could not be pushed; make tags PUSH=1 tries again. git says:\n{said}", file=sys.stderr)


def refuse_moved_tags(root: Path, known: dict[Version, str]) -> None:
    """Raise StepFailed where a tag and the record disagree."""
    for version, commit in known.items():
        if (there := _tagged(root, version)) not in ("", commit):
            raise StepFailed(
                f"The tag v{version} names {there}, and {RECORD} says {commit}",
                f"A published tag is never moved. If it is only here: git tag --delete v{version}",
            )


def recorded(root: Path) -> dict[Version, str]:
    """Each release's commit, as the checkout records it; raises StepFailed where the record cannot be read."""
    try:
        return releases.read(read(root, RECORD))
    except ValueError as error:
        raise StepFailed(str(error), f"git log -p {RECORD} shows what it was.") from error


def _tag(root: Path, version: Version, commit: str) -> None:
    who, mail, when = git("show", "--no-patch", "--format=%cn%n%ce%n%cI", commit, folder=root).splitlines()
    # Whoever makes a tag again makes the same one: an equal tag can be fetched and pushed without a conflict.
    identity = {"GIT_COMMITTER_NAME": who, "GIT_COMMITTER_EMAIL": mail, "GIT_COMMITTER_DATE": when}
    git("tag", "--annotate", "--message", f"Release {version}", f"v{version}", commit, folder=root, **identity)


def _tagged(root: Path, version: Version) -> str:
    """The commit that a version's tag names, or an empty text."""
    tag = f"refs/tags/v{version}"
    return git("rev-parse", f"{tag}^{{commit}}", folder=root) if _succeeds(root, "show-ref", "--quiet", tag) else ""


def _has(root: Path, commit: str) -> bool:
    return _succeeds(root, "cat-file", "-e", f"{commit}^{{commit}}")


def _is_ancestor(root: Path, one: str, other: str) -> bool:
    return _succeeds(root, "merge-base", "--is-ancestor", one, other)


def _shown(root: Path, commit: str, name: str) -> str:
    """A file as it was in a commit; empty where it was not there."""
    return git("show", f"{commit}:{name}", folder=root) if _succeeds(root, "cat-file", "-e", f"{commit}:{name}") else ""


def _succeeds(root: Path, *arguments: str) -> bool:
    try:
        git(*arguments, folder=root)
    except subprocess.CalledProcessError:
        return False
    return True


def read(root: Path, name: str) -> str:
    """A file of the checkout; raises StepFailed where there is none."""
    try:
        return (root / name).read_text(encoding="utf-8")
    except OSError as error:
        raise StepFailed(
            f"{name} cannot be read ({error.strerror})", "This runs in a checkout of the template."
        ) from error
