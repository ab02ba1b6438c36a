"""A repository as its author first pushes it, and clones of it with a defect, for the tests of both CI hosts."""

from pathlib import Path
from typing import Any

from looseleaf.project import make
from looseleaf.snapshot import git
from support.rendering import Template, run


def first_push(template: Template, folder: Path, **choices: Any) -> Path:
    """Render, lock and commit a repository."""
    template.copy(folder, **choices)
    git("init", "--quiet", folder=folder)
    done = run(*make("uv.lock"), folder=folder)
    assert done.returncode == 0, done.stdout
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    """Commit everything without hooks."""
    git("add", "--all", folder=folder)
    git("commit", "--quiet", "--no-verify", "--message", "Work", folder=folder)


def changed(committed: Path, folder: Path, name: str, line: str | None) -> Path:
    """Clone a repository and add a line to a file, or remove the file."""
    git("clone", "--quiet", str(committed), str(folder), folder=committed)
    if line is None:
        (folder / name).unlink()
    else:
        with (folder / name).open("a", encoding="utf-8") as file:
            file.write(line)
    commit(folder)
    return folder
