"""What runs in the Python workers of Spark: a bundle is opened once in each, verified by its golden rows, and predicts.

The files of the bundle travel with the function, so that a worker needs neither the storage nor a shared folder; it
needs the environment of this repository.
"""

import functools
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lifecycle.errors import LifecycleError
from lifecycle.models.bundle import Bundle, verify
from lifecycle.models.predictor import Predictor
from lifecycle.spark import MARK

# Predicts a table of Arrow: the predictor, the rows and the threshold, to a table of the added columns.
Predict = Callable[[Predictor, Any, float | None], Any]


def packed(bundle: Bundle) -> tuple[tuple[str, bytes], ...]:
    """Return the files of a bundle, by their path below its folder, which begins with the version."""
    files = sorted(path for path in bundle.path.rglob("*") if path.is_file())
    return tuple((str(path.relative_to(bundle.path.parent)), path.read_bytes()) for path in files)


@functools.lru_cache(maxsize=1)
def _opened(files: tuple[tuple[str, bytes], ...]) -> Predictor:
    # A `python` model may read its files later.
    folder = Path(tempfile.mkdtemp(prefix="lifecycle-"))
    for name, content in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    predictor = Predictor(verify(folder / Path(files[0][0]).parts[0]))
    if predictor.bundle.kind != "python":
        shutil.rmtree(folder)
    return predictor


def predict(
    files: tuple[tuple[str, bytes], ...], apply: Predict, threshold: float | None, batches: Iterator[Any]
) -> Iterator[Any]:
    """Yield each record batch with the columns of its predictions.

    An error of the lifecycle is raised with a mark, by which `spark.explain` finds it in what Spark reports.
    """
    import pyarrow as pa

    try:
        predictor = _opened(files)
        for batch in batches:
            rows = pa.Table.from_batches([batch])
            found = apply(predictor, rows, threshold)
            is_coded = (pa.types.is_dictionary(column.type) for column in found.columns)
            plain = (
                each.cast(pa.string()) if coded else each for each, coded in zip(found.columns, is_coded, strict=True)
            )
            yield from pa.table([*plain], names=found.column_names).to_batches()
    except LifecycleError as error:
        raise RuntimeError(f"{MARK}{error.problem} | {error.hint}") from error
