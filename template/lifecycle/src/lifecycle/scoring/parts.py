"""Predict completed rows in parts that survive a killed run, and combine them into the output files.

The completed rows are kept in a Parquet file, because they may not fit in memory; DuckDB sorts and joins on disk. This
one file is validated and predicted for, so that a table that changes during the run changes nothing. There is one part
per row group of it, with its rows and their predictions, in a hidden sibling folder of the output. A part is reused
when the completed rows (by hash), the version, the threshold and `as_of` are the same.
"""

import contextlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from lifecycle.contract.schema import Column, Contract
from lifecycle.contract.tables import SQL_TYPES, Connection, explain_sql_errors, literal, path_literal, quoted, text
from lifecycle.features.point_in_time import ROWS
from lifecycle.models.predictor import Predictor
from lifecycle.registry.predictions import FACTS, PREDICTED, prediction_columns
from lifecycle.settings import Settings
from lifecycle.storage import explain_disk_errors, flush, hash_of, write_atomically

WHOLE, POSITION = "whole.parquet", "lifecycle_position"
MOST_THREADS = 4


@dataclass(frozen=True)
class RowFile:
    """A Parquet file for completed rows, with about `group_rows` in each row group (DuckDB rounds to its blocks).

    It is computed in `threads`: one where the rows have sums, whose last digits depend on their number.
    """

    path: Path
    group_rows: int
    threads: int = 1

    def keep(self, connection: Connection, query: str, where: str) -> None:
        """Write the rows of a query to the file and make ROWS a view of it; `where` names the query in errors."""
        # The file is read once and soon: compression, or dictionaries for values that hardly repeat, would cost more.
        options = "FORMAT parquet, COMPRESSION uncompressed, DICTIONARY_SIZE_LIMIT 1000"
        target = f"{text(str(self.path))} ({options}, ROW_GROUP_SIZE {self.group_rows})"
        connection.execute(f"SET threads = {self.threads}")
        with explain_sql_errors(where):
            connection.execute(f"COPY ({query}) TO {target}")
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {ROWS} AS FROM read_parquet({path_literal(self.path)})")
        # From here on nothing is summed and the order of the rows is kept, so that the bytes are the same.
        connection.execute(f"SET threads = {cores()}")


@dataclass(frozen=True)
class Output:
    """A Parquet file that is written to `draft` and renamed to `path`.

    Its columns are `columns` of the rows, then `facts`: a value for all rows; prediction columns and POSITION vary.
    """

    path: Path
    draft: Path
    columns: tuple[Column, ...]
    facts: dict[str, Any]


# Writes the completed rows of a run to a file.
Fill = Callable[[RowFile], object]
# Files of rows with their predictions, each with its number of rows.
Parts = Iterable[tuple[Path, int]]


