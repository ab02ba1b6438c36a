"""A file as a table: CSV whose dialect is found by itself, or Parquet; everything else is refused with a hint."""

import codecs
import csv
import difflib
import gzip
import io
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

from lifecycle.contract.tables import text
from lifecycle.errors import LifecycleError

if TYPE_CHECKING:
    import duckdb

DELIMITERS = ",;\t|"
HEAD = 1_000_000
CHUNK = 1 << 20
EXCEL = "Save the sheet as CSV (UTF-8) in the program that made it, and give that file."
EXPORT = "Export the rows as CSV or Parquet, and give that file."
OTHERS = {
    **dict.fromkeys((".xlsx", ".xls", ".xlsm", ".xlsb", ".ods"), ("is a spreadsheet", EXCEL)),
    **dict.fromkeys((".json", ".jsonl", ".ndjson", ".avro", ".orc", ".feather", ".arrow"), ("is no table", EXPORT)),
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), ("is a pickle, which runs code when it is read", EXPORT)),
    **dict.fromkeys((".zip", ".tar", ".7z", ".rar", ".bz2", ".xz"), ("is an archive", "Unpack it first.")),
    **dict.fromkeys((".db", ".sqlite", ".sqlite3", ".duckdb"), ("is a database", EXPORT)),
}
STARTS = {b"PK\x03\x04": ".xlsx", b"\xd0\xcf\x11\xe0": ".xls", b"SQLite format": ".sqlite", b"\x80\x04": ".pkl"}


@dataclass(frozen=True)
class Source:
    """A file that can be read: `scan` is SQL after FROM, with `{path}` for the file as a text literal.

    `columns` are names as SQL has them, with their types; `header` has those of the file at the same positions.
    `told` says how the file is read, in words.
    """

    given: str
    path: Path
    scan: str
    columns: dict[str, str]
    header: tuple[str, ...]
    told: str
    semicolons: bool = False
    copy: Path | None = None

    @property
    def readable(self) -> Path:
        """The file that DuckDB reads: a copy in UTF-8 where it does not know the encoding."""
        return self.copy or self.path

    @property
    def sql(self) -> str:
        """SQL after FROM that reads this file."""
        return self.scan.format(path=text(str(self.readable)))

    @property
    def renamed(self) -> dict[str, str]:
        """Columns that SQL cannot call by their own name, and that name."""
        return {name: own for name, own in zip(self.columns, self.header, strict=True) if name != own}


