"""Compare the recorded releases with the history of git, and create their tags."""

import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from packaging.version import Version

from looseleaf import releases
from looseleaf.releases import CHANGELOGS, RECORDS
from looseleaf.snapshot import contains, file_at, git, succeeds
from looseleaf.steps import StepFailed

PROJECT = "pyproject.toml"
NOT_RELEASED = "Not released"
FETCH = "`git fetch --unshallow` completes a shallow clone, `git fetch --all` fetches missing branches."


def check(root: Path) -> list[str]:
    """Return the problems of the records: a missing commit, a wrong order, a version or section that differs."""
    try:
        known = recorded(root)
    except StepFailed as failed:
        return [f"{failed}."]
    for version, commit in known.items():
        if not succeeds("cat-file", "-e", f"{commit}^{{commit}}", folder=root):
            return [f"{record_of(version)}: {version} is the commit {commit}, and this clone does not have it. {FETCH}"]
    return [*_order_problems(root, known), *_content_problems(root, known)]


def record_of(version: Version) -> str:
    """Return the name of the record that has a release: a fork's releases are in a file of their own."""
    return RECORDS[version.is_postrelease]


def changelog_of(version: Version) -> str:
    """Return the name of the changelog that has the section of a release."""
    return CHANGELOGS[version.is_postrelease]


def _order_problems(root: Path, known: dict[Version, str]) -> Iterator[str]:
    for version, commit in known.items():
        if not contains("HEAD", commit, root):
            yield f"{record_of(version)}: {commit} of {version} is not in the history of HEAD. {FETCH}"
        # A release of a fork follows all earlier ones; a release of upstream follows those of upstream.
        earlier = [each for each in known if each < version and (version.is_postrelease or not each.is_postrelease)]
        if any(commit == known[each] or not contains(commit, known[each], root) for each in earlier):
            yield f"{record_of(version)}: {commit} of {version} does not come after the release before it."


def _content_problems(root: Path, known: dict[Version, str]) -> Iterator[str]:
    for version, commit in known.items():
        if (found := project_version(file_at(commit, PROJECT, root))) != str(version):
            yield f"{record_of(version)}: the {PROJECT} of {commit} has the version {found}, not {version}."
        changelog = changelog_of(version)
        # The first release is older than the record, and its changelog has no section for it.
        if file_at(commit, RECORDS[0], root) and version not in releases.sections(file_at(commit, changelog, root)):
            yield f"{record_of(version)}: the {changelog} of {commit} has no section {version}."
    newest = []
    for changelog in CHANGELOGS:
        sections = [*releases.sections(text(root, changelog))]
        expected = [version for version in reversed(known) if changelog_of(version) == changelog]
        # In the release commit itself, and in a fork that has merged it, the record does not have the release yet.
        if sections != expected and sections[1:] != expected:
            record = record_of((sections or expected)[0])
            yield f"{changelog} has the sections {_listed(sections)}, and {record} the releases {_listed(expected)}."
        newest += [str(version) for version in sections[:1]]
    if newest and (current := project_version(text(root, PROJECT))) not in newest:
        yield f"{PROJECT} has the version {current}, and the newest section of {CHANGELOGS[0]} is {newest[0]}."


def _listed(versions: list[Version]) -> str:
    return ", ".join(map(str, versions)) or "none"


def project_version(project: str) -> str:
    """Return the version in the text of a pyproject.toml."""
    return str(tomllib.loads(project).get("project", {}).get("version"))


def pending(changelog: str) -> str:
    """Return the text of the section "Not released", or an empty text when the changelog does not start with it."""
    title, section = next(releases.split(changelog), ("", ""))
    return section.strip() if title == NOT_RELEASED else ""


def released(changelog: str, version: Version, date: str) -> str:
    """Return the changelog with the content of "Not released" as the section of a version."""
    heading = f"## {NOT_RELEASED}\n"
    return changelog.replace(heading, f"{heading}\n## {version} ({date})\n", 1)


def make_tags(root: Path) -> None:
    """Create a tag for each recorded release; raises StepFailed when an existing tag has another commit."""
    known = recorded(root)
    refuse_moved_tags(root, known)
    for version, commit in known.items():
        exists = bool(tagged(root, version))
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


def refuse_moved_tags(root: Path, known: Mapping[Version, str]) -> None:
    """Raise StepFailed when a tag and the record disagree."""
    for version, commit in known.items():
        if (at := tagged(root, version)) not in ("", commit):
            hint = f"A published tag is never moved. If the tag is local only: git tag --delete v{version}"
            raise StepFailed(f"The tag v{version} is at {at}, and {record_of(version)} has {commit}", hint)


def recorded(root: Path) -> dict[Version, str]:
    """Return each release's commit as the checkout records it; raises StepFailed for an invalid record."""
    read(root, RECORDS[0])
    known: dict[Version, str] = {}
    for name in RECORDS:
        try:
            known |= releases.read(content, name) if (content := text(root, name)) else {}
        except ValueError as error:
            raise StepFailed(str(error), f"git log -p {name} shows its earlier content.") from error
    return dict(sorted(known.items()))


def read(root: Path, name: str) -> str:
    """Return the text of a file of the checkout; raises StepFailed when it cannot be read."""
    try:
        return (root / name).read_text(encoding="utf-8")
    except OSError as error:
        problem = f"{name} cannot be read ({error.strerror})"
        raise StepFailed(problem, "Run it in a checkout of the template.") from error


def text(root: Path, name: str) -> str:
    """Return the text of a file, which is empty for a file that only a fork has."""
    return read(root, name) if (root / name).exists() else ""


def tagged(root: Path, version: Version) -> str:
    """Return the commit of a release's tag; empty without a tag."""
    tag = f"refs/tags/v{version}^{{commit}}"
    return git("rev-parse", tag, folder=root) if succeeds("rev-parse", "--verify", tag, folder=root) else ""
