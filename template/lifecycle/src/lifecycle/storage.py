"""The storage: the paths of everything that outlives a process, atomic writes to them, and locks."""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lifecycle.errors import LifecycleError

# After a compare-and-swap that failed.
DECIDE_AGAIN = "Check what is deployed now (`make config`), then decide again."

# Creation time, to the second or the microsecond, and a hash of the bundle's files.
VERSION = re.compile(r"\d{8}T\d{6}(\d{6})?-[0-9a-f]{8}")


def _below(name: str) -> "cached_property[Path]":
    return cached_property(lambda store: Path(store.root / name))


@dataclass(frozen=True)
class Store:
    """The paths below one storage directory, which may be the working copy of a bucket."""

    root: Path
    # The `bucket.Bucket` whose module imports this one, or None.
    bucket: Any = None
    # With any, a version must be signed by one of these public keys; see `lifecycle.models`.
    trusted_keys: tuple[str, ...] = ()

    # One immutable directory per trained version.
    bundles = _below("bundles")
    # One file per environment, which names the deployed version.
    deployments = _below("deployments")
    # The audit log: one JSON line per change of a deployment.
    audit = _below("audit.jsonl")
    # One SQLite file per feature set that a deployment needs.
    features = _below("features")
    # Batch predictions, by environment and date.
    scores = _below("scores")
    # Logged predictions, by environment: segments of the service, and Parquet by date.
    predictions = _below("predictions")
    # Labels, one Parquet file per delivery.
    labels = _below("labels")
    # Reports of monitoring and the gate, by environment.
    reports = _below("reports")
    # Records and locks of jobs, by environment.
    runs = _below("runs")

    def pull(self, *parts: str) -> None:
        """Bring what has changed in the bucket, if there is one: these folders and files, or all (see Bucket.pull)."""
        if self.bucket:
            self.bucket.pull(*parts)

    def push(self, *parts: str) -> None:
        """Upload what has changed, in these folders or in all, if there is a bucket."""
        if self.bucket:
            self.bucket.push(*parts)

    @contextlib.contextmanager
    def synchronised(self) -> Iterator[None]:
        """Pull everything from the bucket, if there is one, and push what has changed, also after an error."""
        self.pull()
        try:
            yield
        finally:
            self.push()

    @contextlib.contextmanager
    def exclusive(self, path: Path, wait: bool = True, part: str = "") -> Iterator[None]:
        """Hold the lock file at `path` as `lock` does, on all machines that use the bucket if there is one.

        The folder of the lock, or another `part`, is then pulled before and pushed after.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(lock(path, wait))
            if self.bucket:
                stack.enter_context(self.bucket.lease(path.relative_to(self.root).as_posix().replace("/.", "/"), wait))
                part = part or path.parent.relative_to(self.root).as_posix()
                self.bucket.pull(part)
                stack.callback(self.bucket.push, part)
            yield

    def versions(self) -> list[str]:
        """Return the names of all bundles, oldest first; other files in the folder are ignored."""
        return sorted(path.name for path in self.bundles.glob("*") if VERSION.fullmatch(path.name))


def refuse_link(folder: Path) -> None:
    """Raise LifecycleError where a data folder is a symbolic link: what it points to may be others' data."""
    if folder.is_symlink():
        hint = "Use a table that is there, remove the link, or name another folder: LIFECYCLE_DATA=folder."
        raise LifecycleError(f"{folder} is a link to {folder.readlink()}, and nothing is written there", hint)


def draft(path: Path) -> Path:
    """Return a temporary sibling path of `path` that no reader opens and no other writer uses."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.draft")


def flush(path: Path) -> None:
    """Synchronise a file, or the entries of a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path, and rename what is written there to `path`; a reader never sees a part of it.

    Missing folders are created. After an exception, `path` is as before. Raises LifecycleError where the disk is full
    or not writable.
    """
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = draft(path)
        try:
            yield temporary
            flush(temporary)
            os.replace(temporary, path)
            flush(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` as `replacing` does."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a document as indented JSON, as `replacing` does; ValueError where it contains NaN or infinity."""
    write_atomically(path, (json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file, an empty one where it is absent or damaged; OSError where it cannot be read."""
    with contextlib.suppress(FileNotFoundError, ValueError, TypeError):
        return dict(json.loads(path.read_bytes()))
    return {}


def parse_yaml(text: str | bytes, origin: str, is_file: bool = False) -> Any:
    """Return the content of a YAML text, of a file always a mapping; LifecycleError, which names its origin, if not."""
    import yaml

    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise LifecycleError(f"{origin} is not YAML: {error}", "Correct the line that the message names.") from error
    if is_file and not isinstance(content := content or {}, dict):
        problem = f"{origin} contains a {type(content).__name__} instead of settings"
        raise LifecycleError(problem, "Write `name: value` lines.")
    return content


def append_line(store: Store, path: Path, entry: dict[str, Any]) -> None:
    """Append an entry to a file of JSON lines and flush it to the disk; raises LifecycleError when the disk refuses."""
    held = store.exclusive(path.with_name(f".{path.stem}.lock"), part=path.relative_to(store.root).as_posix())
    with held, explain_disk_errors(path), path.open("a+b") as file:
        end = file.seek(0, os.SEEK_END)
        file.seek(max(end - 1, 0))
        # A writer that was killed may have left half a line, which must not swallow this one.
        separator = b"\n" if file.read(1) not in (b"", b"\n") else b""
        file.write(separator + json.dumps(entry, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return every line as an object, oldest first; lines that a killed writer left incomplete are skipped."""
    found = []
    for line in path.read_bytes().splitlines() if path.exists() else []:
        with contextlib.suppress(ValueError):
            found.append(json.loads(line))
    return found


DISK_HINTS = {
    errno.ENOSPC: "The disk is full: free some space, or set `storage` to another disk.",
    errno.EDQUOT: "The disk quota is used up: free some space, or set `storage` to another disk.",
    errno.EROFS: "The file system is read-only: set `storage` to a writable place.",
    errno.EACCES: "This user may not write there: change the permissions, or set `storage` to another place.",
}


@contextlib.contextmanager
def explain_disk_errors(path: Path) -> Iterator[None]:
    """Convert the errors of a full or read-only disk to a LifecycleError that names `path` and what to do."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_HINTS:
            raise
        raise LifecycleError(f"{path} cannot be written ({error.strerror})", DISK_HINTS[error.errno]) from error


class Busy(LifecycleError):
    """Another process holds the lock."""


@contextlib.contextmanager
def lock(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold the lock file at `path`, between processes of one machine; a killed holder releases it.

    Raises Busy where another process holds it and `wait` is False, and LifecycleError where it cannot be written.
    """
    # Imported here: it takes a tenth of a second, and most commands hold no lock.
    from filelock import FileLock, Timeout

    held = FileLock(path, timeout=-1 if wait else 0)
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            held.acquire()
        except Timeout as error:
            raise Busy(f"another process holds {path}", "Wait until it ends.") from error
    try:
        yield
    finally:
        held.release()
