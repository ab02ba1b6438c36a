"""An update arrives whole or not at all: wherever it is stopped, every file is as it was or can be restored."""

import contextlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import copier
import pytest

from looseleaf.errors import UpdateError
from looseleaf.snapshot import git
from looseleaf.update.apply import abort, apply, finish, journal
from support.rendering import ROOT, Template, files, run

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
    """Counts the calls that change the disk, and raises before or after the n-th; `for_good`: at later ones, too."""

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
    assert again >= 5


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
        # Another one may be called inside of this one.
        own = calls
        try:
            return call(*words, **more)
        finally:
            if own == at:
                os.kill(os.getpid(), signal.SIGKILL)
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
    ("verb", "wholly", "points"),
    [("apply", BEFORE, 80), ("finish", AFTER, 20), ("abort", BEFORE, 60)],
    ids=["apply", "finish", "abort"],
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


def test_the_command_restores_what_was_killed_and_says_so(root: Path) -> None:
    apply(root, CONTENTS, MODES)
    refused = looseleaf(root, "update")
    assert (refused.returncode, state(root)) == (1, AFTER)
    restored = looseleaf(root, "update", "--abort")
    assert (restored.returncode, state(root)) == (0, BEFORE)
    assert "lifecycle/gone/old.py" in restored.stdout
    again = looseleaf(root, "update", "--abort")
    assert again.returncode == 1
    assert "no update was interrupted here" in again.stdout


def looseleaf(folder: Path, *words: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "looseleaf.cli", *words]
    return run(*command, folder=folder, PYTHONPATH=str(ROOT / "hooks"), **environment)


# --- What stands in the way ------------------------------------------------------------------------------------------


def test_a_link_is_never_written_through_nor_replaced(root: Path, tmp_path: Path) -> None:
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


def test_a_link_that_appears_after_a_kill_is_not_written_through(root: Path, tmp_path: Path) -> None:
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


def test_a_folder_where_the_template_has_a_file_is_named_and_nothing_changes(root: Path) -> None:
    (root / "lifecycle/page.md").mkdir()
    with pytest.raises(UpdateError, match=r"lifecycle/page\.md is a folder here.*\n  Rename the folder"):
        apply(root, {"Makefile": b"new", "lifecycle/page.md": b""}, {})
    assert state(root) == BEFORE
    assert left_in_git(root) == []


def test_a_file_where_the_template_has_a_folder_is_an_error_and_nothing_changes(root: Path) -> None:
    with pytest.raises(UpdateError, match="cannot be written"):
        apply(root, {"Makefile": b"new", "lifecycle/turn/page.md": b""}, {})
    assert state(root) == BEFORE
    assert left_in_git(root) == []


