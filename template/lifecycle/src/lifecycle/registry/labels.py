"""Labels as they became known: append-only deliveries, joined with predictions as of any timestamp.

A label belongs to one prediction (`request_id`, `position`); to the id of a row, which is stored as `key` without `ts`;
or to a key and a time: then to every prediction for that key on the same UTC date. A key of several columns is stored
as JSON. Of several labels of a prediction, the one that was seen last counts.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from lifecycle.contract.reader import Table, open_rows
from lifecycle.contract.schema import Contract
from lifecycle.contract.tables import Connection, connect, count, describe, path_literal, quoted, text, write_parquet
from lifecycle.errors import LifecycleError
from lifecycle.registry.predictions import LOGGED
from lifecycle.storage import Store, hash_of
from lifecycle.timestamps import DAY

# A contract may have a column `label`; these names are reserved.
LABEL, SEEN = "lifecycle_label", "lifecycle_label_seen_ts"
LABELLED = "lifecycle_labelled"  # the view that `joined` creates
PLACE = "lifecycle_place"  # its column with the position of a row in LOGGED
# Whether a label `l` names the prediction `p`; what several labels of one row have in common.
NAMED = "l.request_id = p.lifecycle_request AND l.position = p.lifecycle_position"
SAME = f"request_id, position, key, ts // {DAY}, seen_ts"
SHOWN_ROWS = 5
COLUMNS = {"request_id": "VARCHAR", "position": "INTEGER", "key": "VARCHAR"}
COLUMNS |= {"ts": "BIGINT", "label": "VARCHAR", "seen_ts": "BIGINT"}
FORMAT = (
    "It has these columns, `label`, and optionally `seen_ts` (when the label became known). Rename or remove others."
)
TIME = "a valid time (2026-01-31T12:00:00Z, a date, or seconds since 1970)"


@dataclass(frozen=True)
class Coverage:
    """Counts of predictions, of mature ones (older than the label delay), and of those with a valid or other label."""

    predictions: int
    mature: int
    labelled: int
    other: int

    @property
    def share(self) -> float:
        """Labelled among mature; 0 where none is mature."""
        return self.labelled / self.mature if self.mature else 0.0


def add(
    store: Store, contract: Contract, file: Path, now: int, seen_ts: int | None = None, table: Table | None = None
) -> int | None:
    """Import the labels of a CSV or Parquet file (see FORMAT) and return their number; None if it was imported before.

    A label that was seen after `now` (seconds) is refused. `seen_ts`, by default now, is when the labels of a file
    without that column became known. `table` declares how the team's own files are written. Raises LifecycleError,
    which names each column and rule that is broken, with count and first rows (from 1).
    """
    if not file.is_file():
        raise LifecycleError(f"{file} is not a file", "Name a CSV or Parquet file of labels.")
    path = _delivery(store, file)
    if path.exists():
        return None
    with exclusive(store), connect() as connection:
        columns = _read(connection, file, contract, table)
        way = _check_columns(file, columns, contract)
        _convert(connection, contract, columns, way, now if seen_ts is None else seen_ts)
        _check_rows(connection, store, file, way, contract, now)
        return write_parquet(connection, f"SELECT {', '.join(COLUMNS)} FROM converted ORDER BY lifecycle_row", path)


def matched(connection: Connection, store: Store, contract: Contract, file: Path) -> int:
    """Return how many labels of an imported file belong to a prediction in LOGGED."""
    ways = conditions(connection, contract, LOGGED)
    exist = " OR ".join(f"EXISTS (SELECT 1 FROM {LOGGED} p WHERE {condition})" for condition in ways)
    return count(connection, f"FROM read_parquet({path_literal(_delivery(store, file))}) l WHERE {exist}")


def exclusive(store: Store) -> AbstractContextManager[None]:
    """Return the lock of the jobs that change the deliveries."""
    return store.exclusive(store.labels / ".lock")


def files(store: Store) -> list[Path]:
    """Return the Parquet file of every delivery."""
    return sorted(store.labels.glob("[!.]*.parquet"))


def known(store: Store, as_of: int) -> str:
    """Return the SQL query of every label seen until `as_of` (seconds)."""
    found = files(store)
    if not found:
        return f"SELECT {', '.join(f'CAST(NULL AS {kind}) AS {name}' for name, kind in COLUMNS.items())} WHERE FALSE"
    return f"SELECT * FROM read_parquet([{', '.join(map(path_literal, found))}]) WHERE seen_ts <= {int(as_of)}"


def joined(connection: Connection, store: Store, contract: Contract, as_of: int) -> int:
    """Create the view LABELLED of LOGGED: its columns, PLACE, and LABEL and SEEN (null where unknown at `as_of`).

    LABEL is null, and SEEN is not, where no known label is valid for the target, such as a class of an older contract.
    The same log, labels and `as_of` (seconds) give the same table, whatever is delivered later with a later `seen_ts`.
    Returns the number of rows with a label.
    """
    connection.execute(f"CREATE OR REPLACE TEMP TABLE lifecycle_labels AS {known(store, as_of)}")
    matches = " UNION ALL ".join(
        f"SELECT p.rowid AS place, {_label(contract, 'l.label')} AS label, l.seen_ts, {way} AS way "
        f"FROM {LOGGED} p JOIN lifecycle_labels l ON {condition}"
        for way, condition in enumerate(conditions(connection, contract, LOGGED))
    )
    # A label of the target precedes others. Ties go to the label that names the prediction or its id, then to the
    # greater text, so that the result never varies.
    best = "1 = row_number() OVER (PARTITION BY place ORDER BY label IS NULL, seen_ts DESC, way, label DESC)"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE lifecycle_best AS FROM ({matches}) QUALIFY {best}")
    rows = f"SELECT p.*, p.rowid AS {PLACE}, b.label AS {LABEL}, b.seen_ts AS {SEEN} FROM {LOGGED} p LEFT JOIN"
    connection.execute(f"CREATE OR REPLACE TEMP VIEW {LABELLED} AS {rows} lifecycle_best b ON b.place = p.rowid")
    return count(connection, f"FROM {LABELLED} WHERE {LABEL} IS NOT NULL")


def coverage(connection: Connection, as_of: int, label_days: int) -> Coverage:
    """Return how many rows of LABELLED are older than `label_days` at `as_of`, and how many of these have a label."""
    mature = f"ts <= {int(as_of) - label_days * DAY}"
    labelled, other = f"{mature} AND {LABEL} IS NOT NULL", f"{mature} AND {LABEL} IS NULL AND {SEEN} IS NOT NULL"
    counts = ", ".join(f"count(*) FILTER ({each})" for each in ("TRUE", mature, labelled, other))
    return Coverage(*(connection.execute(f"SELECT {counts} FROM {LABELLED}").fetchone() or ()))


def count_since(store: Store, timestamp: int) -> int:
    """Return how many labels became known after a timestamp in seconds."""
    with connect() as connection:
        # 2**62: every label, also one that is seen in the future.
        return count(connection, f"FROM ({known(store, 2**62)}) WHERE seen_ts > {int(timestamp)}")


def newest(store: Store, now: int) -> int:
    """Return when the newest label became known, in seconds and not after `now`; 0 without labels."""
    with connect() as connection:
        ((found,),) = connection.execute(f"SELECT max(seen_ts) FROM ({known(store, now)})").fetchall()
    return int(found or 0)


def _delivery(store: Store, file: Path) -> Path:
    return store.labels / f"{hash_of(file)}.parquet"


def conditions(connection: Connection, contract: Contract, source: str) -> list[str]:
    """Return the SQL conditions by which a label `l` belongs to a prediction `p` of `source`: by request, id, key."""
    found, known = [NAMED], describe(connection, f"FROM {source}")
    for columns, time in ((contract.ids, "l.ts IS NULL"), (contract.entity_key, f"l.ts // {DAY} = p.ts // {DAY}")):
        if columns and all(column.loggable and column.name in known for column in columns):
            found.append(f"l.key = {as_key([f'p.{quoted(column.name)}' for column in columns])} AND {time}")
    return found


def as_key(values: list[str]) -> str:
    """Return SQL of the text of a key, as `key` contains it, of the SQL of its parts."""
    parts = [f"CAST({value} AS VARCHAR)" for value in values]
    joined = " || ',' || ".join(f"to_json({part})" for part in parts)
    # Null where a part is, unlike to_json of a list.
    return parts[0] if len(parts) == 1 else f"'[' || {joined} || ']'"


def _read(connection: Connection, file: Path, contract: Contract, table: Table | None) -> set[str]:
    """Create the table `given` from the file, every value as text, with row numbers from 1; return its columns."""
    import duckdb

    try:
        declared = open_rows(connection, file, "label_file", table, [contract.target.label])
        known = describe(connection, "FROM label_file")
        names = {reading.header or name: name for name, reading in declared.items()}
        values = []
        for header, sql_type in known.items():
            name = names.get(header, header)
            value = declared[name].value(quoted(header), sql_type) if name in declared else quoted(header)
            values.append(f"CAST({value} AS VARCHAR) AS {quoted(name)}")
        rows = "row_number() OVER () AS lifecycle_row FROM label_file"
        connection.execute(f"CREATE TEMP TABLE given AS SELECT {', '.join(values)}, {rows}")
    except duckdb.Error as error:
        raise LifecycleError(f"{file} cannot be read: {error}", "Use CSV with a header, or Parquet.") from error
    return describe(connection, "FROM given").keys() - {"lifecycle_row"}


def _check_columns(file: Path, columns: set[str], contract: Contract) -> list[str]:
    """Return the columns of a file that identify its rows: `request_id`, the id, or those of the key and `ts`."""
    label, key = {"label", contract.target.label}, [column.name for column in contract.entity_key]
    key = ["key"] if len(key) == 1 and "key" in columns else key
    ways = [["request_id"]] + ([[contract.id.name]] if contract.id and contract.id.loggable else [])
    ways += [[*key, "ts"]] if key and all(column.loggable for column in contract.entity_key) else []
    given = columns - label - {"seen_ts"} - ({"position"} if "request_id" in columns else set())
    rules = {
        f"it needs one column {' or '.join(sorted(label))}": len(label & columns) != 1,
        **{f"the column {name} is unknown": True for name in sorted(given.difference(*ways))},
        f"its rows are identified by {' or by '.join(' and '.join(way) for way in ways)}": given not in map(set, ways),
    }
    if any(rules.values()):
        raise LifecycleError(f"{file}: " + "; ".join(fault for fault, broken in rules.items() if broken), FORMAT)
    return next(way for way in ways if set(way) == given)


def _convert(connection: Connection, contract: Contract, columns: set[str], way: list[str], seen_ts: int) -> None:
    """Create the table `converted`: COLUMNS, with null for values that are not valid, and `lifecycle_row`."""
    values = {"position": "0", "seen_ts": f"'{int(seen_ts)}'"}
    values = {name: quoted(name) if name in columns else values.get(name, "NULL") for name in COLUMNS}
    if way != ["request_id"]:
        # The id, or a part of the key, may be named `position`.
        values |= {"position": "0", "key": as_key([quoted(name) for name in way if name != "ts"])}
    for name in ("ts", "seen_ts"):
        # Seconds since 1970 UTC, or ISO 8601.
        epoch = f"floor(epoch(TRY_CAST({values[name]} AS TIMESTAMPTZ)))"
        values[name] = f"coalesce(TRY_CAST({values[name]} AS BIGINT), {epoch})"
    label = quoted("label" if "label" in columns else contract.target.label)
    values["label"] = _label(contract, label, with_booleans=True)
    selected = ", ".join(f"TRY_CAST({values[name]} AS {kind}) AS {name}" for name, kind in COLUMNS.items())
    connection.execute(f"CREATE TEMP TABLE converted AS SELECT {selected}, lifecycle_row FROM given")


def _label(contract: Contract, value: str, with_booleans: bool = False) -> str:
    """Return SQL of a label of the contract's target, null for another value."""
    target = contract.target
    listed = f"{value} IN ({', '.join(map(text, target.classes))})"
    cases = f"WHEN {listed if target.classes else f'isfinite(TRY_CAST({value} AS DOUBLE))'} THEN {value}"
    if with_booleans and target.task == "binary":
        # As in training, a label may be a truth value or 0 and 1.
        for name, equivalents in zip(target.classes, ("'0', 'false'", "'1', 'true'"), strict=True):
            cases += f" WHEN lower({value}) IN ({equivalents}) THEN {text(name)}"
    return f"CASE {cases} END"


