"""The feature table of the service: one read-only SQLite file for each feature set, swapped in one step."""

import errno
import os
import sqlite3
import weakref
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from lifecycle.contract.schema import Contract
from lifecycle.contract.tables import quoted
from lifecycle.errors import LifecycleError
from lifecycle.storage import Store, draft, explain_disk_errors

DISK = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_CANTOPEN: errno.EACCES,
}


def table_path(store: Store, feature_set: str) -> Path:
    """Return the path of the feature table of a feature set, whose name is in `bundle.json`."""
    return store.features / f"{feature_set}.sqlite"


def write_table(path: Path, contract: Contract, rows: Iterable[Sequence[Any]], as_of: int) -> int:
    """Write key and entity columns (in contract order) as of a moment, replacing the table; returns the row count.

    Raises LifecycleError when the disk refuses; then the old table is untouched.
    """
    names = [column.name for column in contract.looked_up]
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = draft(path)
        try:
            with closing(sqlite3.connect(beside)) as connection:
                count = _fill(connection, names, rows, as_of)
            os.replace(beside, path)
        except sqlite3.OperationalError as error:
            # SQLite has its own words for a disk that refuses; `explain_disk_errors` names the place and the hint.
            code = DISK.get(error.sqlite_errorcode & 0xFF, errno.EIO)
            raise OSError(code, str(error), str(path)) from error
        finally:
            beside.unlink(missing_ok=True)
    return count


def _fill(connection: sqlite3.Connection, names: list[str], rows: Iterable[Sequence[Any]], as_of: int) -> int:
    # A draft that breaks is thrown away whole, so it needs no journal beside it.
    connection.execute("PRAGMA journal_mode = OFF")
    columns = ", ".join(quoted(name) for name in names)
    with connection:
        connection.execute(f"CREATE TABLE features ({columns}, PRIMARY KEY ({quoted(names[0])})) WITHOUT ROWID")
        connection.execute("CREATE TABLE written (as_of INTEGER)")
        connection.execute("INSERT INTO written VALUES (?)", (as_of,))
        places = ", ".join("?" * len(names))
        connection.executemany(f"INSERT INTO features VALUES ({places})", rows)
        return int(connection.execute("SELECT count(*) FROM features").fetchone()[0])


class FeatureTable:
    """Features by key, from one file as it stands now: it never changes; when the file is replaced, open another."""

    def __init__(self, path: Path, contract: Contract) -> None:
        """Open the file; raises FileNotFoundError without one, and LifecycleError when it is not such a table."""
        assert contract.key is not None, "a contract with entity columns has a key"
        self.path = path
        self._names = [column.name for column in contract.lookups]
        # SQLite keeps them as 0 and 1.
        self._booleans = [column.name for column in contract.lookups if column.kind == "boolean"]
        # Without the table's name SQLite takes a quoted column that is not there for a text.
        names = ", ".join(f"features.{quoted(column.name)}" for column in contract.lookups)
        self._query = f"SELECT {names} FROM features WHERE features.{quoted(contract.key.name)} = ?"
        self._stamp = _stamp(path)
        try:
            # Opened in the thread that follows the storage, used in the loop's.
            # Nobody writes to this file: without the locks against writers a look-up takes a third of the time.
            uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
            self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
            weakref.finalize(self, self._connection.close)
            self._cursor = self._connection.cursor()
            self.as_of = int(self._connection.execute("SELECT as_of FROM written").fetchone()[0])
            self._connection.execute(self._query, ("",)).fetchone()
        except (sqlite3.Error, TypeError) as error:
            problem = f"{path} is not the table of features that this model looks up ({error})"
            raise LifecycleError(problem, "`make features` writes it again.") from error

    def is_current(self) -> bool:
        """Whether the file has not been replaced since; a file that is gone does not replace what is open."""
        try:
            return _stamp(self.path) == self._stamp
        except FileNotFoundError:
            return True

    def look_up(self, key: Any) -> dict[str, Any] | None:
        """The entity columns of one key, or None."""
        try:
            found = self._cursor.execute(self._query, (key,)).fetchone()
        except OverflowError:
            # A whole number beyond 64 bits cannot be a key in the table.
            return None
        if found is None:
            return None
        entity = dict(zip(self._names, found, strict=True))
        for name in self._booleans:
            if entity[name] is not None:
                entity[name] = bool(entity[name])
        return entity


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns
