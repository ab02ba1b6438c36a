# mypy: disable-error-code="import-untyped, import-not-found"
"""Answers in parts that outlive a kill: one small file for each row group, in a hidden folder beside the output.

A part is taken over when what it answers is the same: the completed rows (by hash), version, threshold and moment.
"""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lifecycle.contract.schema import Contract, Target
from lifecycle.models.bundle import hash_of
from lifecycle.models.predictor import Predictor
from lifecycle.models.runtimes import Outputs
from lifecycle.registry.deployments import Deployed
from lifecycle.registry.predictions import prediction_columns
from lifecycle.scoring.output import arrow_types, open_rows, values_of
from lifecycle.storage import explain_disk_errors, flush, write_atomically

if TYPE_CHECKING:
    import pyarrow as pa

ROWS, FACTS, WHOLE = "rows.parquet", "facts.json", "whole.parquet"


def folder_of(output: Path) -> Path:
    """Where the parts of an output stand until it does."""
    return output.with_name(f".{output.name}.parts")


def begin(folder: Path, fill: Callable[[Path], object], facts: dict[str, Any]) -> Path:
    """Let `fill` write the completed rows, and keep the parts there are if they answer exactly these; returns the rows.

    Raises LifecycleError as `fill` does, and when the disk refuses.
    """
    rows, fresh, noted = folder / ROWS, folder / f"{ROWS}.draft", folder / FACTS
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            fill(fresh)
            told = json.dumps(facts | {"rows": hash_of(fresh)}).encode()
            if not (noted.exists() and noted.read_bytes() == told and rows.exists()):
                # First the facts: without them, nothing that stands here counts.
                noted.unlink(missing_ok=True)
                for part in folder.glob("*.part.parquet"):
                    part.unlink()
                flush(fresh)
                fresh.replace(rows)
                write_atomically(noted, told)
        finally:
            fresh.unlink(missing_ok=True)
            # It is empty where nothing could be completed.
            with contextlib.suppress(OSError):
                folder.rmdir()
    return rows


def parts_of(folder: Path, rows: Path, predictor: Predictor, live: Deployed) -> Iterator[tuple[Path, int]]:
    """Each part in order, and how many rows it answers; what does not stand yet is answered."""
    with open_rows(rows, predictor.contract) as source:
        # Without rows there is a part, too: it says what the columns are.
        for at in range(max(1, source.num_row_groups)):
            path = folder / f"{at:06}.part.parquet"
            count = source.metadata.row_group(at).num_rows if source.num_row_groups else 0
            if not _holds(path, count):
                batch = _batch(source.read_row_group(at, use_threads=False), predictor.contract) if count else None
                _write(path, _answers(predictor, batch, live.threshold))
            yield path, count


def end(folder: Path) -> None:
    """Remove the parts: the output stands."""
    shutil.rmtree(folder, ignore_errors=True)


def _holds(path: Path, count: int) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return bool(pq.read_metadata(path).num_rows == count)
    except (OSError, pa.ArrowException):
        return False


def _batch(table: "pa.Table", contract: Contract) -> "pa.RecordBatch":
    """The contract's columns."""
    import pyarrow as pa

    values = {column.name: values_of(table, column).combine_chunks() for column in contract.columns}
    return pa.record_batch(list(values.values()), names=list(values))


def _answers(predictor: Predictor, batch: "pa.RecordBatch | None", threshold: float | None) -> "pa.Table":
    import pyarrow as pa

    target = predictor.contract.target
    names = prediction_columns(target)
    if batch is None:
        kinds = arrow_types()
        return pa.table({name: pa.array([], type=kinds[kind]) for name, kind in names.items()})
    return pa.table(_columns(predictor.predict_batch(batch), target, threshold), names=list(names))


def _columns(given: Outputs, target: Target, threshold: float | None) -> list["pa.Array"]:
    """What `format_predictions` says of each row, by column."""
    import pyarrow as pa

    if target.task == "regression":
        return [pa.array(given)]
    classes, named = pa.array(target.classes), pa.DictionaryArray.from_arrays
    if target.task == "binary":
        limit = 0.5 if threshold is None else threshold
        return [named((given >= limit).astype(np.int8), classes), pa.array(given)]
    return [named(given.argmax(axis=1), classes), *(pa.array(each) for each in given.T)]


def _write(path: Path, table: "pa.Table") -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = pa.BufferOutputStream()
    # Probabilities hardly repeat, and the part is read once.
    words = [name for name, kind in zip(table.column_names, table.schema.types, strict=True) if kind != pa.float64()]
    pq.write_table(table, content, use_dictionary=words or False, compression="none", write_statistics=False)
    write_atomically(path, content.getvalue().to_pybytes())
