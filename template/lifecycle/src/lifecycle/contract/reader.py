"""Read files as typed columns: the same for training, `make score INPUT=` and labels."""

import atexit
import codecs
import contextlib
import functools
import gzip
import shutil
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from lifecycle.contract.readings import PLAIN, Boolean, Number, Text, Time
from lifecycle.contract.tables import Connection, describe, limit_planning, path_literal, quoted, subquery, text
from lifecycle.errors import LifecycleError, NotHere

__all__ = ["PLAIN", "Boolean", "Number", "Table", "Text", "Time", "is_parquet", "open_rows"]


@dataclass(frozen=True)
class Table:
    """A CSV or Parquet file below the data folder, and how its columns are read, by their names in the contract.

    `separator`, `encoding` (as Python names it) and the number of lines to `skip` above the names are those of CSV.
    """

    file: str
    columns: Mapping[str, Text]
    separator: str = ","
    encoding: str = "utf-8"
    skip: int = 0

    def register(self, connection: Connection, folder: Path, view: str = "source") -> None:
        """Register the file as a view of typed columns; NotHere for a missing file, LifecycleError for a column."""
        path = folder / self.file
        if not path.exists():
            problem = "points to a file that does not exist" if path.is_symlink() else "is missing"
            raise NotHere(f"{path} {problem}", "Put the file there, or name its folder: LIFECYCLE_DATA=folder.")
        self.read(connection, f"FROM {self.scan(path)}", view)

    def read(self, connection: Connection, query: str, view: str = "source") -> None:
        """Register the rows of a query, whose columns have the names of the file, as a view of typed columns."""
        described = describe(connection, query)
        headers = {reading.header or name for name, reading in self.columns.items()}
        if lacking := sorted(headers - described.keys()):
            problem = f"{self.file} lacks the column{'s' * (len(lacking) > 1)} {', '.join(lacking)}"
            raise LifecycleError(problem, "src/model/data.py declares it; change the file or the declaration.")
        values = ", ".join(
            f"{reading.value(quoted(header), described[header], f'`{header}` in {self.file}')} AS {quoted(name)}"
            for name, reading in self.columns.items()
            for header in (reading.header or name,)
        )
        limit_planning(connection, len(self.columns))
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(view)} AS SELECT {values} FROM {subquery(query)}")

    def scan(self, path: Path) -> str:
        """Return SQL after FROM of the rows as they are, with text as values of CSV; LifecycleError if unreadable."""
        if is_parquet(path):
            return f"read_parquet({path_literal(path)}, hive_partitioning = false)"
        options = f"header = true, all_varchar = true, delim = {text(self.separator)}, quote = '\"', escape = '\"', "
        options += f"strict_mode = true, comment = '', nullstr = '', skip = {self.skip}"
        try:
            encoding = codecs.lookup(self.encoding).name
        except LookupError:
            problem = f"{self.encoding} is not an encoding of Python"
            raise LifecycleError(problem, "Correct `encoding` of the table in src/model/data.py.") from None
        # DuckDB reads these two itself, and a file in another encoding is an error then.
        if encoding == "utf-16":
            options += ", encoding = 'utf-16'"
        elif not encoding.startswith("utf-8"):
            path = utf8_copy(path.resolve(), path.stat().st_mtime_ns, self.encoding)
        return f"read_csv({path_literal(path)}, {options})"


def open_rows(
    connection: Connection, path: Path, view: str, table: Table | None, needed: Collection[str]
) -> Mapping[str, Text]:
    """Register the rows of any file as they are; return how `table` declares its columns, if it has all `needed`."""
    import duckdb

    declared: Mapping[str, Text] = {}
    as_csv = f"read_csv({path_literal(path)}, header = true, all_varchar = true, skip = 0)"
    scan = Table("", {}).scan(path) if is_parquet(path) else as_csv
    if table and table.columns.keys() >= set(needed):
        headers = {table.columns[name].header or name for name in needed}
        try:
            known = describe(connection, f"FROM {table.scan(path)}").keys()
        except (LifecycleError, duckdb.Error):
            # It cannot be read as declared, which is an error only where it has the columns of `table`.
            known = describe(connection, f"FROM {scan}").keys()
            if headers <= known:
                raise
        if headers <= known:
            declared, scan = table.columns, table.scan(path)
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {view} AS FROM {scan}")
    limit_planning(connection, len(describe(connection, f"FROM {view}")))
    return declared


def is_parquet(path: Path) -> bool:
    """Return whether a file is Parquet by its first bytes; raises LifecycleError for a .parquet that is not."""
    hint = "Give a Parquet file, or a CSV file with a header."
    try:
        with path.open("rb") as opened:
            start = opened.read(4)
    except OSError as error:
        raise LifecycleError(f"{path} cannot be read: {error.strerror}", hint) from error
    if not start or (start != b"PAR1" and path.suffix.lower() in (".parquet", ".pq")):
        raise LifecycleError(f"{path} is {'not a valid Parquet file' if start else 'empty'}", hint)
    return start == b"PAR1"


@functools.cache
def utf8_copy(path: Path, changed: int, encoding: str) -> Path:
    """Return a copy of a text file in UTF-8, which exists until the process ends; `changed` is when it was changed.

    Raises LifecycleError where the file has another encoding; a file in UTF-8 is never read as another one.
    """
    hint = "Save it in the encoding that src/model/data.py declares, or run `make contract` with ENCODING=."
    opened = functools.partial(gzip.open if path.suffix == ".gz" else open, path, "rt", newline="")
    with contextlib.suppress(UnicodeError), opened(encoding="utf-8") as file:
        if not all([part.isascii() for part in iter(lambda: file.read(1 << 20), "")]):
            raise LifecycleError(f"{path.name} is in UTF-8, and not in the declared encoding {encoding}", hint)
    handle, name = tempfile.mkstemp(f"-{path.name.removesuffix('.gz')}", "lifecycle-")
    copy = Path(name)
    atexit.register(copy.unlink, missing_ok=True)
    try:
        with opened(encoding=encoding) as file, open(handle, "w", encoding="utf-8", newline="") as target:
            shutil.copyfileobj(file, target)
    except UnicodeError as error:
        raise LifecycleError(f"{path.name} is not in the encoding {encoding}", hint) from error
    return copy
