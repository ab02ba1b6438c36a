"""A backup of a bucket: copied as lifecycle/docs/monitoring.md describes, it is a storage, and can be put back."""

import re
from pathlib import Path

import obstore
import pytest
from obstore.store import from_url

from lifecycle.models.bundle import open_version
from lifecycle.registry import deployments
from lifecycle.storage import Store
from support import buckets
from support.rendering import TEMPLATE
from support.storages import Storage

PAGE = (TEMPLATE / "lifecycle/docs/monitoring.md").read_text(encoding="utf-8")
# Of each command: the prefix that is copied, and the prefixes that are left out.
COMMANDS = [
    (source, re.findall(r"--exclude '(\w+)/\*'", line))
    for line, source in re.findall(r"^(aws s3 sync s3://models/churn/?(\w*) .*)$", PAGE, re.MULTILINE)
]


def copy(bucket: str, folder: Path, source: str, excluded: list[str]) -> None:
    """Copy the objects below a prefix to a folder, as `aws s3 sync` does."""
    objects = from_url(bucket, client_options={"allow_http": True})
    for meta in obstore.list(objects, source or None).collect():
        name = str(meta["path"])
        if name.split("/")[0] not in excluded:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(bytes(obstore.get(objects, name).bytes()))


def put_back(bucket: str, folder: Path) -> None:
    objects = from_url(bucket, client_options={"allow_http": True})
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    for name in sorted(names, key=lambda name: name.startswith("deployments/")):
        obstore.put(objects, name, folder / name)


def deploy(storage: Storage, made: str) -> str:
    with storage.store.synchronised():
        storage.deploy(bundle := storage.publish(made=made))
    return bundle.version


def state(store: Store) -> tuple[str, list[str]]:
    """Return the deployed version, which must load, and the history."""
    deployed = deployments.required(store, "local").current.version
    return open_version(store, deployed).version, [each.version for each in deployments.periods(store, "local")]


@pytest.mark.parametrize("commands", [COMMANDS, COMMANDS[::-1]], ids=("as described", "the other way round"))
def test_a_backup_that_is_made_during_a_promotion_is_whole_and_can_be_restored(
    bucket: str, tmp_path: Path, commands: list[tuple[str, list[str]]]
) -> None:
    assert COMMANDS == [("deployments", []), ("", ["locks", "deployments"])]
    own, backup = Storage(buckets.store(tmp_path / "own", bucket), tmp_path / "drafts"), tmp_path / "backup"
    first = deploy(own, "20260101T000000")
    copy(bucket, backup, *commands[0])
    second = deploy(own, "20260102T000000")
    copy(bucket, backup, *commands[1])
    if commands != COMMANDS:
        # A deployment without its bundle.
        assert deployments.required(Store(backup), "local").current.version == second
        assert Store(backup).versions() == [first]
        return
    assert state(Store(backup)) == (first, [first])
    obstore.delete(objects := from_url(bucket, client_options={"allow_http": True}), [
        each["path"] for each in obstore.list(objects).collect()
    ])  # fmt: skip
    put_back(bucket, backup)
    # The machine that has the newer state, and a new one.
    for store in (own.store, buckets.store(tmp_path / "new", bucket)):
        store.pull()
        assert state(store) == (first, [first])
