"""Fixtures for the tests of the lifecycle where it lies."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from lifecycle.models import export as exporting
from lifecycle.models.bundle import Bundle
from lifecycle.serving.app import create
from support import buckets
from support.buckets import bucket, bucket_server  # noqa: F401
from support.processes import Service, served
from support.services import KNOWN, QUICK
from support.storages import Storage


@pytest.fixture(scope="session", autouse=True)
def conversions_in_this_process() -> Iterator[None]:
    """Convert models without the process that limits them (`test_isolated.py`), because it takes a while to start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exporting, "limited", lambda limits, function, *arguments: function(*arguments))
        yield


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a module that has STORAGES with each of these kinds of storage."""
    if "storage" in metafunc.fixturenames and (kinds := getattr(metafunc.module, "STORAGES", ())):
        metafunc.parametrize("storage", kinds, indirect=True)


@pytest.fixture
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty storage, a directory or the working copy of a bucket, and what jobs do to it."""
    address = request.getfixturevalue("bucket") if getattr(request, "param", "") == "bucket" else ""
    return Storage(buckets.store(tmp_path / "storage", address), tmp_path / "drafts")


@pytest.fixture
def bundle(storage: Storage) -> Bundle:
    """A deployed bundle with features for ann, bob and zoë."""
    made = storage.publish(metrics={"candidate": {"roc_auc": 0.8}}, created="2026-01-01T00:00:00+00:00")
    storage.fill(made, KNOWN, as_of=1_767_225_600)
    storage.deploy(made, threshold=0.3)
    return made


@pytest.fixture
def client(storage: Storage, bundle: Bundle) -> Iterator[TestClient]:
    """A caller of the service of that bundle."""
    with TestClient(create(storage.store, "local", QUICK)) as client:
        yield client


@pytest.fixture
def serve(storage: Storage, tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """serve(**settings): a service of the storage as a process, on a free port."""
    with ExitStack() as running:
        yield lambda **settings: running.enter_context(served(storage, tmp_path, **settings))
