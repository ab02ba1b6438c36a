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


@dataclass(frozen=True)
class Identity:
    """A name and who gave it: the CI host, git's configuration, or only the login."""

    name: str
    source: Literal["ci", "git", "login"]

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


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run as a number that has no name.
        return "unknown"


def _git(root: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip() or None
