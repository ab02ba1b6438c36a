"""Profile a file: how each column is read, its values in a sample, and facts about the whole file."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lifecycle.contract.tables import INTEGERS, quoted, text
from looseleaf.contract import values
from looseleaf.contract.source import Source, count
from looseleaf.contract.values import Kind, Reading

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

# A sample has at most so many rows, and so many cells if the table is wide.
MOST_ROWS, LEAST_ROWS, CELLS = 200_000, 2_000, 3_000_000
SEED = 0
SAMPLE = "sampled"
# More columns in one query only make it slow to plan.
AT_ONCE = 100
PLAIN = "CREATE OR REPLACE TEMP MACRO plain(x) AS nullif(trim(x, concat(' ', chr(9), chr(160))), '')"
TYPED: dict[str, tuple[Kind, str]] = {
    "BOOLEAN": ("boolean", "{x}"),
    **dict.fromkeys(INTEGERS, ("integer", "CAST({x} AS BIGINT)")),
    **dict.fromkeys(("HUGEINT", "UHUGEINT", "DECIMAL"), ("number", "CAST({x} AS DOUBLE)")),
    **dict.fromkeys(("FLOAT", "DOUBLE"), ("number", "CASE WHEN isfinite({x}) THEN CAST({x} AS DOUBLE) END")),
    **dict.fromkeys(("DATE", "TIMESTAMP"), ("time", "epoch({x})")),
    **dict.fromkeys(("UUID", "ENUM", '"NULL"'), ("category", "CAST({x} AS VARCHAR)")),
}


@dataclass(frozen=True)
class Profile:
    """One column of a file.

    `sample` holds its values as read (numbers, booleans, texts; times as seconds); null is NaN or None. `rows`,
    `nulls`, `low` and `high` describe the whole file (for texts: their lengths); `distinct` describes the sample.
    """

    name: str
    reading: Reading
    sample: "pd.Series"
    rows: int
    nulls: int
    low: float
    high: float
    distinct: int

    @property
    def kind(self) -> Kind:
        """The kind the column is read as."""
        return self.reading.kind


@dataclass(frozen=True)
class Table:
    """A profiled file; `unread` maps columns of unsupported types to their type."""

    source: Source
    rows: int
    sampled: int
    duplicates: int
    profiles: dict[str, Profile]
    unread: dict[str, str]

    @property
    def is_sample(self) -> bool:
        """Whether the profiles hold the values of a part of the rows."""
        return self.sampled < self.rows


def profile_table(source: Source, connection: "duckdb.DuckDBPyConnection") -> Table:
    """Profile a file in bounded memory; raises LifecycleError naming the line that cannot be read."""
    connection.execute(PLAIN)
    rows = count(source, connection)
    size = min(rows, max(LEAST_ROWS, min(MOST_ROWS, CELLS // max(1, len(source.columns)))))
    part = f" USING SAMPLE reservoir({size} ROWS) REPEATABLE ({SEED})" if size < rows else ""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {SAMPLE} AS SELECT * FROM {source.sql}{part}")
    unread = {name: kind for name, kind in source.columns.items() if kind != "VARCHAR" and _typed(kind) is None}
    names = [name for name in source.columns if name not in unread]
    readings = dict(_readings(source, connection, names))
    readings = dict(_confirmed(source, source.sql if size < rows else SAMPLE, connection, readings))
    facts = _facts(source.sql if size < rows else SAMPLE, connection, readings, source)
    profiles = {}
    for some in _chunks(names):
        parts = ", ".join(f"{sql_of(name, readings[name], source)} AS {quoted(name)}" for name in some)
        frame = connection.execute(f"SELECT {parts} FROM {SAMPLE}").df()
        for name in some:
            column = frame[name]
            distinct = int(column.nunique())
            profiles[name] = Profile(name, readings[name], column, rows, *facts[name], distinct)
    ((unique,),) = connection.execute(f"SELECT count(*) FROM (SELECT DISTINCT * FROM {SAMPLE})").fetchall()
    return Table(source, rows, size, size - int(unique), profiles, unread)


def sql_of(name: str, reading: Reading, source: Source, prefix: str = "") -> str:
    """Return SQL that computes a column's value from the file."""
    column = f"{prefix}{quoted(name)}"
    return reading.sql.replace("{x}", f"plain({column})" if source.columns[name] == "VARCHAR" else column)