def open_source(given: str, connection: "duckdb.DuckDBPyConnection", scratch: Path) -> Source:
    """The file at a path; raises LifecycleError that says what is wrong with it, where, and what to do.

    Where it has to be written in another encoding, the copy stands in `scratch`.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", given):
        raise LifecycleError(f"{given} is an address, not a file", "Download it first, and give the file.")
    path = Path(given).expanduser()
    if path.is_dir():
        raise LifecycleError(f"{given} is a folder", _in_folder(path))
    if not path.exists():
        raise LifecycleError(f"{given} does not exist", _nearest(path))
    try:
        with path.open("rb") as file:
            start = file.read(16)
    except OSError as error:
        raise LifecycleError(f"{given} cannot be read: {error.strerror}", "Change who may read it.") from error
    if not start:
        raise LifecycleError(f"{given} is empty", "Give a file with a line of names and lines of values.")
    path = path.resolve()
    if start.startswith(b"PAR1"):
        return _parquet(given, path, connection)
    suffix = next((kind for sign, kind in STARTS.items() if start.startswith(sign)), path.suffix.lower())
    if suffix in OTHERS:
        problem, hint = OTHERS[suffix]
        raise LifecycleError(f"{given} {problem}", hint)
    return _csv(given, path, connection, scratch)


def count(source: Source, connection: "duckdb.DuckDBPyConnection") -> int:
    """The number of rows, which takes reading every line; raises LifecycleError naming the first that is malformed."""
    import duckdb

    # Without its own look at the dialect, DuckDB names the line.
    columns = ", ".join(f"{text(name)}: 'VARCHAR'" for name in source.columns)
    scan = source.sql.replace("all_varchar = true", f"auto_detect = false, columns = {{{columns}}}")
    try:
        ((rows,),) = connection.execute(f"SELECT count(*) FROM {scan}").fetchall()
    except duckdb.Error as error:
        raise malformed(source.path, error) from error
    return int(rows)


def malformed(path: Path, error: Exception) -> LifecycleError:
    """What DuckDB says about a file, without the values it quotes."""
    said = str(error)
    line = re.search(r"CSV Error on Line: (\d+)", said)
    reason = re.search(r"Expected Number of Columns: (\d+) Found: (\d+)", said)
    told = f"{path.name}{f', line {line[1]}' if line else ''}: "
    if reason:
        told += f"{reason[2]} values, and the first line has {reason[1]} names"
        return LifecycleError(told, "Fix that line; a value with the separator in it stands in double quotes.")
    if "unterminated quote" in said:
        return LifecycleError(
            f"{told}a double quote is opened and not closed", "Close it, or double it inside a value."
        )
    if "unicode" in said or "encoded" in said:
        return LifecycleError(f"{told}this is no UTF-8", "Save the file as UTF-8.")
    if "maximum line size" in said.lower():
        return LifecycleError(f"{told}the line is longer than 2 MB", "Is a double quote open? Close it.")
    first = next((each for each in said.splitlines() if each.strip()), "it cannot be read")
    return LifecycleError(f"{told}{first[:200]}", "Is it CSV with a line of names, or Parquet?")


def _parquet(given: str, path: Path, connection: "duckdb.DuckDBPyConnection") -> Source:
    import duckdb

    scan = "read_parquet({path})"
    try:
        columns = _described(connection, scan.format(path=text(str(path))))
        sql = f"SELECT name FROM parquet_schema({text(str(path))}) WHERE num_children IS NULL"
        header = tuple(name for (name,) in connection.execute(sql).fetchall())
    except duckdb.Error as error:
        raise LifecycleError(
            f"{path.name} is no sound Parquet: {str(error).splitlines()[0]}", "Write it again."
        ) from error
    # Nested columns have several leaves: their names are those of SQL.
    return Source(given, path, scan, columns, header if len(header) == len(columns) else tuple(columns), "Parquet")


def _csv(given: str, path: Path, connection: "duckdb.DuckDBPyConnection", scratch: Path) -> Source:
    import duckdb

    try:
        encoding = _encoding(path)
        with _bytes(path) as file:
            head = file.read(HEAD).decode(encoding, "ignore").removeprefix("\ufeff")
    except (OSError, EOFError) as error:
        raise LifecycleError(f"{path.name} cannot be unpacked: {error}", "Pack it again, or unpack it.") from error
    delimiter, header = _dialect(head, path)
    scan = "read_csv({path}, header = true, all_varchar = true, "
    scan += f"delim = {text(delimiter)}, quote = '\"', escape = '\"', strict_mode = true, comment = '', nullstr = ''"
    scan += {"utf-16": ", encoding = 'utf-16'", "latin-1": ", encoding = 'latin-1'"}.get(encoding, "") + ")"
    names = {"\t": "tab", ";": "semicolon", ",": "comma", "|": "bar"}
    told = f"CSV, separated by {names[delimiter]}, {encoding}" + (", packed with gzip" if path.suffix == ".gz" else "")
    copy = None
    if encoding == "cp1252":
        copy = scratch / f"{path.name.partition('.')[0]}.utf8.csv"
        transcode(path, encoding, copy)
        told += f" (rewritten in UTF-8 as {copy.name})"
    made = Source(
        given, path, scan, {f"c{at}": "VARCHAR" for at in range(len(header))}, header, told, delimiter == ";", copy
    )
    try:
        columns = _described(connection, made.sql)
    except duckdb.Error as error:
        # DuckDB's own look at the lines failed: reading them without it tells which one is wrong.
        count(made, connection)
        raise malformed(path, error) from error
    if len(columns) != len(header):
        problem = f"{path.name}, line 1: {len(header)} names, and the lines below have {len(columns)} values"
        raise LifecycleError(problem, "Give each column one name.")
    return replace(made, columns=columns)


def transcode(path: Path, encoding: str, copy: Path) -> None:
    """A copy of a text file in UTF-8."""
    with io.TextIOWrapper(_bytes(path), encoding, newline="") as source, copy.open("wb") as out:
        while some := source.read(CHUNK):
            out.write(some.encode())


def _dialect(head: str, path: Path) -> tuple[str, tuple[str, ...]]:
    """The separator that most lines agree on, and the names in the first line."""
    best: tuple[float, str, list[str]] = (-1.0, ",", [])
    for delimiter in DELIMITERS:
        rows = [row for row, _ in zip(_records(head, delimiter), range(200), strict=False) if row]
        if rows and len(rows[0]) > 1:
            alike = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
            best = max(best, (round(alike, 2) + len(rows[0]) / 1e6, delimiter, rows[0]), key=lambda each: each[0])
    names = best[2] or next((row for row in _records(head, ",") if row), [])
    if not names:
        raise LifecycleError(f"{path.name} holds no line", "Give a file with a line of names and lines of values.")
    numbers = [name for name in names if re.fullmatch(r"[+-]?[0-9.,]+", name)]
    # pandas numbers the columns of an array: 0, 1, 2, …
    if len(numbers) > len(names) / 2 and numbers not in (
        [str(at + first) for at in range(len(numbers))] for first in (0, 1)
    ):
        problem = f"{path.name}, line 1: it holds values ({', '.join(numbers[:3])} …) where names are expected"
        raise LifecycleError(problem, "Put a line with the columns' names on top.")
    doubled = sorted({name for name in names if name and names.count(name) > 1})
    if doubled:
        at = ", ".join(str(place) for place, name in enumerate(names, 1) if name == doubled[0])
        problem = f"{path.name}, line 1: the name {doubled[0]!r} stands more than once (columns {at})"
        raise LifecycleError(problem, "Give each column its own name.")
    return best[1], tuple(names)


def _records(head: str, delimiter: str) -> Iterator[list[str]]:
    csv.field_size_limit(HEAD)
    try:
        yield from csv.reader(io.StringIO(head, newline=""), delimiter=delimiter)
    except csv.Error:
        return


def _encoding(path: Path) -> str:
    """utf-8, utf-16, latin-1 or cp1252; raises LifecycleError with the line where a file is none of them."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    line, beyond_ascii, single = 1, False, set()
    with _bytes(path) as file:
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return "utf-16"
        file.seek(0)
        valid = True
        while chunk := file.read(CHUNK):
            if b"\0" in chunk:
                at = line + chunk[: chunk.index(0)].count(10)
                raise LifecycleError(
                    f"{path.name}, line {at}: a zero byte: this is no text", "Export it as CSV in UTF-8, or as Parquet."
                )
            if valid:
                try:
                    beyond_ascii = beyond_ascii or len(chunk) != len(decoder.decode(chunk))
                    line += chunk.count(10)
                except UnicodeDecodeError as error:
                    line += chunk[: error.start].count(10)
                    beyond_ascii = beyond_ascii or not chunk[: error.start].isascii()
                    valid = False
            if not valid:
                single |= set(chunk) & set(range(0x80, 0xA0))
    if valid:
        return "utf-8"
    if beyond_ascii:
        problem = f"{path.name}, line {line}: a byte that is no UTF-8, and lines before it are UTF-8"
        raise LifecycleError(problem, "Fix that line: two encodings were mixed in one file.")
    if single & {0x81, 0x8D, 0x8F, 0x90, 0x9D}:
        raise LifecycleError(f"{path.name}, line {line}: neither UTF-8 nor Latin-1", "Save the file as UTF-8.")
    return "cp1252" if single else "latin-1"


