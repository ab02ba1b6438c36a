"""Labels as they became known: append-only deliveries, joined with predictions as of any timestamp.

A label belongs to one prediction (`request_id`, `position`), or to a key and a time: then to every prediction for that
key on the same UTC date. Of several labels of a prediction, the one that was seen last counts.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.contract.schema import Contract
from lifecycle.contract.tables import describe, is_parquet, path_literal, quoted, text
from lifecycle.errors import LifecycleError
from lifecycle.models.bundle import hash_of
from lifecycle.registry import predictions
from lifecycle.registry.predictions import LOGGED
from lifecycle.storage import Store, lock
from lifecycle.timestamps import DAY

if TYPE_CHECKING:
    import duckdb

# A contract may have a column `label`; these names are reserved.
LABEL, SEEN = "lifecycle_label", "lifecycle_label_seen_ts"
LABELLED = "lifecycle_labelled"  # the table that `joined` creates
# Whether a label `l` names the prediction `p`.
NAMED = "l.request_id = p.lifecycle_request AND l.position = p.lifecycle_position"
SHOWN_ROWS = 5
COLUMNS = {
    "request_id": "VARCHAR",
    "position": "INTEGER",
    "key": "VARCHAR",
    "ts": "BIGINT",
    "label": "VARCHAR",
    "seen_ts": "BIGINT",
}
FORMAT = "A label file has `request_id` (and `position`) or the key and `ts`; and `label`; and optionally `seen_ts`."


@dataclass(frozen=True)
class Coverage:
    """Counts of predictions, of mature ones (older than the label delay), and of mature ones with a label."""

    predictions: int
    mature: int
    labelled: int

    @property
    def share(self) -> float:
        """Labelled among mature; 0 where none is mature."""
        return self.labelled / self.mature if self.mature else 0.0


def add(store: Store, contract: Contract, file: Path, now: int, seen_ts: int | None = None) -> int | None:
    """Import the labels of a CSV or Parquet file.

    Args:
        store: where the labels are kept.
        contract: names the label, its classes and the key.
        file: see FORMAT.
        now: current time in seconds; a label seen later is refused.
        seen_ts: when the labels became known, for files without that column; None means now.

    Returns:
        The number of labels; None where the same file was imported before.

    Raises:
        LifecycleError: names each column and rule that is broken, with count and first rows (from 1).
    """
    if not file.is_file():
        raise LifecycleError(f"{file} is not a file", "Name a CSV or Parquet file of labels.")
    path = _delivery(store, file)
    if path.exists():
        return None
    with exclusive(store), predictions.connect() as connection:
        columns = _read(connection, file)
        _check_columns(file, columns, contract)
        _convert(connection, contract, columns, now if seen_ts is None else seen_ts)
        _check_rows(connection, file, columns, contract, now)
        predictions.write_parquet(connection, f"SELECT {', '.join(COLUMNS)} FROM converted ORDER BY row", path)
        return _count(connection, "FROM converted")


def matched(connection: "duckdb.DuckDBPyConnection", store: Store, contract: Contract, file: Path) -> int:
    """Return how many labels of an imported file belong to a prediction in LOGGED."""
    conditions = [NAMED, *_by_key(connection, contract)]
    exist = " OR ".join(f"EXISTS (SELECT 1 FROM {LOGGED} p WHERE {condition})" for condition in conditions)
    return _count(connection, f"FROM read_parquet({path_literal(_delivery(store, file))}) l WHERE {exist}")


def exclusive(store: Store) -> AbstractContextManager[None]:
    """Return the lock of the jobs that change the deliveries."""
    return lock(store.labels / ".lock")


def files(store: Store) -> list[Path]:
    """Return the Parquet file of every delivery."""
    return sorted(store.labels.glob("[!.]*.parquet"))


def known(store: Store, as_of: int) -> str:
    """Return the SQL query of every label seen until `as_of` (seconds)."""
    found = files(store)
    if not found:
        return f"SELECT {', '.join(f'CAST(NULL AS {kind}) AS {name}' for name, kind in COLUMNS.items())} WHERE FALSE"
    return f"SELECT * FROM read_parquet([{', '.join(map(path_literal, found))}]) WHERE seen_ts <= {int(as_of)}"


def joined(connection: "duckdb.DuckDBPyConnection", store: Store, contract: Contract, as_of: int) -> int:
    """Create the table LABELLED from LOGGED: its columns, LABEL and SEEN (null where unknown at `as_of`).

    The same log, labels and `as_of` (seconds) give the same table, whatever is delivered later with a later `seen_ts`.

    Returns:
        The number of rows with a label.
    """
    connection.execute(f"CREATE OR REPLACE TEMP TABLE lifecycle_labels AS {known(store, as_of)}")
    matches = " UNION ALL ".join(
        f"SELECT p.rowid AS place, l.label, l.seen_ts, {condition == NAMED} AS named "
        f"FROM {LOGGED} p JOIN lifecycle_labels l ON {condition}"
        for condition in [NAMED, *_by_key(connection, contract)]
    )
    # Ties go to the label that names the prediction, then to the greater text, so that the result never varies.
    best = "1 = row_number() OVER (PARTITION BY place ORDER BY seen_ts DESC, named DESC, label DESC)"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {LABELLED} AS SELECT p.*, b.label AS {LABEL}, b.seen_ts AS {SEEN} "
        f"FROM {LOGGED} p LEFT JOIN (SELECT * FROM ({matches}) QUALIFY {best}) b ON b.place = p.rowid ORDER BY p.rowid"
    )
    return _count(connection, f"FROM {LABELLED} WHERE {LABEL} IS NOT NULL")


def coverage(connection: "duckdb.DuckDBPyConnection", as_of: int, label_days: int) -> Coverage:
    """Return how many rows of LABELLED are older than `label_days` at `as_of`, and how many of these have a label."""
    mature = f"FROM {LABELLED} WHERE ts <= {int(as_of) - label_days * DAY}"
    labelled = f"{mature} AND {LABEL} IS NOT NULL"
    return Coverage(*(_count(connection, query) for query in (f"FROM {LABELLED}", mature, labelled)))


def count_since(store: Store, timestamp: int) -> int:
    """Return how many labels became known after a timestamp in seconds."""
    with predictions.connect() as connection:
        # 2**62: every label, also one that is seen in the future.
        return _count(connection, f"FROM ({known(store, 2**62)}) WHERE seen_ts > {int(timestamp)}")


def _count(connection: "duckdb.DuckDBPyConnection", query: str) -> int:
    ((count,),) = connection.execute(f"SELECT count(*) {query}").fetchall()
    return int(count)


def _delivery(store: Store, file: Path) -> Path:
    return store.labels / f"{hash_of(file)}.parquet"


def _by_key(connection: "duckdb.DuckDBPyConnection", contract: Contract) -> list[str]:
    """Return the condition that a label `l` belongs to a prediction `p` by key and date; none without a logged key."""
    key = contract.key
    if not (key and key.loggable and key.name in describe(connection, f"FROM {LOGGED}")):
        return []
    return [f"l.key = CAST(p.{quoted(key.name)} AS VARCHAR) AND l.ts // {DAY} = p.ts // {DAY}"]


def _read(connection: "duckdb.DuckDBPyConnection", file: Path) -> set[str]:
    """Create the table `given` from the file, every value as text, and return its columns."""
    import duckdb

    name = path_literal(file)
    source = f"read_csv({name}, header = true, all_varchar = true)"
    if is_parquet(file):
        source = f"(SELECT CAST(COLUMNS(*) AS VARCHAR) FROM read_parquet({name}, hive_partitioning = false))"
    try:
        connection.execute(f"CREATE TEMP TABLE given AS SELECT *, row_number() OVER () AS lifecycle_row FROM {source}")
    except duckdb.Error as error:
        raise LifecycleError(f"{file} cannot be read: {error}", "Use CSV with a header, or Parquet.") from error
    return describe(connection, "FROM given").keys() - {"lifecycle_row"}


def _check_columns(file: Path, columns: set[str], contract: Contract) -> None:
    label, key = {"label", contract.target.label}, {"key"} | ({contract.key.name} if contract.key else set())
    faults = [f"the column {name} is unknown" for name in sorted(columns - COLUMNS.keys() - label - key)]
    if len(label & columns) != 1:
        faults.append(f"it needs one column {' or '.join(sorted(label))}")
    named, keyed = "request_id" in columns, bool(key & columns) or "ts" in columns
    if named == keyed or ("position" in columns and not named):
        faults.append("it needs either request_id or the key and ts")
    if key & columns and not (contract.key and contract.key.loggable):
        faults.append("the contract has no key that may be logged: use request_id")
    if keyed and not (len(key & columns) == 1 and "ts" in columns):
        faults.append(f"it needs one column {' or '.join(sorted(key))}, and ts")
    if faults:
        raise LifecycleError(f"{file}: " + "; ".join(faults), FORMAT)


def _convert(connection: "duckdb.DuckDBPyConnection", contract: Contract, columns: set[str], seen_ts: int) -> None:
    """Create the table `converted`: COLUMNS, with null for values that are not valid, and `row` from 1."""
    own = {"label": contract.target.label, "key": contract.key.name if contract.key else "key"}
    defaults = {"position": "'0'", "seen_ts": f"'{int(seen_ts)}'"}

    def given(name: str) -> str:
        return next((quoted(each) for each in (name, own.get(name)) if each in columns), defaults.get(name, "NULL"))

    values = {name: given(name) for name in COLUMNS} | {"label": _label(contract, given("label"))}
    for name in ("ts", "seen_ts"):
        # Seconds since 1970 UTC, or ISO 8601.
        time = f"CAST(floor(epoch(TRY_CAST({given(name)} AS TIMESTAMPTZ))) AS BIGINT)"
        values[name] = f"coalesce(TRY_CAST({given(name)} AS BIGINT), {time})"
    selected = ", ".join(f"TRY_CAST({values[name]} AS {kind}) AS {name}" for name, kind in COLUMNS.items())
    connection.execute(f"CREATE TEMP TABLE converted AS SELECT {selected}, lifecycle_row AS row FROM given")


def _label(contract: Contract, value: str) -> str:
    target = contract.target
    if target.task == "regression":
        return f"CASE WHEN isfinite(TRY_CAST({value} AS DOUBLE)) THEN {value} END"
    cases = f"WHEN {value} IN ({', '.join(map(text, target.classes))}) THEN {value}"
    if target.task == "binary":
        # As in training, a label may be a truth value or 0 and 1.
        for name, equivalents in zip(target.classes, ("'0', 'false'", "'1', 'true'"), strict=True):
            cases += f" WHEN lower({value}) IN ({equivalents}) THEN {text(name)}"
    return f"CASE {cases} END"


def _check_rows(
    connection: "duckdb.DuckDBPyConnection", file: Path, columns: set[str], contract: Contract, now: int
) -> None:
    classes = contract.target.classes
    rules = {
        f"label is not one of {', '.join(classes)}" if classes else "label is not a number": "label IS NULL",
        "seen_ts is not a timestamp": "seen_ts IS NULL",
        "seen_ts is in the future": f"seen_ts > {int(now)}",
    }
    if "request_id" in columns:
        rules["request_id is missing"] = "request_id IS NULL"
        rules["position is not an index from 0"] = "NOT coalesce(position >= 0, FALSE)"
    else:
        rules |= {"the key is missing": "key IS NULL", "ts is not a timestamp": "ts IS NULL"}
    faults = []
    for fault, condition in rules.items():
        rows = connection.execute(f"SELECT row FROM converted WHERE {condition} ORDER BY row").fetchall()
        if rows:
            first = ", ".join(str(row) for (row,) in rows[:SHOWN_ROWS])
            faults.append(f"{fault} in {len(rows)} rows (first: {first})")
    if faults:
        raise LifecycleError(f"{file}:\n  " + "\n  ".join(faults), "Fix the file; nothing of it was imported.")