def _typed(kind: str) -> tuple[Kind, str] | None:
    if kind.endswith("[]") or kind.startswith(("STRUCT", "MAP", "UNION")):
        return None
    if whole := re.fullmatch(r"DECIMAL\((\d+),0\)", kind):
        # Warehouses store whole numbers this way; longer ones are ids, which a double cannot distinguish.
        return ("integer", "CAST({x} AS BIGINT)") if int(whole[1]) <= 18 else ("category", "CAST({x} AS VARCHAR)")
    if kind == "UBIGINT":
        return "number", "CAST({x} AS DOUBLE)"
    return next((found for start, found in TYPED.items() if kind.startswith(start)), None)


def _readings(
    source: Source, connection: "duckdb.DuckDBPyConnection", names: Sequence[str]
) -> Iterator[tuple[str, Reading]]:
    for some in _chunks([name for name in names if source.columns[name] == "VARCHAR"]):
        parts = ", ".join(f"plain({quoted(name)})" for name in some)
        columns = connection.execute(f"SELECT {parts} FROM {SAMPLE}").fetchnumpy().values()
        for name, column in zip(some, columns, strict=True):
            counts = Counter(column[~column.mask].tolist() if hasattr(column, "mask") else column.tolist())
            counts.pop(None, None)
            yield name, values.read(counts, source.semicolons)
    for name in names:
        if (typed := _typed(source.columns[name])) is not None and source.columns[name] != "VARCHAR":
            yield name, Reading(*typed)


def _confirmed(
    source: Source, scan: str, connection: "duckdb.DuckDBPyConnection", readings: dict[str, Reading]
) -> Iterator[tuple[str, Reading]]:
    """Yield the readings, corrected where rows outside the sample do not fit them."""
    for some in _chunks([name for name in readings if source.columns[name] == "VARCHAR"]):
        failing = {name: f"plain({quoted(name)})" for name in some if readings[name].kind != "category"}
        if not failing:
            continue
        parts = [
            f"list(DISTINCT {plain}) FILTER ({_known(readings[name], plain)} AND "
            f"TRY({sql_of(name, readings[name], source)}) IS NULL)"
            for name, plain in failing.items()
        ]
        whole = [plain for name, plain in failing.items() if readings[name].kind == "integer"]
        parts += [f"bool_or(TRY(CAST({plain} AS DOUBLE)) <> trunc(TRY(CAST({plain} AS DOUBLE))))" for plain in whole]
        found = connection.execute(f"SELECT {', '.join(parts)} FROM {scan}").fetchone() or ()
        fractions = dict(zip(whole, found[len(failing) :], strict=True))
        for name, plain in failing.items():
            if fractions.get(plain):
                readings[name] = replace(readings[name], kind="number")
        for name, words in zip(failing, found[: len(failing)], strict=True):
            if not words:
                continue
            if len(words) <= values.STRAY_WORDS:
                word = f"{', '.join(map(repr, sorted(words)))} is not a valid {readings[name].kind} and is read as null"
                changed = values.without(readings[name], tuple(sorted(words)))
                readings[name] = replace(changed, unsure=(*changed.unsure, word))
            else:
                readings[name] = Reading("category")
    yield from readings.items()


def _known(reading: Reading, plain: str) -> str:
    words = ", ".join(text(word) for word in reading.missing)
    return f"{plain} NOT IN ({words})" if words else f"{plain} IS NOT NULL"


def _facts(
    scan: str, connection: "duckdb.DuckDBPyConnection", readings: dict[str, Reading], source: Source
) -> dict[str, tuple[int, float, float]]:
    """Return the number of nulls, the minimum and the maximum of each column."""
    found = {}
    for some in _chunks(list(readings)):
        parts = []
        for name in some:
            value = sql_of(name, readings[name], source)
            size = f"length({value})" if readings[name].kind == "category" else f"CAST({value} AS DOUBLE)"
            parts.append(f"count(*) - count({value}), coalesce(min({size}), 0), coalesce(max({size}), 0)")
        row = connection.execute(f"SELECT {', '.join(parts)} FROM {scan}").fetchone() or ()
        for at, name in enumerate(some):
            nulls, low, high = row[3 * at : 3 * at + 3]
            found[name] = (int(nulls), float(low), float(high))
    return found


def _chunks(names: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(names), AT_ONCE):
        yield names[start : start + AT_ONCE]
