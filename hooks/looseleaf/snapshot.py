"""Run git."""

import os
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
