"""Open a file as a table: CSV with a detected dialect, or Parquet; other formats are rejected with a hint."""

import csv
import difflib
import io
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb
from pyarrow import parquet, types

from lifecycle.contract import tables
from lifecycle.contract.reader import Table
from lifecycle.contract.tables import text
from lifecycle.errors import LifecycleError
from looseleaf.contract import encoding
from looseleaf.contract.texts import TEXTS, refused

Connection = duckdb.DuckDBPyConnection
DELIMITERS = ",;\t|"
HEAD = 1_000_000
# A title is at most so many lines long.
MOST_ABOVE = 20
OTHERS = {ending: each for each in TEXTS["others"] for ending in each["endings"]}
STARTS = {b"PK\x03\x04": ".xlsx", b"\xd0\xcf\x11\xe0": ".xls", b"SQLite format": ".sqlite", b"\x80\x04": ".pkl"}


@dataclass(frozen=True)
class Source:
    """A readable file.

    `table` reads it, without its columns. `columns` maps SQL names to types; `header` holds the names in the file at
    the same positions. `description` says how the file is read, and `unsure` what was assumed about the whole file.
    `units` are those of durations.
    """

    given: str
    path: Path
    table: Table
    columns: dict[str, str]
    header: tuple[str, ...]
    description: str
    unsure: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)

    @property
    def sql(self) -> str:
        """SQL after FROM that reads this file."""
        return self.table.scan(self.path)

    @property
    def renamed(self) -> dict[str, str]:
        """SQL names of columns that differ from the file's, with the name in the file."""
        return {name: own for name, own in zip(self.columns, self.header, strict=True) if name != own}


def open_source(given: str, connection: Connection, charset: str = "") -> Source:
    """Open the file at the path that the user wrote; the encoding of CSV is detected unless `charset` names it.

    Raises LifecycleError if it cannot be read as a table; the message names the place and what to do.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", given):
        raise refused("address", given=given)
    path = Path(given).expanduser()
    if path.is_dir():
        raise refused("folder", given=given, hint=_in_folder(path))
    if not path.exists():
        raise refused("missing", given=given, hint=_nearest(path))
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise refused("unreadable", given=given, reason=error.strerror) from error
    if not start:
        raise refused("empty", given=given)
    path = path.resolve()
    if start.startswith(b"PAR1"):
        return _parquet(given, path, connection)
    suffix = next((kind for sign, kind in STARTS.items() if start.startswith(sign)), path.suffix.lower())
    if suffix in OTHERS:
        raise LifecycleError(f"{given} {OTHERS[suffix]['problem']}", OTHERS[suffix]["hint"])
    return _csv(given, path, connection, charset)


def count(source: Source, connection: Connection) -> int:
    """Count the rows by reading every line; raises LifecycleError naming the first malformed one."""
    # DuckDB names the line only if it does not detect the dialect itself.
    columns = ", ".join(f"{text(name)}: 'VARCHAR'" for name in source.columns)
    scan = source.sql.replace("all_varchar = true", f"auto_detect = false, columns = {{{columns}}}")
    try:
        return tables.count(connection, f"FROM {scan}")
    except duckdb.Error as error:
        raise malformed(source.path, error) from error


def malformed(path: Path, error: Exception) -> LifecycleError:
    """Return DuckDB's error about a file without the values that it quotes."""
    message = str(error)
    line = re.search(r"CSV Error on Line: (\d+)", message)
    where = f"{path.name}{f', line {line[1]}' if line else ''}: "
    for each in TEXTS["malformed"]:
        if found := re.search(each["pattern"], message):
            return LifecycleError(where + found.expand(each["problem"]), each["hint"])
    return LifecycleError(f"{where}it cannot be read", "Is it CSV with a line of names, or Parquet?")


def _parquet(given: str, path: Path, connection: Connection) -> Source:
    table = Table(path.name, {})
    try:
        columns, schema = tables.describe(connection, f"FROM {table.scan(path)}"), parquet.read_schema(path)
    except duckdb.Error as error:
        raise refused("not_parquet", file=path.name, reason=str(error).splitlines()[0]) from error
    # A duration arrives as a whole number.
    units = {each.name: each.type.unit for each in schema if types.is_duration(each.type)}
    return Source(given, path, table, columns, tuple(schema.names), "Parquet", units=units)


