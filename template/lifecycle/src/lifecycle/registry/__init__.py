"""What the storage records: deployments, the audit log, the prediction log, and labels.

Here: who runs a command, from which code (names are recorded, not verified), and what docs/agreement.md states.
"""

import getpass
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from lifecycle.errors import LifecycleError

# The variable that a CI host sets in its jobs, and the one that names who started or restarted the job.
HOSTS = (
    ("GITHUB_ACTIONS", "GITHUB_TRIGGERING_ACTOR"),
    ("GITHUB_ACTIONS", "GITHUB_ACTOR"),
    ("GITLAB_CI", "GITLAB_USER_LOGIN"),
)
Source = Literal["ci", "git", "login"]
AGREEMENT, SLICE_LIMIT = "docs/agreement.md", "slice limit"
# The predicted class, and the only number of the third cell with its decimals.
COST = r"\| *(?:Predicted|Said) \*([^|]+?)\*[^|]*\|[^|]*\|[^|\d]*(\d+(?:,\d{3})*)(?:[.,](\d+))?[^|\d]*\|"


@dataclass(frozen=True)
class Identity:
    """A name and its source: the CI host, git configuration, or the login. It is recorded, not verified."""

    name: str
    source: Source

    def __str__(self) -> str:
        """Return the name, its source, and that it was not verified."""
        source = {"ci": "a CI variable", "git": "git configuration", "login": "the login name"}[self.source]
        return f"{self.name} (from {source}; recorded, not verified)"


def who() -> Identity:
    """Return the name in a CI host's variables or in git configuration, else the login name or "unknown"."""
    for host, variable in HOSTS:
        if os.environ.get(host) == "true" and (name := os.environ.get(variable)):
            return Identity(name, "ci")
    if address := _git(Path.cwd(), "config", "user.email"):
        return Identity(address, "git")
    try:
        return Identity(getpass.getuser(), "login")
    except (KeyError, OSError):
        # A container may run with a user number that has no name.
        return Identity("unknown", "login")


def code(root: Path) -> dict[str, object]:
    """Return the commit at `root`, or that of the container image, and whether files differ; None without git."""
    commit = os.environ.get("LOOSELEAF_COMMIT") or _git(root, "rev-parse", "HEAD")
    return {"commit": commit, "edited": bool(_git(root, "status", "--porcelain")) if commit else None}


def repository_files(root: Path) -> list[str] | None:
    """Return the files that are in git or that `git add --all` would add; None outside a repository."""
    listed = _output(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    return None if listed is None else sorted({*os.fsdecode(listed).split("\0")} - {""})


def uncommitted(root: Path, *places: str) -> list[str]:
    """Return a message for each file in these places that differs from the last commit, or that there is no commit.

    Bytes are compared because `git status` trusts its index, where a file can be marked with --assume-unchanged.
    """
    listed = _output(root, "ls-tree", "-r", "-z", "--name-only", "HEAD", "--", *places)
    if listed is None:
        return [f"git has no commit at {root}: work in a clone"]
    names = {os.fsdecode(name) for name in listed.split(b"\0") if name}
    for place in places:
        # Of the untracked files of a folder, only YAML is read as settings.
        there = (root / place).rglob("*.yaml") if (root / place).is_dir() else [root / place]
        names |= {path.relative_to(root).as_posix() for path in there if path.is_file()}
    contents = {name: (root / name).read_bytes() if (root / name).is_file() else None for name in names}
    return [
        f"{name} differs from the last commit: commit it, or `git checkout HEAD -- {name}`"
        for name, content in sorted(contents.items())
        if content != _output(root, "cat-file", "blob", f"HEAD:./{name}")
    ]


def open_questions(root: Path) -> list[str]:
    """Return why docs/agreement.md is not filled: a row of its tables with an empty cell, or no text at all."""
    path = root / AGREEMENT
    if not path.is_file() or not path.read_text(encoding="utf-8").strip():
        return [f"{AGREEMENT} is {'empty' if path.is_file() else 'missing'}"]
    rows = ((number, row) for number, row in agreed_rows(root) if re.fullmatch(r"\|[^|]*\|(\s*|(.*\|)?\s*\|.*)", row))
    return [f"{AGREEMENT}:{number}: the text is missing: {row.split('|')[1].strip()}" for number, row in rows]


def slice_limit(root: Path) -> float | None:
    """Return by how much the measure of a slice may lie below that of all rows, as docs/agreement.md states.

    It is in the second cell of the row that begins with "Slice limit"; None without such a row, or where the cell is
    empty. Raises LifecycleError where it is not a number from 0 to 1.
    """
    for number, row in agreed_rows(root):
        name, text = (each.strip(" *`") for each in [*row.split("|"), "", ""][1:3])
        if name.lower().startswith(SLICE_LIMIT) and text:
            try:
                limit = float(text.removesuffix("%").replace(",", ".")) / (100 if text.endswith("%") else 1)
            except ValueError:
                limit = -1.0
            if not 0 <= limit <= 1:
                problem = f"{AGREEMENT}:{number}: the slice limit {text!r} is not a number from 0 to 1"
                raise LifecycleError(problem, "Write a number such as 0.1, by which its measure may be lower.")
            return limit
    return None


def error_costs(root: Path, classes: Sequence[str], settings: tuple[float, float]) -> tuple[float, float, str]:
    """Return the cost of a false positive and of a false negative, in any unit, and where they are stated.

    docs/agreement.md states the cost of an error in the third cell of the row that begins with "Predicted" and the
    class, as the only number there: `20 EUR`. Unless it states those of two `classes`, they are those of `settings`.
    """
    rows = (re.match(COST, row) for _, row in agreed_rows(root))
    stated = {row[1]: float(f"{row[2].replace(',', '')}.{row[3] or 0}") for row in rows if row}
    costs = [stated.get(name, 0.0) for name in reversed(classes)]
    return (costs[0], costs[1], AGREEMENT) if len(costs) == 2 and all(costs) else (*settings, "gate in config/")


def agreed_rows(root: Path) -> Iterator[tuple[int, str]]:
    """Yield each row of the tables of the agreement, with its line; not the head of a table."""
    path, rule = root / AGREEMENT, r"[|:\s]*-[|:\s-]*"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    lines = [line.strip().replace(r"\|", "/") for line in text.splitlines()]
    for number, pair in enumerate(pairwise([*lines, ""]), 1):
        # A head is above a rule, and a cell of it may be empty.
        if pair[0].startswith("|") and not any(re.fullmatch(rule, line) for line in pair):
            yield number, pair[0]


def _git(root: Path, *arguments: str) -> str | None:
    printed = _output(root, *arguments)
    return printed.decode("utf-8", "replace").strip() or None if printed else None


def _output(root: Path, *arguments: str) -> bytes | None:
    # None where git fails or is not installed.
    try:
        return subprocess.run(["git", "-C", root, *arguments], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
