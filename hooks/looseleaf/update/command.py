"""`looseleaf update`: look, report, and apply what is safe after the repository's own checks have passed on it."""

import argparse
import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from looseleaf.hosts import SECRETS
from looseleaf.project import environment
from looseleaf.snapshot import git
from looseleaf.steps import StepFailed, Steps
from looseleaf.update.apply import ABORT, abort, apply, finish, journal
from looseleaf.update.errors import UpdateError
from looseleaf.update.report import Report
from looseleaf.update.source import Source, asked, remembered
from looseleaf.update.trial import Trial, is_same

NEEDS_A_PERSON = 3
NEXT = "Applied, not committed. Read git diff, run make check test where your tables are, and commit."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `update`."""
    parser.add_argument("--dry-run", action="store_true", help="only report")
    parser.add_argument("--to", metavar="VERSION", help="default: the newest release")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change an answer")
    parser.add_argument("--take", action="append", default=[], metavar="PATH", help="take an offered file, merged")
    parser.add_argument("--abort", action="store_true", help="restore every file after an interrupted update")
    parser.add_argument("--format", choices=("text", "markdown", "json"), default="text")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the report there")


def run(given: argparse.Namespace) -> int:
    """Update the repository of the current folder; 0 safe or done, 1 impossible or undone, 3 a person must look."""
    root = Path.cwd()
    try:
        if given.abort:
            print(f"restored: {', '.join(abort(root))}")
            return 0
        with tempfile.TemporaryDirectory(prefix="looseleaf-update-", ignore_cleanup_errors=True) as work:
            return _update(given, root, Path(work))
    except subprocess.CalledProcessError as error:
        print(f"error: git {error.cmd[3]}: {' '.join(str(error.stderr).split())}", file=sys.stderr)
        return 1
    except (UpdateError, OSError) as error:
        left = isinstance(error, OSError) and _interrupted(root)
        print(f"error: {error}" + (f"\n  {ABORT}" if left else ""), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nstopped; {ABORT if _interrupted(root) else 'everything is as it was'}", file=sys.stderr)
        return 130


def _interrupted(root: Path) -> bool:
    try:
        return journal(root).exists()
    except UpdateError:
        return False


def _update(given: argparse.Namespace, root: Path, work: Path) -> int:
    told = remembered(root)
    head = _refuse_unready(root, given.dry_run)
    source = Source.fetch(told, root, work / "template")
    before = source.commit(str(told["_commit"]))
    after = source.commit(given.to) if given.to else source.newest(before)
    changes = _changes(given.set, {*asked(told)} | source.questions(after))
    if not source.contains(after, before):
        problem = f"{source.label(after)} does not come after {source.label(before)}: an update never goes back"
        raise UpdateError(problem, "git revert of the update's commit does.")
    if after == before and not (changes or given.take or source.address != source.recorded):
        return _tell(given, Report(source.label(before), source.label(after)))
    trial = Trial.run(root, source, before, after, changes, work)
    # make hands several paths on as one text.
    trial.take([name for each in given.take for name in ([each] if each in trial.new else each.split())])
    report = trial.report()
    code = _tell(given, report)
    if code or given.dry_run or report.up_to_date:
        return code
    uv = _uv(root)
    with contextlib.redirect_stdout(sys.stderr):
        contents = _check(trial, uv)
        modes = {name: (trial.clone / name).stat().st_mode & 0o777 for name in contents if contents[name] is not None}
        _refuse_changed(root, head, {name: trial.head.get(name) for name in contents})
        apply(root, contents, modes)
        try:
            _install(root, uv)
            finish(root)
        except BaseException:
            abort(root)
            raise
    print(NEXT, file=sys.stderr)
    return 0


def _refuse_unready(root: Path, dry_run: bool) -> str:
    """The commit that the update starts from; raises UpdateError where it could not be told apart, or not undone."""
    try:
        head = git("rev-parse", "--verify", "HEAD", folder=root)
        status = git("status", "--porcelain", "--", ".", folder=root)
    except (OSError, subprocess.CalledProcessError):
        hint = "git init && git add -A && git commit -m 'First commit'"
        raise UpdateError(f"{root} is no git repository with a commit: nothing could be compared", hint) from None
    if journal(root).exists():
        raise UpdateError("an update was interrupted here", ABORT)
    if status and not dry_run:
        problem = "the work tree has changes that are not committed:\n  " + "\n  ".join(status.splitlines()[:10])
        raise UpdateError(problem, "Commit or stash them, so that the update can be told apart.")
    return head


def _refuse_changed(root: Path, head: str, expected: Mapping[str, bytes | None]) -> None:
    """Raise UpdateError where a file is not as it was committed: it was worked on, or git does not look at it."""
    if git("rev-parse", "HEAD", folder=root) != head:
        raise UpdateError("there is a new commit since the update began", "Nothing was changed. Update again.")
    for name, content in expected.items():
        path = root / name
        there = path.read_bytes() if path.is_file() else None
        if (there is None) != (content is None) or not is_same(there or b"", content or b""):
            problem = f"{name} is not as it was committed, and the update would write over it"
            raise UpdateError(problem, "Nothing was changed. Commit the file, or move it away, and update again.")


def _changes(given: list[str], answers: set[str]) -> dict[str, Any]:
    found = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or name not in answers:
            known = ", ".join(sorted(answers))
            raise UpdateError(f"{each}: no answer is changed by that", f"NAME=VALUE with one of {known}.")
        try:
            found[name] = yaml.safe_load(value) if value.startswith("[") else value
        except yaml.YAMLError:
            raise UpdateError(f"{each}: the list has no end", f"SET='{name}=[one, two]'") from None
    return found


def _tell(given: argparse.Namespace, report: Report) -> int:
    told = report.as_format(given.format)
    print(told, end="")
    if given.output:
        given.output.write_text(told, encoding="utf-8")
    return 0 if report.safe else NEEDS_A_PERSON


def _check(trial: Trial, uv: str) -> dict[str, bytes | None]:
    """The new contents by path, after the lock was refreshed and the repository's own checks have passed in the clone.

    Raises UpdateError when they have not.
    """
    if not (trial.clone / "lifecycle/lifecycle.mk").exists():
        return trial.contents()
    steps = _Steps(trial.clone, "Nothing was changed. Fix it here, commit, and update again.")
    if (trial.clone / "uv.lock").exists():
        steps.run("uv lock", uv, "lock")
    contents = trial.contents()
    for verb in ("setup", "check", "test"):
        try:
            steps.run(f"make {verb}", "make", f"UV={uv}", verb)
        except UpdateError as error:
            if verb == "setup" or not _fails_without(trial, uv, verb):
                raise
            problem = f"{error.problem}\nIt is not the update: make {verb} fails without it, too"
            raise UpdateError(problem, error.hint) from None
    return contents


def _fails_without(trial: Trial, uv: str, verb: str) -> bool:
    """Whether a verb fails in the repository as it is committed, too."""
    steps = _Steps(trial.as_committed(), "")
    for step in ("setup", verb):
        try:
            steps.run(f"make {step} without the update", "make", f"UV={uv}", step)
        except UpdateError:
            return step == verb
    return False


def _install(root: Path, uv: str) -> None:
    """Bring the environment up to date, where there is one."""
    if (root / ".venv").exists() and (root / "lifecycle/lifecycle.mk").exists():
        _Steps(root, "Every file is as it was; make setup hints the environment.").run(
            "make setup", "make", f"UV={uv}", "setup"
        )


class _Steps:
    """Commands of one repository, shown while they run; raises UpdateError for one that fails."""

    def __init__(self, folder: Path, hint: str) -> None:
        self.folder, self.hint = folder, hint
        # What runs here is what the new release brings: it is handed no secret of the CI host's.
        kept = {name: value for name, value in environment().items() if name not in ("VIRTUAL_ENV", *SECRETS)}
        self.steps = Steps(kept)

    def run(self, name: str, *command: str) -> None:
        try:
            self.steps.run(name, list(command), self.folder, self.hint)
        except StepFailed as failed:
            raise UpdateError(f"{failed.tail}\n{name} of the updated repository: {failed}", self.hint) from None


def _uv(root: Path) -> str:
    """The machine's uv, the repository's own, or that of the environment this runs in."""
    places = [root / ".uv/bin/uv", Path(sys.prefix) / "bin/uv"]
    return shutil.which("uv") or next((str(place) for place in places if place.exists()), "uv")
