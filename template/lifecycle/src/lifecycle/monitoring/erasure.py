"""Erase a key or an id: its logged rows, scores, labels and features, in each environment of a storage."""

import contextlib
import csv
import json
import shutil
import sqlite3
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lifecycle.contract.schema import Contract
from lifecycle.contract.tables import Connection, connect, count, describe, quoted, text, write_parquet
from lifecycle.errors import LifecycleError
from lifecycle.registry import labels, predictions
from lifecycle.registry.predictions import table_of
from lifecycle.storage import Store, lock, write_atomically

ERASED = "lifecycle_erased"  # the table of request, position and id of each erased row


@dataclass
class Erased:
    """Numbers of erased rows (logged or scored) and labels, and of rows that a service is still writing."""

    rows: int = 0
    labels: int = 0
    being_written: int = 0


@dataclass(frozen=True)
class _Wanted:
    """The erased values as text, by the columns of the key (or the id) in any contract, and the columns of all ids."""

    values: dict[tuple[str, ...], tuple[str, ...]]
    ids: set[str]

    def rows(self, line: predictions.Line) -> dict[int, dict[str, Any]]:
        """Return the erased rows of a line of the log by their position."""
        rows = ((position, row) for position, row in enumerate(line["rows"]) if isinstance(row, dict))
        return {at: row for at, row in rows if any(_as_texts(row, names) == own for names, own in self.values.items())}

    def condition(self, known: Collection[str]) -> str:
        """Return the SQL condition that a row of a table with the columns `known` is erased."""
        own = [each for each in self.values.items() if {*each[0]} <= {*known}]
        pairs = [(labels.as_key([*map(quoted, names)]), labels.as_key([*map(text, values)])) for names, values in own]
        return " OR ".join(f"coalesce({key} = {value}, FALSE)" for key, value in pairs) or "FALSE"


def erase(store: Store, value: str, contract: Contract, by_id: bool = False) -> Erased:
    """Remove every row and label of a key or an id.

    Each file is replaced in one step; a second call completes a killed one. A key of several columns is a line of CSV.
    `contract` is the team's, which may be newer than every bundle. Rows in a segment that a service is writing are
    counted and not erased.
    """
    done, wanted = Erased(), _wanted(store, value, contract, by_id)
    environments = sorted(path.name for path in store.predictions.glob("[!.]*") if path.is_dir())
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(connect())
        connection.execute(f"CREATE TEMP TABLE {ERASED} (request VARCHAR, position INTEGER, id VARCHAR)")
        for folder in sorted(path for path in store.scores.glob("*") if path.is_dir()):
            # A running scoring ends first; what a killed one left is removed, and the next starts again.
            stack.enter_context(lock(folder / ".lock"))
            for left in (folder / ".spill", *folder.glob("date=*/.*.parts")):
                shutil.rmtree(left, ignore_errors=True)
        for environment in environments:
            stack.enter_context(predictions.exclusive(store, environment))
            for path in predictions.open_segments(predictions.segment_folder(store, environment)):
                done.being_written += sum(len(wanted.rows(line)) for line in predictions.segment_lines(path) if line)
            _find(connection, store, environment, wanted)
        # Labels first: they are found by the rows.
        with labels.exclusive(store):
            keys = ", ".join({labels.as_key([*map(text, values)]) for values in wanted.values.values()})
            condition = f"(coalesce(request_id, ''), position) IN (SELECT (request, position) FROM {ERASED})"
            condition += f" OR ts IS NULL AND coalesce(key IN (SELECT id FROM {ERASED} WHERE id IS NOT NULL), FALSE)"
            condition += f" OR (ts IS NULL) = {by_id} AND coalesce(key IN ({keys}), FALSE)"
            for path in labels.files(store):
                done.labels += _from_parquet(connection, path, condition)
            _remove_temporary(store.labels)
        for environment in environments:
            for path in predictions.closed_segments(predictions.segment_folder(store, environment)):
                done.rows += _from_segment(path, wanted)
            _remove_temporary(store.predictions / environment)
        logged = (path for environment in environments for path in predictions.files(store, environment))
        for path in (*logged, *sorted(store.scores.glob("*/date=*/scores.parquet"))):
            done.rows += _from_parquet(connection, path, wanted.condition(_columns(connection, path)))
        for path in sorted(store.features.glob("[!.]*.sqlite")):
            _from_features(path, wanted)
    return done


