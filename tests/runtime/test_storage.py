"""Locks between processes, and atomic writes."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lifecycle.errors import LifecycleError
from lifecycle.storage import Busy, Store, lock, read_json, write_atomically

HOLD = """
import sys
from pathlib import Path
from lifecycle.storage import lock
with lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / ".lock"


@pytest.fixture
def holder(path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that holds the lock until it reads a line."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_lock_that_another_process_holds_is_refused_without_waiting(
    path: Path, holder: "subprocess.Popen[bytes]"
) -> None:
    with pytest.raises(Busy, match="another process holds"), lock(path, wait=False):
        pass


def test_waiting_for_a_lock_ends_when_the_holder_releases_it(path: Path, holder: "subprocess.Popen[bytes]") -> None:
    holder.communicate(b"\n")
    with lock(path):
        pass


def test_a_killed_holder_releases_the_lock(path: Path, holder: "subprocess.Popen[bytes]") -> None:
    holder.kill()
    holder.wait()
    with lock(path, wait=False):
        pass


def test_a_lock_is_released_after_an_error(path: Path) -> None:
    with pytest.raises(RuntimeError), lock(path):
        raise RuntimeError
    with lock(path, wait=False), pytest.raises(Busy), lock(path, wait=False):
        pass


def test_writers_in_several_processes_wait_for_each_other(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from lifecycle.storage import lock
folder = Path(sys.argv[1])
for _ in range(50):
    with lock(folder / ".lock"):
        count = int((folder / "count").read_text())
        (folder / "count").write_text(str(count + 1))
"""
    (tmp_path / "count").write_text("0")
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert (tmp_path / "count").read_text() == "150"


def test_a_failed_write_leaves_the_old_file_and_no_temporary_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(TypeError):
        write_atomically(path, "not bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_disk_error_names_the_path_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*paths: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(LifecycleError, match="file cannot be written") as caught:
        write_atomically(tmp_path / "file", b"")
    assert "`storage`" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_versions_are_the_bundles_oldest_first(tmp_path: Path) -> None:
    names = ["20260102T000000-00000000", "20260101T000000123456-ffffffff", ".draft", "other"]
    for name in names:
        (tmp_path / "bundles" / name).mkdir(parents=True)
    assert Store(tmp_path).versions() == [names[1], names[0]]


def test_a_document_that_cannot_be_read_is_not_taken_for_one_that_is_absent(tmp_path: Path) -> None:
    """A report of an incident that cannot be read must not allow a training."""
    assert read_json(tmp_path / "absent.json") == {}
    (tmp_path / "damaged.json").write_text("{")
    assert read_json(tmp_path / "damaged.json") == {}
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(OSError, match=r"folder\.json"):
        read_json(tmp_path / "folder.json")
