"""A repository before and after an update, and its state, for the tests of `looseleaf.update`."""

import subprocess
import sys
from pathlib import Path

from looseleaf.snapshot import git
from looseleaf.update.apply import journal
from support.rendering import ROOT, run

State = dict[str, tuple[bytes, int]]

BEFORE: State = {
    "Makefile": (b"include lifecycle/lifecycle.mk\n", 0o644),
    "lifecycle/run it.sh": (b"#!/bin/sh\nexit 1\n", 0o755),
    "lifecycle/pr\u00fcfung.md": (b"read\r\nonly\n", 0o444),
    "lifecycle/gone/old.py": (b"old = True\n", 0o600),
    "lifecycle/turn": (b"a file, and then a folder\n", 0o644),
    "src/ours.py": (b"ours = True\n", 0o644),
}
CONTENTS: dict[str, bytes | None] = {
    "lifecycle/gone/old.py": None,
    "lifecycle/new/gr\u00f6\u00dfe 1.py": b"new = True\n",
    "lifecycle/pr\u00fcfung.md": b"no longer read only\n",
    "lifecycle/run it.sh": b"#!/bin/sh\nexit 0\n",
    "lifecycle/turn": None,
    "lifecycle/turn/page.md": b"a page\n",
}
MODES = {
    "lifecycle/new/gr\u00f6\u00dfe 1.py": 0o755,
    "lifecycle/pr\u00fcfung.md": 0o644,
    "lifecycle/run it.sh": 0o755,
    "lifecycle/turn/page.md": 0o644,
}
AFTER: State = {name: was for name, was in BEFORE.items() if name not in CONTENTS} | {
    name: (content, MODES[name]) for name, content in CONTENTS.items() if content is not None
}


def repository(folder: Path, files: State = BEFORE) -> Path:
    folder.mkdir(parents=True)
    for name, (content, mode) in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        (folder / name).chmod(mode)
    git("init", "--quiet", "--template=", folder=folder)
    commit(folder)
    return folder


def commit(folder: Path) -> None:
    git("add", "--all", folder=folder)
    git("commit", "--quiet", "--message", "Ours", folder=folder)


def state(root: Path) -> State:
    """Return content and mode of every file outside of .git, with drafts."""
    return {
        path.relative_to(root).as_posix(): (path.read_bytes(), path.stat().st_mode & 0o777)
        for path in root.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(root).parts
    }


def left_in_git(root: Path) -> list[str]:
    return sorted(path.name for path in journal(root).parent.glob("looseleaf-update*"))


def looseleaf(folder: Path, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "looseleaf.cli", *arguments]
    return run(*command, folder=folder, PYTHONPATH=str(ROOT / "hooks"), **environment)
