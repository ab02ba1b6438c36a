"""Profile a file: how each column is read, its values in a sample, and facts about the whole file."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from lifecycle.contract import tables
from lifecycle.contract.readings import Boolean, Number, Text, Time, stripped
from lifecycle.contract.schema import Kind
from lifecycle.contract.tables import INTEGERS, quoted
from looseleaf.contract import values
from looseleaf.contract.reading import Reading
from looseleaf.contract.source import Connection, Source, count

# A sample has at most so many rows, and so many cells if the table is wide.
MOST_ROWS, LEAST_ROWS, CELLS = 200_000, 2_000, 3_000_000
SEED, SAMPLE = 0, "sampled"
# DuckDB plans a query of many columns slowly, one with conditions at fewer columns. To read the sample again is cheap.
AT_ONCE, CONDITIONS_AT_ONCE = 100, 10
TYPED: dict[str, Text] = {
    "BOOLEAN": Boolean(),
    "UBIGINT": Number(),
    **dict.fromkeys(INTEGERS, Number(whole=True)),
    **dict.fromkeys(("DECIMAL", "FLOAT", "DOUBLE"), Number()),
    **dict.fromkeys(("DATE", "TIMESTAMP"), Time()),
    **dict.fromkeys(("UUID", "ENUM", '"NULL"'), Text()),
}
# More distinct values than this that do not fit a reading are not listed.
MOST_STRAYS = 100
Settle = Callable[[str, Reading], Reading]


@dataclass(frozen=True)
class Profile:
    """One column of a file.

    `sample` holds its values as read (numbers, booleans, texts; times as seconds); null is NaN or None. `rows`,
    `nulls`, `low` and `high` describe the whole file (for texts: their lengths); `distinct` describes the sample.
    """

    name: str
    reading: Reading
    sample: pd.Series
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


def profile_table(source: Source, connection: Connection, settle: Settle = lambda name, found: found) -> Table:
    """Profile a file in bounded memory; `settle` may replace a reading. LifecycleError names an unreadable line."""
    rows = count(source, connection)
    size = min(rows, max(LEAST_ROWS, min(MOST_ROWS, CELLS // max(1, len(source.columns)))))
    part = f" USING SAMPLE reservoir({size} ROWS) REPEATABLE ({SEED})" if size < rows else ""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {SAMPLE} AS SELECT * FROM {source.sql}{part}")
    unread = {name: kind for name, kind in source.columns.items() if kind != "VARCHAR" and _typed(kind) is None}
    names = [name for name in source.columns if name not in unread]
    readings = {name: settle(name, found) for name, found in _readings(source, connection, names)}
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
    unique = tables.count(connection, f"FROM (SELECT DISTINCT * FROM {SAMPLE})")
    return Table(source, rows, size, size - unique, profiles, unread)


def sql_of(name: str, reading: Reading, source: Source) -> str:
    """Return SQL that computes a column's value from the file, times as seconds since 1970."""
    value = reading.how.value(quoted(name), source.columns[name])
    return f"epoch({value})" if reading.kind == "time" else value


def _typed(kind: str) -> Text | None:
    if kind.endswith("[]") or kind.startswith(("STRUCT", "MAP", "UNION")):
        return None
    if whole := re.fullmatch(r"DECIMAL\((\d+),0\)", kind):
        # Warehouses store whole numbers this way; longer ones are ids, which a double cannot distinguish.
        return Number(whole=True) if int(whole[1]) <= 18 else Text()
    return next((found for start, found in TYPED.items() if kind.startswith(start)), None)


def _readings(source: Source, connection: Connection, names: Sequence[str]) -> Iterator[tuple[str, Reading]]:
    counted = {}
    as_text = [name for name in names if source.columns[name] in ("VARCHAR", *INTEGERS)]
    for some in _chunks(as_text):
        parts = ", ".join(stripped(f"CAST({quoted(name)} AS VARCHAR)") for name in some)
        columns = connection.execute(f"SELECT {parts} FROM {SAMPLE}").fetchnumpy().values()
        for name, column in zip(some, columns, strict=True):
            counted[name] = Counter(column[~column.mask].tolist() if hasattr(column, "mask") else column.tolist())
            counted[name].pop(None, None)
    texts = {name: counts for name, counts in counted.items() if source.columns[name] == "VARCHAR"}
    is_european = values.is_european(texts.values(), source.table.separator == ";")
    for name in names:
        typed = _typed(source.columns[name])
        if name in texts:
            yield name, values.read(texts[name], is_european)
        elif name in counted and (digits := values.read_digits(counted[name])):
            yield name, digits
        elif typed is not None:
            unit = source.units.get(name, "")
            yield name, Reading(typed, unit, notes=(f"a duration in {unit}",) if unit else ())


