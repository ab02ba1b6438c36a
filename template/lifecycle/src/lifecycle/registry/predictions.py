"""The prediction log: segments that the service appends to, and the Parquet files that a job makes of them.

A writer appends JSON lines to `predictions/<environment>/segments/NAME.open`, holds the lock `.NAME.lock` while it
lives, and rotates by size and by time to `NAME.jsonl`, which never grows. Readers may read the complete lines of both.

`predictions/<environment>/date=<UTC date>/<segment>.parquet` has one row for each prediction: the loggable columns of
the contract, FACTS, and the prediction.
"""

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from datetime import UTC, date, datetime
from io import FileIO
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lifecycle import timestamps
from lifecycle.contract.schema import Contract, Target
from lifecycle.contract.tables import Connection, count, path_literal, text
from lifecycle.errors import LifecycleError
from lifecycle.storage import Store

OPEN, CLOSED = ".open", ".jsonl"
FIELDS = {"ts", "id", "version", "rows", "predictions"}
Line = dict[str, Any]
BATCH = "score-"  # the prefix of the file names and request ids of batch predictions
# The option of DuckDB that adds the name of the file; a contract may have a column `filename`.
FILE = "filename = 'lifecycle_file'"
PREDICTED = "lifecycle_predicted_"  # begins the names of the columns of predictions until they are written
LOGGED = "lifecycle_logged"  # the table that `load_rows` creates
FACTS = {
    "ts": "BIGINT",
    "as_of": "BIGINT",
    "version": "VARCHAR",
    "threshold": "DOUBLE",
    "lifecycle_request": "VARCHAR",
    "lifecycle_position": "INTEGER",
}


def prediction_columns(target: Target) -> dict[str, str]:
    """Return the columns of a prediction in a table, with their SQL types."""
    if target.task == "regression":
        return {"prediction": "DOUBLE"}
    if target.task == "binary":
        return {"prediction": "VARCHAR", "probability": "DOUBLE"}
    return {"prediction": "VARCHAR"} | {f"probabilities_{name}": "DOUBLE" for name in target.classes}


def contract_of(store: Store, version: str) -> Contract:
    """Return the contract of a version without opening its other files; raises LifecycleError when it is gone."""
    path = store.bundles / version / "contract.json"
    try:
        return Contract.from_json(path.read_bytes(), where=str(path))
    except OSError:
        raise LifecycleError(f"bundle {version} is gone", f"Restore {path.parent}.") from None


def exclusive(store: Store, environment: str) -> contextlib.AbstractContextManager[None]:
    """Return the lock of the jobs that change the files of an environment."""
    return store.exclusive(store.predictions / environment / ".lock")


def files(store: Store, environment: str) -> list[Path]:
    """Return every Parquet file of an environment, by date."""
    return sorted((store.predictions / environment).glob("date=*/[!.]*.parquet"))


def date_of(file: Path) -> date:
    """Return the UTC date of a Parquet file of the log."""
    return date.fromisoformat(file.parent.name.removeprefix("date="))


def load_rows(
    connection: Connection, store: Store, environment: str, first: int, last: int, version: str | None = None
) -> int:
    """Create the table LOGGED with the logged predictions of a time range, oldest first, and return their number.

    The range is from `first` until before `last`, in seconds. Without a version, the table has the predictions of all
    versions and the columns of all their contracts.
    """
    every = files(store, environment)
    paths = [path for path in every if first - timestamps.DAY < timestamps.midnight(date_of(path)) < last]
    if paths and version is not None:
        # A file of another contract would widen the types of this version's columns.
        query = f"SELECT DISTINCT lifecycle_file FROM {table_of(paths, FILE)} WHERE version = {text(version)}"
        paths = sorted(Path(name) for (name,) in connection.execute(query).fetchall())
    nothing = ", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in (FACTS | {"prediction": "VARCHAR"}).items())
    source = table_of(paths) if paths else f"(SELECT {nothing} WHERE FALSE)"
    condition = "" if version is None else f" AND version = {text(version)}"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {LOGGED} AS SELECT * FROM {source} "
        f"WHERE ts >= {int(first)} AND ts < {int(last)}{condition} ORDER BY ts, lifecycle_request, lifecycle_position"
    )
    return count(connection, f"FROM {LOGGED}")