def _check_rows(connection: Connection, store: Store, file: Path, way: list[str], contract: Contract, now: int) -> None:
    """Check the table `converted`; `way` names the columns that identify its rows."""
    classes, names = contract.target.classes, [name for name in way if name != "ts"]
    differs = f"min(label) OVER (PARTITION BY {SAME}) <> max(label) OVER (PARTITION BY {SAME})"
    differs = f"SELECT lifecycle_row FROM (FROM converted UNION ALL BY NAME {known(store, 2**62)}) QUALIFY {differs}"
    row = " and ".join([*names, *(["date"] if "ts" in way else [])])
    rules = {
        f"label is not one of {', '.join(classes)}" if classes else "label is not a number": "label IS NULL",
        f"seen_ts is not {TIME}": "seen_ts IS NULL",
        "seen_ts is in the future": f"seen_ts > {int(now)}",
        f"{' or '.join(names)} is missing": "coalesce(request_id, key) IS NULL",
        "position is not an index from 0": "NOT coalesce(position >= 0, FALSE)",
        f"ts is not {TIME}": f"{'ts' in way} AND ts IS NULL",
        f"label contradicts another one of the same {row} and seen_ts": f"lifecycle_row IN ({differs})",
    }
    faults = []
    for fault, condition in rules.items():
        query = f"SELECT lifecycle_row FROM converted WHERE {condition} ORDER BY lifecycle_row"
        if rows := connection.execute(query).fetchall():
            faults.append(f"{fault} in {len(rows)} rows (first: {', '.join(str(row) for (row,) in rows[:SHOWN_ROWS])})")
    if faults:
        raise LifecycleError(f"{file}:\n  " + "\n  ".join(faults), "Fix the file; nothing of it was imported.")
