"""The maintainer's commands, which `make release` and `make tags` run: record a release, make tags, check it all."""

import argparse
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

from packaging.version import Version

from looseleaf import releases
from looseleaf.history import (
    CHANGELOG,
    PROJECT,
    RECORD,
    check,
    make_tags,
    push_tags,
    read,
    recorded,
    refuse_moved_tags,
)
from looseleaf.project import environment
from looseleaf.snapshot import git
from looseleaf.steps import StepFailed

# The date that everything resolves as of: new repositories start with versions that old.
RELEASED = ("template/lifecycle/lifecycle.mk", re.compile(r"^RELEASED := (\d{4}-\d{2}-\d{2})", re.MULTILINE))
OLD_DAYS = 30


def main(arguments: list[str] | None = None) -> int:
    """Run one command in the checkout around the current folder; 0 when it is done, 1 when it could not be."""
    parser = argparse.ArgumentParser(prog="looseleaf.release", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    release = commands.add_parser("release", help="check, write the changelog's section, commit, record, tag")
    release.add_argument("version", metavar="VERSION", help="X.Y.Z, newer than the last")
    release.add_argument("--checked", action="store_true", help="make lint and make test have just passed")
    for command in (release, commands.add_parser("tags", help="make the tags of all recorded releases")):
        command.add_argument("--push", action="store_true", help="push them to origin")
    commands.add_parser("check", help="compare the record with the history")
    given = parser.parse_args(arguments)
    try:
        root = checkout(Path.cwd())
        if given.command == "release":
            make_release(root, given.version, given.checked)
        elif given.command == "tags":
            make_tags(root)
        else:
            for problem in (problems := check(root)):
                print(problem, file=sys.stderr)
            return int(bool(problems))
        if given.push:
            push_tags(root)
    except StepFailed as failed:
        print(f"{failed}. {failed.hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. What was not said to be done was not done.", file=sys.stderr)
        return 130
    return 0


def checkout(folder: Path) -> Path:
    """The root of the checkout; raises StepFailed where there is no git repository."""
    try:
        return Path(git("rev-parse", "--show-toplevel", folder=folder))
    except subprocess.CalledProcessError as error:
        raise StepFailed(f"{folder} is no git repository, so no release can be found in it", "Clone it.") from error


def make_release(root: Path, text: str, checked: bool) -> None:
    """Check, record and tag a version. A failure or Ctrl-C on the way leaves the repository as it was."""
    version = admitted(root, text)
    looked_at = git("rev-parse", "HEAD", folder=root)
    if (age := _age(root)) > OLD_DAYS:
        print(f"New repositories resolve as of {age} days ago: move RELEASED in {RELEASED[0]} for newer versions.")
    if not checked:
        for goal in ("lint", "test"):
            _run_make(root, goal)
    record(root, version, looked_at, datetime.now(UTC).date())
    branch = git("rev-parse", "--abbrev-ref", "HEAD", folder=root)
    print(f"{version} is released and recorded. Next: git push origin {branch}, then make tags PUSH=1.")


def admitted(root: Path, text: str) -> Version:
    """The version, if it can be released from what is checked out; raises StepFailed with a reason against it."""
    try:
        version = releases.parse(text)
    except ValueError as error:
        raise StepFailed(str(error), "make release VERSION=1.2.3") from error
    known = recorded(root)
    last = releases.newest(known)
    if last is not None and version <= last:
        raise StepFailed(f"{version} is not newer than {last}, the last release in {RECORD}", "Name a newer one.")
    if problems := check(root):
        raise StepFailed(problems[0].rstrip("."), "Nothing is released on top of that.")
    branch, default = git("rev-parse", "--abbrev-ref", "HEAD", folder=root), _default_branch(root)
    if branch != default:
        raise StepFailed(f"{branch} is checked out, and releases are made on {default}", f"Run git switch {default}.")
    if changed := git("status", "--porcelain", folder=root):
        raise StepFailed(f"The work tree is not clean:\n{changed}\nNothing was released", "Commit it, or put it away.")
    if not releases.pending(read(root, CHANGELOG)):
        raise StepFailed(f"{CHANGELOG} says nothing below ## {releases.NOT_RELEASED}", "Write what an update changes.")
    refuse_moved_tags(root, known)
    if git("tag", "--list", f"v{version}", folder=root):
        raise StepFailed(f"There is a tag v{version} that {RECORD} does not know", f"Run git tag --delete v{version}.")
    return version


def record(root: Path, version: Version, base: str, today: date) -> None:
    """The release, its line in the record, its tag: two commits made beside the work tree, taken over in one step."""
    with _beside(root, base) as tree:
        _write(tree, CHANGELOG, releases.released(read(tree, CHANGELOG), version, f"{today}"))
        # template/lifecycle keeps its version: uv.lock holds it, so each repository would have to lock again.
        project = re.sub(r'^version = ".*"$', f'version = "{version}"', read(tree, PROJECT), count=1, flags=re.M)
        _write(tree, PROJECT, project)
        release = _commit(tree, f"Release {version}")
        _write(tree, RECORD, releases.recorded(read(tree, RECORD), version, release))
        tip = _commit(tree, f"Record which commit {version} is")
        if problems := check(tree):
            raise StepFailed(problems[0].rstrip("."), "Nothing was released.")
        with _uninterrupted():
            _take_over(root, tip)
            make_tags(root)


def _age(root: Path) -> int:
    """Days since RELEASED."""
    found = RELEASED[1].search(read(root, RELEASED[0]))
    return (datetime.now(UTC).date() - date.fromisoformat(found[1])).days if found else 0


def _default_branch(root: Path) -> str:
    try:
        return git("symbolic-ref", "--short", "refs/remotes/origin/HEAD", folder=root).removeprefix("origin/")
    except subprocess.CalledProcessError:
        return "main"


def _run_make(root: Path, goal: str) -> None:
    # What make hands on to what it runs (VERSION=…, its flags) is not meant for another make.
    handed = {name: value for name, value in environment().items() if name not in ("VERSION", "CHECKED", "PUSH")}
    code = subprocess.run(["make", "--no-print-directory", goal], cwd=root, env=handed).returncode
    if code:
        raise StepFailed(f"make {goal} ended with {code}, so nothing was released", "Fix what it names.")


@contextmanager
def _beside(root: Path, commit: str) -> Iterator[Path]:
    """A work tree of a commit elsewhere: what is written and committed there is not yet the branch's."""
    with tempfile.TemporaryDirectory(prefix="release-") as scratch:
        tree = Path(scratch) / "tree"
        git("worktree", "add", "--quiet", "--detach", str(tree), commit, folder=root)
        try:
            yield tree
        finally:
            git("worktree", "remove", "--force", str(tree), folder=root)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ctrl-C waits for what happens inside, git included: half of it would be neither the old state nor the new."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _commit(tree: Path, message: str) -> str:
    try:
        # The hooks want the environment of the checkout, and make lint has passed there.
        git("commit", "--quiet", "--no-verify", "--all", "--message", message, folder=tree)
    except subprocess.CalledProcessError as error:
        raise StepFailed("git cannot commit", (error.stderr or "").strip()) from error
    return git("rev-parse", "HEAD", folder=tree)


def _take_over(root: Path, tip: str) -> None:
    try:
        git("merge", "--quiet", "--ff-only", tip, folder=root)
    except subprocess.CalledProcessError as error:
        said = (error.stderr or "").strip()
        raise StepFailed(
            f"The checkout has changed meanwhile, so nothing was released: {said}", "Try again."
        ) from error


def _write(root: Path, name: str, text: str) -> None:
    (root / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    sys.exit(main())
