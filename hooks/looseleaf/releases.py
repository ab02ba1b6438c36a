"""What releases.toml and CHANGELOG.md say about the releases, as texts: nothing here opens a file or runs git."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from packaging.version import InvalidVersion, Version

NOT_RELEASED = "Not released"
WHAT_YOU_DO = "What you do"
SECTION = re.compile(r"^## (?P<title>.*)$", re.MULTILINE)
TITLE = re.compile(r"(?P<version>\d+\.\d+\.\d+) \((?P<date>\d{4}-\d{2}-\d{2})\)")


@dataclass(frozen=True)
class Task:
    """Something that a release asks the owner of a repository to do."""

    version: Version
    text: str


def read(text: str) -> dict[Version, str]:
    """Each release's commit, oldest first; raises ValueError with the reason when releases.toml is not in its form."""
    try:
        told = tomllib.loads(text).get("releases")
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"releases.toml is no TOML: {error}") from error
    if not isinstance(told, dict):
        raise ValueError("releases.toml has no table [releases]")
    releases: dict[Version, str] = {}
    for name, commit in told.items():
        version = parse(name)
        if not re.fullmatch(r"[0-9a-f]{40}", str(commit)):
            raise ValueError(f"releases.toml: {commit!r} of {name} is no commit of 40 hexadecimal digits")
        if releases and version <= max(releases):
            raise ValueError(f"releases.toml: {name} stands below {max(releases)}; the oldest comes first")
        releases[version] = commit
    return releases


def parse(text: str) -> Version:
    """The version that a text like 1.2.3 names; raises ValueError where it names none."""
    try:
        version = Version(text)
    except InvalidVersion as error:
        raise ValueError(f"{text!r} is no version") from error
    if not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", text):
        raise ValueError(f"{text!r} is no version of the form X.Y.Z")
    return version


def newest(releases: Mapping[Version, str]) -> Version | None:
    """The newest release, or None before the first."""
    return max(releases, default=None)


def tasks(changelog: str, after: Version, upto: Version) -> list[Task]:
    """What the versions in (after, upto] ask the owner to do, the oldest first."""
    return [
        Task(version, item)
        for version, text in sorted(sections(changelog).items())
        if after < version <= upto
        for item in _items(text)
    ]


def sections(changelog: str) -> dict[Version, str]:
    """The text of each released version, in the order of the changelog."""
    found: dict[Version, str] = {}
    for title, text in _split(changelog):
        if match := TITLE.fullmatch(title):
            found[Version(match["version"])] = text
    return found


def pending(changelog: str) -> str:
    """What is not released yet; empty, too, where the changelog does not begin with that section."""
    title, text = next(_split(changelog), ("", ""))
    return text.strip() if title == NOT_RELEASED else ""


def released(changelog: str, version: Version, date: str) -> str:
    """The changelog in which what was not released is the section of a version."""
    heading = f"## {NOT_RELEASED}\n"
    return changelog.replace(heading, f"{heading}\n## {version} ({date})\n", 1)


def recorded(text: str, version: Version, commit: str) -> str:
    """releases.toml with one more line."""
    return f'{text.rstrip()}\n"{version}" = "{commit}"\n'


def _split(changelog: str) -> Iterator[tuple[str, str]]:
    headings = [*SECTION.finditer(changelog)]
    ends = [*(heading.start() for heading in headings[1:]), len(changelog)]
    for heading, end in zip(headings, ends, strict=False):
        yield heading["title"].strip(), changelog[heading.end() : end]


def _items(section: str) -> list[str]:
    """The items of the list below `### What you do`, each in one line."""
    _, _, below = section.partition(f"### {WHAT_YOU_DO}\n")
    items: list[str] = []
    for line in below.splitlines():
        if line.startswith("#"):
            break
        if line.startswith(("- ", "* ")):
            items.append(line[2:].strip())
        elif line.strip() and items:
            items[-1] += f" {line.strip()}"
    return items
