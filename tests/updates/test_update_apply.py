"""An update is applied completely or not at all, wherever it is interrupted."""

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

from looseleaf.errors import UpdateError
from looseleaf.snapshot import git
from looseleaf.update.apply import abort, apply, finish, journal
from support.rendering import ROOT
from support.repositories import (
    AFTER,
    BEFORE,
    CONTENTS,
    MODES,
    State,
    commit,
    left_in_git,
    looseleaf,
    repository,
    state,
)

# Every call that changes the disk; those of shutil and pathlib end in them.
CALLS = ("fsync", "mkdir", "rename", "replace", "rmdir", "unlink")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return repository(tmp_path / "project")


def test_files_get_their_content_and_mode_and_nothing_else_is_left(root: Path) -> None:
    apply(root, CONTENTS, MODES)
    assert state(root) == AFTER
    assert journal(root).exists()
    finish(root)
    assert state(root) == AFTER
    assert left_in_git(root) == []
    assert {path.name for path in root.iterdir()} == {".git", "Makefile", "lifecycle", "src"}
    assert not (root / "lifecycle/gone").exists()


def test_abort_restores_and_lists_every_file(root: Path) -> None:
    apply(root, CONTENTS, MODES)
    assert sorted(abort(root)) == sorted(CONTENTS)
    assert state(root) == BEFORE
    assert not (root / "lifecycle/new").exists()
    with pytest.raises(UpdateError, match="no update was interrupted"):
        abort(root)


@pytest.mark.parametrize("end", [finish, abort])
def test_no_stored_types_of_the_other_files_are_left(root: Path, end: Callable[[Path], object]) -> None:
    (root / ".mypy_cache/3.11").mkdir(parents=True)
    apply(root, CONTENTS, MODES)
    end(root)
    assert not (root / ".mypy_cache").exists()


def test_a_second_update_is_refused_while_a_backup_exists(root: Path) -> None:
    apply(root, CONTENTS, MODES)
    with pytest.raises(UpdateError, match="ABORT=1"):
        apply(root, {"Makefile": b""}, {})
    assert state(root) == AFTER
    abort(root)
    assert state(root) == BEFORE


# --- Exceptions -------------------------------------------------------------------------------------------------------


