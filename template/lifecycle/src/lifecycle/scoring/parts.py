# mypy: disable-error-code="import-untyped, import-not-found"
"""Predictions in parts that survive a killed run: one file per row group, in a hidden sibling folder of the output.

A part is reused when the completed rows (by hash), the version, the threshold and `as_of` are the same.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lifecycle.models.bundle import hash_of
from lifecycle.models.predictor import Predictor
from lifecycle.registry.predictions import prediction_columns
from lifecycle.scoring.output import arrow_types, open_rows, values_of
from lifecycle.scoring.rows import RowFile
from lifecycle.storage import explain_disk_errors, flush, write_atomically

if TYPE_CHECKING:
    import pyarrow as pa

ROWS, FACTS, WHOLE = "rows.parquet", "facts.json", "whole.parquet"


def folder_of(output: Path) -> Path:
    """Return the folder that has the parts of an output until it is written."""
    return output.with_name(f".{output.name}.parts")


def begin(folder: Path, fill: Callable[[RowFile], object], group_rows: int, facts: dict[str, Any]) -> Path:
    """Let `fill` write the completed rows, and return their file; parts of other rows or facts are removed."""
    rows, fresh, known = folder / ROWS, folder / f"{ROWS}.draft", folder / FACTS
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            fill(RowFile(fresh, group_rows))
            wanted = json.dumps(facts | {"rows": hash_of(fresh)}).encode()
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


def predicted(folder: Path, rows: Path, predictor: Predictor, threshold: float | None) -> Iterator[tuple[Path, int]]:
    """Yield each part in order with its number of rows, after predicting the parts that are missing."""
    with open_rows(rows, predictor.contract) as source:
        # Without rows there is one part, which defines the columns.
        for at in range(max(1, source.num_row_groups)):
            path = folder / f"{at:06}.part.parquet"
            count = source.metadata.row_group(at).num_rows if source.num_row_groups else 0
            if not _is_whole(path, count):
                group = source.read_row_group(at, use_threads=False) if count else None
                _write(path, _predictions(predictor, group, threshold))
            yield path, count


def _is_whole(path: Path, count: int) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return bool(pq.read_metadata(path).num_rows == count)
    except (OSError, pa.ArrowException):
        return False


def _predictions(predictor: Predictor, group: "pa.Table | None", threshold: float | None) -> "pa.Table":
    """Return the same predictions as `format_predictions`, by column."""
    import pyarrow as pa

    contract, target = predictor.contract, predictor.contract.target
    names = prediction_columns(target)
    if group is None:
        types = arrow_types()
        return pa.table({name: pa.array([], type=types[kind]) for name, kind in names.items()})
    values = {column.name: values_of(group, column).combine_chunks() for column in contract.columns}
    raw = predictor.predict_batch(pa.record_batch(list(values.values()), names=list(values)))
    if target.task == "regression":
        return pa.table([pa.array(raw)], names=list(names))
    if target.task == "binary":
        codes, probabilities = raw >= (0.5 if threshold is None else threshold), [raw]
    else:
        codes, probabilities = raw.argmax(axis=1), list(raw.T)
    classes = pa.DictionaryArray.from_arrays(codes.astype(np.int32), pa.array(target.classes))
    return pa.table([classes, *map(pa.array, probabilities)], names=list(names))


def _write(path: Path, table: "pa.Table") -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = pa.BufferOutputStream()
    # Probabilities hardly repeat, and a part is read once.
    text = [name for name, kind in zip(table.column_names, table.schema.types, strict=True) if kind != pa.float64()]
    pq.write_table(table, content, use_dictionary=text or False, compression="none", write_statistics=False)
    write_atomically(path, content.getvalue().to_pybytes())
