"""The service of a bucket: it follows what another machine deploys, and its log is collected on another machine."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from lifecycle.monitoring.collect import collect
from lifecycle.registry import predictions
from lifecycle.serving.app import create
from lifecycle.settings import Log
from lifecycle.storage import Store
from support import buckets
from support.processes import POLL, ROW, free_port, until_killed
from support.services import KNOWN, QUICK, eventually
from support.storages import Storage

NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def jobs(bucket: str, tmp_path: Path) -> Storage:
    """The machine that trains and deploys: one version, with features."""
    storage = Storage(buckets.store(tmp_path / "jobs", bucket), tmp_path / "drafts")
    deploy(storage, "20260101T000000")
    return storage


def deploy(storage: Storage, made: str) -> str:
    with storage.store.synchronised():
        bundle = storage.publish(made=made)
        storage.fill(bundle, KNOWN)
        storage.deploy(bundle)
    return bundle.version


@pytest.fixture
def client(jobs: Storage, bucket: str, tmp_path: Path) -> Iterator[TestClient]:
    """A caller of the service on another machine, which has no file yet."""
    log = Log(flush_seconds=0.02, segment_seconds=0.05)
    with TestClient(create(buckets.store(tmp_path / "service", bucket), "local", QUICK, log)) as client:
        yield client


def test_the_service_follows_what_another_machine_deploys(client: TestClient, jobs: Storage) -> None:
    before = client.post("/predict", json=ROW)
    assert before.status_code == 200
    version = deploy(jobs, "20260102T000000")
    eventually(lambda: client.get("/readyz").json()["version"] == version)
    assert client.post("/predict", json=ROW).headers["x-model-version"] == version


def test_its_log_is_collected_on_another_machine(client: TestClient, jobs: Storage, tmp_path: Path) -> None:
    for _ in range(3):
        assert client.post("/predict", json=ROW).status_code == 200
    rows = 0

    def collected() -> bool:
        nonlocal rows
        rows += collect(jobs.store, "local").rows
        return rows == 3

    eventually(collected)
    assert [*predictions.segment_folder(Store(tmp_path / "service"), "local").glob("*.jsonl")] == []


def test_it_serves_on_while_the_bucket_is_not_reachable(
    jobs: Storage, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = buckets.store(tmp_path / "service", bucket)
    with TestClient(create(store, "local", QUICK)) as client:
        assert store.bucket
        known = store.bucket.__dict__["_objects"]
        monkeypatch.setenv("AWS_ENDPOINT_URL", NOWHERE)
        del store.bucket.__dict__["_objects"]
        eventually(lambda: client.get("/readyz").json()["pending"])
        assert client.post("/predict", json=ROW).status_code == 200
        assert "cannot be used" in client.get("/info").json()["pending"]
        store.bucket.__dict__["_objects"] = known
        eventually(lambda: not client.get("/readyz").json()["pending"])


@pytest.mark.slow
def test_the_last_segment_is_uploaded_when_the_process_stops(jobs: Storage, bucket: str, tmp_path: Path) -> None:
    port, command = free_port(), [sys.executable, "-m", "lifecycle", "serve", "--workers", "2", "--port"]
    own = {"STORAGE": bucket, "WORKING_COPY": f"{tmp_path / 'copy'}", "SERVE__POLL_SECONDS": str(POLL)}
    environ = os.environ | {f"LIFECYCLE_{name}": value for name, value in own.items()}
    pipe = subprocess.PIPE
    process = subprocess.Popen([*command, str(port)], cwd=tmp_path, env=environ, stdout=pipe, stderr=pipe, text=True)
    with until_killed(process, port) as service:
        for _ in range(5):
            assert service.predict(ROW)[0] == 200
        assert service.end()[0] == 0
    assert collect(jobs.store, "local").rows == 5


def test_without_the_bucket_it_does_not_start(bucket: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lifecycle", "serve", "--port", str(free_port())]
    environ = os.environ | {"LIFECYCLE_STORAGE": bucket, "AWS_ENDPOINT_URL": NOWHERE}
    done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"error: {bucket} cannot be used" in done.stderr
    assert "Traceback" not in done.stderr
