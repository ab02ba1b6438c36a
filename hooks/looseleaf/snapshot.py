"""Git, and the template as a git source that Copier can copy from and an update can find again.

A copy from a dirty checkout would record a commit that does not exist, so changes are committed to a snapshot first.
"""

import os
import shutil
import subprocess
from pathlib import Path

# A commit hook sets these variables, and they would redirect a command to the hook's repository.
GIT_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY")


def identity(**facts: str) -> dict[str, str]:
    """Return the variables of git for a commit by NAME with EMAIL, at DATE if that is given."""
    return {f"GIT_{role}_{fact}": value for role in ("AUTHOR", "COMMITTER") for fact, value in facts.items()}


# Fixed, so that equal trees have equal commits on every machine.
IDENTITY = identity(NAME="snapshot", EMAIL="snapshot@invalid", DATE="2026-01-01T00:00:00Z")


def git(*arguments: str, folder: Path, **environment: str) -> str:
    """Run git in a folder and return its output; raises CalledProcessError with git's message in `stderr`."""
    command = ["git", "-C", str(folder), *arguments]
    kept = {name: value for name, value in os.environ.items() if name not in GIT_VARIABLES}
    done = subprocess.run(command, env=kept | environment, capture_output=True, text=True)
    if done.returncode:
        silent = "it ended without a message, as a failing hook of your own does (git config core.hooksPath)"
        problem = done.stderr.strip() or done.stdout.strip() or silent
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, problem)
    return done.stdout.strip()


def succeeds(*arguments: str, folder: Path) -> bool:
    """Run git in a folder and return whether it ends without an error."""
    try:
        git(*arguments, folder=folder)
    except subprocess.CalledProcessError:
        return False
    return True


def contains(newer: str, older: str, folder: Path) -> bool:
    """Return whether a commit has another one in its history."""
    return succeeds("merge-base", "--is-ancestor", older, newer, folder=folder)


def file_at(commit: str, name: str, folder: Path) -> str:
    """Return the text of a file as of a commit; empty without such a file."""
    path = f"{commit}:{name}"
    return git("show", path, folder=folder) if succeeds("cat-file", "-e", path, folder=folder) else ""


def snapshot(root: Path, into: Path) -> str:
    """Commit the working tree at `root`, without ignored files, to a new repository; return its URL for Copier."""
    shutil.rmtree(into, ignore_errors=True)
    into.mkdir(parents=True)
    git("init", "--quiet", "--initial-branch=main", folder=into)
    environment = {"GIT_DIR": str(into / ".git"), "GIT_WORK_TREE": str(root), **IDENTITY}
    git("add", "--all", folder=root, **environment)
    git("-c", "commit.gpgsign=false", "commit", "--quiet", "--message=snapshot", folder=root, **environment)
    git("reset", "--quiet", "--hard", folder=into)
    return f"git+file://{into}"


def source(root: Path, into: Path) -> str:
    """Return the URL to copy the template from: the checkout itself when it is clean, else a snapshot of it."""
    try:
        clean = Path(git("rev-parse", "--show-toplevel", folder=root)) == root
        clean = clean and not git("status", "--porcelain", folder=root)
    except subprocess.CalledProcessError:
        clean = False  # an unpacked archive
    return f"git+file://{root}" if clean else snapshot(root, into)
