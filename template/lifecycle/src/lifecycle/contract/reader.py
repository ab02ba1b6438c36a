"""Read files as typed columns: the same for training, `make score INPUT=` and labels."""

import codecs
import functools
import gzip
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from lifecycle.contract.readings import EARLIEST, LATEST, MISSING, OFFSETS, PLAIN, Boolean, Number, Text, Time, stripped
from lifecycle.contract.tables import Connection, describe, path_literal, quoted, text
from lifecycle.errors import LifecycleError, NotHere

__all__ = ["EARLIEST", "LATEST", "MISSING", "OFFSETS", "PLAIN", "Boolean", "Number", "Text", "Time", "stripped"]
__all__ += ["Table", "is_parquet", "open_rows", "utf8_copy"]

# The encodings that DuckDB reads itself, and in which a file in another encoding is an error.
READ_BY_DUCKDB = ("utf-8", "utf-16")


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
        """Register the file as a view of typed columns; NotHere where it, LifecycleError where a column is missing."""
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
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {quoted(view)} AS SELECT {values} FROM ({query})")

    def scan(self, path: Path) -> str:
        """Return SQL after FROM of the rows as they are, with text as values of CSV; LifecycleError if unreadable."""
        if is_parquet(path):
            return f"read_parquet({path_literal(path)}, hive_partitioning = false)"
        options = f"header = true, all_varchar = true, delim = {text(self.separator)}, quote = '\"', escape = '\"', "
        options += f"strict_mode = true, comment = '', nullstr = '', skip = {self.skip}"
        if self.encoding not in READ_BY_DUCKDB:
            path = utf8_copy(path.resolve(), path.stat().st_mtime_ns, self.encoding)
        elif self.encoding != "utf-8":
            options += f", encoding = {text(self.encoding)}"
        return f"read_csv({path_literal(path)}, {options})"


def open_rows(
    connection: Connection, path: Path, view: str, table: Table | None, needed: Collection[str]
) -> Mapping[str, Text]:
    """Register the rows of any file as they are; return how `table` declares its columns, if it has all `needed`."""
    scan = f"read_csv({path_literal(path)}, header = true, all_varchar = true, skip = 0)"
    declared: Mapping[str, Text] = {}
    if is_parquet(path):
        scan = Table("", {}).scan(path)
    if table and table.columns.keys() >= set(needed):
        known = describe(connection, f"FROM {table.scan(path)}")
        if all((table.columns[name].header or name) in known for name in needed):
            declared, scan = table.columns, table.scan(path)
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {view} AS FROM {scan}")
    return declared


def is_parquet(path: Path) -> bool:
    """Return whether a file is Parquet by its first bytes; raises LifecycleError for one that is none of its name."""
    hint = "Give a Parquet file, or a CSV file with a header."
    try:
        with path.open("rb") as opened:
            start = opened.read(4)
    except OSError as error:
        raise LifecycleError(f"{path} cannot be read: {error.strerror}", hint) from error
    if not start:
        raise LifecycleError(f"{path} is empty", hint)
    if start != b"PAR1" and path.suffix.lower() in (".parquet", ".pq"):
        raise LifecycleError(f"{path} is not a valid Parquet file", hint)
    return start == b"PAR1"


@functools.cache
def utf8_copy(path: Path, changed: int, encoding: str) -> Path:
    """Return a copy of a text file in UTF-8, which exists until the process ends; `changed` is when it was changed.

    Raises LifecycleError where the file has another encoding; a file in UTF-8 is never read as another one.
    """
    copy = Path(_copies().name) / f"{len(list(Path(_copies().name).iterdir()))}-{path.name.removesuffix('.gz')}"
    decode, is_utf8, is_ascii = codecs.getincrementaldecoder(encoding)(), codecs.getincrementaldecoder("utf-8")(), True
    hint = "Save it in the encoding that src/model/data.py declares, or run `make contract` with ENCODING=."
    valid = True
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as source, copy.open("wb") as target:
        while chunk := source.read(1 << 20):
            is_ascii = is_ascii and chunk.isascii()
            try:
                target.write(decode.decode(chunk).encode())
            except UnicodeError as error:
                raise LifecycleError(f"{path.name} is not in the encoding {encoding}", hint) from error
            try:
                is_utf8.decode(chunk)
            except UnicodeError:
                valid = False
    if valid and not is_ascii:
        raise LifecycleError(f"{path.name} is in UTF-8, and not in the declared encoding {encoding}", hint)
    return copy


@functools.cache
def _copies() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(prefix="lifecycle-")
