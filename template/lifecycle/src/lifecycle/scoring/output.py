# mypy: disable-error-code="import-untyped, import-not-found"
"""Combine completed rows and their predictions into output files, row group by row group in one pass."""

import os
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
# A column with more bytes of different values is written without a dictionary. Readers see plain text in either case.
OPTIONS: dict[str, Any] = {"dictionary_pagesize_limit": 2**13, "store_schema": False}


@dataclass(frozen=True)
class Output:
    """A Parquet file that is written to `draft` and renamed to `path`.

    Its columns are `columns` of the rows, then `facts`: a value for all rows, or, for the name of a prediction column
    or POSITION, the value of each row.
    """

    path: Path
    draft: Path
    columns: tuple[Column, ...]
    facts: dict[str, Any] = field(default_factory=dict)


def open_rows(path: Path, contract: Contract) -> "pq.ParquetFile":
    """Open a file of completed rows; the model's categories are read as codes and levels, which is much cheaper."""
    import pyarrow.parquet as pq

    return pq.ParquetFile(path, read_dictionary=[each.name for each in contract.inputs if each.kind == "category"])


def arrow_types() -> dict[str, "pa.DataType"]:
    """Return the Arrow type of each SQL type."""
    import pyarrow as pa

    return {"BIGINT": pa.int64(), "INTEGER": pa.int32(), "DOUBLE": pa.float64(), "VARCHAR": pa.string()}


def values_of(rows: "pa.Table", column: Column) -> "pa.ChunkedArray":
    """Return a column of completed rows; whole numbers may be stored as doubles and become integers here."""
    import pyarrow as pa

    values = rows[column.name]
    return values.cast(pa.int64()) if column.kind == "integer" else values


def write(rows: Path, parts: list[Path], contract: Contract, outputs: list[Output]) -> None:
    """Write completed rows and their predictions (one part per row group) to every output.

    Each output appears at its path in one step, when all are complete.

    Raises:
        LifecycleError: the disk is full or read-only.
    """
    try:
        with explain_disk_errors(outputs[0].path):
            for output in outputs:
                output.path.parent.mkdir(parents=True, exist_ok=True)
            _fill(rows, parts, contract, outputs)
            for output in outputs:
                flush(output.draft)
            for output in outputs:
                os.replace(output.draft, output.path)
                flush(output.path.parent)
    finally:
        for output in outputs:
            output.draft.unlink(missing_ok=True)


def _fill(rows: Path, parts: list[Path], contract: Contract, outputs: list[Output]) -> None:
    import pyarrow.parquet as pq

    names = list({column.name: None for output in outputs for column in output.columns})
    text = [name for name, kind in prediction_columns(contract.target).items() if kind == "VARCHAR"]
    writers: list[pq.ParquetWriter] = []
    start = 0
    with ExitStack() as stack:
        source = stack.enter_context(open_rows(rows, contract))
        for at, path in enumerate(parts):
            # A file without rows has no row group, and still one part.
            group = source.read_row_group(at, names, use_threads=False) if source.num_row_groups else source.read(names)
            with pq.ParquetFile(path, read_dictionary=text) as part:
                predictions = part.read(use_threads=False)
            tables = [_table(output, group, predictions, start) for output in outputs]
            for output, table in zip(outputs if not writers else (), tables, strict=False):
                writers.append(stack.enter_context(pq.ParquetWriter(output.draft, table.schema, **OPTIONS)))
            for writer, table in zip(writers, tables, strict=True):
                writer.write_table(table)
            start += len(group)


def _table(output: Output, rows: "pa.Table", predictions: "pa.Table", start: int) -> "pa.Table":
    import pyarrow as pa

    types = arrow_types()
    columns = {column.name: values_of(rows, column) for column in output.columns}
    for name, value in output.facts.items():
        if name in predictions.column_names:
            columns[name] = predictions[name]
        elif name == POSITION:
            columns[name] = pa.array(np.arange(start, start + len(rows), dtype=np.int32))
        elif value is None:
            columns[name] = pa.nulls(len(rows), types[FACTS[name]])
        else:
            same = np.zeros(len(rows), dtype=np.int8)
            columns[name] = pa.DictionaryArray.from_arrays(same, pa.array([value], type=types[FACTS[name]]))
    return pa.table(columns)
