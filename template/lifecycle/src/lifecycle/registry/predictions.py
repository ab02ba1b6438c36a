"""The prediction log as Parquet: `predictions/<environment>/date=<UTC date>/<segment>.parquet`, one row a prediction.

Columns are the loggable ones of the contract, FACTS, and the prediction.
"""

from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle import timestamps
from lifecycle.contract.schema import Contract, Target
from lifecycle.contract.tables import count, path_literal, text
from lifecycle.errors import LifecycleError
from lifecycle.storage import Store, lock

if TYPE_CHECKING:
    import duckdb

LOGGED = "lifecycle_logged"  # the table that `load_rows` creates
FACTS = {
    "ts": "BIGINT",
    "as_of": "BIGINT",
    "version": "VARCHAR",
    "threshold": "DOUBLE",
    "lifecycle_request": "VARCHAR",
    "lifecycle_position": "INTEGER",
}


def prediction_columns(target: Target) -> dict[str, str]:
    """Return the columns of a prediction in a table, with their SQL types."""
    if target.task == "regression":
        return {"prediction": "DOUBLE"}
    if target.task == "binary":
        return {"prediction": "VARCHAR", "probability": "DOUBLE"}
    return {"prediction": "VARCHAR"} | {f"probabilities_{name}": "DOUBLE" for name in target.classes}


def contract_of(store: Store, version: str) -> Contract:
    """Return the contract of a version without opening its other files; raises LifecycleError when it is gone."""
    path = store.bundles / version / "contract.json"
    try:
        return Contract.from_json(path.read_bytes(), where=str(path))
    except OSError:
        raise LifecycleError(f"bundle {version} is gone", f"Restore {path.parent}.") from None


def exclusive(store: Store, environment: str) -> AbstractContextManager[None]:
    """Return the lock of the jobs that change the files of an environment."""
    return lock(store.predictions / environment / ".lock")


def files(store: Store, environment: str) -> list[Path]:
    """Return every Parquet file of an environment, by date."""
    return sorted((store.predictions / environment).glob("date=*/[!.]*.parquet"))


def date_of(file: Path) -> date:
    """Return the UTC date of a Parquet file of the log."""
    return date.fromisoformat(file.parent.name.removeprefix("date="))


def load_rows(
    connection: "duckdb.DuckDBPyConnection",
    store: Store,
    environment: str,
    first: int,
    last: int,
    version: str | None = None,
) -> int:
    """Create the table LOGGED with the logged predictions of a time range, oldest first, and return their number.

    The range is from `first` until before `last`, in seconds. Without a version, the table has the predictions of all
    versions and the columns of all their contracts.
    """
    every = files(store, environment)
    paths = [path for path in every if first - timestamps.DAY < timestamps.midnight(date_of(path)) < last]
    if paths and version is not None:
        # A file of another contract would widen the types of this version's columns.
        query = f"SELECT DISTINCT filename FROM {table_of(paths, 'filename = true')} WHERE version = {text(version)}"
        paths = sorted(Path(name) for (name,) in connection.execute(query).fetchall())
    nothing = ", ".join(f"CAST(NULL AS {kind}) AS {name}" for name, kind in (FACTS | {"prediction": "VARCHAR"}).items())
    source = table_of(paths) if paths else f"(SELECT {nothing} WHERE FALSE)"
    condition = "" if version is None else f" AND version = {text(version)}"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {LOGGED} AS SELECT * FROM {source} "
        f"WHERE ts >= {int(first)} AND ts < {int(last)}{condition} ORDER BY ts, lifecycle_request, lifecycle_position"
    )
    return count(connection, f"FROM {LOGGED}")


def table_of(paths: list[Path], *options: str) -> str:
    """Return SQL of the rows of Parquet files of the log, which may have different columns."""
    given = ("union_by_name = true", "hive_partitioning = false", *options)
    return f"read_parquet([{', '.join(map(path_literal, paths))}], {', '.join(given)})"
