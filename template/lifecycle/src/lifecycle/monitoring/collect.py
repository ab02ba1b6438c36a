"""Collect the prediction log: convert the segments that the service writes to dated Parquet, and remove old dates.

Each segment becomes one file for each UTC date in it, named after the segment: collecting it again replaces them. The
lines of each segment that cannot be read are counted in DAMAGED_LINES, because the segment itself is removed.
"""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from lifecycle import timestamps
from lifecycle.contract.rows import parse_utc
from lifecycle.contract.schema import Column, Contract
from lifecycle.contract.tables import SQL_TYPES, connect, path_literal, quoted, write_parquet
from lifecycle.errors import LifecycleError
from lifecycle.registry import predictions
from lifecycle.storage import Store, explain_disk_errors, read_json, write_json

INT64 = 2**63
# `json.dumps` with these options would build an encoder for each call.
ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
# Segment name → number of damaged lines and when it was collected, in the folder of an environment.
DAMAGED_LINES = "damaged_lines.json"
# What a line of another shape raises: it is counted, and the other lines are collected.
DAMAGED = (ValueError, TypeError, KeyError, AttributeError, OverflowError, OSError)


@dataclass
class Collected:
    """Result of a collection: rows written, segments, damaged lines, and the reason for each segment that stays."""

    rows: int = 0
    segments: int = 0
    half_lines: int = 0
    waiting: dict[str, str] = field(default_factory=dict)


def collect(store: Store, environment: str) -> Collected:
    """Convert every segment to Parquet, and remove the closed ones once all their files are written.

    The complete lines of segments that are being written are converted, too; the next run replaces those files. A
    segment of a version whose bundle is gone stays, and `waiting` names it. LifecycleError when the disk refuses.
    """
    done, directory = Collected(), predictions.segment_folder(store, environment)
    with predictions.exclusive(store, environment):
        growing, closed = predictions.open_segments(directory), predictions.closed_segments(directory)
        # A segment that its writer closed in between is listed twice, and read once.
        by_stem = {path.stem: path for path in (*growing, *closed)}
        for segment in by_stem.values():
            try:
                _convert(store, environment, segment, done)
            except _BundleGone as error:
                done.waiting[segment.name] = error.problem
                continue
            if segment in closed:
                segment.unlink()
            done.segments += 1
    return done


def damaged_lines(store: Store, environment: str, first: int, last: int) -> int:
    """Return how many damaged lines were collected from `first` to `last`, in seconds."""
    recorded = read_json(store.predictions / environment / DAMAGED_LINES)
    return sum(each["lines"] for each in recorded.values() if first <= each["ts"] <= last)


def prune(store: Store, environment: str, now: int, days: int) -> list[Path]:
    """Remove log files of more than `days` days before `now` (seconds), and return them."""
    oldest = timestamps.date_of(now) - timedelta(days=days)
    with predictions.exclusive(store, environment):
        files = predictions.files(store, environment)
        old = [path for path in files if _logged_on(path) < oldest]
        # A folder goes with what a killed job left there.
        for folder in {path.parent for path in old} - {path.parent for path in files if path not in old}:
            shutil.rmtree(folder)
        for path in old:
            path.unlink(missing_ok=True)
        _record(store, environment, {}, since=now - days * timestamps.DAY)
    return old


def _logged_on(path: Path) -> date:
    # A batch counts from the day on which it was scored; its rows may be dated years earlier.
    day = predictions.date_of(path)
    is_batch = path.name.startswith(predictions.BATCH)
    return max(day, timestamps.date_of(int(path.stat().st_mtime))) if is_batch else day


def _record(store: Store, environment: str, new: dict[str, dict[str, int]], since: int = 0) -> None:
    path = store.predictions / environment / DAMAGED_LINES
    before = read_json(path)
    after = {name: each for name, each in (before | new).items() if each["lines"] and each["ts"] >= since}
    if after != before:
        write_json(path, after)


