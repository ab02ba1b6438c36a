"""Erase a key or an id: its logged rows, scores, labels and features, in each environment of a storage."""

import contextlib
import csv
import os
import shutil
import sqlite3
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from lifecycle.contract.schema import Contract
from lifecycle.contract.tables import Connection, connect, count, describe, quoted, text, write_parquet
from lifecycle.errors import LifecycleError
from lifecycle.monitoring.collect import collect
from lifecycle.registry import labels, predictions
from lifecycle.storage import Store, write_atomically

ERASED = "lifecycle_erased"  # the table of request, position and id of each erased row
# The erased values as text, by the columns of the key (or the id) in any contract.
Values = dict[tuple[str, ...], tuple[str, ...]]


@dataclass
class Erased:
    """Numbers of erased rows (logged or scored) and labels, and of rows that a service is still writing."""

    rows: int = 0
    labels: int = 0
    being_written: int = 0


def erase(store: Store, value: str, contract: Contract, by_id: bool = False) -> Erased:
    """Collect what services have logged, and remove every row and label of a key or an id.

    Each file is replaced in one step; a second call completes a killed one. A key of several columns is a line of CSV.
    `contract` is the team's, which may be newer than every bundle. Rows in a segment that a service is writing are
    counted and not erased. Raises LifecycleError where a segment cannot be collected: nothing is erased.
    """
    done, (values, ids) = Erased(), _wanted(store, value, contract, by_id)
    environments = sorted(path.name for path in store.predictions.glob("[!.]*") if path.is_dir())
    for environment in environments:
        if waiting := collect(store, environment).waiting:
            raise LifecycleError("; ".join(waiting.values()), f"Restore it to read {', '.join(waiting)}; erase again.")
    with contextlib.ExitStack() as stack:
        connection = stack.enter_context(connect())
        connection.execute(f"CREATE TEMP TABLE {ERASED} (request VARCHAR, position INTEGER, id VARCHAR)")
        for folder in sorted(
            path for root in (store.reports, store.scores) for path in root.glob("*") if path.is_dir()
        ):
            # A running monitoring or scoring ends first; what a killed one left is removed, and the next starts again.
            stack.enter_context(store.exclusive(folder / ".lock"))
            for left in (folder / ".spill", *folder.glob("date=*/.*.parts")):
                shutil.rmtree(left, ignore_errors=True)
        logged, growing = list[Path](), set[str]()
        for environment in environments:
            stack.enter_context(predictions.exclusive(store, environment))
            growing |= {path.stem for path in predictions.segment_folder(store, environment).glob("[!.]*")}
            logged += predictions.files(store, environment)
            _remove_temporary(store.predictions / environment)
        for path in logged:
            known = describe(connection, f"FROM {predictions.table_of([path])}").keys()
            own = [f"CAST({quoted(name)} AS VARCHAR)" for name in ids if name in known]
            query = f"SELECT lifecycle_request, lifecycle_position, coalesce({', '.join(['NULL', *own])})"
            query += f" FROM {predictions.table_of([path])} WHERE {_condition(values, known)}"
            connection.execute(f"INSERT INTO {ERASED} {query}")
        # Labels first: they are found by the rows.
        with labels.exclusive(store):
            keys = ", ".join({labels.as_key([*map(text, each)]) for each in values.values()})
            condition = f"(coalesce(request_id, ''), position) IN (SELECT (request, position) FROM {ERASED})"
            condition += f" OR ts IS NULL AND coalesce(key IN (SELECT id FROM {ERASED} WHERE id IS NOT NULL), FALSE)"
            condition += f" OR (ts IS NULL) = {by_id} AND coalesce(key IN ({keys}), FALSE)"
            for path in labels.files(store):
                done.labels += _from_parquet(connection, path, condition)
            _remove_temporary(store.labels)
        for path in (*logged, *sorted(store.scores.glob("*/date=*/scores.parquet"))):
            known = describe(connection, f"FROM {predictions.table_of([path])}").keys()
            rows = _from_parquet(connection, path, _condition(values, known))
            # The next collection writes the rows of a segment that is still there again.
            done.being_written += rows if path.stem in growing else 0
            done.rows += 0 if path.stem in growing else rows
        for path in sorted(store.features.glob("[!.]*.sqlite")):
            _from_features(path, values)
    return done


def _wanted(store: Store, value: str, contract: Contract, by_id: bool) -> tuple[Values, set[str]]:
    """Return the erased values, and the columns of all ids."""
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
    return values, ids


def _condition(values: Values, known: Collection[str]) -> str:
    """Return the SQL condition that a row of a table with the columns `known` is erased."""
    own = [each for each in values.items() if {*each[0]} <= {*known}]
    pairs = [(labels.as_key([*map(quoted, names)]), labels.as_key([*map(text, each)])) for names, each in own]
    return " OR ".join(f"coalesce({key} = {value}, FALSE)" for key, value in pairs) or "FALSE"


def _from_parquet(connection: Connection, path: Path, condition: str) -> int:
    """Remove rows; an empty file stays, so that the same labels are not imported again."""
    if rows := count(connection, f"FROM {predictions.table_of([path])} WHERE {condition}"):
        modified = path.stat().st_mtime_ns
        write_parquet(connection, f"SELECT * FROM {predictions.table_of([path])} WHERE NOT ({condition})", path)
        # The retention of a batch counts from this time.
        os.utime(path, ns=(modified, modified))
    return rows


def _from_features(path: Path, values: Values) -> None:
    """Replace an online feature table by one without the key; a file that a service has open never changes."""
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as table:
        key, *_ = [name for _, name, *_ in table.execute("PRAGMA table_info(features)")] or [""]
        if (key,) not in values:
            return
        with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as remaining:
            table.backup(remaining)
            condition = f"CAST({quoted(key)} AS TEXT) = ?"
            if remaining.execute(f"DELETE FROM features WHERE {condition}", values[key,]).rowcount:
                remaining.execute("VACUUM")
                write_atomically(path, remaining.serialize())


def _remove_temporary(folder: Path) -> None:
    """Remove what killed jobs left incomplete; the temporary file of a segment's writer is empty and stays."""
    shutil.rmtree(folder / ".collecting", ignore_errors=True)
    for path in folder.rglob(".*.draft"):
        if predictions.OPEN not in path.name:
            path.unlink(missing_ok=True)