def _wanted(store: Store, value: str, contract: Contract, by_id: bool) -> _Wanted:
    contracts = [contract]
    for version in store.versions():
        # A bundle without a contract cannot have logged anything that could be collected.
        with contextlib.suppress(LifecycleError):
            contracts.append(predictions.contract_of(store, version))
    ids = {each.id.name for each in contracts if each.id}
    keys = {tuple(column.name for column in each.entity_key) for each in contracts}
    known = {(name,) for name in ids} if by_id else keys - {()}
    parts = tuple(next(csv.reader([value]), ()))
    values = {names: (value,) if len(names) == 1 else parts for names in known if len(names) in (1, len(parts))}
    if not values:
        forms = " or ".join(",".join(names) for names in sorted(known)) or "not declared"
        raise LifecycleError(f"no contract has such {'an id' if by_id else 'a key'}: {value}", f"It is {forms}.")
    return _Wanted(values, ids)


def _find(connection: Connection, store: Store, environment: str, wanted: _Wanted) -> None:
    """Insert request, position and id of each erased row into ERASED."""
    for path in predictions.closed_segments(predictions.segment_folder(store, environment)):
        for line in filter(None, predictions.segment_lines(path)):
            for at, row in wanted.rows(line).items():
                own = next(iter(_as_texts(row, wanted.ids)), None)
                connection.execute(f"INSERT INTO {ERASED} VALUES (?, ?, ?)", [line["id"], at, own])
    for path in predictions.files(store, environment):
        known = _columns(connection, path)
        ids = [f"CAST({quoted(name)} AS VARCHAR)" for name in wanted.ids if name in known]
        query = f"SELECT lifecycle_request, lifecycle_position, coalesce({', '.join(['NULL', *ids])})"
        query += f" FROM {table_of([path])} WHERE {wanted.condition(known)}"
        connection.execute(f"INSERT INTO {ERASED} {query}")


def _columns(connection: Connection, path: Path) -> Collection[str]:
    return describe(connection, f"FROM {table_of([path])}").keys()


def _from_parquet(connection: Connection, path: Path, condition: str) -> int:
    """Remove rows; an empty file stays, so that the same labels are not imported again."""
    if rows := count(connection, f"FROM {table_of([path])} WHERE {condition}"):
        write_parquet(connection, f"SELECT * FROM {table_of([path])} WHERE NOT ({condition})", path)
    return rows


def _from_segment(path: Path, wanted: _Wanted) -> int:
    """Replace rows by null, which keeps the positions of the others: labels refer to them."""
    erased, before, lines = 0, path.read_bytes(), []
    for raw in before.splitlines(keepends=True):
        line = predictions.parsed_line(raw)
        positions = [*wanted.rows(line)] if line else []
        if line and positions:
            for position in positions:
                line["rows"][position] = line["predictions"][position] = None
            raw = predictions.dumped(line) + b"\n"
        elif line is None and any(all(each.encode() in raw for each in key) for key in wanted.values.values()):
            # An incomplete line may contain the key; the empty one is still counted by the collection.
            raw = b"\n"
        erased += len(positions)
        lines.append(raw)
    if b"".join(lines) != before:
        write_atomically(path, b"".join(lines))
    return erased


def _from_features(path: Path, wanted: _Wanted) -> None:
    """Replace an online feature table by one without the key; a file that a service has open never changes."""
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as table:
        key, *_ = [name for _, name, *_ in table.execute("PRAGMA table_info(features)")] or [""]
        if (key,) not in wanted.values:
            return
        with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as remaining:
            table.backup(remaining)
            condition = f"CAST({quoted(key)} AS TEXT) = ?"
            if remaining.execute(f"DELETE FROM features WHERE {condition}", wanted.values[key,]).rowcount:
                remaining.execute("VACUUM")
                write_atomically(path, remaining.serialize())


def _as_texts(row: dict[str, Any], names: Iterable[str]) -> tuple[str, ...]:
    return tuple(_as_text(row[name]) for name in names if name in row)


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
