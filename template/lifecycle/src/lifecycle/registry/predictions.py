"""What was asked and answered, as dated Parquet: collected from the segments of the service, read by moment, pruned.

Each segment becomes one file for each UTC date in it, named after the segment: collecting it again replaces them.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from lifecycle import timestamps
from lifecycle.contract.rows import parse_utc
from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.contract.tables import SQL_TYPES, path_literal, quoted, text
from lifecycle.errors import LifecycleError
from lifecycle.registry import segments
from lifecycle.registry.segments import Line
from lifecycle.storage import Store, draft, explain_disk_errors, flush, lock

if TYPE_CHECKING:
    import duckdb

LOGGED = "lifecycle_logged"  # the table that `rows` leaves behind
FACTS = {
    "ts": "BIGINT",
    "as_of": "BIGINT",
    "version": "VARCHAR",
    "threshold": "DOUBLE",
    "lifecycle_request": "VARCHAR",
    "lifecycle_position": "INTEGER",
}
WHOLE = 2**63


@dataclass
class Collected:
    """What a collection did: rows written, lines that were not whole, and segments that wait for a bundle."""

    rows: int = 0
    segments: int = 0
    half_lines: int = 0
    files: list[Path] = field(default_factory=list)
    waiting: dict[str, str] = field(default_factory=dict)


def rows(
    connection: "duckdb.DuckDBPyConnection",
    store: Store,
    environment: str,
    first: int,
    last: int,
    version: str | None = None,
) -> int:
    """Fill LOGGED with what was answered from `first` until before `last` (by one version); returns how many rows.

    Columns: every loggable one of the contracts that answered, FACTS and the answer. Oldest first.
    """
    found = [path for path in files(store, environment) if first - 86_400 < _midnight_of(path) < last]
    if found and version is not None:
        # A file of another contract would widen the types of this one's columns.
        query = f"SELECT DISTINCT filename FROM {_read(found, 'filename = true')} WHERE version = {text(version)}"
        found = sorted(Path(name) for (name,) in connection.execute(query).fetchall())
    if found:
        source = _read(found)
    else:
        nothing = ", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in FACTS.items())
        source = f"(SELECT {nothing}, CAST(NULL AS VARCHAR) AS prediction WHERE FALSE)"
    which = "" if version is None else f" AND version = {text(version)}"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {LOGGED} AS SELECT * FROM {source} "
        f"WHERE ts >= {int(first)} AND ts < {int(last)}{which} ORDER BY ts, lifecycle_request, lifecycle_position"
    )
    ((count,),) = connection.execute(f"SELECT count(*) FROM {LOGGED}").fetchall()
    return int(count)


def _read(found: list[Path], *options: str) -> str:
    # The folder's name would become a column.
    given = ("union_by_name = true", "hive_partitioning = false", *options)
    return f"read_parquet([{', '.join(map(path_literal, found))}], {', '.join(given)})"


def files(store: Store, environment: str) -> list[Path]:
    """Every Parquet file of an environment, by date."""
    return sorted((store.predictions / environment).glob("date=*/[!.]*.parquet"))


def collect(store: Store, environment: str) -> Collected:
    """Convert every segment to Parquet, and remove the closed ones once all their files are written.

    The complete lines of segments that are being written are converted, too; the next run replaces those files. A
    segment of a version whose bundle is gone stays, and `waiting` names it.

    Raises:
        LifecycleError: the disk refuses.
    """
    done, directory = Collected(), segments.folder(store, environment)
    with exclusive(store, environment):
        growing = segments.being_written(directory)
        for segment in [*growing, *segments.closed(directory)]:
            missing = _collect(store, environment, segment, done)
            if missing:
                done.waiting[segment.name] = missing
            elif segment not in growing:
                segment.unlink()
                done.segments += 1
    return done


def prune(store: Store, environment: str, now: int, days: int) -> list[Path]:
    """Remove every date that lies more than `days` before `now`; returns the files that are gone."""
    oldest = timestamps.date_of(now) - timedelta(days=days)
    with exclusive(store, environment):
        old = [path for path in files(store, environment) if _date_of(path) < oldest]
        for folder in {path.parent for path in old}:
            shutil.rmtree(folder)
    return old


def exclusive(store: Store, environment: str) -> contextlib.AbstractContextManager[None]:
    """One job at a time changes the files of an environment."""
    return lock(store.predictions / environment / ".lock")


def replace(connection: "duckdb.DuckDBPyConnection", query: str, path: Path) -> None:
    """Write a query's rows to a Parquet file in one step; raises LifecycleError when the disk refuses."""
    import duckdb

    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = draft(path)
        try:
            connection.execute(f"COPY ({query}) TO {text(str(beside))} (FORMAT parquet)")
            flush(beside)
            os.replace(beside, path)
            flush(path.parent)
        except duckdb.IOException as error:
            raise LifecycleError(f"{path} cannot be written ({error})", "Free some space, or set `storage`.") from error
        finally:
            beside.unlink(missing_ok=True)


