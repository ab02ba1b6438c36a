"""A disk that is full or read-only costs a clear message and nothing that stood there before."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lifecycle import deployments
from lifecycle.errors import LifecycleError
from lifecycle.lookup import table_path, write_table
from lifecycle.store import Store, write_atomically
from storages import CHURN, Storage

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mount") is None, reason="mounting a small disk needs root"
)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Storage]:
    """A storage on a disk of four megabytes, with one version deployed."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], check=True)
    try:
        storage = Storage(Store(place), tmp_path / "drafts")
        storage.deploy(storage.publish())
        yield storage
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def state(storage: Storage) -> dict[str, bytes]:
    return {
        str(path): path.read_bytes()
        for path in sorted(storage.store.root.rglob("*"))
        if path.is_file() and path.name != "filler" and not path.name.endswith(".lock")
    }


def fill_up(storage: Storage) -> None:
    with (storage.store.root / "filler").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass


@pytest.mark.parametrize("full", [True, False], ids=["full", "read-only"])
def test_nothing_is_half_written_and_the_message_names_place_and_mend(disk: Storage, full: bool) -> None:
    bundle = disk.publish(made="20260102T000000")
    before = state(disk)
    if full:
        fill_up(disk)
    else:
        subprocess.run(["mount", "-o", "remount,ro", disk.store.root], check=True)
    rows = [(f"c-{at}", "plus", at) for at in range(300_000)]
    for attempt in (
        lambda: write_atomically(disk.store.root / "new.json", b"x" * 10_000_000),
        lambda: disk.publish(made="20260103T000000"),
        lambda: write_table(table_path(disk.store, bundle), CHURN, rows, 0),
        lambda: disk.deploy(bundle) if not full else write_atomically(disk.store.audit, b"x" * 10_000_000),
    ):
        with pytest.raises(LifecycleError) as caught:
            attempt()
        assert str(disk.store.root) in caught.value.problem
        assert "storage" in caught.value.mend
    assert state(disk) == before
    found = deployments.read(disk.store, "local")
    assert found is not None
    assert found.live.version != bundle.version
