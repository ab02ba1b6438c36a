# mypy: disable-error-code="import-untyped, import-not-found"
"""Completed rows and their answers become an output, and the rows of the log: in one pass, row group by row group."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lifecycle.contract.schema import Column, Contract
from lifecycle.registry.predictions import FACTS, prediction_columns
from lifecycle.storage import explain_disk_errors, flush

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

POSITION = "lifecycle_position"
LEVELS = 2**13  # bytes of a column's different values, beyond which they are written one by one


@dataclass(frozen=True)
class Output:
    """A Parquet file that is written to `beside` and appears at `path`.

    Its columns are some of the rows', then `facts`: one value for all, or, under the name of an answer, the answers.
    """

    path: Path
    beside: Path
    columns: tuple[Column, ...]
    facts: dict[str, Any] = field(default_factory=dict)


def open_rows(path: Path, contract: Contract) -> "pq.ParquetFile":
    """The file of completed rows; the categories that a model reads come as codes and levels, which costs far less."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(path, read_dictionary=[each.name for each in contract.inputs if each.kind == "category"])


def arrow_types() -> dict[str, "pa.DataType"]:
    """What SQL types are in Arrow."""
    import pyarrow as pa

    return {"BIGINT": pa.int64(), "INTEGER": pa.int32(), "DOUBLE": pa.float64(), "VARCHAR": pa.string()}


def values_of(rows: "pa.Table", column: Column) -> "pa.ChunkedArray":
    """A column of completed rows: a whole number that came as a double has passed the check, and becomes whole."""
    import pyarrow as pa

    values = rows[column.name]
    return values.cast(pa.int64()) if column.kind == "integer" else values


def write(rows: Path, parts: list[Path], contract: Contract, outputs: list[Output]) -> None:
    """Write every output; each appears in one step when all are whole. Raises LifecycleError when the disk refuses."""
    try:
        with explain_disk_errors(outputs[0].path):
            for output in outputs:
                output.path.parent.mkdir(parents=True, exist_ok=True)
            _fill(rows, parts, contract, outputs)
            for output in outputs:
                flush(output.beside)
            for output in outputs:
                os.replace(output.beside, output.path)
                flush(output.path.parent)
    finally:
        for output in outputs:
            output.beside.unlink(missing_ok=True)


def _fill(rows: Path, parts: list[Path], contract: Contract, outputs: list[Output]) -> None:
    import pyarrow.parquet as pq

    with ExitStack() as stack:
        writers: list[pq.ParquetWriter] = []
        for start, given, answers in _groups(rows, parts, contract, outputs):
            tables = [_table(output, given, answers, start) for output in outputs]
            for output, table in zip(outputs if not writers else (), tables, strict=False):
                # Where values hardly repeat, that is soon known. Readers see text, whatever stands for it here.
                options: dict[str, Any] = {"dictionary_pagesize_limit": LEVELS, "store_schema": False}
                writers.append(stack.enter_context(pq.ParquetWriter(output.beside, table.schema, **options)))
            for writer, table in zip(writers, tables, strict=True):
                writer.write_table(table)


def _groups(
    rows: Path, parts: list[Path], contract: Contract, outputs: list[Output]
) -> Iterator[tuple[int, "pa.Table", "pa.Table"]]:
    import pyarrow.parquet as pq

    names = list({column.name: None for output in outputs for column in output.columns})
    words = [name for name, kind in prediction_columns(contract.target).items() if kind == "VARCHAR"]
    start = 0
    with open_rows(rows, contract) as source:
        for at, path in enumerate(parts):
            # Without rows there is a part, too.
            some = source.read_row_group(at, names, use_threads=False) if source.num_row_groups else source.read(names)
            with pq.ParquetFile(path, read_dictionary=words) as part:
                yield start, some, part.read(use_threads=False)
            start += len(some)


def _table(output: Output, rows: "pa.Table", answers: "pa.Table", start: int) -> "pa.Table":
    import pyarrow as pa

    kinds = arrow_types()
    columns = {column.name: values_of(rows, column) for column in output.columns}
    for name, value in output.facts.items():
        if name in answers.column_names:
            columns[name] = answers[name]
        elif name == POSITION:
            columns[name] = pa.array(np.arange(start, start + len(rows), dtype=np.int32))
        elif value is None:
            columns[name] = pa.nulls(len(rows), kinds[FACTS[name]])
        else:
            same = np.zeros(len(rows), dtype=np.int8)
            columns[name] = pa.DictionaryArray.from_arrays(same, pa.array([value], type=kinds[FACTS[name]]))
    return pa.table(columns)
