"""An update arrives whole or not at all: wherever it is stopped, every file is as it was or can be restored."""

import contextlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from looseleaf.snapshot import git
from looseleaf.update.apply import abort, apply, finish, journal
from looseleaf.update.errors import UpdateError
from rendering import ROOT

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
# Every call that changes what is on the disk, those of shutil and pathlib among them, which end here.
CALLS = ("fsync", "mkdir", "rename", "replace", "rmdir", "unlink")


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


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return repository(tmp_path / "project")


def state(root: Path) -> State:
    """Every file with its mode, drafts too; .git apart."""
    return {
        path.relative_to(root).as_posix(): (path.read_bytes(), path.stat().st_mode & 0o777)
        for path in root.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(root).parts
    }


def left_in_git(root: Path) -> list[str]:
    return sorted(path.name for path in journal(root).parent.glob("looseleaf-update*"))


def test_the_files_arrive_with_their_modes_and_nothing_else_is_left(root: Path) -> None:
    apply(root, CONTENTS, MODES)
    assert state(root) == AFTER
    assert journal(root).exists()
    finish(root)
    assert state(root) == AFTER
    assert left_in_git(root) == []
    assert {path.name for path in root.iterdir()} == {".git", "Makefile", "lifecycle", "src"}
    assert not (root / "lifecycle/gone").exists()


def test_abort_restores_every_file_and_names_them(root: Path) -> None:
    apply(root, CONTENTS, MODES)
    assert sorted(abort(root)) == sorted(CONTENTS)
    assert state(root) == BEFORE
    assert not (root / "lifecycle/new").exists()
    with pytest.raises(UpdateError, match="no update was interrupted"):
        abort(root)


def test_a_second_update_is_refused_while_one_can_still_be_restored(root: Path) -> None:
    apply(root, CONTENTS, MODES)
    with pytest.raises(UpdateError, match="ABORT=1"):
        apply(root, {"Makefile": b""}, {})
    assert state(root) == AFTER
    abort(root)
    assert state(root) == BEFORE


# --- What is raised ---------------------------------------------------------------------------------------------------


class Raising:
    """Counts the calls that change the disk, and raises before or after the n-th; `for_good` at every later one, too."""

    def __init__(self, at: int, after: bool, error: type[BaseException], for_good: bool = False) -> None:
        self.at, self.after, self.error, self.for_good = at, after, error, for_good
        self.calls = 0

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def instead(*words: Any, **more: Any) -> Any:
            self.calls += 1
            due = self.calls == self.at or (self.for_good and self.calls > self.at)
            if due and not self.after:
                raise self.error("raised by the test")
            result = call(*words, **more)
            if due:
                raise self.error("raised by the test")
            return result

        return instead


@contextlib.contextmanager
def raising(at: int, after: bool, error: type[BaseException], for_good: bool = False) -> Iterator[Raising]:
    counter = Raising(at, after, error, for_good)
    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, counter.wrap(getattr(os, name)))
        yield counter


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_what_is_raised_at_any_point_leaves_every_file_as_it_was(
    root: Path, error: type[BaseException], after: bool
) -> None:
    head, at = git("rev-parse", "HEAD", folder=root), 0
    while True:
        at += 1
        with raising(at, after, error) as counter, contextlib.suppress(UpdateError, KeyboardInterrupt):
            apply(root, CONTENTS, MODES)
        # Of an error while it tidies up nothing is told, and the update goes on.
        if journal(root).exists():
            assert state(root) == AFTER
            abort(root)
        assert state(root) == BEFORE, at
        if counter.calls < at:
            break
    assert at > 30
    assert git("rev-parse", "HEAD", folder=root) == head


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_is_raised_again_while_it_restores_leaves_the_copy_for_another_attempt(
    root: Path, error: type[BaseException]
) -> None:
    again = 0
    for at in range(1, 1000):
        with raising(at, False, error, for_good=True) as counter, contextlib.suppress(UpdateError, error):
            apply(root, CONTENTS, MODES)
        if journal(root).exists():
            again += 1
            abort(root)
        assert state(root) == BEFORE, at
        if counter.calls < at:
            break
    assert again > 10


# --- What is killed ---------------------------------------------------------------------------------------------------

# Runs one verb of the module on the current folder, and dies before or after the n-th call that changes the disk.
DRIVER = f"""
import os, pickle, signal, sys
from pathlib import Path
from looseleaf.update import apply as module

verb, at, after = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "after"
words = pickle.loads(Path(sys.argv[4]).read_bytes()) if verb == "apply" else ()
calls = 0

def die_of(call):
    def instead(*words, **more):
        global calls
        calls += 1
        if calls == at and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        result = call(*words, **more)
        if calls == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return instead

for name in {CALLS}:
    setattr(os, name, die_of(getattr(os, name)))
getattr(module, verb)(Path.cwd(), *words)
"""


def kills(verb: str, ready: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of a repository for each point at which the verb was killed in it."""
    (tmp_path / "driver.py").write_text(DRIVER, encoding="utf-8")
    (tmp_path / "words").write_bytes(pickle.dumps((CONTENTS, MODES)))
    for when in ("before", "after"):
        at = 0
        while True:
            at += 1
            copy = tmp_path / f"{verb}-{when}-{at}"
            shutil.copytree(ready, copy)
            command = [sys.executable, "-S", str(tmp_path / "driver.py"), verb, str(at), when, str(tmp_path / "words")]
            done = subprocess.run(command, cwd=copy, env=os.environ | {"PYTHONPATH": str(ROOT / "hooks")}, check=False)
            if done.returncode != -signal.SIGKILL:
                assert done.returncode == 0
                break
            yield copy
            shutil.rmtree(copy)


@pytest.mark.parametrize(
    ("verb", "wholly", "points"), [("apply", BEFORE, 60), ("finish", AFTER, 10), ("abort", BEFORE, 40)]
)
def test_kill_9_at_any_point_can_be_undone_or_has_nothing_to_undo(
    root: Path, tmp_path: Path, verb: str, wholly: State, points: int
) -> None:
    head = git("rev-parse", "HEAD", folder=root)
    if verb != "apply":
        apply(root, CONTENTS, MODES)
    tried = 0
    for killed in kills(verb, root, tmp_path):
        tried += 1
        assert git("rev-parse", "HEAD", folder=killed) == head
        git("fsck", "--strict", folder=killed)
        if journal(killed).exists():
            abort(killed)
            assert state(killed) == BEFORE, killed.name
        else:
            with pytest.raises(UpdateError, match="no update was interrupted"):
                abort(killed)
            assert state(killed) == wholly, killed.name
        # Nothing that a killed one left is in the way of the next.
        if state(killed) == BEFORE:
            apply(killed, CONTENTS, MODES)
            finish(killed)
            assert state(killed) == AFTER
            assert left_in_git(killed) == []
    assert tried >= points
