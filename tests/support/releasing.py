"""Commands of the maintainer in a checkout of a template."""

import subprocess
import sys
from pathlib import Path

from looseleaf.snapshot import git
from support.rendering import SOURCES, run

RELEASE = (sys.executable, "-m", "maintenance.release")
HOOKS = {"PYTHONPATH": SOURCES}


def commit(root: Path, message: str) -> str:
    git("add", "--all", folder=root)
    git("commit", "--quiet", "--message", message, folder=root)
    return git("rev-parse", "HEAD", folder=root)


def release(root: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    return run(*RELEASE, *options, folder=root, **HOOKS)


def state(root: Path) -> list[str]:
    """Return everything that a release could change."""
    queries = ("rev-parse HEAD", "symbolic-ref HEAD", "status --porcelain", "tag", "worktree list", "branch")
    return [git(*query.split(), folder=root) for query in queries]
