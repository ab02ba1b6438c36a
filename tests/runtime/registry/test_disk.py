"""A disk that is full or read-only costs a clear message and nothing that stood there before."""

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from lifecycle.contract import tables
from lifecycle.errors import LifecycleError
from lifecycle.features import table_path, write_table
from lifecycle.monitoring.collect import collect
from lifecycle.registry import deployments, predictions
from lifecycle.scoring import score_file
from lifecycle.serving.app import create
from lifecycle.settings import Log, Settings
from lifecycle.storage import Store, write_atomically
from support.services import KNOWN, QUICK, eventually
from support.storages import CHURN, Storage

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
def test_nothing_is_half_written_and_the_message_names_place_and_hint(disk: Storage, full: bool) -> None:
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
        lambda: write_table(table_path(disk.store, bundle.feature_set), CHURN, rows, 0),
        lambda: disk.deploy(bundle) if not full else write_atomically(disk.store.audit, b"x" * 10_000_000),
    ):
        with pytest.raises(LifecycleError) as caught:
            attempt()
        assert str(disk.store.root) in caught.value.problem
        assert "storage" in caught.value.hint
    assert state(disk) == before
    found = deployments.read(disk.store, "local")
    assert found is not None
    assert found.current.version != bundle.version


def test_a_service_on_a_full_disk_predicts_and_counts_what_it_cannot_log(
    disk: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    disk.fill(disk.publish(), KNOWN)
    with TestClient(create(disk.store, "local", QUICK, Log(flush_seconds=0.02))) as client:
        dropped = partial(lost_lines, client)
        folder = predictions.segment_folder(disk.store, "local")
        assert client.post("/predict", json={"customer_id": "ann"}).status_code == 200
        eventually(lambda: len(_whole(folder)) == 1)
        fill_up(disk)
        for _ in range(400):
            assert client.post("/predict", json={"customer_id": "ann"}).status_code == 200
        eventually(lambda: len(_whole(folder)) + dropped() == 401)
        assert dropped() > 300
        lost = dropped()
        assert caplog.text.count("not logged") == 1
        (disk.store.root / "filler").unlink()
        client.post("/predict", json={"customer_id": "bob"})
        eventually(lambda: len(_whole(folder)) == 402 - lost)
    assert collect(disk.store, "local").half_lines == 0


def lost_lines(client: TestClient) -> int:
    text = client.get("/metrics").text
    return int(float(re.findall(r"^prediction_log_dropped_total (\S+)$", text, re.MULTILINE)[0]))


def _whole(folder: Path) -> list[Any]:
    return [line for path in folder.glob("*.*") for line in predictions.segment_lines(path) if line]


def test_a_batch_that_does_not_fit_names_its_place_and_leaves_no_output(disk: Storage, tmp_path: Path) -> None:
    many = tmp_path / "rows.parquet"
    names = "'c-' || i AS customer_id, (i * 7919) % 1000003 % 100 / 7 AS discount, 'plus' AS plan, i AS visits"
    with tables.connect() as connection:
        connection.execute(f"COPY (SELECT {names} FROM range(300000) t(i)) TO '{many}'")
    output = disk.store.root / "output.parquet"
    settings = Settings.model_validate({"storage": disk.store.root})
    with pytest.raises(LifecycleError) as caught:
        score_file(settings, "local", many, output, progress=False)
    assert str(disk.store.root) in caught.value.problem
    assert "free some space" in caught.value.hint.lower()
    assert not output.exists()
    few = tmp_path / "few.parquet"
    with tables.connect() as connection:
        connection.execute(f"COPY (SELECT {names} FROM range(3000) t(i)) TO '{few}'")
    assert score_file(settings, "local", few, output, progress=False) == (3000, [])
    assert [path.name for path in disk.store.root.glob("*output*")] == ["output.parquet"]
