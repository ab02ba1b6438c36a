"""`looseleaf propose`: an update of the template as a pull or merge request, for a scheduled run.

It leaves the checkout as it found it. The branch is made anew each time, and never taken from somebody who works on it.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from looseleaf import hosts
from looseleaf.hosts import Host, Token
from looseleaf.remote import BRANCH, IDENTITY, Remote
from looseleaf.snapshot import git
from looseleaf.steps import StepFailed
from looseleaf.update.command import NEEDS_A_PERSON

UPDATE = (sys.executable, "-m", "looseleaf.cli", "update")


@dataclass(frozen=True)
class Report:
    """What `looseleaf update` found: the version it leads to, and its report for people."""

    to: str
    up_to_date: bool
    rendered: str


def run(command: Sequence[str] = UPDATE) -> int:
    """Propose in the current folder: 0 when that is done or needless, 3 when a person has to look, else 1."""
    try:
        return propose(Path.cwd(), hosts.of(os.environ), command)
    except StepFailed as failed:
        print(f"{failed}. {failed.hint}", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        print(f"git {error.cmd[3]} failed: {' '.join(error.stderr.split())}", file=sys.stderr)
    except KeyboardInterrupt:
        print("Stopped. The checkout is as it was.", file=sys.stderr)
        return 130
    return 1


def propose(root: Path, host: Host, command: Sequence[str]) -> int:
    """Update, commit, push, and offer it; the checkout is afterwards as it was."""
    if host.base == BRANCH:
        raise StepFailed(f"This run is about {BRANCH}, the branch that holds the update", "Start it on another one.")
    refuse_changes(root)
    with restored(root):
        code, report = updated(root, host.token, command)
        if code == NEEDS_A_PERSON:
            return tell(host.token.hide(report.rendered))
        git("add", "--all", folder=root)
        tree = git("write-tree", folder=root)
        if report.up_to_date or tree == git("rev-parse", "HEAD^{tree}", folder=root):
            print(f"The template is up to date ({report.to}).")
            return 0
        title = f"Update the template to {report.to}"
        remote = Remote(root, host.token)
        there = remote.branch()
        if foreign := there and remote.foreign(there, host.base):
            return tell(
                f"Version {report.to} of the template is safe to take, and the branch {BRANCH} holds work of somebody "
                f"else, which is kept:\n\n{foreign}\n\nMerge that branch or delete it; the next run makes it anew."
            )
        if not there or not is_same(root, there, tree):
            remote.push(commit(root, tree, title), there, host.rights)
        address, was_open = host.offer(BRANCH, title, host.token.hide(report.rendered))
        print(f"{title}: {address} {'is up to date' if was_open else 'is open'}.")
    return 0


def refuse_changes(root: Path) -> None:
    """Raise StepFailed where git has something to lose."""
    try:
        changed = git("status", "--porcelain", folder=root)
    except subprocess.CalledProcessError as error:
        raise StepFailed(f"{root} is no git repository", "Run it in the root of the repository.") from error
    if changed:
        raise StepFailed(f"The work tree is not clean:\n{changed}\nNothing was done", "Commit it, or put it away.")


@contextmanager
def restored(root: Path) -> Iterator[None]:
    """Whatever happens inside, files and index are those of HEAD again: nothing else was there before."""
    try:
        yield
    finally:
        git("add", "--all", folder=root)
        git("reset", "--quiet", "--hard", folder=root)


def updated(root: Path, token: Token, command: Sequence[str]) -> tuple[int, Report]:
    """Run `looseleaf update`: its exit code and its report; raises StepFailed where it could not look."""
    with tempfile.TemporaryDirectory(prefix="propose-") as scratch:
        file = Path(scratch) / "report.json"
        with subprocess.Popen(
            [*command, "--format", "json", "--output", str(file)],
            cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            errors="replace",
        ) as process:  # fmt: skip
            for line in process.stderr or ():
                print(token.hide(line), end="", flush=True)
        if process.returncode not in (0, NEEDS_A_PERSON):
            raise StepFailed(f"looseleaf update ended with {process.returncode}", "Its own words above say why.")
        try:
            told = json.loads(file.read_text(encoding="utf-8"))
            return process.returncode, Report(str(told["to"]), bool(told["up_to_date"]), str(told["rendered"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StepFailed(
                f"The report of looseleaf update cannot be read ({error!r})", "Nothing was done."
            ) from error


def tell(text: str) -> int:
    """Show people what they have to look at, in the log and on the run's page; returns the exit code for it."""
    print(text)
    if page := os.environ.get("GITHUB_STEP_SUMMARY"):
        with open(page, "a", encoding="utf-8") as file:
            file.write(f"{text}\n")
    return NEEDS_A_PERSON


def is_same(root: Path, there: str, tree: str) -> bool:
    """Whether a commit is this tree on top of HEAD: pushing it again would only start every check again."""
    wanted = [tree, git("rev-parse", "HEAD", folder=root)]
    return git("show", "--no-patch", "--format=%T %P", there, folder=root).split() == wanted


def commit(root: Path, tree: str, message: str) -> str:
    """A commit of the tree on top of HEAD, by nobody in particular and without hooks: CI checks it."""
    return git("commit-tree", tree, "-p", "HEAD", "-m", message, folder=root, **IDENTITY)
