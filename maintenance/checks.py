"""Run a check of the checkout and record its result: `python -m maintenance.checks GOAL COMMAND …`.

`make lint`, `make test` and `make test-slow` call it. build/checks/GOAL.json has the commit, whether the files were
those of the commit from beginning to end, and the result. A release needs a green record of its commit for each goal.
"""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from looseleaf.snapshot import git

GOALS = ("lint", "test", "test-slow")
RECORDS = "build/checks"


def is_green(root: Path, goal: str, commit: str) -> bool:
    """Return whether a check has passed on exactly the files of a commit."""
    try:
        record = json.loads((root / RECORDS / f"{goal}.json").read_text(encoding="utf-8"))
        return bool(record["commit"] == commit and record["passed"] and not record["dirty"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


def run(root: Path, goal: str, command: list[str]) -> int:
    """Run the command, write its record and return its exit code; an interrupted command leaves no record."""
    file = root / RECORDS / f"{goal}.json"
    file.unlink(missing_ok=True)
    before = _state(root)
    code = subprocess.run(command, cwd=root).returncode
    commit, changes = before
    record = {"commit": commit, "dirty": bool(changes) or _state(root) != before, "passed": code == 0}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(record | {"ended": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"}, indent=2) + "\n")
    return code


def _state(root: Path) -> tuple[str, str]:
    """Return the commit and the uncommitted changes; an unpacked archive has no commit and counts as changed."""
    try:
        return git("rev-parse", "HEAD", folder=root), git("status", "--porcelain", folder=root)
    except subprocess.CalledProcessError:
        return "", "not a git repository"


if __name__ == "__main__":
    try:
        sys.exit(run(Path.cwd(), sys.argv[1], sys.argv[2:]))
    except KeyboardInterrupt:
        sys.exit(130)
