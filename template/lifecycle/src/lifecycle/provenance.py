"""Who does it, and from which code."""

import getpass
import os
import subprocess
from pathlib import Path


def who() -> str:
    """The identity that the CI host or git gives; the login name, or "unknown", where neither does."""
    for variable in ("GITHUB_ACTOR", "GITLAB_USER_LOGIN"):
        if name := os.environ.get(variable):
            return name
    return _git(Path.cwd(), "config", "user.email") or _login()


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
