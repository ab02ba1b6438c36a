"""This checkout as a git source that Copier can copy from and an update can find again.

A copy from a dirty checkout would record a commit that does not exist, so changes are committed to a snapshot first.
"""

import shutil
import subprocess
from pathlib import Path

from looseleaf.snapshot import IDENTITY, git


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
