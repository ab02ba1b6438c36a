"""Labels as they became known: append-only deliveries, joined with predictions as of any moment.

A label belongs to one answer (`request_id`, `position`), or to a key and a moment: then to every prediction made for
that key on the UTC date of the moment. Of several labels of a prediction the one that was seen last counts.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.contract.schema import Contract
from lifecycle.contract.tables import describe, is_parquet, path_literal, quoted, text
from lifecycle.errors import LifecycleError
from lifecycle.models.bundle import hash_of
from lifecycle.registry.predictions import LOGGED, connect, replace
from lifecycle.storage import Store, lock
from lifecycle.timestamps import DAY

if TYPE_CHECKING:
    import duckdb

# A contract may have a column `label`; ours are named as no column may be.
LABEL, SEEN = "lifecycle_label", "lifecycle_label_seen_ts"
LABELLED = "lifecycle_labelled"  # the table that `joined` leaves behind
# When a label `l` names the answer of a prediction `p`.
NAMED = "l.request_id = p.lifecycle_request AND l.position = p.lifecycle_position"
FIRST = 5
COLUMNS = {
    "request_id": "VARCHAR",
    "position": "INTEGER",
    "key": "VARCHAR",
    "ts": "BIGINT",
    "label": "VARCHAR",
    "seen_ts": "BIGINT",
}
SHAPE = "A label file has `request_id` (and `position`), or the key and `ts`; and `label`; and `seen_ts` if it likes."


@dataclass(frozen=True)
class Coverage:
    """Predictions, those older than the days within which a label is expected, and those of them with a label."""

    predictions: int
    mature: int
    labelled: int

    @property
    def share(self) -> float:
        """Labelled among mature; 0 where none is mature."""
        return self.labelled / self.mature if self.mature else 0.0


def add(store: Store, contract: Contract, file: Path, now: int, seen_ts: int | None = None) -> int | None:
    """Keep the labels of a CSV or Parquet file, seen at `seen_ts` (None: now) where no column says when; how many.

    None: the file was kept before, and nothing changes. Raises LifecycleError naming column, fault, count and first
    rows (from 1); a label that will be seen after `now` is such a fault.
    """
    if not file.is_file():
        raise LifecycleError(f"{file} is no file", "Name a CSV or Parquet file of labels.")
    path = _delivery(store, file)
    if path.exists():
        return None
    with exclusive(store), connect() as connection:
        names = _read(connection, file)
        _check_columns(file, names, contract)
        _type(connection, contract, names, now if seen_ts is None else seen_ts)
        _check_rows(connection, file, contract, now)
        replace(connection, f"SELECT {', '.join(COLUMNS)} FROM typed ORDER BY row", path)
        ((count,),) = connection.execute("SELECT count(*) FROM typed").fetchall()
    return int(count)


def met(connection: "duckdb.DuckDBPyConnection", store: Store, contract: Contract, file: Path) -> int:
    """How many labels of a file that is kept belong to an answer in `lifecycle_logged`."""
    ways = [f"SELECT 1 FROM {LOGGED} p WHERE {NAMED}"]
    if by_key := _by_key(connection, contract):
        ways.append(f"SELECT 1 FROM {LOGGED} p WHERE {by_key}")
    known = f"read_parquet({path_literal(_delivery(store, file))})"
    query = f"SELECT count(*) FROM {known} l WHERE {' OR '.join(f'EXISTS ({way})' for way in ways)}"
    ((count,),) = connection.execute(query).fetchall()
    return int(count)


def _delivery(store: Store, file: Path) -> Path:
    return store.labels / f"{hash_of(file)}.parquet"


def _by_key(connection: "duckdb.DuckDBPyConnection", contract: Contract) -> str:
    """When a label `l` belongs to a prediction `p` by key and date; empty where the log holds no key."""
    key = contract.key
    if not (key and key.loggable and key.name in describe(connection, f"FROM {LOGGED}")):
        return ""
    return f"l.key = CAST(p.{quoted(key.name)} AS VARCHAR) AND l.ts // {DAY} = p.ts // {DAY}"


def exclusive(store: Store) -> AbstractContextManager[None]:
    """One job at a time changes the deliveries."""
    return lock(store.labels / ".lock")


def files(store: Store) -> list[Path]:
    """Every delivery."""
    return sorted(store.labels.glob("[!.]*.parquet"))


def joined(connection: "duckdb.DuckDBPyConnection", store: Store, contract: Contract, as_of: int) -> int:
    """Fill LABELLED from `lifecycle_logged`: its columns, LABEL and its moment SEEN (null: not known at `as_of`).

    The same logs, labels and `as_of` give the same table, whatever was delivered since with a later `seen_ts`. Returns
    how many rows have a label.
    """
    connection.execute(f"CREATE OR REPLACE TEMP TABLE lifecycle_labels AS {known(store, as_of)}")
    by_key = ""
    if belongs := _by_key(connection, contract):
        by_key = (
            f"UNION ALL SELECT p.rowid AS place, l.label, l.seen_ts, FALSE AS named FROM {LOGGED} p "
            f"JOIN lifecycle_labels l ON {belongs} "
        )
    # Ties go to the label that names the answer, then to the greater text: to the same one every time.
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {LABELLED} AS SELECT p.*, b.label AS {LABEL}, b.seen_ts AS {SEEN} "
        f"FROM {LOGGED} p LEFT JOIN (SELECT * FROM ("
        f"SELECT p.rowid AS place, l.label, l.seen_ts, TRUE AS named FROM {LOGGED} p JOIN lifecycle_labels l "
        f"ON {NAMED} "
        f"{by_key}) QUALIFY 1 = row_number() OVER (PARTITION BY place ORDER BY seen_ts DESC, named DESC, label DESC)"
        ") b ON b.place = p.rowid ORDER BY p.rowid"
    )
    ((count,),) = connection.execute(f"SELECT count({LABEL}) FROM {LABELLED}").fetchall()
    return int(count)


def coverage(connection: "duckdb.DuckDBPyConnection", as_of: int, label_days: int) -> Coverage:
    """How much of LABELLED is mature at `as_of`, and how much of that has a label."""
    mature = f"ts <= {int(as_of) - label_days * DAY}"
    query = f"SELECT count(*), count(*) FILTER ({mature}), count({LABEL}) FILTER ({mature}) FROM {LABELLED}"
    ((predictions, old, labelled),) = connection.execute(query).fetchall()
    return Coverage(int(predictions), int(old), int(labelled))


def count_since(store: Store, moment: int) -> int:
    """How many labels became known after a moment, in seconds."""
    found = [str(path) for path in files(store)]
    if not found:
        return 0
    with connect() as connection:
        query = "SELECT count(*) FROM read_parquet(?, union_by_name = true) WHERE seen_ts > ?"
        ((count,),) = connection.execute(query, [found, moment]).fetchall()
    return int(count)


def known(store: Store, as_of: int) -> str:
    """A query of every label seen until `as_of`."""
    found = files(store)
    if not found:
        return f"SELECT {', '.join(f'CAST(NULL AS {kind}) AS {name}' for name, kind in COLUMNS.items())} WHERE FALSE"
    return f"SELECT * FROM read_parquet([{', '.join(map(path_literal, found))}]) WHERE seen_ts <= {int(as_of)}"


def _read(connection: "duckdb.DuckDBPyConnection", file: Path) -> list[str]:
    """Fill `given` with the file, every value as text; returns its columns."""
    import duckdb

    name = path_literal(file)
    source = f"read_csv({name}, header = true, all_varchar = true)"
    if is_parquet(file):
        source = f"(SELECT CAST(COLUMNS(*) AS VARCHAR) FROM read_parquet({name}, hive_partitioning = false))"
    try:
        connection.execute(f"CREATE TEMP TABLE given AS SELECT *, row_number() OVER () AS lifecycle_row FROM {source}")
    except duckdb.Error as error:
        raise LifecycleError(
            f"{file} cannot be read: {error}", "Labels come as CSV with a header, or Parquet."
        ) from error
    return [column for column in describe(connection, "FROM given") if column != "lifecycle_row"]


def _check_columns(file: Path, known: list[str], contract: Contract) -> None:
    label, key = {"label", contract.target.label}, {"key"} | ({contract.key.name} if contract.key else set())
    faults = [f"nothing is known of the column {name}" for name in known if name not in {*COLUMNS, *label, *key}]
    if len(label & set(known)) != 1:
        faults.append(f"it needs one column {' or '.join(sorted(label))}")
    named, keyed = "request_id" in known, bool(key & set(known)) or "ts" in known
    if named == keyed or ("position" in known and not named):
        faults.append("it needs either request_id or the key and ts")
    if key & set(known) and not (contract.key and contract.key.loggable):
        faults.append("the contract has no key that may be kept: name the answer by request_id")
    if keyed and not (len(key & set(known)) == 1 and "ts" in known):
        faults.append(f"it needs one column {' or '.join(sorted(key))}, and ts")
    if faults:
        raise LifecycleError(f"{file}: " + "; ".join(faults), SHAPE)


def _type(connection: "duckdb.DuckDBPyConnection", contract: Contract, known: list[str], seen_ts: int) -> None:
    """Fill `typed`: COLUMNS, `row` from 1, and what the file says of moments, position and label."""
    key = contract.key.name if contract.key and contract.key.name in known else "key"
    given = {name: quoted(name) if name in known else "NULL" for name in COLUMNS}
    given["key"] = quoted(key) if key in known else "NULL"
    given["label"] = quoted("label" if "label" in known else contract.target.label)
    given["position"] = given["position"] if "position" in known else "'0'"
    given["seen_ts"] = given["seen_ts"] if "seen_ts" in known else f"'{int(seen_ts)}'"
    parts = {
        "request_id": given["request_id"],
        "position": f"TRY_CAST({given['position']} AS INTEGER)",
        "key": given["key"],
        "ts": _moment(given["ts"]),
        "label": _label(contract, given["label"]),
        "seen_ts": _moment(given["seen_ts"]),
    }
    wanted = ", ".join(f"CAST({parts[name]} AS {kind}) AS {name}" for name, kind in COLUMNS.items())
    connection.execute(f"CREATE TEMP TABLE typed AS SELECT {wanted}, lifecycle_row AS row FROM given")


def _moment(value: str) -> str:
    """Seconds since 1970 UTC, or a date or moment in ISO 8601."""
    return f"coalesce(TRY_CAST({value} AS BIGINT), CAST(floor(epoch(TRY_CAST({value} AS TIMESTAMPTZ))) AS BIGINT))"


def _label(contract: Contract, value: str) -> str:
    target = contract.target
    if target.task == "regression":
        number = f"TRY_CAST({value} AS DOUBLE)"
        return f"CASE WHEN isfinite({number}) THEN {value} END"
    names = ", ".join(text(name) for name in target.classes)
    found = f"WHEN {value} IN ({names}) THEN {value}"
    if target.task == "binary":
        # As in training: a label of two classes may be a truth value or 0 and 1.
        for name, words in zip(target.classes, ("'0', 'false'", "'1', 'true'"), strict=True):
            found += f" WHEN lower({value}) IN ({words}) THEN {text(name)}"
    return f"CASE {found} END"


def _check_rows(connection: "duckdb.DuckDBPyConnection", file: Path, contract: Contract, now: int) -> None:
    target = contract.target
    named = describe(connection, "FROM given").keys() & {"request_id"}
    rules = {
        f"label is none of {', '.join(target.classes)}" if target.classes else "label is no number": "label IS NULL",
        "seen_ts is no moment": "seen_ts IS NULL",
        "seen_ts has not come yet": f"seen_ts > {int(now)}",
    }
    if named:
        rules |= {
            "request_id is missing": "request_id IS NULL",
            "position is no place": "NOT coalesce(position >= 0, FALSE)",
        }
    else:
        rules |= {"the key is missing": "key IS NULL", "ts is no moment": "ts IS NULL"}
    faults = []
    for fault, sql in rules.items():
        found = connection.execute(f"SELECT row FROM typed WHERE {sql} ORDER BY row").fetchall()
        if found:
            first = ", ".join(str(row) for (row,) in found[:FIRST])
            faults.append(f"{fault} in {len(found)} rows (first: {first})")
    if faults:
        raise LifecycleError(f"{file}:\n  " + "\n  ".join(faults), "Fix the file; nothing of it was kept.")
