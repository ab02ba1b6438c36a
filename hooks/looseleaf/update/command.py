"""`looseleaf update`: report an update, and apply it if it is safe and the repository's own checks pass with it."""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from looseleaf.errors import NEEDS_A_PERSON, StepFailed, UpdateError
from looseleaf.hosts import SECRETS
from looseleaf.project import environment, find_uv
from looseleaf.snapshot import contains, git
from looseleaf.steps import Steps
from looseleaf.update.apply import ABORT, abort, apply, finish, journal
from looseleaf.update.report import GOALS, Check, Report
from looseleaf.update.source import Source, choices_in, recorded
from looseleaf.update.trees import is_same
from looseleaf.update.trial import Trial

NEXT = "Applied, not committed. Read git diff, run make check test with your tables, and commit."
NO_LOCK = "No uv.lock is committed here: run uv lock and commit it, because CI does not set up without it."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `update`."""
    parser.add_argument("--dry-run", action="store_true", help="report only")
    parser.add_argument("--to", metavar="VERSION", help="default: the newest release")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a choice")
    parser.add_argument("--take", action="append", default=[], metavar="PATH", help="take an offered file, merged")
    parser.add_argument("--diff", action="store_true", help="show what --take, or every offer, changes; write nothing")
    parser.add_argument("--abort", action="store_true", help="restore every file after an interrupted update")
    parser.add_argument("--format", choices=("text", "markdown", "json"), default="text")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the report to a file")


def run(options: argparse.Namespace) -> int:
    """Update the current folder's repository; returns 0 if safe or done, 1 for an error, 3 if a person must decide."""
    root = Path.cwd()
    try:
        if options.abort:
            print(f"restored: {', '.join(abort(root))}")
            return 0
        with tempfile.TemporaryDirectory(prefix="looseleaf-update-", ignore_cleanup_errors=True) as work:
            usual, tempfile.tempdir = tempfile.tempdir, work  # Copier leaves its folders there after Ctrl-C.
            try:
                return _update(options, root, Path(work))
            except KeyboardInterrupt:
                # Another Ctrl-C would stop the removal of the folder.
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                raise
            finally:
                tempfile.tempdir = usual
    except subprocess.CalledProcessError as error:
        print(f"error: git {error.cmd[3]}: {' '.join(str(error.stderr).split())}", file=sys.stderr)
        return 1
    except (UpdateError, OSError) as error:
        restore = isinstance(error, OSError) and _interrupted(root)
        print(f"error: {error}" + (f"\n  {ABORT}" if restore else ""), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nstopped; {ABORT if _interrupted(root) else 'everything is as it was'}", file=sys.stderr)
        return 130


def _interrupted(root: Path) -> bool:
    with contextlib.suppress(UpdateError):
        return journal(root).exists()
    return False


def _update(options: argparse.Namespace, root: Path, work: Path) -> int:
    content = recorded(root)
    head = _refuse_unready(root, options.dry_run or options.diff)
    source = Source.fetch(content, root, work / "template")
    before = source.commit(str(content["_commit"]))
    after = source.commit(options.to) if options.to else source.newest(before)
    changes = _parse_changes(options.set, {*choices_in(content)} | source.questions(after))
    if not contains(after, before, source.clone):
        problem = f"{source.label(after)} does not come after {source.label(before)}: an update never goes back"
        raise UpdateError(problem, "Revert the commit of the update instead: git revert.")
    requested = changes or options.take or options.diff or options.dry_run
    if after == before and not (requested or source.address != source.recorded):
        return _show(options, Report(source.label(before), source.label(after)))
    trial = Trial.run(root, source, before, after, changes, work)
    offered = [offer.path for offer in trial.offers()]
    # make passes several paths as one text. A folder stands for the offered files in it.
    given = [name.rstrip("/") for each in options.take for name in ([each] if each in trial.new else each.split())]
    names = [path for name in given for path in [each for each in offered if each.startswith(f"{name}/")] or [name]]
    if options.diff:
        shown = [trial.difference(name) for name in names or offered]
        print("\n".join(filter(None, shown)) or "The template has no change for these files.")
        return 0
    trial.take(names)
    report = trial.report()
    if not report.safe or options.dry_run or report.up_to_date:
        return _show(options, report)
    if options.format == "text":
        print(report.text(), flush=True)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            _check_and_apply(trial, root, head)
    except UpdateError:
        if not (checked := trial.report(checked=True)).safe:
            _show(options, checked, brief=True)
        raise
    code = _show(options, trial.report(checked=True), brief=True)
    print(NEXT if "uv.lock" in trial.head else f"{NO_LOCK}\n{NEXT}", file=sys.stderr)
    return code


def _check_and_apply(trial: Trial, root: Path, head: str) -> None:
    uv = find_uv(root / ".uv/bin/uv")
    contents = _check(trial, uv)
    modes = {name: (trial.clone / name).stat().st_mode & 0o777 for name in contents if contents[name] is not None}
    _refuse_changed(root, head, {name: trial.head.get(name) for name in contents})
    apply(root, contents, modes)
    try:
        if (root / ".venv").exists() and (root / "lifecycle/lifecycle.mk").exists():
            _run(root, "Every file is as it was; make setup repairs the environment.", "make", f"UV={uv}", "setup")
        finish(root)
    except BaseException:
        abort(root)
        raise


def _refuse_unready(root: Path, dry_run: bool) -> str:
    """Return the commit that the update starts from; raises UpdateError when the update could not be undone."""
    try:
        head = git("rev-parse", "--verify", "HEAD", folder=root)
        status = git("status", "--porcelain", "--", ".", folder=root)
    except (OSError, subprocess.CalledProcessError):
        hint = "git init && git add -A && git commit -m 'First commit'"
        raise UpdateError(f"{root} is not a git repository with a commit, so nothing can be compared", hint) from None
    if journal(root).exists():
        raise UpdateError("an update was interrupted here", ABORT)
    if status and not dry_run:
        problem = "the work tree has uncommitted changes:\n  " + "\n  ".join(status.splitlines()[:10])
        raise UpdateError(problem, "Commit or stash them, so that git diff shows the update only.")
    return head


def _refuse_changed(root: Path, head: str, expected: Mapping[str, bytes | None]) -> None:
    """Raise UpdateError when a file is not as committed: the user edited it meanwhile, or git does not track it."""
    if git("rev-parse", "HEAD", folder=root) != head:
        raise UpdateError("there is a new commit since the update began", "Nothing was changed. Update again.")
    for name, content in expected.items():
        current = (root / name).read_bytes() if (root / name).is_file() else None
        if (current is None) != (content is None) or not is_same(current or b"", content or b""):
            problem = f"{name} is not as it was committed, and the update would overwrite it"
            raise UpdateError(problem, "Nothing was changed. Commit or move the file, and update again.")


def _parse_changes(given: list[str], choices: set[str]) -> dict[str, Any]:
    changes = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals or name not in choices:
            problem = f"SET={each} has no value" if name in choices else f"{name} is not a choice"
            raise UpdateError(problem, f"SET='NAME=VALUE' changes one of {', '.join(sorted(choices))}.")
        try:
            changes[name] = yaml.safe_load(value) if value.startswith("[") else value
        except yaml.YAMLError:
            raise UpdateError(f"{each}: the list is not valid YAML", f"SET='{name}=[one, two]'") from None
    return changes


def _show(options: argparse.Namespace, report: Report, brief: bool = False) -> int:
    """Print the report and write it to the requested file; in a terminal that has shown it, print the verdict only."""
    # The formats are names of methods.
    text: str = getattr(report, options.format)()
    print(f"\n{report.title()}\n" if brief and options.format == "text" else text, end="")
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(text, encoding="utf-8")
    return 0 if report.safe else NEEDS_A_PERSON


def _check(trial: Trial, uv: str) -> dict[str, bytes | None]:
    """Refresh the lock and run the repository's own checks in the clone; return the new contents by path.

    Raises UpdateError when a check fails, and says whether it also fails without the update.
    """
    if not (trial.clone / "lifecycle/lifecycle.mk").exists():
        return trial.contents()
    hint = "Nothing was changed. Fix it here, commit, and update again."
    # The makefiles of releases before 0.3.0 export the index of the old org.mk, which the new one may have changed.
    exported = os.environ.get("UV_DEFAULT_INDEX", "")
    if exported and f"UV_DEFAULT_INDEX ?= {exported}\n".encode() in trial.head.get("lifecycle/org.mk", b""):
        del os.environ["UV_DEFAULT_INDEX"]
    if (trial.clone / "uv.lock").exists():
        _run(trial.clone, hint, uv, "lock")
    contents = trial.contents()
    for goal in GOALS:
        try:
            output = _run(trial.clone, hint, "make", f"UV={uv}", goal)
            trial.checks.append(Check(f"make {goal}", True, _last_line(output)))
        except UpdateError as error:
            trial.checks.append(Check(f"make {goal}", False, _last_line(error.tail)))
            if goal != "setup" and _fails_without_update(trial, uv, goal):
                error.problem += f"\nThe update is not the cause: make {goal} also fails without it"
            raise
    return contents


def _last_line(output: str) -> str:
    """Return the last line of a command that is not make's own; pytest frames its result."""
    lines = (line.strip("= `") for line in reversed(output.splitlines()) if not line.startswith("make:"))
    return next(filter(None, lines), "no output")[:200]


def _fails_without_update(trial: Trial, uv: str, goal: str) -> bool:
    folder = trial.without_update()
    for step in ("setup", goal):
        try:
            _run(folder, "", "make", f"UV={uv}", step)
        except UpdateError:
            return step == goal
    return False


def _run(folder: Path, hint: str, *command: str) -> str:
    """Run and show a command of the new release, without the secrets of the CI host; return its output."""
    name = " ".join([Path(command[0]).name, *(word for word in command[1:] if not word.startswith("UV="))])
    kept = {name: value for name, value in environment().items() if name not in ("VIRTUAL_ENV", *SECRETS)}
    try:
        return Steps(kept).run(name, list(command), folder, hint)
    except StepFailed as failed:
        raise UpdateError(f"{name} of the updated repository: {failed}", hint, failed.tail) from None
