"""The template as a git source that Copier can copy from and an update can find again.

A copy from a dirty checkout would record a commit that does not exist, so changed work is put into a commit first.
"""

import os
import shutil
import subprocess
from pathlib import Path

# A snapshot's commit depends on the tree alone: the same tree is the same commit, on every machine.
IDENTITY = {
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "snapshot"), ("EMAIL", "snapshot@invalid"), ("DATE", "2026-01-01T00:00:00Z"))
}


# A commit hook hands these on, and they would turn a command in one repository to another.
OF_ANOTHER_REPOSITORY = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")


def git(*arguments: str, folder: Path, **environment: str) -> str:
    """Run git in a folder and return what it prints; raises CalledProcessError with its words on stderr."""
    command = ["git", "-C", str(folder), *arguments]
    kept = {name: value for name, value in os.environ.items() if name not in OF_ANOTHER_REPOSITORY}
    done = subprocess.run(command, env=kept | environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def snapshot(root: Path, into: Path) -> str:
    """Commit the working tree of `root`, as its .gitignore sees it, to a new repository; return its URL for Copier."""
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    git("init", "--quiet", "--initial-branch=main", folder=into)
    there = {"GIT_DIR": str(into / ".git"), "GIT_WORK_TREE": str(root), **IDENTITY}
    git("add", "--all", folder=root, **there)
    git("-c", "commit.gpgsign=false", "commit", "--quiet", "--message=snapshot", folder=root, **there)
    git("reset", "--quiet", "--hard", folder=into)
    return f"git+file://{into}"


def source(root: Path, into: Path) -> str:
    """Where to copy HEAD from: the checkout itself when it is clean, else a snapshot of it."""
    try:
        clean = Path(git("rev-parse", "--show-toplevel", folder=root)) == root
        clean = clean and not git("status", "--porcelain", folder=root)
    except subprocess.CalledProcessError:
        clean = False  # an unpacked archive
    return f"git+file://{root}" if clean else snapshot(root, into)