def test_outside_of_git_there_is_nothing_to_restore_and_it_says_so(tmp_path: Path) -> None:
    done = looseleaf(tmp_path, "update", "--abort")
    assert done.returncode == 1
    assert "is in no git repository" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A repository on a disk of two megabytes."""
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


def test_a_full_disk_leaves_every_file_as_it_was_and_is_named(disk: Path) -> None:
    for contents in (CONTENTS, CONTENTS | {"lifecycle/pr\u00fcfung.md": b"x" * 3_000_000}):
        filler = fill_up(disk) if contents is CONTENTS else None
        with pytest.raises(UpdateError, match=r"(?s)No space left on device.*Every file is as it was"):
            apply(disk, contents, MODES)
        assert state(disk) == BEFORE
        assert left_in_git(disk) == []
        if filler:
            filler.unlink()


def test_a_disk_that_is_full_when_it_restores_keeps_the_copy_until_there_is_room(disk: Path) -> None:
    apply(disk, CONTENTS, MODES)
    filler = fill_up(disk)
    done = looseleaf(disk, "update", "--abort")
    assert done.returncode == 1
    assert "No space left on device" in done.stdout
    assert "make update ABORT=1" in done.stdout
    filler.unlink()
    abort(disk)
    assert state(disk) == BEFORE


# --- Where the repository is -----------------------------------------------------------------------------------------


def test_a_work_tree_has_a_journal_of_its_own(root: Path, tmp_path: Path) -> None:
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


def test_each_project_of_one_repository_is_restored_from_any_of_them(tmp_path: Path) -> None:
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


def test_a_project_that_is_reached_by_a_link_is_itself(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    apply(tmp_path / "link", CONTENTS, MODES)
    assert state(root) == AFTER
    abort(tmp_path / "link")
    assert state(root) == BEFORE


# --- The command: the checks of the updated repository decide ---------------------------------------------------------

VERBS = """.PHONY: setup check test
setup check: ; @echo {version} $@
test:
\t@{test}
"""


@pytest.fixture
def small(tmp_path: Path) -> Template:
    """A template with one release, as small as one can be."""
    folder = tmp_path / "template"
    (folder / "template/lifecycle").mkdir(parents=True)
    (folder / "copier.yml").write_text("_subdirectory: template\nname:\n  type: str\n  default: a\n", encoding="utf-8")
    answers = folder / "template/{{_copier_conf.answers_file}}.jinja"
    answers.write_text("{{ _copier_answers|to_nice_yaml -}}\n", encoding="utf-8")
    (folder / "template/Makefile").write_text("include lifecycle/lifecycle.mk\n", encoding="utf-8")
    git("init", "--quiet", folder=folder)
    template = Template(folder)
    released(template, "v1.0.0", "true")
    return template


def released(template: Template, version: str, test: str) -> None:
    """A release whose `make test` is a command."""
    verbs = template.folder / "template/lifecycle/lifecycle.mk"
    verbs.write_text(VERBS.format(version=version, test=test), encoding="utf-8")
    template.release(version)


@pytest.fixture
def project(small: Template, tmp_path: Path) -> Path:
    """A repository of the first release."""
    folder = tmp_path / "project"
    copier.run_copy(small.url, folder, defaults=True, quiet=True)
    git("init", "--quiet", folder=folder)
    commit(folder)
    return folder


def unchanged(project: Path) -> bool:
    return (
        not git("status", "--porcelain", folder=project) and "v1.0.0" in files(project)[".copier-answers.yml"].decode()
    )


def test_a_test_that_fails_leaves_all_as_it_was_and_shows_its_last_lines(small: Template, project: Path) -> None:
    released(small, "v2.0.0", "seq 1 100; echo it is broken; false")
    before = state(project)
    done = looseleaf(project, "update")
    assert done.returncode == 1
    assert "it is broken" in done.stdout
    assert "\n99\n" in done.stdout
    assert "\n1\n" not in done.stdout
    assert "make test of the updated repository" in done.stdout
    assert "It is not the update" not in done.stdout
    assert "Nothing was changed. Fix it here, commit, and update again." in done.stdout
    assert state(project) == before
    assert unchanged(project)
    assert left_in_git(project) == []


def test_a_test_that_fails_without_the_update_is_not_laid_at_its_door(small: Template, project: Path) -> None:
    test = "test ! -e broken"
    released(small, "v1.1.0", test)
    assert looseleaf(project, "update").returncode == 0
    (project / "broken").touch()
    commit(project)
    released(small, "v2.0.0", test)
    done = looseleaf(project, "update")
    assert done.returncode == 1
    assert "make test of the updated repository" in done.stdout
    assert "It is not the update: make test fails without it, too" in done.stdout
    assert "Fix it here, commit, and update again." in done.stdout
    assert not git("status", "--porcelain", folder=project)


def test_checks_that_pass_let_the_files_arrive_uncommitted(small: Template, project: Path) -> None:
    released(small, "v2.0.0", "true")
    head = git("rev-parse", "HEAD", folder=project)
    done = looseleaf(project, "update")
    assert done.returncode == 0, done.stdout
    assert "Applied, not committed" in done.stdout
    assert "v2.0.0" in files(project)["lifecycle/lifecycle.mk"].decode()
    assert git("rev-parse", "HEAD", folder=project) == head
    assert git("diff", "--name-only", folder=project).split() == [".copier-answers.yml", "lifecycle/lifecycle.mk"]
    assert left_in_git(project) == []


def test_a_set_up_that_fails_after_the_files_arrived_takes_them_back(small: Template, project: Path) -> None:
    (project / ".gitignore").write_text(".venv\n", encoding="utf-8")
    commit(project)
    (project / ".venv").mkdir()
    verbs = small.folder / "template/lifecycle/lifecycle.mk"
    verbs.write_text("setup: ; test ! -d .venv\ncheck test:\n", encoding="utf-8")
    small.release("v2.0.0")
    done = looseleaf(project, "update")
    assert done.returncode == 1
    assert "make setup of the updated repository" in done.stdout
    assert unchanged(project)
    assert left_in_git(project) == []


@pytest.mark.parametrize("name", ["lifecycle/lifecycle.mk", ".copier-answers.yml", "lifecycle"])
def test_a_link_out_of_the_repository_is_not_written_through_by_the_trial(
    small: Template, project: Path, tmp_path: Path, name: str
) -> None:
    released(small, "v2.0.0", "true")
    outside = tmp_path / "outside"
    shutil.move(project / name, outside)
    (project / name).symlink_to(outside)
    commit(project)
    before = files(outside) if outside.is_dir() else outside.read_bytes()
    done = looseleaf(project, "update")
    assert (files(outside) if outside.is_dir() else outside.read_bytes()) == before
    assert done.returncode == 1, done.stdout
    assert f"{name} is a symbolic link here" in done.stdout
    assert not git("status", "--porcelain", folder=project)


@pytest.mark.parametrize("committed", [False, True], ids=["edit", "commit"])
def test_work_that_goes_on_while_the_checks_run_is_not_written_over(
    small: Template, project: Path, committed: bool
) -> None:
    finally_ = f"git -C {project} commit --quiet --all --message Mine" if committed else "true"
    released(small, "v2.0.0", f"echo '# mine' >> {project}/lifecycle/lifecycle.mk; {finally_}")
    done = looseleaf(project, "update")
    assert done.returncode == 1
    assert ("new commit" if committed else "is not as it was committed") in done.stdout
    assert files(project)["lifecycle/lifecycle.mk"].decode().endswith("# mine\n")
    assert "v1.0.0" in files(project)["lifecycle/lifecycle.mk"].decode()


# A terminal interrupts all that runs in it. Where the command alone is, make ends its own children.
@pytest.mark.parametrize(
    ("group", "test"),
    [(True, "touch $(STARTED); sleep 300; true"), (False, "touch $(STARTED)\n\t@sleep 300")],
    ids=["terminal", "process"],
)
def test_ctrl_c_while_the_checks_run_leaves_all_as_it_was_and_nothing_running(
    small: Template, project: Path, tmp_path: Path, group: bool, test: str
) -> None:
    released(small, "v2.0.0", test)
    temporary, started = tmp_path / "temporary", tmp_path / "started"
    temporary.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "looseleaf.cli", "update"],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(ROOT / "hooks"), "TMPDIR": str(temporary), "STARTED": str(started)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A suite that runs in the background is deaf to Ctrl-C, and would hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        wait_for(started.exists)
        if group:
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "everything is as it was" in said
        assert "Traceback" not in said
        assert unchanged(project)
        assert list(temporary.iterdir()) == []
        wait_for(lambda: not runs(process.pid))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def runs(group: int) -> bool:
    """Whether a process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)
