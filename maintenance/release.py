"""The maintainer's commands behind `make release` and `make tags`: record a release, create tags, check the record."""

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
from looseleaf.project import environment
from looseleaf.snapshot import contains, file_at, git
from looseleaf.steps import StepFailed
from maintenance import checks, history, manifest
from maintenance.history import NOT_RELEASED, PROJECT, changelog_of, project_version, read, record_of

# New repositories resolve their dependencies as of this date.
RELEASED = ("template/lifecycle/lifecycle.mk", re.compile(r"^RELEASED := (\d{4}-\d{2}-\d{2})", re.MULTILINE))
OLD_DAYS = 30
# `lifecycle.__version__`, which every bundle and service reports.
VERSION = "template/lifecycle/src/lifecycle/__init__.py"
VERSION_LINE = re.compile(r'^__version__ = "(.*)"$', re.MULTILINE)
ORG = "org.yml"
FORM = "Releases of a fork are X.Y.Z.postN: make release VERSION=1.2.3.post1."
FORKS_RECORD = """# Which commit each release of this fork is, with those of upstream below. `make release` adds lines.

[releases]
"""


def main(arguments: list[str] | None = None) -> int:
    """Run one command in the checkout of the current folder; returns 0 for success and 1 for an error."""
    parser = argparse.ArgumentParser(prog="maintenance.release", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    release = commands.add_parser("release", help="check, write the changelog's section, commit, record, tag")
    release.add_argument("version", metavar="VERSION", help="X.Y.Z, or X.Y.Z.postN in a company's fork")
    for command in (release, commands.add_parser("tags", help="create the tags of all recorded releases")):
        command.add_argument("--push", action="store_true", help="push them to origin")
    commands.add_parser("check", help="compare the record with the history")
    options = parser.parse_args(arguments)
    try:
        root = _checkout(Path.cwd())
        if options.command == "check":
            problems = history.check(root)
            print("\n".join(problems), end="\n" if problems else "", file=sys.stderr)
            return int(bool(problems))
        if options.command == "release":
            make_release(root, options.version)
        else:
            history.make_tags(root)
        if options.push:
            history.push_tags(root)
    except StepFailed as failed:
        print(f"{failed}. {failed.hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped. Only the reported steps were done.", file=sys.stderr)
        return 130
    return 0


def _checkout(folder: Path) -> Path:
    try:
        return Path(git("rev-parse", "--show-toplevel", folder=folder))
    except subprocess.CalledProcessError as error:
        raise StepFailed(f"{folder} is not a git repository", "Run it in a checkout of the template.") from error


def make_release(root: Path, text: str) -> None:
    """Check, record and tag a version. After a failure or Ctrl-C the repository is unchanged.

    The linters and both suites run, unless build/checks has their green records of this commit.
    """
    version = admitted(root, text)
    base = git("rev-parse", "HEAD", folder=root)
    released = RELEASED[1].search(read(root, RELEASED[0]))
    if released and (age := (_today() - date.fromisoformat(released[1])).days) > OLD_DAYS:
        print(f"New repositories resolve as of {age} days ago: move RELEASED in {RELEASED[0]} for newer versions.")
    for goal in (goal for goal in checks.GOALS if not checks.is_green(root, goal, base)):
        # Variables of the surrounding make (VERSION=…) must not reach another make.
        inherited = {k: v for k, v in environment().items() if k not in ("VERSION", "ARGS", "PUSH")}
        code = subprocess.run(["make", "--no-print-directory", goal], cwd=root, env=inherited).returncode
        if code:
            raise StepFailed(f"make {goal} ended with {code}, so nothing was released", "Fix what it reports.")
        if not checks.is_green(root, goal, base):
            problem = f"make {goal} left no green record of {base[:7]} in {checks.RECORDS}, so nothing was released"
            raise StepFailed(problem, "Run make release again; the checkout must not change meanwhile.")
    record(root, version, base)
    branch = git("rev-parse", "--abbrev-ref", "HEAD", folder=root)
    print(f"{version} is released and recorded. Next: git push origin {branch}, then make tags PUSH=1.")


def admitted(root: Path, text: str) -> Version:
    """Return the version if it can be released from this checkout; raises StepFailed with the reason otherwise."""
    try:
        version = releases.parse(text)
    except ValueError as error:
        raise StepFailed(str(error), "make release VERSION=1.2.3") from error
    known = history.recorded(root)
    last = max(known, default=None)
    if last is not None and version <= last:
        problem = f"{version} is not newer than {last}, the last release in {record_of(last)}"
        raise StepFailed(problem, "Choose a newer one.")
    _refuse_problems(root)
    if version.is_postrelease:
        base_of(root, version)
    elif (root / ORG).exists() and re.search(r'^ +default: (?!"")', read(root, ORG), re.MULTILINE):
        raise StepFailed(f"{ORG} has values, so this is a fork, and {version} is a version of upstream", FORM)
    branch, default = git("rev-parse", "--abbrev-ref", "HEAD", folder=root), _default_branch(root)
    if branch != default:
        raise StepFailed(f"{branch} is checked out, and releases are made on {default}", f"Run git switch {default}.")
    if changed := git("status", "--porcelain", folder=root):
        raise StepFailed(f"The work tree is not clean:\n{changed}\nNothing was released", "Commit or stash it.")
    if not history.pending(history.text(root, changelog_of(version))):
        raise StepFailed(f"{changelog_of(version)} has no text below ## {NOT_RELEASED}", "Describe what changes.")
    history.refuse_moved_tags(root, known)
    if git("tag", "--list", f"v{version}", folder=root):
        problem = f"There is a tag v{version} that is not in {record_of(version)}"
        raise StepFailed(problem, f"Run git tag --delete v{version}.")
    return version


def base_of(root: Path, version: Version) -> str:
    """Return the commit of the release of upstream below a fork's release.

    Raises StepFailed when the checkout is not that release with changes of the fork: an update must never lead to work
    that upstream has not released.
    """
    base = Version(version.base_version)
    commit = history.recorded(root).get(base) or history.tagged(root, base)
    merge = f"Merge a release of upstream: git fetch upstream tag v{base} && git merge v{base}."
    if not commit or not contains("HEAD", commit, root):
        raise StepFailed(f"{base}, the release of upstream below {version}, is not in the history of HEAD", merge)
    found = {project_version(read(root, PROJECT)), *VERSION_LINE.findall(read(root, VERSION))}
    if found != {str(base)}:
        problem = (
            f"This is not {base} with changes of a fork: {PROJECT} and lifecycle have {' and '.join(sorted(found))}"
        )
        raise StepFailed(problem, f"{merge} Work that upstream has not released is in no release of a fork.")
    if read(root, releases.CHANGELOGS[0]).strip() != file_at(commit, releases.CHANGELOGS[0], root):
        problem = f"{releases.CHANGELOGS[0]} differs from that of {base}: it has work that upstream has not released"
        raise StepFailed(problem, f"Changes of the fork are described in {changelog_of(version)}.")
    return commit


def record(root: Path, version: Version, base: str) -> None:
    """Make the release commit and the commit that records it in a separate work tree, then take both over at once."""
    with _worktree(root, base) as tree:
        changelog, name = changelog_of(version), record_of(version)
        _write(tree, changelog, history.released(read(tree, changelog), version, f"{_today()}"))
        _set_version(tree, f"{version}", f"{version}")
        release = _commit(tree, f"Release {version}")
        known = history.text(tree, name) or FORKS_RECORD
        commits = {f"{version}": release}
        if version.is_postrelease:
            # The files of upstream are as upstream released them, so that its next release merges without a conflict.
            lower = version.base_version
            _set_version(tree, lower, lower)
            if Version(lower) not in history.recorded(tree):
                commits = {lower: base_of(root, version)} | commits
        else:
            _set_version(tree, f"{version}", f"{version.major}.{version.minor}.{version.micro + 1}.dev0")
        lines = [f'"{each}" = "{commit}"' for each, commit in commits.items()]
        _write(tree, name, "\n".join([known.rstrip(), *lines, ""]))
        tip = _commit(tree, f"Record which commit {version} is")
        _refuse_problems(tree)
        with _uninterrupted():
            try:
                git("merge", "--quiet", "--ff-only", tip, folder=root)
            except subprocess.CalledProcessError as error:
                problem = f"The checkout has changed meanwhile, so nothing was released: {error.stderr.strip()}"
                raise StepFailed(problem, "Try again.") from error
            history.make_tags(root)


def _refuse_problems(root: Path) -> None:
    if problems := history.check(root):
        raise StepFailed(problems[0].rstrip("."), "Nothing was released.")


def _set_version(tree: Path, version: str, runtime: str) -> None:
    """Write the version of `looseleaf`, `lifecycle.__version__`, and the manifest that has the hash of its file."""
    # The version in template/lifecycle/pyproject.toml stays, because uv.lock of every repository records it.
    project = re.sub(r'^version = ".*"$', f'version = "{version}"', read(tree, PROJECT), count=1, flags=re.M)
    _write(tree, PROJECT, project)
    _write(tree, VERSION, VERSION_LINE.sub(f'__version__ = "{runtime}"', read(tree, VERSION), count=1))
    _write(tree, manifest.MANIFEST, manifest.text(tree))


def _today() -> date:
    return datetime.now(UTC).date()


def _default_branch(root: Path) -> str:
    try:
        return git("symbolic-ref", "--short", "refs/remotes/origin/HEAD", folder=root).removeprefix("origin/")
    except subprocess.CalledProcessError:
        return "main"


@contextmanager
def _worktree(root: Path, commit: str) -> Iterator[Path]:
    """Yield a separate work tree, so that its commits do not belong to the branch yet."""
    with tempfile.TemporaryDirectory(prefix="release-") as scratch:
        tree = Path(scratch) / "tree"
        git("worktree", "add", "--quiet", "--detach", str(tree), commit, folder=root)
        try:
            yield tree
        finally:
            git("worktree", "remove", "--force", str(tree), folder=root)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C, also in git, so that the body is done completely."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _commit(tree: Path, message: str) -> str:
    try:
        # Commit hooks need the environment of the checkout, where make lint has already passed.
        git("add", "--all", folder=tree)
        git("commit", "--quiet", "--no-verify", "--message", message, folder=tree)
    except subprocess.CalledProcessError as error:
        raise StepFailed("git cannot commit", (error.stderr or "").strip()) from error
    return git("rev-parse", "HEAD", folder=tree)


def _write(root: Path, name: str, text: str) -> None:
    (root / name).write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    sys.exit(main())