def connect(**limits: str) -> "duckdb.DuckDBPyConnection":
    """A connection of our own, in UTC, that keeps the order of rows; `limits` as in `features.connect`."""
    import duckdb

    connection = duckdb.connect(config={"threads": 1, **limits})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def contract_of(store: Store, version: str) -> Contract:
    """The contract of a version, its other files unread; raises LifecycleError when it is not there."""
    path = store.bundles / version / "contract.json"
    try:
        return Contract.from_json(path.read_bytes(), where=str(path))
    except OSError:
        raise LifecycleError(f"bundle {version} is gone", f"Restore {path.parent}.") from None


def loggable(contract: Contract) -> tuple[Column, ...]:
    """The columns that may be kept."""
    return tuple(column for column in contract.columns if column.loggable)


def answer_columns(target: Target) -> dict[str, str]:
    """The columns of an answer in a table, and their SQL types."""
    if target.task == "regression":
        return {"prediction": "DOUBLE"}
    if target.task == "binary":
        return {"prediction": "VARCHAR", "probability": "DOUBLE"}
    return {"prediction": "VARCHAR"} | {f"probabilities_{name}": "DOUBLE" for name in target.classes}


def _collect(store: Store, environment: str, segment: Path, done: Collected) -> str:
    """Write the files of one segment; returns what it lacks, and then nothing is written."""
    work = store.predictions / environment / ".collecting"
    contract = lru_cache(lambda version: contract_of(store, version))
    with explain_disk_errors(work), contextlib.ExitStack() as drafts:
        # What a killed job left here would escape an erasure.
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        drafts.callback(shutil.rmtree, work, ignore_errors=True)
        try:
            parts, half = _spread(segment, work, contract)
        except LifecycleError as error:
            return error.problem
        for day in sorted({day for day, _ in parts}):
            some = [(contract(version), path) for (of, version), path in parts.items() if of == day]
            path = store.predictions / environment / f"date={day}" / f"{segment.stem}.parquet"
            done.rows += _write(some, path)
            done.files.append(path)
    done.half_lines += half
    return ""


def _spread(segment: Path, work: Path, contract: Any) -> tuple[dict[tuple[date, str], Path], int]:
    """One flat file for each date and version of a segment, and the number of lines that are not whole."""
    handles: dict[tuple[date, str], TextIO] = {}
    half = 0
    with contextlib.ExitStack() as stack:
        for line in segments.lines(segment):
            if line is None:
                half += 1
                continue
            known = contract(line["version"])
            try:
                part = timestamps.date_of(int(line["ts"])), line["version"]
                rows = [segments.dumped(row).decode() + "\n" for row in _flat(line, known)]
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError, OSError):
                # A damaged line may still be JSON: it keeps no other from being collected.
                half += 1
                continue
            if part not in handles:
                path = work / f"{len(handles)}.json"
                handles[part] = stack.enter_context(path.open("w", encoding="utf-8"))
            handles[part].writelines(rows)
    return {part: Path(handle.name) for part, handle in handles.items()}, half


def _flat(line: Line, contract: Contract) -> Iterator[list[Any]]:
    """The rows of a line as lists, in the order of `_columns`; an erased row is None."""
    facts = [int(line["ts"]), line.get("as_of"), line["version"], line.get("threshold"), line["id"]]
    for at, (row, target) in enumerate(zip(line["rows"], line["answers"], strict=True)):
        if row is not None:
            values = [_plain(column, row.get(column.name, column.default)) for column in loggable(contract)]
            yield [*values, *facts, at, *_answered(target)]


def _answered(target: dict[str, Any]) -> Iterator[Any]:
    for value in target.values():
        yield from value.values() if isinstance(value, dict) else [value]


def _plain(column: Column, value: Any) -> Any:
    """A value as its SQL type takes it: callers write moments in every zone, and whole numbers beyond 64 bits."""
    if value is None:
        return None
    if column.kind == "time":
        moment = parse_utc(value)
        return moment.isoformat() if moment else None
    if column.kind == "integer":
        return int(value) if -WHOLE <= value < WHOLE else None
    return float(value) if column.kind == "number" else value


def _columns(contract: Contract) -> dict[str, str]:
    own = {column.name: SQL_TYPES[column.kind] for column in loggable(contract)}
    return own | FACTS | answer_columns(contract.target)


def _write(parts: list[tuple[Contract, Path]], path: Path) -> int:
    with connect() as connection:
        whole = " UNION ALL BY NAME ".join(_part(*part) for part in parts)
        connection.execute(f"CREATE TEMP TABLE part AS {whole}")
        ((count,),) = connection.execute("SELECT count(*) FROM part").fetchall()
        replace(connection, "SELECT * FROM part ORDER BY ts, lifecycle_request, lifecycle_position", path)
    return int(count)


def _part(contract: Contract, path: Path) -> str:
    # By position: names may hold anything, and DuckDB does not tell upper from lower case.
    wanted = ", ".join(
        f"CAST(json ->> '$[{at}]' AS {kind}) AS {quoted(name)}"
        for at, (name, kind) in enumerate(_columns(contract).items())
    )
    source = f"read_json_objects({path_literal(path)}, format = 'newline_delimited')"
    return f"SELECT {wanted} FROM {source}"


def _date_of(path: Path) -> date:
    return date.fromisoformat(path.parent.name.removeprefix("date="))


def _midnight_of(path: Path) -> int:
    return timestamps.midnight(_date_of(path))
