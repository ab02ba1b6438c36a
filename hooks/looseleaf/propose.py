"""`looseleaf propose`: open an update of the template as a pull or merge request, in a scheduled CI run.

The checkout is unchanged afterwards. Each run creates the branch again, unless it has commits of other people.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from looseleaf import hosts
from looseleaf.errors import NEEDS_A_PERSON, StepFailed
from looseleaf.hosts import Host, Token
from looseleaf.remote import BRANCH, IDENTITY, Remote
from looseleaf.snapshot import git

UPDATE = (sys.executable, "-m", "looseleaf.cli", "update")


def run(command: Sequence[str] = UPDATE) -> int:
    """Propose in the current folder; returns 0 when done or not needed, 3 when a person must decide, else 1."""
    try:
        return propose(Path.cwd(), hosts.from_environment(os.environ), command)
    except StepFailed as failed:
        print(f"{failed}. {failed.hint}", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        print(f"git {error.cmd[3]} failed: {' '.join(error.stderr.split())}", file=sys.stderr)
    except KeyboardInterrupt:
        print("Stopped. The checkout is unchanged.", file=sys.stderr)
        return 130
    return 1


def propose(root: Path, host: Host, command: Sequence[str]) -> int:
    """Run the update, push it to its branch and open or update the request for it."""
    if host.base == BRANCH:
        raise StepFailed(f"This run is for {BRANCH}, the branch of the update itself", "Start it on another branch.")
    try:
        changed = git("status", "--porcelain", folder=root)
    except subprocess.CalledProcessError as error:
        raise StepFailed(f"{root} is not a git repository", "Run it in the root of the repository.") from error
    if changed:
        raise StepFailed(f"The work tree is not clean:\n{changed}\nNothing was done", "Commit or stash it.")
    with _restored(root):
        safe, report = _update(root, host.token, command)
        text, version = host.token.hide(report["rendered"]), report["to"]
        if not safe:
            return _show(text)
        git("add", "--all", folder=root)
        tree = git("write-tree", folder=root)
        if report["up_to_date"] or tree == git("rev-parse", "HEAD^{tree}", folder=root):
            print(f"The template is up to date ({version}).")
            return 0
        title = f"Update the template to {version}"
        remote = Remote(root, host.token)
        tip = remote.branch()
        if foreign := tip and remote.foreign(tip, host.base):
            return _show(
                f"The update to version {version} of the template is safe. The branch {BRANCH} has commits of other "
                f"people, which are kept:\n\n{foreign}\n\nMerge or delete that branch; the next run creates it again."
            )
        # A push of an equal commit would only start every check again.
        expected = [tree, git("rev-parse", "HEAD", folder=root)]
        if not tip or git("show", "--no-patch", "--format=%T %P", tip, folder=root).split() != expected:
            commit = git("commit-tree", tree, "-p", "HEAD", "-m", title, folder=root, **IDENTITY)
            remote.push(commit, tip, host.rights)
        address, was_open = host.offer(BRANCH, title, text)
        print(f"{title}: {address} {'is up to date' if was_open else 'is open'}.")
    return 0


@contextmanager
def _restored(root: Path) -> Iterator[None]:
    """Reset files and index to HEAD at the end. The work tree was clean before, so nothing of the user is lost."""
    try:
        yield
    finally:
        git("add", "--all", folder=root)
        git("reset", "--quiet", "--hard", folder=root)


def _update(root: Path, token: Token, command: Sequence[str]) -> tuple[bool, dict[str, Any]]:
    """Run `looseleaf update`; return whether the update is safe and its report. Raises StepFailed for an error."""
    with tempfile.TemporaryDirectory(prefix="propose-") as scratch:
        file = Path(scratch) / "report.json"
        with subprocess.Popen(
            [*command, "--format", "json", "--output", str(file)],
            cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            errors="replace",
        ) as process:  # fmt: skip
            for line in process.stderr or ():
                print(token.hide(line), end="", flush=True)
        try:
            report = json.loads(file.read_text(encoding="utf-8"))
            facts: dict[str, Any] = {name: report[name] for name in ("to", "up_to_date", "rendered")}
        except (OSError, ValueError, KeyError, TypeError):
            facts = {}
    if facts and process.returncode in (0, NEEDS_A_PERSON):
        return process.returncode == 0, facts
    if facts:
        _show(token.hide(facts["rendered"]))
    problem = f"looseleaf update ended with {process.returncode}{'' if facts else ' and without a report'}"
    raise StepFailed(problem, "Its messages above give the reason.")


def _show(text: str) -> int:
    """Print what a person must decide, also to the run's summary page; return the exit code for it."""
    print(text)
    if page := os.environ.get("GITHUB_STEP_SUMMARY"):
        with open(page, "a", encoding="utf-8") as file:
            file.write(f"{text}\n")
    return NEEDS_A_PERSON
