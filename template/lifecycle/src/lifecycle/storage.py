"""The storage directory: where everything that outlives a process stands, and how it is written.

A file is written beside its place, flushed, and renamed: a reader sees the old one or the new one, never half.
"""

import contextlib
import errno
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lifecycle.errors import LifecycleError

# When it was made, to the second or the microsecond, and what its files hash to.
VERSION = re.compile(r"\d{8}T\d{6}(\d{6})?-[0-9a-f]{8}")


@dataclass(frozen=True)
class Store:
    """The places below one storage directory."""

    root: Path

    @property
    def bundles(self) -> Path:
        """One immutable directory for each trained version."""
        return self.root / "bundles"

    @property
    def deployments(self) -> Path:
        """One file for each environment: what answers there."""
        return self.root / "deployments"

    @property
    def audit(self) -> Path:
        """Every change of a deployment, one JSON line each."""
        return self.root / "audit.jsonl"

    @property
    def features(self) -> Path:
        """One SQLite file for each set of features that a deployment needs."""
        return self.root / "features"

    @property
    def scores(self) -> Path:
        """Batch answers, by environment and date."""
        return self.root / "scores"

    @property
    def predictions(self) -> Path:
        """What was asked and answered, by environment: segments of the service, and Parquet by date."""
        return self.root / "predictions"

    @property
    def labels(self) -> Path:
        """Labels as they became known, one Parquet file for each delivery."""
        return self.root / "labels"

    @property
    def reports(self) -> Path:
        """What monitoring and the gate found, by environment."""
        return self.root / "reports"

    @property
    def runs(self) -> Path:
        """When each job last ran, by environment."""
        return self.root / "runs"

    def versions(self) -> list[str]:
        """Names of all bundles, oldest first; what else lies there is none."""
        if not self.bundles.is_dir():
            return []
        return sorted(path.name for path in self.bundles.iterdir() if VERSION.fullmatch(path.name))


def draft(path: Path) -> Path:
    """A name beside `path` that no reader looks at and no other writer uses."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.draft")


def flush(path: Path) -> None:
    """Wait until a file, or the list of a folder, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step; raises LifecycleError when the disk refuses."""
    with refusing_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = draft(path)
        try:
            with beside.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        finally:
            beside.unlink(missing_ok=True)


@contextlib.contextmanager
def refusing_disk(path: Path) -> Iterator[None]:
    """Turn what a disk says no with into a message that names the place and the hint."""
    try:
        yield
    except OSError as error:
        hints = {
            errno.ENOSPC: "The disk is full: free some space, or set `storage` to another disk.",
            errno.EDQUOT: "The disk quota is used up: free some space, or set `storage` to another disk.",
            errno.EROFS: "The file system is read-only: set `storage` to a place that can be written.",
            errno.EACCES: "This user may not write there: change the permissions, or set `storage` to another place.",
        }
        if error.errno not in hints:
            raise
        raise LifecycleError(f"{path} cannot be written ({error.strerror})", hints[error.errno]) from error


class Busy(LifecycleError):
    """Somebody else holds the lock."""


@contextlib.contextmanager
def lock(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock file at `path`: writers on one machine wait for each other; a killed holder releases it.

    Raises Busy where it is held and `wait` is False.
    """
    with refusing_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy(f"{path} is held by another process", "Wait until it ends.") from error
        yield
