"""Read the texts of releases.toml and CHANGELOG.md. No function here opens a file or runs git."""

import re
import tomllib
from collections.abc import Iterator

from packaging.version import InvalidVersion, Version

NOT_RELEASED = "Not released"
SECTION = re.compile(r"^## (?P<title>.*)$", re.MULTILINE)
TITLE = re.compile(r"(?P<version>\d+\.\d+\.\d+) \((?P<date>\d{4}-\d{2}-\d{2})\)")
# The heading of the list of tasks for the owner of a repository.
TASKS = "### What you do\n"


def read(text: str) -> dict[Version, str]:
    """Return each release's commit, oldest first; raises ValueError when releases.toml is not valid."""
    try:
        table = tomllib.loads(text).get("releases")
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"releases.toml is not valid TOML: {error}") from error
    if not isinstance(table, dict):
        raise ValueError("releases.toml has no table [releases]")
    releases: dict[Version, str] = {}
    for name, commit in table.items():
        version = parse(name)
        if not re.fullmatch(r"[0-9a-f]{40}", str(commit)):
            raise ValueError(f"releases.toml: {commit!r} of {name} is not a commit of 40 hexadecimal digits")
        if releases and version <= max(releases):
            raise ValueError(f"releases.toml: {name} is below {max(releases)}; the oldest comes first")
        releases[version] = commit
    return releases


def parse(text: str) -> Version:
    """Return the version in a text like 1.2.3; raises ValueError for any other text."""
    try:
        version = Version(text)
    except InvalidVersion as error:
        raise ValueError(f"{text!r} is not a valid version") from error
    if not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", text):
        raise ValueError(f"{text!r} is not a version of the form X.Y.Z")
    return version


def tasks(changelog: str, after: Version, upto: Version) -> list[tuple[Version, str]]:
    """Return the tasks that the versions in (after, upto] have for the owner of a repository, oldest first."""
    return [
        (version, task)
        for version, text in sorted(sections(changelog).items())
        if after < version <= upto
        for task in _tasks(text)
    ]


def sections(changelog: str) -> dict[Version, str]:
    """Return the text of each released version, in the order of the changelog."""
    return {Version(match["version"]): text for title, text in _split(changelog) if (match := TITLE.fullmatch(title))}


def pending(changelog: str) -> str:
    """Return the text of the section "Not released", or an empty text when the changelog does not start with it."""
    title, text = next(_split(changelog), ("", ""))
    return text.strip() if title == NOT_RELEASED else ""


def released(changelog: str, version: Version, date: str) -> str:
    """Return the changelog with the content of "Not released" as the section of a version."""
    heading = f"## {NOT_RELEASED}\n"
    return changelog.replace(heading, f"{heading}\n## {version} ({date})\n", 1)


def _split(changelog: str) -> Iterator[tuple[str, str]]:
    headings = [*SECTION.finditer(changelog)]
    ends = [*(heading.start() for heading in headings[1:]), len(changelog)]
    for heading, end in zip(headings, ends, strict=False):
        yield heading["title"].strip(), changelog[heading.end() : end]


def _tasks(section: str) -> list[str]:
    """Return the list items below the heading, each in one line."""
    items: list[str] = []
    for line in section.partition(TASKS)[2].splitlines():
        if line.startswith("#"):
            break
        if line.startswith(("- ", "* ")):
            items.append(line[2:].strip())
        elif line.strip() and items:
            items[-1] += f" {line.strip()}"
    return items
