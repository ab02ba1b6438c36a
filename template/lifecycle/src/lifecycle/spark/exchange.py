"""Rows that Spark writes to Parquet, for its own next query and for DuckDB on this machine, in `engine.exchange`."""

import contextlib
import secrets
import shutil
import time
import weakref
from pathlib import Path
from typing import Any

from lifecycle import timestamps
from lifecycle.contract.tables import path_literal
from lifecycle.errors import LifecycleError
from lifecycle.settings import Settings
from lifecycle.spark import dialect, explain

# What DuckDB calls the types of Spark, for the checks that both share.
NAMES = {"string": "VARCHAR", "int": "INTEGER", "timestamp": "TIMESTAMP WITH TIME ZONE", "timestamp_ntz": "TIMESTAMP"}
NAMES["void"] = '"NULL"'


# The names of the folders begin with it: others may use the same place.
RUNS = "lifecycle-run-"


class Exchange:
    """A session of Spark, and a folder for this process that it shares with Spark's workers."""

    def __init__(self, settings: Settings, session: Any) -> None:
        self.session = session
        shared, local = settings.engine.exchange, settings.storage.absolute() / ".spark"
        self._is_remote = "://" in shared
        run = f"{RUNS}{int(time.time())}-{secrets.token_hex(4)}"
        self._folder = f"{shared}/{run}" if self._is_remote else (Path(shared).absolute() if shared else local) / run
        self._local = local / run
        for folder in {self._local} if self._is_remote else {self._local, Path(self._folder)}:
            # The rows behind a URL remain, see lifecycle/docs/spark.md.
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
            for old in folder.parent.glob(f"{RUNS}*"):
                # A killed run leaves rows here; another job may remove them at the same time.
                with contextlib.suppress(FileNotFoundError):
                    if old.stat().st_mtime < time.time() - 2 * timestamps.DAY:
                        shutil.rmtree(old, ignore_errors=True)

    def query(self, sql: str, where: str) -> Any:
        """Return the frame of Spark of a query; LifecycleError, which names `where` it comes from, if it is wrong."""
        with explain(where):
            frame = self.session.sql(dialect.translate(sql.strip().rstrip(";")))
            # Spark Connect reports an error only when the schema is needed.
            _ = frame.schema
        return frame

    def collect(self, sql: str, where: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query with few rows."""
        with explain(where):
            return [tuple(row) for row in self.query(sql, where).collect()]

    def write(self, frame: Any, where: str) -> tuple[str, Any]:
        """Write the rows of a frame to Parquet; return where they are, and the frame that reads them."""
        path = f"{'' if self._is_remote else 'file://'}{self._folder}/{secrets.token_hex(4)}"
        with explain(where):
            frame.write.parquet(path)
            if not self._is_remote:
                self.files(path)
            return path, self.session.read.parquet(path)

    def files(self, path: str) -> list[Path]:
        """Return the files of rows that Spark has written, in their order, on this machine.

        Raises LifecycleError where the workers do not share the folder with this machine.
        """
        if not self._is_remote:
            found = sorted(Path(path.removeprefix("file://")).glob("part-*.parquet"))
            if not found:
                problem = f"the workers of Spark do not share the folder {self._folder} with this machine"
                raise LifecycleError(problem, "Set engine.exchange to a folder or URL that all of them can write.")
            return found
        import pyarrow.parquet as pq

        self._local.mkdir(parents=True, exist_ok=True)
        found = []
        for name in sorted(self.session.read.parquet(path).inputFiles()):
            # One file after the other: they are of limited size, and all rows may not fit in memory.
            found.append(self._local / f"{secrets.token_hex(4)}.parquet")
            pq.write_table(self.session.read.parquet(name).toArrow(), found[-1])
        return found

    def source(self, path: str) -> str:
        """Return SQL of DuckDB that reads rows that Spark has written."""
        return f"read_parquet([{', '.join(map(path_literal, self.files(path)))}])"


def described(frame: Any) -> dict[str, str]:
    """Return column name → type of a frame, as DuckDB calls it."""
    kinds = ((field.name, field.dataType.simpleString()) for field in frame.schema.fields)
    return {name: NAMES.get(kind, kind.upper()) for name, kind in kinds}


def spark_type(kind: str) -> str:
    """Return what Spark calls a type that a column of the contract has on DuckDB."""
    return {"VARCHAR": "STRING", "TIMESTAMP": "TIMESTAMP_NTZ"}.get(kind, kind)