def _csv(given: str, path: Path, connection: Connection, charset: str) -> Source:
    unsure = []
    try:
        if not charset:
            charset = encoding.detect(path)
            if charset not in ("utf-8", "utf-16"):
                unsure.append(f"the encoding was taken to be {charset}; ENCODING=… names another one")
        with encoding.open_bytes(path) as file:
            head = file.read(HEAD).decode(charset, "ignore").removeprefix("\ufeff")
    except (OSError, EOFError) as error:
        raise refused("packed", file=path.name, reason=error) from error
    except LookupError:
        raise refused("encoding", name=charset) from None
    separator, skip, header = _dialect(head, path)
    if skip:
        unsure.append(f"{skip} line{'s' * (skip > 1)} above the names {'were' if skip > 1 else 'was'} skipped")
    table = Table(path.name, {}, separator, charset, skip)
    names = {"\t": "tab", ";": "semicolon", ",": "comma", "|": "bar"}
    packed = ", packed with gzip" if path.suffix == ".gz" else ""
    description = f"CSV, separated by {names[separator]}, {charset}{packed}"
    columns = {f"c{at}": "VARCHAR" for at in range(len(header))}
    made = Source(given, path, table, columns, header, description, tuple(unsure))
    try:
        columns = tables.describe(connection, f"FROM {made.sql}")
    except duckdb.Error as error:
        # DuckDB's detection failed; reading without it finds the wrong line.
        count(made, connection)
        raise malformed(path, error) from error
    if len(columns) != len(header):
        raise refused("widths", file=path.name, line=skip + 1, names=len(header), values=len(columns))
    return replace(made, columns=columns)


def _dialect(head: str, path: Path) -> tuple[str, int, tuple[str, ...]]:
    """Return the separator on which most lines agree, the number of lines above the names, and the names."""
    line, _, rest = head.partition("\n")
    if named := re.fullmatch(r"sep=(.)", line.strip(), re.I):
        row = next(_records(rest, named[1]), [])
        return named[1], 1, tuple(_checked(row, path))
    best: tuple[float, str, list[list[str]]] = (-1.0, ",", [])
    for delimiter in DELIMITERS:
        rows = [row for row, _ in zip(_records(head, delimiter), range(200), strict=False) if row]
        if rows and (width := _width(rows)) > 1:
            alike = sum(len(row) == width for row in rows) / len(rows)
            best = max(best, (round(alike, 2) + width / 1e6, delimiter, rows), key=lambda each: each[0])
    _, delimiter, rows = best
    rows = rows or [next((row for row in _records(head, ",") if row), [])]
    width = _width(rows)
    # A title has few fields; a first line that lacks one name of many is a mistake.
    above = next((at for at, row in enumerate(rows[:MOST_ABOVE]) if len([*filter(None, row)]) > width // 2), 0)
    skip = 0
    if above:
        lines = head.splitlines()
        skip = next(at for at, line in enumerate(lines) if next(_records(line, delimiter), []) == rows[above])
    return delimiter, skip, tuple(_checked(rows[above], path, skip + 1))


def _width(rows: list[list[str]]) -> int:
    """Return the number of fields that most rows have."""
    return Counter(map(len, rows)).most_common(1)[0][0]


def _checked(names: list[str], path: Path, line: int = 1) -> list[str]:
    if not names:
        raise refused("no_line", file=path.name)
    numbers = [name for name in names if re.fullmatch(r"[+-]?[0-9.,]+", name)]
    # pandas numbers the columns of an array: 0, 1, 2, …
    counted = [[str(at + first) for at in range(len(numbers))] for first in (0, 1)]
    if len(numbers) > len(names) / 2 and numbers not in counted:
        raise refused("no_names", file=path.name, line=line, values=", ".join(numbers[:3]))
    return names


def _records(head: str, delimiter: str) -> Iterator[list[str]]:
    csv.field_size_limit(HEAD)
    try:
        yield from csv.reader(io.StringIO(head, newline=""), delimiter=delimiter)
    except csv.Error:
        return


def _in_folder(path: Path) -> str:
    files = sorted(each.name for each in path.glob("*") if each.suffix in (".csv", ".tsv", ".parquet"))[:5]
    return f"Name one file, for example {path / files[0]}." if files else "Name one CSV or Parquet file."


def _nearest(path: Path) -> str:
    there = [each.name for each in path.parent.glob("*")] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, there, n=3, cutoff=0.5)
    if near:
        return f"Similar: {', '.join(near)}."
    return "Name a CSV or Parquet file." if path.parent.is_dir() else f"There is no folder {path.parent}."


def refuse_larger_than_disk(source: Source, root: Path) -> None:
    """Raise LifecycleError if the disk has less free space than the file, which DuckDB may spill to it."""
    size, free = source.path.stat().st_size, shutil.disk_usage(root).free
    if size > free:
        raise refused("disk", file=source.path.name, size=size / 1e6, free=free / 1e6)