class Raising:
    """Counts the calls that change the disk, and raises before or after the n-th; `for_good`: at later ones, too."""

    def __init__(self, at: int, after: bool, error: type[BaseException], for_good: bool = False) -> None:
        self.at, self.after, self.error, self.for_good = at, after, error, for_good
        self.calls = 0

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def instead(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            due = self.calls == self.at or (self.for_good and self.calls > self.at)
            if due and not self.after:
                raise self.error("raised by the test")
            result = call(*arguments, **options)
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
def test_an_exception_at_any_point_leaves_every_file_unchanged(
    root: Path, error: type[BaseException], after: bool
) -> None:
    head, at = git("rev-parse", "HEAD", folder=root), 0
    while True:
        at += 1
        with raising(at, after, error) as counter, contextlib.suppress(UpdateError, KeyboardInterrupt):
            apply(root, CONTENTS, MODES)
        # An error during the clean-up is ignored, and the update continues.
        if journal(root).exists():
            assert state(root) == AFTER
            abort(root)
        assert state(root) == BEFORE, at
        if counter.calls < at:
            break
    assert at > 30
    assert git("rev-parse", "HEAD", folder=root) == head


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_exception_during_the_restore_keeps_the_backup_for_another_attempt(
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
    assert again >= 5


# --- Kills ------------------------------------------------------------------------------------------------------------

# Runs one function of the module and is killed before or after the n-th call that changes the disk.
DRIVER = f"""
import os, pickle, signal, sys
from pathlib import Path
from looseleaf.update import apply as module

function, at, after = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "after"
arguments = pickle.loads(Path(sys.argv[4]).read_bytes()) if function == "apply" else ()
calls = 0

def die_of(call):
    def instead(*arguments, **options):
        global calls
        calls += 1
        if calls == at and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        # A call may contain another one.
        own = calls
        try:
            return call(*arguments, **options)
        finally:
            if own == at:
                os.kill(os.getpid(), signal.SIGKILL)
    return instead

for name in {CALLS}:
    setattr(os, name, die_of(getattr(os, name)))
getattr(module, function)(Path.cwd(), *arguments)
"""


def kills(function: str, ready: Path, tmp_path: Path) -> Iterator[Path]:
    """Yield a copy of a repository for each point at which the function was killed in it."""
    (tmp_path / "driver.py").write_text(DRIVER, encoding="utf-8")
    (tmp_path / "arguments").write_bytes(pickle.dumps((CONTENTS, MODES)))
    for when in ("before", "after"):
        at = 0
        while True:
            at += 1
            copy = tmp_path / f"{function}-{when}-{at}"
            shutil.copytree(ready, copy)
            command = [
                sys.executable,
                "-S",
                str(tmp_path / "driver.py"),
                function,
                str(at),
                when,
                str(tmp_path / "arguments"),
            ]
            done = subprocess.run(command, cwd=copy, env=os.environ | {"PYTHONPATH": str(ROOT / "hooks")}, check=False)
            if done.returncode != -signal.SIGKILL:
                assert done.returncode == 0
                break
            yield copy
            shutil.rmtree(copy)


@pytest.mark.parametrize(
    ("function", "wholly", "points"),
    [("apply", BEFORE, 80), ("finish", AFTER, 20), ("abort", BEFORE, 60)],
    ids=["apply", "finish", "abort"],
)
def test_after_kill_9_at_any_point_the_repository_is_old_new_or_can_be_restored(
    root: Path, tmp_path: Path, function: str, wholly: State, points: int
) -> None:
    head = git("rev-parse", "HEAD", folder=root)
    if function != "apply":
        apply(root, CONTENTS, MODES)
    tried = 0
    for killed in kills(function, root, tmp_path):
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
        # Remains of a killed update do not disturb the next.
        if state(killed) == BEFORE:
            apply(killed, CONTENTS, MODES)
            finish(killed)
            assert state(killed) == AFTER
            assert left_in_git(killed) == []
    assert tried >= points


def test_the_command_restores_an_interrupted_update(root: Path) -> None:
    apply(root, CONTENTS, MODES)
    refused = looseleaf(root, "update")
    assert (refused.returncode, state(root)) == (1, AFTER)
    restored = looseleaf(root, "update", "--abort")
    assert (restored.returncode, state(root)) == (0, BEFORE)
    assert "lifecycle/gone/old.py" in restored.stdout
    again = looseleaf(root, "update", "--abort")
    assert again.returncode == 1
    assert "no update was interrupted here" in again.stdout


# --- Links, folders and full disks ------------------------------------------------------------------------------------


def test_a_symbolic_link_is_neither_followed_nor_replaced(root: Path, tmp_path: Path) -> None:
    outside = repository(tmp_path / "outside")
    (root / "lifecycle/link.py").symlink_to(outside / "Makefile")
    (root / "lifecycle/nowhere.py").symlink_to("nothing")
    (root / "lifecycle/linked").symlink_to(outside / "lifecycle")
    commit(root)
    for name in ("lifecycle/link.py", "lifecycle/nowhere.py", "lifecycle/linked/turn", "lifecycle/linked/new/page.md"):
        for content in (b"written", None):
            with pytest.raises(UpdateError, match="is a symbolic link here"):
                apply(root, {"Makefile": b"new", name: content}, {})
    assert state(outside) == BEFORE
    assert git("status", "--porcelain", folder=root) == ""
    assert left_in_git(root) == []


def test_a_symbolic_link_that_appears_after_a_kill_is_not_followed(root: Path, tmp_path: Path) -> None:
    outside = repository(tmp_path / "outside")
    apply(root, CONTENTS, MODES)
    shutil.move(root / "lifecycle", tmp_path / "moved")
    (root / "lifecycle").symlink_to(outside / "lifecycle")
    with pytest.raises(UpdateError, match="lifecycle is a symbolic link here"):
        abort(root)
    assert state(outside) == BEFORE
    (root / "lifecycle").unlink()
    shutil.move(tmp_path / "moved", root / "lifecycle")
    abort(root)
    assert state(root) == BEFORE


def test_a_folder_in_place_of_a_file_is_named_and_nothing_changes(root: Path) -> None:
    (root / "lifecycle/page.md").mkdir()
    with pytest.raises(UpdateError, match=r"lifecycle/page\.md is a folder here.*\n  Rename the folder"):
        apply(root, {"Makefile": b"new", "lifecycle/page.md": b""}, {})
    assert state(root) == BEFORE
    assert left_in_git(root) == []


def test_a_file_in_place_of_a_folder_is_an_error_and_nothing_changes(root: Path) -> None:
    with pytest.raises(UpdateError, match="cannot be written"):
        apply(root, {"Makefile": b"new", "lifecycle/turn/page.md": b""}, {})
    assert state(root) == BEFORE
    assert left_in_git(root) == []


def test_abort_outside_of_git_is_an_error(tmp_path: Path) -> None:
    done = looseleaf(tmp_path, "update", "--abort")
    assert done.returncode == 1
    assert "is not in a git repository" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Return a repository on a disk of two megabytes."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small disk needs root")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], check=True)
    try:
        yield repository(place / "project")
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def fill_up(disk: Path) -> Path:
    with (disk.parent / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return disk.parent / "filler"


def test_a_full_disk_is_reported_and_leaves_every_file_unchanged(disk: Path) -> None:
    for contents in (CONTENTS, CONTENTS | {"lifecycle/pr\u00fcfung.md": b"x" * 3_000_000}):
        filler = fill_up(disk) if contents is CONTENTS else None
        with pytest.raises(UpdateError, match=r"(?s)No space left on device.*Every file is as it was"):
            apply(disk, contents, MODES)
        assert state(disk) == BEFORE
        assert left_in_git(disk) == []
        if filler:
            filler.unlink()


def test_a_full_disk_during_the_restore_keeps_the_backup(disk: Path) -> None:
    apply(disk, CONTENTS, MODES)
    filler = fill_up(disk)
    done = looseleaf(disk, "update", "--abort")
    assert done.returncode == 1
    assert "No space left on device" in done.stdout
    assert "make update ABORT=1" in done.stdout
    filler.unlink()
    abort(disk)
    assert state(disk) == BEFORE


# --- Work trees and several projects ----------------------------------------------------------------------------------


def test_each_git_worktree_has_its_own_backup(root: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    git("worktree", "add", "--quiet", str(tree), folder=root)
    was = state(tree)
    apply(tree, CONTENTS, MODES)
    assert not journal(root).exists()
    assert state(root) == BEFORE
    abort(tree)
    assert state(tree) == was
    apply(tree, CONTENTS, MODES)
    finish(tree)
    assert state(tree).keys() == AFTER.keys()
    assert left_in_git(tree) == []


def test_a_project_can_be_restored_from_another_project_of_its_repository(tmp_path: Path) -> None:
    top = repository(
        tmp_path / "top", {f"{place}/{name}": was for place in ("one", "zwei \u00fc") for name, was in BEFORE.items()}
    )
    one, two = top / "one", top / "zwei \u00fc"
    apply(two, CONTENTS, MODES)
    assert (state(one), state(two)) == (BEFORE, AFTER)
    with pytest.raises(UpdateError, match="ABORT=1"):
        apply(one, CONTENTS, MODES)
    assert "zwei \u00fc/lifecycle/turn" in abort(one)
    assert (state(one), state(two)) == (BEFORE, BEFORE)
    apply(one, CONTENTS, MODES)
    finish(one)
    assert (state(one), state(two)) == (AFTER, BEFORE)
    assert {path.name for path in top.iterdir()} == {".git", "one", "zwei \u00fc"}


def test_a_project_may_be_reached_by_a_symbolic_link(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    apply(tmp_path / "link", CONTENTS, MODES)
    assert state(root) == AFTER
    abort(tmp_path / "link")
    assert state(root) == BEFORE
