"""The trees of files that a trial compares: renders of the template and clones of the repository, by relative path."""

import os
import subprocess
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import copier
import yaml

from looseleaf.errors import UpdateError
from looseleaf.snapshot import git
from looseleaf.update.source import ANSWERS_FILE, Source


def render(source: Source, commit: str, choices: Mapping[str, Any], into: Path) -> dict[str, bytes]:
    """Render a commit of the template and return its files; an existing folder is returned as it is."""
    if not into.exists():
        with copier_errors(f"{source.label(commit)} cannot be rendered with the choices of this repository"):
            options: Any = {"vcs_ref": commit, "defaults": True, "quiet": True, "unsafe": False}
            copier.run_copy(str(source.clone), into, data=dict(choices), **options)
    return {path.relative_to(into).as_posix(): path.read_bytes() for path in into.rglob("*") if path.is_file()}


def cloned(root: Path, into: Path) -> Path:
    """Clone the repository that a project is in, into a new folder; return the project's folder in the clone."""
    top = Path(git("rev-parse", "--show-toplevel", folder=root))
    git("clone", "--quiet", "--no-hardlinks", str(top), str(into), folder=root)
    return into / root.resolve().relative_to(top.resolve())


def tracked(folder: Path) -> dict[str, bytes]:
    """Return every file that git tracks in a folder or would add to it."""
    listed = git("ls-files", "-z", "--cached", "--others", "--exclude-standard", folder=folder)
    names = {name for name in listed.split("\0") if name}
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def executable(folder: Path, names: Iterable[str]) -> frozenset[str]:
    """Return the names of the files that may be executed."""
    return frozenset(name for name in names if os.access(folder / name, os.X_OK))


def is_same(one: bytes, other: bytes) -> bool:
    """Return whether two contents are equal apart from line endings, which git may have changed."""
    return one.replace(b"\r\n", b"\n") == other.replace(b"\r\n", b"\n")


def merge(ours: bytes, base: bytes, theirs: bytes, folder: Path) -> bytes | None:
    """Merge two versions of a file with git; None when they change the same lines."""
    folder.mkdir(exist_ok=True)
    for side, content in (("ours", ours), ("base", base), ("theirs", theirs)):
        (folder / side).write_bytes(content)
    command = ["git", "merge-file", "-p", "ours", "base", "theirs"]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    return done.stdout if done.returncode == 0 else None


def write_answers_file(folder: Path, values: Mapping[str, str]) -> None:
    """Set values in the answers file and leave every other line unchanged."""
    path = folder / ANSWERS_FILE
    lines, replaced = [], False
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        name = line.split(":")[0]
        # A long value continues on indented lines.
        replaced = (replaced and line.startswith(" ")) or name in values
        if name in values:
            lines.append(yaml.safe_dump({name: values[name]}, allow_unicode=True, width=10**6))
        elif not replaced:
            lines.append(line)
    path.write_text("".join(lines), encoding="utf-8")


def refuse_links(clone: Path, names: Iterable[str]) -> None:
    """Raise UpdateError when a path of a template's file is or contains a symbolic link."""
    for path in (clone / name for name in names):
        for link in (path, *path.parents[: len(path.relative_to(clone).parts) - 1]):
            if link.is_symlink():
                problem = f"{link.relative_to(clone)} is a symbolic link here and a file or folder in the template"
                raise UpdateError(problem, "Replace the link by its target, commit, and update again.")


@contextmanager
def copier_errors(problem: str) -> Iterator[None]:
    """Turn exceptions of Copier into UpdateError, and hide its warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except Exception as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UpdateError(f"{problem}: {reason}", "Change a choice with SET='name=value'.") from None