def table_of(paths: list[Path], *options: str) -> str:
    """Return SQL of the rows of Parquet files of the log, which may have different columns."""
    given = ("union_by_name = true", "hive_partitioning = false", *options)
    return f"read_parquet([{', '.join(map(path_literal, paths))}], {', '.join(given)})"


def segment_folder(store: Store, environment: str) -> Path:
    """Return the directory that contains the segments of an environment."""
    return store.predictions / environment / "segments"


def writer_lock(segment: Path) -> FileLock:
    """Return the lock that the writer of a segment holds until it closes the segment or dies."""
    # Not thread-local: the writer acquires and releases it in different threads of its pool.
    return FileLock(segment.with_name(f".{segment.stem}.lock"), timeout=0, thread_local=False)


def create_segment(directory: Path) -> tuple[FileIO, FileLock]:
    """Return a new, unbuffered segment file for appending, and the lock that its writer holds."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}-{secrets.token_hex(4)}{OPEN}"
    # Locked before the file exists: an open segment without a lock is one of a killed writer.
    lock = writer_lock(path)
    lock.acquire()
    return FileIO(path, "x"), lock


def close_segment(file: FileIO, lock: FileLock) -> None:
    """Flush a segment to the disk, mark it as closed, and release its lock."""
    try:
        with file:
            os.fsync(file.fileno())
        path = Path(str(file.name))
        path.rename(path.with_suffix(CLOSED))
        Path(lock.lock_file).unlink()
    finally:
        lock.release()


def closed_segments(directory: Path) -> list[Path]:
    """Return every segment without a living writer, oldest first; rename those that a killed writer left open."""
    for path in directory.glob(f"[!.]*{OPEN}"):
        # Timeout: its writer lives. FileNotFoundError: its writer has just closed it.
        with contextlib.suppress(Timeout, FileNotFoundError), writer_lock(path) as lock:
            path.rename(path.with_suffix(CLOSED))
            Path(lock.lock_file).unlink()
    return sorted(directory.glob(f"[!.]*{CLOSED}"))


def upload_segments(store: Store, environment: str) -> None:
    """Move every closed segment to the bucket, where the storage is one; `collect` may then run on any machine."""
    if store.bucket:
        store.bucket.move(closed_segments(segment_folder(store, environment)))


def open_segments(directory: Path) -> list[Path]:
    """Return every segment whose writer lives, oldest first."""
    closed_segments(directory)
    return sorted(directory.glob(f"[!.]*{OPEN}"))


def size_of_segments(directory: Path) -> int:
    """Return the size of all segments in a directory, in bytes."""
    # There may be no directory yet, and a segment may be collected while it is counted.
    with contextlib.suppress(OSError):
        return sum(path.stat().st_size for path in directory.iterdir())
    return 0


def segment_lines(path: Path) -> Iterator[Line | None]:
    """Yield every line of a segment, None for a damaged one; skip an unfinished line that is being written."""
    try:
        file = path.open("rb")
    except FileNotFoundError:  # its writer has closed it since the path was listed
        file = path.with_suffix(CLOSED).open("rb")
    with file:
        for line in file:
            if line.endswith(b"\n") or path.suffix != OPEN:
                yield _parsed(line)


def _parsed(line: bytes) -> Line | None:
    """Return the content of a line, or None for a damaged one: the writer was killed, or the disk was full."""
    try:
        content = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    if not isinstance(content, dict) or not content.keys() >= FIELDS or type(content["ts"]) not in (int, float):
        return None
    pair = content["rows"], content["predictions"]
    return content if all(isinstance(each, list) and len(each) == len(pair[0]) for each in pair) else None
