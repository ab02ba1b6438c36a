"""Forget a key: every logged row and every label of it, in each environment of a storage."""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle import labels, predictions, segments
from lifecycle.contract import Contract
from lifecycle.errors import LifecycleError
from lifecycle.frames import describe, quoted, text
from lifecycle.store import Store, write_atomically

if TYPE_CHECKING:
    import duckdb

# The service looks every log.flush_seconds (at most 10) whether a segment is wanted.
PATIENCE = 15.0
GONE = "lifecycle_gone"


@dataclass
class Erased:
    """How many rows of the log, and how many labels, are gone."""

    rows: int = 0
    labels: int = 0


def erase(store: Store, key: str, contract: Contract, patience: float = PATIENCE) -> Erased:
    """Remove every row and label of a key; each file is replaced in one step, and a second call finishes a killed one.

    `contract` is that of the team, which may be newer than every bundle. Raises LifecycleError when a service does not
    hand its segment over within `patience` seconds; whatever could be erased is.
    """
    done = Erased()
    names = _key_names(store, contract)
    late: list[Path] = []
    with predictions.connect() as connection:
        connection.execute(f"CREATE TEMP TABLE {GONE} (request VARCHAR, position INTEGER)")
        for environment in _environments(store):
            with predictions.exclusive(store, environment):
                directory = segments.folder(store, environment)
                late += _wait_for_writers(directory, patience)
                found = [*_from_segments(directory, key, names)]
                if found:
                    connection.executemany(f"INSERT INTO {GONE} VALUES (?, ?)", found)
                done.rows += len(found)
                for path in predictions.files(store, environment):
                    done.rows += _from_parquet(connection, path, key, names)
        done.labels = _from_labels(connection, store, key)
    if late:
        problem = f"{late[0]} is being written, and its service did not close it; it may hold rows of this key"
        raise LifecycleError(problem, "Run it again; where that does not help, restart the service first.")
    return done


def _environments(store: Store) -> list[str]:
    return sorted(path.name for path in store.predictions.glob("[!.]*") if path.is_dir())


def _key_names(store: Store, contract: Contract) -> set[str]:
    """What the key is called by every contract that is known here."""
    known = [contract]
    for version in store.versions():
        # A bundle without a contract answers nothing that could be collected.
        with contextlib.suppress(LifecycleError):
            known.append(predictions.contract_of(store, version))
    return {each.key.name for each in known if each.key}


def _wait_for_writers(directory: Path, patience: float) -> list[Path]:
    """Ask every writer to close its segment; returns the segments that are still open after a while."""
    wanted = segments.being_written(directory)
    for path in wanted:
        path.with_suffix(segments.WANTED).touch()
    end = time.monotonic() + patience
    while late := [path for path in segments.being_written(directory) if path in wanted]:
        if time.monotonic() > end:
            return late
        time.sleep(0.05)
    return []


def _from_segments(directory: Path, key: str, names: set[str]) -> Iterator[tuple[str, int]]:
    """Request and position of each row that is no longer in the closed segments."""
    for path in segments.closed(directory):
        gone: list[tuple[str, int]] = []
        content = []
        for raw in path.read_bytes().splitlines(keepends=True):
            line = segments.parsed(raw)
            at = [] if line is None else [at for at, row in enumerate(line["rows"]) if _is_of(row, key, names)]
            if line is None and key in raw.decode(errors="replace"):
                # Half a line is counted by the collecting job, and may name the key.
                raw = b"\n"
            if line is not None and at:
                for place in at:
                    line["rows"][place] = line["answers"][place] = None
                gone += [(line["id"], place) for place in at]
                raw = segments.dumped(line) + b"\n"
            content.append(raw)
        if b"".join(content) != path.read_bytes():
            write_atomically(path, b"".join(content))
        yield from gone


def _is_of(row: Any, key: str, names: set[str]) -> bool:
    return isinstance(row, dict) and any(name in row and _told(row[name]) == key for name in names)


def _told(value: Any) -> str:
    """A key as the command line and DuckDB write it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value)


def _from_parquet(connection: "duckdb.DuckDBPyConnection", path: Path, key: str, names: set[str]) -> int:
    source = f"read_parquet({text(str(path))}, hive_partitioning = false)"
    known = [quoted(name) for name in describe(connection, f"FROM {source}") if name in names]
    is_of = " OR ".join(f"coalesce(CAST({name} AS VARCHAR) = {text(key)}, FALSE)" for name in known) or "FALSE"
    connection.execute(
        f"INSERT INTO {GONE} SELECT lifecycle_request, lifecycle_position FROM {source} WHERE {is_of} RETURNING 1"
    )
    count = len(connection.fetchall())
    if count:
        predictions.replace(connection, f"SELECT * FROM {source} WHERE NOT ({is_of})", path)
    return count


def _from_labels(connection: "duckdb.DuckDBPyConnection", store: Store, key: str) -> int:
    """Remove the labels of a key and of the answers that are gone; an empty file stays: its delivery is not new."""
    count = 0
    is_of = (
        f"coalesce(key = {text(key)}, FALSE) OR (coalesce(request_id, ''), position) IN (SELECT (request, position) "
        f"FROM {GONE})"
    )
    for path in labels.files(store):
        source = f"read_parquet({text(str(path))})"
        ((found,),) = connection.execute(f"SELECT count(*) FROM {source} WHERE {is_of}").fetchall()
        if found:
            predictions.replace(connection, f"SELECT * FROM {source} WHERE NOT ({is_of})", path)
            count += int(found)
    return count