def _bytes(path: Path) -> IO[bytes]:
    return gzip.open(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _described(connection: "duckdb.DuckDBPyConnection", scan: str) -> dict[str, str]:
    return {row[0]: row[1] for row in connection.execute(f"DESCRIBE FROM {scan}").fetchall()}


def _in_folder(path: Path) -> str:
    files = sorted(each.name for each in path.glob("*") if each.suffix in (".csv", ".tsv", ".parquet"))[:5]
    return f"Give one file, for example {path / files[0]}." if files else "Give one CSV or Parquet file."


def _nearest(path: Path) -> str:
    there = [each.name for each in path.parent.glob("*")] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, there, n=3, cutoff=0.5)
    if near:
        return f"Nearest there: {', '.join(near)}."
    return "Give the path of a CSV or Parquet file." if path.parent.is_dir() else f"There is no folder {path.parent}."


def refuse_larger_than_disk(source: Source, root: Path) -> None:
    """Raise LifecycleError where the disk has less room than the file: what memory cannot hold goes there."""
    size, free = source.path.stat().st_size, shutil.disk_usage(root).free
    if size > free:
        has = f"has {size / 1e6:,.0f} MB, and the disk of this repository {free / 1e6:,.0f} MB free"
        hint = "Free some space: training writes to it what memory cannot hold."
        raise LifecycleError(f"{source.path.name} {has}", hint)