def _confirmed(
    source: Source, scan: str, connection: Connection, readings: dict[str, Reading]
) -> Iterator[tuple[str, Reading]]:
    """Yield the readings, corrected where rows outside the sample do not fit them."""
    size = CONDITIONS_AT_ONCE if scan == SAMPLE else AT_ONCE
    for some in _chunks([name for name, each in readings.items() if each.kind != "category"], size):
        values_of, parts = [], []
        for at, name in enumerate(some):
            how, raw, kind = readings[name].how, quoted(name), source.columns[name]
            wide = replace(how, whole=False) if isinstance(how, Number) and how.whole else None
            wider = f"wider{at}" if wide else f"value{at}"
            values_of += [f"{raw} AS raw{at}, {how.is_given(raw)} AS given{at}, {how.value(raw, kind)} AS value{at}"]
            values_of += [f"{wide.value(raw, kind)} AS {wider}"] if wide else []
            strays = f"given{at} AND {wider} IS NULL"
            listed = f"min({stripped(f'CAST(raw{at} AS VARCHAR)')}, {MOST_STRAYS}) FILTER ({strays})"
            counts = f"count(*) FILTER (given{at} AND value{at} IS NULL), count(*) FILTER ({strays})"
            parts.append(f"{counts}, {listed}, count(raw{at})")
        # Each value is computed once, below the aggregates that use it.
        query = f"SELECT {', '.join(parts)} FROM (SELECT {', '.join(values_of)} FROM {scan})"
        row = connection.execute(query).fetchone() or ()
        for at, name in enumerate(some):
            readings[name] = _corrected(readings[name], *row[4 * at : 4 * at + 4])
    yield from readings.items()


def _corrected(reading: Reading, failing: int, strays: int, words: Sequence[str] | None, known: int) -> Reading:
    """Return a reading that fits all rows, of which `failing` do not fit, and `strays` are not numbers at all."""
    if strays < failing and isinstance(reading.how, Number):
        reading = replace(reading, how=replace(reading.how, whole=False))
    if not strays or not words:
        return reading
    distinct = sorted({*words})
    counts = dict.fromkeys(distinct, 0) | {distinct[0]: strays}
    if len(distinct) <= values.STRAY_WORDS and values.few(counts, {"": known}):
        return values.without(reading, counts)
    shown = f"{strays:,} rows, such as {distinct[0]!r}, are not {reading.how.noun}: it is read as text"
    return Reading(Text(), unsure=(shown,))


def _facts(
    scan: str, connection: Connection, readings: dict[str, Reading], source: Source
) -> dict[str, tuple[int, float, float]]:
    """Return the number of nulls, the minimum and the maximum of each column."""
    found = {}
    for some in _chunks(list(readings)):
        values_of, parts = [], []
        for at, name in enumerate(some):
            values_of.append(f"{sql_of(name, readings[name], source)} AS value{at}")
            size = f"length(value{at})" if readings[name].kind == "category" else f"CAST(value{at} AS DOUBLE)"
            parts.append(f"count(*) - count(value{at}), coalesce(min({size}), 0), coalesce(max({size}), 0)")
        query = f"SELECT {', '.join(parts)} FROM (SELECT {', '.join(values_of)} FROM {scan})"
        row = connection.execute(query).fetchone() or ()
        for at, name in enumerate(some):
            nulls, low, high = row[3 * at : 3 * at + 3]
            found[name] = (int(nulls), float(low), float(high))
    return found


def _chunks(names: Sequence[str], size: int = AT_ONCE) -> Iterator[Sequence[str]]:
    return (names[start : start + size] for start in range(0, len(names), size))
