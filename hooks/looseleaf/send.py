"""`python -m looseleaf.send`: push the prepared update of build/proposal and open the pull or merge request for it.

Standard library only: this job holds the token that may push, so it runs neither code of the repository nor packages.
Each run creates the branch again, unless it has commits of other people. The checkout is unchanged.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from looseleaf import hosts
from looseleaf.errors import NEEDS_A_PERSON, StepFailed
from looseleaf.hosts import Host
from looseleaf.remote import BRANCH, IDENTITY, Remote
from looseleaf.snapshot import git

# What `looseleaf propose` writes.
FOLDER = "build/proposal"
PATCH, DETAILS = "update.patch", "request.json"
# What an update changes; the job that wrote the patch ran code that could have added something else.
WORKFLOWS = (*(f".github/workflows/lifecycle{each}.yml" for each in ("", "-update", "-image", "-monitor", "-promote")),)
CHANGED = (*WORKFLOWS, ".copier-answers.yml", "uv.lock", "uv.toml")


def main() -> int:
    """Send in the current folder; returns 0 when done, 3 when a person must decide, else 1."""
    return reported(lambda: send(Path.cwd(), hosts.from_environment(os.environ)))


def reported(work: Callable[[], int]) -> int:
    """Return what `work` returns; print an error of it in one line and return 1."""
    try:
        return work()
    except StepFailed as failed:
        print(f"{failed}. {failed.hint}", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        print(f"git {error.cmd[3]} failed: {' '.join(error.stderr.split())}", file=sys.stderr)
    return 1


def send(root: Path, host: Host) -> int:
    """Push the update to its branch and open or update the request for it."""
    if host.base == BRANCH:
        raise StepFailed(f"This run is for {BRANCH}, the branch of the update itself", "Start it on another branch.")
    folder = root / FOLDER
    try:
        details = json.loads((folder / DETAILS).read_text(encoding="utf-8"))
        title, body, commit = (str(details[name]) for name in ("title", "body", "commit"))
        is_empty = not (folder / PATCH).stat().st_size
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = f"There is no prepared update in {FOLDER} ({error!r})"
        raise StepFailed(problem, "Run make propose in the job before this one.") from error
    if is_empty:
        print(f"{title}.")
        return 0
    head = git("rev-parse", "HEAD", folder=root)
    if commit != head:
        raise StepFailed(f"The update was prepared for the commit {commit}, and this is {head}", hosts.RETRY)
    tree, remote = _tree(root), Remote(root, host.token)
    tip = remote.branch()
    if foreign := tip and remote.foreign(tip, host.base):
        return show(
            f"{title}: the branch {BRANCH} has commits of other people, which are kept:\n\n{foreign}\n\n"
            "Merge or delete that branch; the next run creates it again."
        )
    # A push of an equal commit would only start every check again.
    if not tip or git("show", "--no-patch", "--format=%T %P", tip, folder=root).split() != [tree, head]:
        remote.push(git("commit-tree", tree, "-p", head, "-m", title, folder=root, **IDENTITY), tip, host.rights)
    address, was_open = host.offer(BRANCH, title, host.token.hide(body))
    print(f"{title}: {address} {'is up to date' if was_open else 'is open'}.")
    return 0


def _tree(root: Path) -> str:
    """Return the tree of HEAD with the patch; raises StepFailed when it changes more than an update does."""
    with tempfile.TemporaryDirectory(prefix="send-") as scratch:
        index = {"GIT_INDEX_FILE": f"{scratch}/index"}
        git("read-tree", "HEAD", folder=root, **index)
        git("apply", "--cached", "--whitespace=nowarn", str(root / FOLDER / PATCH), folder=root, **index)
        tree = git("write-tree", folder=root, **index)
    prefix = git("rev-parse", "--show-prefix", folder=root)
    names = git("-c", "core.quotePath=false", "diff", "--name-only", "--no-renames", "HEAD", tree, folder=root)
    own = [name.removeprefix(prefix) for name in names.splitlines()]
    if other := [name for name in own if name not in CHANGED and not name.startswith("lifecycle/")]:
        problem = f"The prepared update changes {', '.join(other)}. An update changes the template's files only"
        raise StepFailed(problem, "Nothing was pushed: look at the log of the job that prepared it.")
    return tree


def show(text: str) -> int:
    """Print what a person must decide, also to the run's summary page; return the exit code for it."""
    print(text)
    if page := os.environ.get("GITHUB_STEP_SUMMARY"):
        with open(page, "a", encoding="utf-8") as file:
            file.write(f"{text}\n")
    return NEEDS_A_PERSON


if __name__ == "__main__":
    sys.exit(main())
