"""Erase a key: its logged rows, scores, labels and features, in each environment of a storage."""

import contextlib
import json
import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle.contract.schema import Contract
from lifecycle.contract.tables import connect, count, describe, quoted, text, write_parquet
from lifecycle.errors import LifecycleError
from lifecycle.registry import labels, predictions
from lifecycle.registry.predictions import table_of
from lifecycle.storage import Store, lock, write_atomically

if TYPE_CHECKING:
    import duckdb

ERASED = "lifecycle_erased"  # the table of request and position of each row of the key


@dataclass
class Erased:
    """Numbers of erased rows (logged or scored) and labels, and of rows that a service is still writing."""

    rows: int = 0
    labels: int = 0
    being_written: int = 0


@dataclass(frozen=True)
class _Key:
    """A key as text, and the columns that any known contract uses for keys."""

    text: str
    columns: set[str]

    def positions(self, line: predictions.Line) -> list[int]:
        """Return the positions of the key's rows in a line of the log."""
        rows = ((position, row) for position, row in enumerate(line["rows"]) if isinstance(row, dict))
        return [at for at, row in rows if any(_as_text(row[name]) == self.text for name in self.columns & row.keys())]

    def condition(self, connection: "duckdb.DuckDBPyConnection", path: Path) -> str:
        """Return the SQL condition that a row of a Parquet file is of the key."""
        own = [quoted(name) for name in describe(connection, f"FROM {table_of([path])}") if name in self.columns]
        return " OR ".join(f"coalesce(CAST({name} AS VARCHAR) = {text(self.text)}, FALSE)" for name in own) or "FALSE"


def erase(store: Store, key: str, contract: Contract) -> Erased:
    """Remove every row and label of a key. Each file is replaced in one step; a second call completes a killed one.

    `contract` is the team's, which may be newer than every bundle. Rows in a segment that a service is writing are
    counted and not erased.
    """
    done, erased = Erased(), _Key(key, _key_columns(store, contract))
    environments = sorted(path.name for path in store.predictions.glob("[!.]*") if path.is_dir())
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(connect())
        connection.execute(f"CREATE TEMP TABLE {ERASED} (request VARCHAR, position INTEGER)")
        for folder in sorted(path for path in store.scores.glob("*") if path.is_dir()):
            # A running scoring ends first; what a killed one left is removed, and the next starts again.
            stack.enter_context(lock(folder / ".lock"))
            for left in (folder / ".spill", *folder.glob("date=*/.*.parts")):
                shutil.rmtree(left, ignore_errors=True)
        for environment in environments:
            stack.enter_context(predictions.exclusive(store, environment))
            for path in predictions.open_segments(predictions.segment_folder(store, environment)):
                done.being_written += sum(
                    len(erased.positions(line)) for line in predictions.segment_lines(path) if line
                )
            _find(connection, store, environment, erased)
        # Labels first: they are found by the rows.
        with labels.exclusive(store):
            request = f"(coalesce(request_id, ''), position) IN (SELECT (request, position) FROM {ERASED})"
            for path in labels.files(store):
                done.labels += _from_parquet(connection, path, f"coalesce(key = {text(key)}, FALSE) OR {request}")
            _remove_temporary(store.labels)
        for environment in environments:
            for path in predictions.closed_segments(predictions.segment_folder(store, environment)):
                done.rows += _from_segment(path, erased)
            _remove_temporary(store.predictions / environment)
        logged = (path for environment in environments for path in predictions.files(store, environment))
        for path in (*logged, *sorted(store.scores.glob("*/date=*/scores.parquet"))):
            done.rows += _from_parquet(connection, path, erased.condition(connection, path))
        for path in sorted(store.features.glob("[!.]*.sqlite")):
            _from_features(path, erased)
    return done


def _key_columns(store: Store, contract: Contract) -> set[str]:
    contracts = [contract]
    for version in store.versions():
        # A bundle without a contract cannot have logged anything that could be collected.
        with contextlib.suppress(LifecycleError):
            contracts.append(predictions.contract_of(store, version))
    return {each.key.name for each in contracts if each.key}


def _find(connection: "duckdb.DuckDBPyConnection", store: Store, environment: str, key: _Key) -> None:
    """Insert request and position of each row of the key into ERASED."""
    for path in predictions.closed_segments(predictions.segment_folder(store, environment)):
        rows = [(line["id"], at) for line in predictions.segment_lines(path) if line for at in key.positions(line)]
        if rows:
            connection.executemany(f"INSERT INTO {ERASED} VALUES (?, ?)", rows)
    for path in predictions.files(store, environment):
        query = f"SELECT lifecycle_request, lifecycle_position FROM {table_of([path])}"
        connection.execute(f"INSERT INTO {ERASED} {query} WHERE {key.condition(connection, path)}")


def _from_parquet(connection: "duckdb.DuckDBPyConnection", path: Path, condition: str) -> int:
    """Remove rows; an empty file stays, so that the same labels are not imported again."""
    if rows := count(connection, f"FROM {table_of([path])} WHERE {condition}"):
        write_parquet(connection, f"SELECT * FROM {table_of([path])} WHERE NOT ({condition})", path)
    return rows


def _from_segment(path: Path, key: _Key) -> int:
    """Replace rows by null, which keeps the positions of the others: labels refer to them."""
    rows, before, lines = 0, path.read_bytes(), []
    for raw in before.splitlines(keepends=True):
        line = predictions.parsed_line(raw)
        positions = key.positions(line) if line else []
        if line and positions:
            for position in positions:
                line["rows"][position] = line["predictions"][position] = None
            raw = predictions.dumped(line) + b"\n"
        elif line is None and key.text in raw.decode(errors="replace"):
            # An incomplete line may contain the key; the empty one is still counted by the collection.
            raw = b"\n"
        rows += len(positions)
        lines.append(raw)
    if b"".join(lines) != before:
        write_atomically(path, b"".join(lines))
    return rows


def _from_features(path: Path, key: _Key) -> None:
    """Replace an online feature table by one without the key; a file that a service has open never changes."""
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as table:
        columns = [name for _, name, *_ in table.execute("PRAGMA table_info(features)")]
        if not columns or columns[0] not in key.columns:
            return
        with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as remaining:
            table.backup(remaining)
            condition = f"CAST({quoted(columns[0])} AS TEXT) = ?"
            if remaining.execute(f"DELETE FROM features WHERE {condition}", (key.text,)).rowcount:
                remaining.execute("VACUUM")
                write_atomically(path, remaining.serialize())


def _as_text(value: Any) -> str:
    """Return a key as the command line and DuckDB write it."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, str) else json.dumps(value)


def _remove_temporary(folder: Path) -> None:
    """Remove what killed jobs left incomplete; the temporary file of a segment's writer is empty and stays."""
    shutil.rmtree(folder / ".collecting", ignore_errors=True)
    for path in folder.rglob(".*.draft"):
        if predictions.OPEN not in path.name:
            path.unlink(missing_ok=True)
