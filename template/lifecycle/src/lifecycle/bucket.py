"""A bucket as storage: jobs work on a copy of its files in a folder, and exchange what changed with the bucket.

`pull` brings the state of the bucket, `push` uploads what changed here. Jobs that must not run at the same time on
several machines hold a lease, an object that only one of them can create. Deployments and audit log are written only if
no other process has changed them since the pull. A service appends to no object: it uploads segments of its own.
"""

import contextlib
import json
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from lifecycle.errors import LifecycleError
from lifecycle.storage import DECIDE_AGAIN, Busy, lock, replacing

try:
    import obstore
    from obstore.exceptions import AlreadyExistsError, PreconditionError
    from obstore.store import from_url
except ImportError:
    raise LifecycleError("a bucket as storage needs the package obstore", "Run `make setup`.") from None

# What is exchanged; locks, drafts and the database of MLflow stay in the folder.
PARTS = ("audit.jsonl", "bundles", "deployments", "features", "labels", "predictions", "reports", "runs", "scores")
CONDITIONAL = ("audit.jsonl", "deployments/")
# All that commands read of a version, unless they load it.
SMALL = ("bundle.json", "contract.json")
# The files of the last exchange: their version in the bucket, and their size and time here.
INDEX = ".bucket.json"
# A lease is free when its holder has not renewed it for so long. Clocks may differ by less than a minute.
LEASE_SECONDS, RENEW_SECONDS, WAIT_SECONDS = 120.0, 20.0, 0.5
CONNECTIONS = 8
OPTIONS: Any = {"connect_timeout": "5s", "timeout": "300s", "allow_http": True}
RETRIES: Any = {"max_retries": 3}
CREDENTIALS = "Check the credentials and their permissions: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION."
UNREACHABLE = "Check the name of the bucket, AWS_REGION, AWS_ENDPOINT_URL and the network."
Index = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Bucket:
    """The bucket (and prefix) at `url`, and the folder with its working copy."""

    url: str
    folder: Path

    @cached_property
    def _objects(self) -> Any:
        return from_url(self.url, client_options=OPTIONS, retry_config=RETRIES)

    def pull(self, *parts: str) -> None:
        """Make the working copy of some parts equal to the bucket; files that were never uploaded stay.

        A part is a folder or, with a suffix, a file. Without parts, all are pulled, but only SMALL of each version.
        """
        with self._exchange() as index:
            found = self._found(parts or PARTS)
            for name in [name for name in index if _within(name, parts or PARTS) and name not in found]:
                (self.folder / name).unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    (self.folder / name).parent.rmdir()
                del index[name]
            wanted = [
                name
                for name, version in found.items()
                if not self._has(index.get(name), name, version)
                and (parts or not name.startswith("bundles/") or name.endswith(SMALL))
            ]
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                downloaded = dict(zip(wanted, pool.map(self._download, wanted), strict=True))
            index.update({name: each for name, each in downloaded.items() if each})

    def push(self, *parts: str) -> None:
        """Upload what changed in some parts (default: all) since the last exchange, and delete what is gone here."""
        with self._exchange() as index:
            local = {name: stamp for name in self._local(parts or PARTS) if (stamp := self._stamp(name))}
            # A version exists with its bundle.json. What a deployment needs is uploaded before it.
            for name in sorted(
                local, key=lambda each: (each.startswith("deployments/"), each.endswith(SMALL[0]), each)
            ):
                known = index.get(name, {})
                if known.get("stamp") != local[name]:
                    mode: Any = known.get("version", "create") if name.startswith(CONDITIONAL) else "overwrite"
                    version = obstore.put(self._objects, name, self.folder / name, mode=mode)
                    index[name] = {"version": _version(version), "stamp": local[name]}
            for name in [name for name in index if _within(name, parts or PARTS) and name not in local]:
                obstore.delete(self._objects, name)
                del index[name]

    def move(self, paths: Iterable[Path]) -> None:
        """Upload files of the working copy that no longer change, and remove them here."""
        with self._exchange() as index:
            for path in paths:
                name = path.relative_to(self.folder).as_posix()
                # A command with the same working copy has downloaded it. Another process may have moved it.
                with contextlib.suppress(FileNotFoundError):
                    if name not in index:
                        obstore.put(self._objects, name, path)
                        path.unlink()

    @contextlib.contextmanager
    def lease(self, name: str, wait: bool = True) -> Iterator[None]:
        """Hold `name` between all machines that use the bucket; raises Busy where another does, unless `wait`."""
        key, holder = f"locks/{name}", f"{socket.gethostname()} {secrets.token_hex(4)}"
        with self._explained():
            version = [self._acquire(key, holder, wait)]
        released = threading.Event()

        def renew() -> None:
            while not released.wait(RENEW_SECONDS):
                # It is lost, or the bucket is not reachable: conditional writes protect deployments and audit log.
                with contextlib.suppress(Exception):
                    found = obstore.get(self._objects, key)
                    if bytes(found.bytes()).decode().startswith(holder):
                        version[0] = _replace(self._objects, key, f"{holder} {time.time()}", _version(found.meta))

        keeper = threading.Thread(target=renew, daemon=True)
        keeper.start()
        try:
            yield
        finally:
            released.set()
            keeper.join()
            with self._explained(), contextlib.suppress(FileNotFoundError):
                if _version(obstore.head(self._objects, key)) == version[0]:
                    obstore.delete(self._objects, key)

    def _acquire(self, key: str, holder: str, wait: bool) -> dict[str, Any]:
        while True:
            with contextlib.suppress(AlreadyExistsError):
                return _version(obstore.put(self._objects, key, holder.encode(), mode="create"))
            with contextlib.suppress(FileNotFoundError, PreconditionError):
                found = obstore.head(self._objects, key)
                if (datetime.now(UTC) - found["last_modified"]).total_seconds() > LEASE_SECONDS:
                    return _replace(self._objects, key, holder, _version(found))
                if not wait:
                    other = bytes(obstore.get(self._objects, key).bytes()).decode().split()[0]
                    raise Busy(f"{other} holds {key} in {self.url}", "Wait until it ends.")
            time.sleep(WAIT_SECONDS)

    def _found(self, parts: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return the versions of the objects by name, without those of a version that is not whole."""
        found = {}
        for part in parts:
            if Path(part).suffix:
                with contextlib.suppress(FileNotFoundError):
                    found[part] = _version(obstore.head(self._objects, part))
            else:
                metas = (meta for chunk in obstore.list(self._objects, part) for meta in chunk)
                found |= {meta["path"]: _version(meta) for meta in metas}
        whole = {name.rpartition("/")[0] for name in found if name.endswith(SMALL[0])}
        return {
            name: version
            for name, version in found.items()
            if not name.startswith("bundles/") or name in parts or "/".join(name.split("/")[:2]) in whole
        }

    def _local(self, parts: Iterable[str]) -> Iterator[str]:
        for part in parts:
            path = self.folder / part
            for each in path.rglob("*") if path.is_dir() else [path]:
                name = each.relative_to(self.folder).as_posix()
                if each.is_file() and each.suffix != ".open" and "/." not in f"/{name}":
                    yield name

    def _stamp(self, name: str) -> list[int]:
        with contextlib.suppress(FileNotFoundError):
            found = (self.folder / name).stat()
            return [found.st_size, found.st_mtime_ns]
        return []

    def _has(self, known: dict[str, Any] | None, name: str, version: dict[str, Any]) -> bool:
        """Return whether the file here is the object; a list of objects has no `version`, which a GET has."""
        key = "e_tag" if "e_tag" in version else "version"
        return known is not None and known["version"].get(key) == version[key] and known["stamp"] == self._stamp(name)

    def _download(self, name: str) -> dict[str, Any]:
        """Return the entry of the index; an empty one for an object that was deleted since it was listed."""
        with contextlib.suppress(FileNotFoundError):
            found = obstore.get(self._objects, name)
            with replacing(self.folder / name) as draft, draft.open("wb") as file:
                for chunk in found.stream():
                    file.write(chunk)
            return {"version": _version(found.meta), "stamp": self._stamp(name)}
        return {}

    @contextlib.contextmanager
    def _exchange(self) -> Iterator[Index]:
        """Yield the index, and write it back: one exchange at a time of all processes with this working copy."""
        path = self.folder / INDEX
        with lock(self.folder / ".bucket.lock"), self._explained():
            index: Index = json.loads(path.read_bytes()) if path.exists() else {}
            before = json.dumps(index)
            try:
                yield index
            finally:
                if (after := json.dumps(index)) != before:
                    with replacing(path) as draft:
                        draft.write_text(after)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not type(error).__module__.startswith("obstore") and type(error) not in (PermissionError, ValueError):
                raise
            kind, reason = type(error).__name__, re.sub(r"\s+", " ", str(error).partition("\n")[0])[:300]
            if kind in ("PreconditionError", "AlreadyExistsError"):
                raise LifecycleError(f"another process has changed {self.url} meanwhile", DECIDE_AGAIN) from None
            is_refused = kind in ("PermissionError", "PermissionDeniedError", "UnauthenticatedError")
            hint = CREDENTIALS if is_refused or re.search(" 403|Missing", reason) else UNREACHABLE
            raise LifecycleError(f"{self.url} cannot be used: {reason}", hint) from None


def _within(name: str, parts: Iterable[str]) -> bool:
    return any(name == part or name.startswith(f"{part}/") for part in parts)


def _version(meta: Any) -> dict[str, Any]:
    # What a conditional write compares: most stores use one of the two.
    return {key: meta[key] for key in ("e_tag", "version") if meta[key]}


def _replace(objects: Any, key: str, text: str, version: Any) -> dict[str, Any]:
    return _version(obstore.put(objects, key, text.encode(), mode=version))
