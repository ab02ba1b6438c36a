"""Who does it, and from which code."""

import getpass
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# What a CI host sets in its jobs, and where it then says who started one; of a job that runs again, who did that.
HOSTS = (
    ("GITHUB_ACTIONS", "GITHUB_TRIGGERING_ACTOR"),
    ("GITHUB_ACTIONS", "GITHUB_ACTOR"),
    ("GITLAB_CI", "GITLAB_USER_LOGIN"),
)
Source = Literal["ci", "git", "login"]


@dataclass(frozen=True)
class Identity:
    """A name and who gave it: the CI host, git's configuration, or only the login."""

    name: str
    source: Source

    def __str__(self) -> str:
        """The name, and how it is known."""
        return f"{self.name} (as {'the CI host' if self.source == 'ci' else self.source} says)"


def who() -> Identity:
    """The identity that the CI host or git gives; the login name, or "unknown", where neither does."""
    for host, variable in HOSTS:
        if os.environ.get(host) == "true" and (name := os.environ.get(variable)):
            return Identity(name, "ci")
    if address := _git(Path.cwd(), "config", "user.email"):
        return Identity(address, "git")
    return Identity(_login(), "login")


def code(root: Path) -> dict[str, object]:
    """The commit that is checked out at `root` and whether files differ from it; None without git."""
    commit = _git(root, "rev-parse", "HEAD")
    return {"commit": commit, "edited": bool(_git(root, "status", "--porcelain")) if commit else None}


def committed(root: Path, name: str) -> bytes | None:
    """What HEAD holds of a file at `root`; None where it holds none, and without git."""
    return output(root, "cat-file", "blob", f"HEAD:./{name}")


def uncommitted(root: Path, *places: str) -> list[str] | None:
    """The files in these places that are not byte by byte what HEAD holds; None without a commit.

    Bytes are compared because git's status believes its index, which can be told to look away (--assume-unchanged).
    """
    listed = output(root, "ls-tree", "-r", "-z", "--name-only", "HEAD", "--", *places)
    if listed is None:
        return None
    names = {os.fsdecode(name) for name in listed.split(b"\0") if name}
    for place in places:
        # Of a folder's files that HEAD lacks, only those count that are read.
        there = (root / place).rglob("*.yaml") if (root / place).is_dir() else [root / place]
        names |= {path.relative_to(root).as_posix() for path in there if path.is_file()}
    return sorted(name for name in names if _content(root / name) != committed(root, name))


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a number that has no name.
        return "unknown"


def _git(root: Path, *words: str) -> str | None:
    said = output(root, *words)
    return said.decode("utf-8", "replace").strip() or None if said else None


def output(root: Path, *words: str) -> bytes | None:
    """What git prints in a folder; None where it fails, and without git."""
    try:
        return subprocess.run(["git", "-C", root, *words], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