class _BundleGone(LifecycleError):
    """The contract of a version in a segment cannot be read."""


def _convert(store: Store, environment: str, segment: Path, done: Collected) -> None:
    """Write the Parquet files of one segment, all or none."""

    @lru_cache
    def contract(version: str) -> Contract:
        try:
            return predictions.contract_of(store, version)
        except LifecycleError as error:
            raise _BundleGone(error.problem, error.hint) from error

    work = store.predictions / environment / ".collecting"
    with explain_disk_errors(work), contextlib.ExitStack() as cleanup:
        # An erasure would miss what a killed collection left here.
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        cleanup.callback(shutil.rmtree, work, ignore_errors=True)
        parts, damaged = _split(segment, work, contract)
        for day in sorted({day for day, _ in parts}):
            queries = [_query(file, contract(version)) for (of, version), file in parts.items() if of == day]
            query = f"FROM ({' UNION ALL BY NAME '.join(queries)}) ORDER BY ts, lifecycle_request, lifecycle_position"
            path = store.predictions / environment / f"date={day}" / f"{segment.stem}.parquet"
            with connect() as connection:
                done.rows += write_parquet(connection, query, path)
    done.half_lines += damaged
    _record(store, environment, {segment.stem: {"ts": timestamps.now(), "lines": damaged}})


def _split(segment: Path, work: Path, contract: Callable[[str], Contract]) -> tuple[dict[tuple[date, str], Path], int]:
    """Write one file of JSON arrays for each date and version of a segment; return them and the damaged lines."""
    files: dict[tuple[date, str], TextIO] = {}
    damaged = 0
    with contextlib.ExitStack() as stack:
        for line in predictions.segment_lines(segment):
            try:
                if line is None:
                    raise ValueError("an incomplete line")
                part = timestamps.date_of(int(line["ts"])), line["version"]
                rows = [ENCODER.encode(row) + "\n" for row in _rows(line, contract(line["version"]))]
            except DAMAGED:
                damaged += 1
                continue
            if part not in files:
                files[part] = stack.enter_context((work / f"{len(files)}.json").open("w", encoding="utf-8"))
            files[part].writelines(rows)
    return {part: Path(file.name) for part, file in files.items()}, damaged


def _rows(line: predictions.Line, contract: Contract) -> Iterator[list[Any]]:
    """Yield the rows of a line in the order of `_query`, without the erased ones (null)."""
    facts = [int(line["ts"]), line.get("as_of"), line["version"], line.get("threshold"), line["id"]]
    for position, (row, prediction) in enumerate(zip(line["rows"], line["predictions"], strict=True)):
        if row is not None:
            values = [_plain(column, row.get(column.name, column.default)) for column in contract.loggable]
            flat = (value.values() if isinstance(value, dict) else [value] for value in prediction.values())
            yield [*values, *facts, position, *chain.from_iterable(flat)]


def _plain(column: Column, value: Any) -> Any:
    """Return a value that its SQL type accepts: times in UTC, and null for an integer beyond 64 bits."""
    if value is None:
        return None
    if column.kind == "time":
        time = parse_utc(value)
        return time.isoformat() if time else None
    if column.kind == "integer":
        return int(value) if -INT64 <= value < INT64 else None
    return float(value) if column.kind == "number" else value


def _query(file: Path, contract: Contract) -> str:
    columns = {column.name: SQL_TYPES[column.kind] for column in contract.loggable}
    columns |= predictions.FACTS | predictions.prediction_columns(contract.target)
    # By position: names may contain anything, and DuckDB does not distinguish upper from lower case.
    selected = ", ".join(
        f"CAST(json ->> '$[{position}]' AS {kind}) AS {quoted(name)}"
        for position, (name, kind) in enumerate(columns.items())
    )
    return f"SELECT {selected} FROM read_json_objects({path_literal(file)}, format = 'newline_delimited')"
