"""Read the texts of the records of releases and of the changelogs. No function here opens a file or runs git."""

import re
import tomllib
from collections.abc import Container, Iterator

from packaging.version import InvalidVersion, Version

# The releases of the template, and those of a company's fork, in files that upstream never changes: older commands read
# the first record only, and refuse other versions than X.Y.Z there.
RECORDS = ("releases.toml", "fork/releases.toml")
CHANGELOGS = ("CHANGELOG.md", "fork/CHANGELOG.md")
SECTION = re.compile(r"^## (?P<title>.*)$", re.MULTILINE)
TITLE = re.compile(r"(?P<version>\d+\.\d+\.\d+(\.post\d+)?) \((?P<date>\d{4}-\d{2}-\d{2})\)")
# The heading of the list of tasks for the owner of a repository.
TASKS = "### What you do\n"
USAGE = re.compile(r"^\((online|batch)\) ")


def read(text: str, name: str = RECORDS[0]) -> dict[Version, str]:
    """Return each release's commit, oldest first; raises ValueError when the record with this name is not valid."""
    try:
        table = tomllib.loads(text).get("releases")
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{name} is not valid TOML: {error}") from error
    if not isinstance(table, dict):
        raise ValueError(f"{name} has no table [releases]")
    releases: dict[Version, str] = {}
    for number, commit in table.items():
        version = parse(number)
        if not re.fullmatch(r"[0-9a-f]{40}", str(commit)):
            raise ValueError(f"{name}: {commit!r} of {number} is not a commit of 40 hexadecimal digits")
        if releases and version <= max(releases):
            raise ValueError(f"{name}: {number} is below {max(releases)}; the oldest comes first")
        releases[version] = commit
    return releases


def parse(text: str) -> Version:
    """Return the version in a text like 1.2.3 or, of a fork, 1.2.3.post1; raises ValueError for any other text."""
    try:
        version = Version(text)
    except InvalidVersion as error:
        raise ValueError(f"{text!r} is not a valid version") from error
    if not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}(\.post[1-9]\d*)?", text):
        raise ValueError(f"{text!r} is not a version of the form X.Y.Z, or X.Y.Z.postN in a fork")
    return version


def sections(changelog: str) -> dict[Version, str]:
    """Return the text of each released version, in the order of the changelog."""
    return {Version(match["version"]): text for title, text in split(changelog) if (match := TITLE.fullmatch(title))}


def split(changelog: str) -> Iterator[tuple[str, str]]:
    """Yield title and text of each section."""
    parts = SECTION.split(changelog)[1:]
    yield from zip(map(str.strip, parts[::2]), parts[1::2], strict=True)


def tasks(section: str, usage: Container[str] | None = None) -> list[str]:
    """Return the tasks for the owner of a repository in the text of a version, each in one line.

    A task that begins with a usage in brackets is for repositories with that usage; None stands for every usage.
    """
    items: list[str] = []
    for line in section.partition(TASKS)[2].splitlines():
        if line.startswith("#"):
            break
        if line.startswith(("- ", "* ")):
            items.append(line[2:].strip())
        elif line.strip() and items:
            items[-1] += f" {line.strip()}"
    marks = [USAGE.match(item) for item in items]
    wanted = (not mark or usage is None or mark[1] in usage for mark in marks)
    return [USAGE.sub("", item) for item, is_wanted in zip(items, wanted, strict=True) if is_wanted]
