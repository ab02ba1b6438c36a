"""The feature table of the service: a read-only SQLite file for each feature set, replaced in one step."""

import errno
import sqlite3
import weakref
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from lifecycle.contract.schema import Contract
from lifecycle.contract.tables import quoted
from lifecycle.errors import LifecycleError
from lifecycle.features.point_in_time import ROWS, connect, latest, population_rows, training_rows
from lifecycle.storage import Store, replacing

__all__ = ["ROWS", "FeatureTable", "connect", "latest", "population_rows", "table_path", "training_rows", "write_table"]
DISK_ERRORS = {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_READONLY: errno.EROFS}
DISK_ERRORS[sqlite3.SQLITE_CANTOPEN] = errno.EACCES


def table_path(store: Store, feature_set: str) -> Path:
    """Return the path of the feature table of a feature set, whose name is in `bundle.json`."""
    return store.features / f"{feature_set}.sqlite"


def write_table(path: Path, contract: Contract, rows: Iterable[Sequence[Any]], as_of: int) -> int:
    """Replace a feature table in one step, and return its number of rows.

    Raises LifecycleError where the disk is full or not writable; the old table is unchanged. `rows` have the key and
    the looked-up columns, in contract order, as of the time `as_of` in seconds.
    """
    names = [column.name for column in contract.looked_up]
    with replacing(path) as temporary:
        try:
            with closing(sqlite3.connect(temporary)) as connection, connection:
                # A file that is not written completely is deleted, so it needs no journal.
                connection.execute("PRAGMA journal_mode = OFF")
                columns = ", ".join(quoted(name) for name in names)
                key = f"PRIMARY KEY ({quoted(names[0])})"
                connection.execute(f"CREATE TABLE features ({columns}, {key}) WITHOUT ROWID")
                connection.execute("CREATE TABLE written (as_of INTEGER)")
                connection.execute("INSERT INTO written VALUES (?)", (as_of,))
                insert = f"INSERT INTO features VALUES ({', '.join('?' * len(names))})"
                return connection.executemany(insert, rows).rowcount
        except sqlite3.OperationalError as error:
            # SQLite has error codes of its own; `replacing` explains those of the operating system.
            code = DISK_ERRORS.get(error.sqlite_errorcode & 0xFF, errno.EIO)
            raise OSError(code, str(error), str(path)) from error


class FeatureTable:
    """A feature table opened for look-ups. It never changes: when the file is replaced, open another one.

    Raises FileNotFoundError where there is no file, and LifecycleError for one that is no table of the contract.
    """

    def __init__(self, path: Path, contract: Contract) -> None:
        key, *_ = contract.looked_up
        self.path = path
        self._names = [column.name for column in contract.lookups]
        # SQLite stores booleans as 0 and 1.
        self._booleans = {column.name for column in contract.lookups if column.kind == "boolean"}
        # Without the table's name, SQLite reads a quoted name that is not a column as a text.
        names = ", ".join(f"features.{quoted(name)}" for name in self._names)
        self._query = f"SELECT {names} FROM features WHERE features.{quoted(key.name)} = ?"
        self._file = path.stat()
        try:
            # `immutable` skips the locks against writers, which take two thirds of the time of a look-up. One thread
            # opens the table and another one reads it.
            uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
            self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
            weakref.finalize(self, self._connection.close)
            self._cursor = self._connection.cursor()
            self.as_of = int(self._connection.execute("SELECT as_of FROM written").fetchone()[0])
            self._connection.execute(self._query, ("",)).fetchone()
        except (sqlite3.Error, TypeError) as error:
            problem = f"{path} is not the table of features of this model ({error})"
            raise LifecycleError(problem, "`make features` writes it again.") from error

    def is_current(self) -> bool:
        """Return whether the file was not replaced; a deleted file does not invalidate the open table."""
        try:
            found = self.path.stat()
            return (found.st_ino, found.st_mtime_ns) == (self._file.st_ino, self._file.st_mtime_ns)
        except FileNotFoundError:
            return True

    def look_up(self, key: Any) -> dict[str, Any] | None:
        """Return the looked-up columns of a key, or None for an unknown key."""
        try:
            found = self._cursor.execute(self._query, (key,)).fetchone()
        except OverflowError:
            # A whole number beyond 64 bits cannot be a key of the table.
            return None
        if found is None:
            return None
        return {
            name: bool(value) if name in self._booleans and value is not None else value
            for name, value in zip(self._names, found, strict=True)
        }
