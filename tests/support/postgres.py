"""A temporary PostgreSQL server of Debian's package, on a socket in a new folder."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support import PATIENCE

USER, PASSWORD = "reader", "correct horse"


@dataclass(frozen=True)
class Server:
    """A running server: the folder of its socket, and its programs."""

    folder: Path
    programs: Path

    @property
    def address(self) -> str:
        """The value of WAREHOUSE, without the password."""
        return f"postgresql://{USER}@/postgres?host={self.folder}"

    def run(self, sql: str) -> "subprocess.CompletedProcess[str]":
        """Run a script with psql."""
        command = [str(self.programs / "psql"), "--no-psqlrc", "--quiet", "--tuples-only", "--no-align"]
        return subprocess.run(
            [*command, "--set=ON_ERROR_STOP=1", self.address],
            input=sql,
            capture_output=True,
            text=True,
            env=os.environ | {"PGPASSWORD": PASSWORD},
        )

    def query(self, sql: str) -> str:
        """Return the result of a query with one value."""
        done = self.run(sql)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@contextmanager
def server() -> Iterator[Server]:
    """Start a server; skips the test if none is installed and none can be."""
    programs = _programs()
    # The server does not run as root, and other users cannot read pytest's temporary folders.
    owner = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="looseleaf-") as name:
        folder = Path(name)
        password = folder / "password"
        password.write_text(PASSWORD)
        if owner:
            shutil.chown(folder, owner, owner)
            shutil.chown(password, owner, owner)
        made = [str(programs / "initdb"), f"--pgdata={folder}/data", f"--username={USER}", f"--pwfile={password}"]
        made += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(made, cwd=folder, user=owner, group=owner, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        started = [str(programs / "postgres"), "-D", f"{folder}/data", "--listen_addresses=", "--fsync=off"]
        started += [f"--unix_socket_directories={folder}", "--shared_buffers=16MB"]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(started, cwd=folder, user=owner, group=owner, stdout=log, stderr=log)
        try:
            yield _ready(Server(folder, programs), process)
        finally:
            process.send_signal(signal.SIGINT)  # the polite SIGTERM would wait for every client
            process.wait(PATIENCE)


def _ready(server: Server, process: "subprocess.Popen[bytes]") -> Server:
    end = time.monotonic() + PATIENCE
    while server.run("SELECT 1").returncode:
        assert process.poll() is None, (server.folder / "log").read_text()
        assert time.monotonic() < end, (server.folder / "log").read_text()
        time.sleep(0.1)
    return server


def _programs() -> Path:
    """Where initdb, postgres and psql stand."""
    if _installed() is None:
        _install()
    found = _installed()
    assert found, "Debian's package postgresql is installed, and holds no initdb"
    return found


def _installed() -> Path | None:
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    # Debian keeps the programs of each version apart, off the PATH.
    versions = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    return max((path.parent for path in versions), key=lambda path: float(path.parent.name), default=None)


def _install() -> None:
    if os.geteuid() or not shutil.which("apt-get"):
        pytest.skip("PostgreSQL is not installed, and only root of a Debian can: apt-get install postgresql")
    # At run level 1 Debian starts no service: this server is not wanted, the programs are.
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    for words in (["update"], ["install", "--yes", "--no-install-recommends", "postgresql"]):
        done = subprocess.run(
            ["apt-get", "--quiet", *words], env=quiet, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if done.returncode:
            last = (done.stdout.strip().splitlines() or ["no reason given"])[-1]
            pytest.skip(f"PostgreSQL is not installed, and apt-get {words[0]} failed: {last}")
