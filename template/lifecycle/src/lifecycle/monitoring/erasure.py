"""Forget a key: every logged row and every label of it, in each environment of a storage."""

import contextlib
import json
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle.contract.schema import Contract
from lifecycle.contract.tables import describe, path_literal, quoted, text
from lifecycle.errors import LifecycleError
from lifecycle.monitoring import labels
from lifecycle.registry import predictions, segments
from lifecycle.storage import Store, lock, write_atomically

if TYPE_CHECKING:
    import duckdb

GONE = "lifecycle_gone"


@dataclass
class Erased:
    """How many rows of the log, and how many labels, are gone."""

    rows: int = 0
    labels: int = 0


def erase(store: Store, key: str, contract: Contract) -> Erased:
    """Remove every row and label of a key; each file is replaced in one step, and a second call finishes a killed one.

    `contract` is that of the team, which may be newer than every bundle. Raises LifecycleError when a segment that is
    being written contains rows of the key; all other rows and labels are erased by then.
    """
    done = Erased()
    names = _key_names(store, contract)
    late: list[Path] = []
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(predictions.connect())
        connection.execute(f"CREATE TEMP TABLE {GONE} (request VARCHAR, position INTEGER)")
        for folder in sorted(path for path in store.scores.glob("*") if path.is_dir()):
            # A scoring that runs ends first; what a killed one left is removed, and the next begins afresh.
            stack.enter_context(lock(folder / ".lock"))
            for left in (folder / ".spill", *folder.glob("date=*/.*.parts")):
                shutil.rmtree(left, ignore_errors=True)
        environments = _environments(store)
        for environment in environments:
            stack.enter_context(predictions.exclusive(store, environment))
            growing = segments.being_written(segments.folder(store, environment))
            late += [
                path for path in growing if any(line and _places(line, key, names) for line in segments.lines(path))
            ]
            _find(connection, store, environment, key, names)
        # First the labels: they are found by the rows.
        with labels.exclusive(store):
            done.labels = _from_labels(connection, store, key)
            _remove_drafts(store.labels)
        for environment in environments:
            done.rows += _from_segments(segments.folder(store, environment), key, names)
            for path in predictions.files(store, environment):
                done.rows += _from_parquet(connection, path, key, names)
            _remove_drafts(store.predictions / environment)
        for path in sorted(store.scores.glob("*/date=*/scores.parquet")):
            done.rows += _from_parquet(connection, path, key, names)
        for path in sorted(store.features.glob("[!.]*.sqlite")):
            _from_features(path, key, names)
    if late:
        problem = f"the service is still writing {late[0]}, which contains rows of this key"
        raise LifecycleError(
            problem, "Run the command again after log.segment_seconds, when the service has closed it."
        )
    return done


def _from_features(path: Path, key: str, names: set[str]) -> None:
    """Replace a table that the service looks up in by one without the key: an open file never changes."""
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as table:
        columns = [name for _, name, *_ in table.execute("PRAGMA table_info(features)")]
        if not columns or columns[0] not in names:
            return
        is_of = f"CAST({quoted(columns[0])} AS TEXT) = ?"
        if table.execute(f"SELECT count(*) FROM features WHERE {is_of}", (key,)).fetchone() == (0,):
            return
        with contextlib.closing(sqlite3.connect(":memory:")) as without:
            table.backup(without)
            without.execute(f"DELETE FROM features WHERE {is_of}", (key,))
            without.commit()
            without.execute("VACUUM")
            write_atomically(path, without.serialize())


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


def _find(connection: "duckdb.DuckDBPyConnection", store: Store, environment: str, key: str, names: set[str]) -> None:
    """Put request and position of each row of the key into GONE."""
    for path in segments.closed(segments.folder(store, environment)):
        found = [(line["id"], at) for line in segments.lines(path) if line for at in _places(line, key, names)]
        if found:
            connection.executemany(f"INSERT INTO {GONE} VALUES (?, ?)", found)
    for path in predictions.files(store, environment):
        source, is_of = _of_key(connection, path, key, names)
        query = f"SELECT lifecycle_request, lifecycle_position FROM {source} WHERE {is_of}"
        connection.execute(f"INSERT INTO {GONE} {query}")


def _from_segments(directory: Path, key: str, names: set[str]) -> int:
    """Rows that are no longer in the closed segments; their places in the request stay, for labels name them."""
    count = 0
    for path in segments.closed(directory):
        before = path.read_bytes()
        content = []
        for raw in before.splitlines(keepends=True):
            line = segments.parsed(raw)
            places = _places(line, key, names) if line else []
            if line and places:
                for place in places:
                    line["rows"][place] = line["answers"][place] = None
                raw = segments.dumped(line) + b"\n"
            elif line is None and key in raw.decode(errors="replace"):
                # Half a line may name the key, and is still counted by the collecting job.
                raw = b"\n"
            count += len(places)
            content.append(raw)
        if b"".join(content) != before:
            write_atomically(path, b"".join(content))
    return count


def _places(line: segments.Line, key: str, names: set[str]) -> list[int]:
    return [at for at, row in enumerate(line["rows"]) if _is_of(row, key, names)]


def _is_of(row: Any, key: str, names: set[str]) -> bool:
    return isinstance(row, dict) and any(name in row and _told(row[name]) == key for name in names)


def _told(value: Any) -> str:
    """A key as the command line and DuckDB write it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value)


def _of_key(connection: "duckdb.DuckDBPyConnection", path: Path, key: str, names: set[str]) -> tuple[str, str]:
    """A file as a table of SQL, and the condition that a row is of the key."""
    source = f"read_parquet({path_literal(path)}, hive_partitioning = false)"
    known = [quoted(name) for name in describe(connection, f"FROM {source}") if name in names]
    return source, " OR ".join(f"coalesce(CAST({name} AS VARCHAR) = {text(key)}, FALSE)" for name in known) or "FALSE"


def _from_parquet(connection: "duckdb.DuckDBPyConnection", path: Path, key: str, names: set[str]) -> int:
    source, is_of = _of_key(connection, path, key, names)
    ((count,),) = connection.execute(f"SELECT count(*) FROM {source} WHERE {is_of}").fetchall()
    if count:
        predictions.replace(connection, f"SELECT * FROM {source} WHERE NOT ({is_of})", path)
    return int(count)


def _remove_drafts(folder: Path) -> None:
    """Remove what killed jobs left behind half written; a writer's own draft is empty, and is left alone."""
    shutil.rmtree(folder / ".collecting", ignore_errors=True)
    for path in folder.rglob(".*.draft"):
        if segments.OPEN not in path.name:
            path.unlink(missing_ok=True)


def _from_labels(connection: "duckdb.DuckDBPyConnection", store: Store, key: str) -> int:
    """Remove the labels of a key and of the answers that are gone; an empty file stays: its delivery is not new."""
    count = 0
    is_of = (
        f"coalesce(key = {text(key)}, FALSE) OR (coalesce(request_id, ''), position) IN (SELECT (request, position) "
        f"FROM {GONE})"
    )
    for path in labels.files(store):
        source = f"read_parquet({path_literal(path)})"
        ((found,),) = connection.execute(f"SELECT count(*) FROM {source} WHERE {is_of}").fetchall()
        if found:
            predictions.replace(connection, f"SELECT * FROM {source} WHERE NOT ({is_of})", path)
            count += int(found)
    return count