def cores() -> int:
    """Return how many processors are used: at most MOST_THREADS, because the rows of a part are in memory for each."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(found, MOST_THREADS)


def begin(folder: Path, fill: Fill, group_rows: int, facts: dict[str, Any]) -> Path:
    """Let `fill` write the completed rows, and return their file; parts of other rows or facts are removed."""
    rows, fresh, known = folder / "rows.parquet", folder / "rows.parquet.draft", folder / "facts.json"
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            fill(RowFile(fresh, group_rows))
            wanted = json.dumps(facts | {"rows": hash_of(fresh), "columns": PREDICTED}).encode()
            if not (known.exists() and known.read_bytes() == wanted and rows.exists()):
                # The facts are removed first: without them, a run killed here leaves no part that counts.
                known.unlink(missing_ok=True)
                for part in folder.glob("*.part.parquet"):
                    part.unlink()
                flush(fresh)
                fresh.replace(rows)
                write_atomically(known, wanted)
        finally:
            fresh.unlink(missing_ok=True)
            # The folder is empty where no rows were completed.
            with contextlib.suppress(OSError):
                folder.rmdir()
    return rows


def predicted(path: Path, fill: Fill, settings: Settings, predictor: Predictor, facts: dict[str, Any]) -> Parts:
    """Complete the rows and yield each part in order, after predicting those that are missing; `path` is the output."""
    folder = path.with_name(f".{path.name}.parts")
    rows = begin(folder, fill, settings.score.chunk_rows, facts)
    # Probabilities hardly repeat, and a part is read once.
    options: dict[str, Any] = {"compression": "none", "write_statistics": False}
    # The model's categories are read as codes and levels, which is much cheaper.
    categories = [each.name for each in predictor.contract.inputs if each.kind == "category"]
    options["use_dictionary"] = categories + ([f"{PREDICTED}0"] if predictor.contract.target.classes else [])
    groups = pq.read_metadata(rows)

    def part(at: int) -> tuple[Path, int]:
        path, count = folder / f"{at:06}.part.parquet", groups.row_group(at).num_rows if groups.num_row_groups else 0
        if not _is_whole(path, count):
            with pq.ParquetFile(rows, read_dictionary=categories, metadata=groups) as source:
                group = source.read_row_group(at, use_threads=False) if groups.num_row_groups else source.read()
            table, content = predictions(predictor, group, facts["threshold"]), pa.BufferOutputStream()
            pq.write_table(table, content, **options)
            write_atomically(path, content.getvalue().to_pybytes())
        return path, count

    # ONNX Runtime computes without Python's lock; a model of another kind may not be safe in several threads.
    with ThreadPoolExecutor(cores() if predictor.bundle.kind == "onnx" else 1) as pool:
        # Without rows there is no row group, and one part, which defines the columns.
        yield from pool.map(part, range(max(1, groups.num_row_groups)))


def write(connection: Connection, predicted: list[Path], contract: Contract, outputs: list[Output]) -> None:
    """Write the rows of files of completed rows with their predictions, in this order, to every output.

    Each output appears at its path in one step, when all are complete. Raises LifecycleError where the disk refuses.
    """
    source = f"read_parquet([{', '.join(map(path_literal, predicted))}])"
    try:
        with explain_disk_errors(outputs[0].path):
            for output in outputs:
                for path in (output.path, output.draft):
                    path.parent.mkdir(parents=True, exist_ok=True)
                query = f"SELECT {', '.join(_values(output, contract))} FROM {source}"
                with explain_sql_errors(f"writing {output.path}"):
                    connection.execute(f"COPY ({query}) TO {text(str(output.draft))} (FORMAT parquet)")
            for output in outputs:
                flush(output.draft)
            for output in outputs:
                os.replace(output.draft, output.path)
                flush(output.path.parent)
    finally:
        for output in outputs:
            output.draft.unlink(missing_ok=True)


def _values(output: Output, contract: Contract) -> Iterator[str]:
    """Yield the SQL of each column of an output."""
    predicted = list(prediction_columns(contract.target))
    for column in output.columns:
        # Whole numbers may be stored as doubles.
        yield f"CAST({quoted(column.name)} AS {SQL_TYPES[column.kind]}) AS {quoted(column.name)}"
    for name, value in output.facts.items():
        if name in predicted:
            yield f"{PREDICTED}{predicted.index(name)} AS {quoted(name)}"
        elif name == POSITION:
            yield f"CAST(row_number() OVER () - 1 AS {FACTS[name]}) AS {name}"
        else:
            yield f"CAST({literal(value)} AS {FACTS[name]}) AS {name}"


def predictions(predictor: Predictor, rows: pa.Table, threshold: float | None) -> pa.Table:
    """Return the rows with what `format_predictions` returns, in columns PREDICTED0, … as in `prediction_columns`."""
    contract, target = predictor.contract, predictor.contract.target
    names = [f"{PREDICTED}{at}" for at in range(len(prediction_columns(target)))]
    if len(rows):
        whole = {column.name for column in contract.columns if column.kind == "integer"}
        values = {name: rows[name].cast("int64") if name in whole else rows[name] for name in rows.column_names}
        raw = predictor.predict_batch(pa.record_batch({name: each.combine_chunks() for name, each in values.items()}))
    else:
        raw = np.empty((0, len(target.classes)) if target.task == "multiclass" else 0)
    added = [*map(pa.array, raw.T if target.task == "multiclass" else [raw])]
    if target.classes:
        is_binary, limit = target.task == "binary", 0.5 if threshold is None else threshold
        codes = (raw >= limit if is_binary else raw.argmax(axis=1)).astype(np.int32)
        added.insert(0, pa.DictionaryArray.from_arrays(codes, pa.array(target.classes)))
    return pa.table([*rows.columns, *added], names=[*rows.column_names, *names])


def _is_whole(path: Path, count: int) -> bool:
    try:
        return bool(pq.read_metadata(path).num_rows == count)
    except (OSError, pa.ArrowException):
        return False
