"""Point-in-time features: one SQL completes rows for training, scoring and the online table; only the spine differs.

`features.sql` reads a table `spine(<key>, ts)` and the team's tables, and returns key, ts and every looked-up column.
"""

import re
from collections.abc import Callable
from pathlib import Path

from lifecycle import timestamps, warn_renamed
from lifecycle.contract import tables
from lifecycle.contract.schema import Column, Contract
from lifecycle.contract.tables import SQL_TYPES, Connection, cast, describe, literal, quoted, subquery
from lifecycle.contract.team import DATA, LABELS, TIMES, Data, Team, verify_labels
from lifecycle.errors import LifecycleError

ROWS = "lifecycle_completed"  # the table or view that the functions below fill with completed rows
REQUESTS = "lifecycle_requests"
REQUEST, FOUND = "lifecycle_request_row", "lifecycle_found"
WHERE = "src/model/features.sql"

# Makes the result of a query available as ROWS; the last argument names the query in messages.
Keep = Callable[[Connection, str, str], None]


def keep_in_memory(connection: Connection, query: str, where: str) -> None:
    """Fill the table ROWS with the result of a query; scoring has another `Keep` for results larger than memory."""
    with tables.explain_sql_errors(where):
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {ROWS} AS {query}")


def connect(data: Data, folder: Path, **limits: str) -> Connection:
    """Open a connection in UTC with the team's tables registered; `limits` are settings of DuckDB."""
    connection = tables.connect(**limits)
    with tables.explain_sql_errors(f"{DATA}: tables()"):
        data.tables(connection, folder)
    return connection


def latest(connection: Connection, data: Data) -> int:
    """Return the latest timestamp of the data where `model.data` defines `latest`, else the current time."""
    engine = getattr(connection, "engine", None)
    with tables.explain_sql_errors(f"{DATA}: latest()"):
        return int(data.latest(engine or connection)) if hasattr(data, "latest") else timestamps.now()


def training_rows(connection: Connection, team: Team, as_of: int, defaults: bool = False) -> int:
    """Fill ROWS with every labelled row whose label was known at `as_of`, oldest first, and return their number.

    Its columns are keys, inputs, label, and `ts` and `seen_ts` where labels() returns them. A request field that
    labels() does not return is null where null is its default; any other default is used with `defaults` only. Raises
    LifecycleError where the SQL of the team fails, or the rows violate the contract.
    """
    if engine := getattr(connection, "engine", None):
        rows = int(engine.training_rows(connection, team, as_of, defaults))
    else:
        known = _read_requests(connection, team.data.labels(connection), LABELS)
        for name in TIMES & known.keys():
            # A null means that the label is not known yet.
            connection.execute(f"DELETE FROM {REQUESTS} WHERE {name} IS NULL OR {name} > {int(as_of)}")
        extra = verify_labels(known, team.contract, defaults)
        rows = _complete(connection, team.contract, team.features_sql, known, extra)
    if team.contract.id:
        name, label = team.contract.id.name, quoted(team.contract.target.label)
        several = f"SELECT 1 FROM {ROWS} GROUP BY {quoted(name)} HAVING count(DISTINCT {label}) > 1"
        if count := tables.count(connection, f"FROM ({several})"):
            problem = f"{LABELS} has contradictory labels for {count} values of {name}, which identifies a row"
            raise LifecycleError(problem, "Select one label for each, or declare the column as Key().")
    return rows


def population_rows(
    connection: Connection, data: Data, contract: Contract, sql: str | None, as_of: int, keep: Keep = keep_in_memory
) -> int:
    """Fill ROWS with the population at `as_of`, sorted by key; return its size, or raise as `training_rows` does."""
    # Without looked-up columns the query is read only once, so that a view saves a copy.
    once = keep is not keep_in_memory and bool(contract.identifiers) and not contract.lookups
    known = _read_population(connection, data, as_of, "VIEW" if once else "TABLE")
    return _complete(connection, contract, sql, known, ("ts",), keep, contract.identifiers)


def lookup_rows(connection: Connection, data: Data, contract: Contract, features_sql: str, as_of: int) -> int:
    """Fill ROWS with key and looked-up columns of everyone in the population at `as_of`, and return their number."""
    only = Contract(contract.version, contract.target, contract.looked_up)
    if engine := getattr(connection, "engine", None):
        return int(engine.lookup_rows(connection, data, only, features_sql, as_of))
    known = _read_population(connection, data, as_of)
    key = quoted(contract.looked_up[0].name)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {REQUESTS} AS SELECT DISTINCT {key}, ts FROM {REQUESTS}")
    return _complete(connection, only, features_sql, known, ())


def recompute_query(connection: Connection, contract: Contract, features_sql: str, query: str) -> str:
    """Return SQL of key, ts and looked-up columns, computed again for each key and ts that `query` selects.

    A key without features has no row. Raise LifecycleError where `features.sql` does not fit the tables.
    """
    if engine := getattr(connection, "engine", None):
        return str(engine.recompute_query(connection, contract, features_sql, query))
    types = _fill_spine(connection, contract, features_sql, _read_requests(connection, query, "the prediction log"))
    parts = [cast(quoted(column.name), column, types[column.name]) for column in contract.looked_up]
    return f"SELECT {', '.join(parts)}, CAST(ts AS BIGINT) AS ts FROM {subquery(features_sql)}"


def check_sql(connection: Connection, contract: Contract, features_sql: str) -> None:
    """Compare the columns of `features.sql` with the contract, without running it; raise LifecycleError."""
    key, *_ = contract.looked_up
    connection.execute(f"CREATE OR REPLACE TEMP TABLE spine ({quoted(key.name)} {SQL_TYPES[key.kind]}, ts BIGINT)")
    verify_features(_describe(connection, features_sql, WHERE, "asks", "spine"), contract)


def _describe(connection: Connection, query: str, where: str, old: str, new: str) -> dict[str, str]:
    """Describe SQL of the team; a table that it uses under a name from before 0.3.0 is offered under that name."""
    if re.search(rf"\b{old}\b", query):
        warn_renamed(f"the SQL table {old}", new)
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {old} AS FROM {new}")
    with tables.explain_sql_errors(where):
        return describe(connection, query)


def _read_population(connection: Connection, data: Data, as_of: int, kind: str = "TABLE") -> dict[str, str]:
    where, timestamp = f"{DATA}: population()", f"CAST({int(as_of)} AS BIGINT) AS ts"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE as_of AS SELECT {timestamp}")
    query = data.population(connection)
    names = [quoted(name) for name in _describe(connection, query, where, "moment", "as_of") if name != "ts"]
    return _read_requests(connection, f"SELECT {', '.join([*names, timestamp])} FROM {subquery(query)}", where, kind)


def _read_requests(connection: Connection, query: str, where: str, kind: str = "TABLE") -> dict[str, str]:
    """Fill REQUESTS, a table or a view, and return its columns with their SQL types."""
    with tables.explain_sql_errors(where):
        connection.execute(f"CREATE OR REPLACE TEMP {kind} {REQUESTS} AS {subquery(query)}")
    return tables.verify_seconds(describe(connection, f"FROM {REQUESTS}"), TIMES, where)


def completed(
    contract: Contract,
    features_sql: str | None,
    known: dict[str, str],
    extra: tuple[str, ...],
    fill_spine: Callable[[], dict[str, str]],
    found: str = "TRUE",
) -> tuple[list[str], str, dict[str, str]]:
    """Return SQL of the columns of completed rows, of their source (REQUESTS q and features f), and all types.

    `known` has the columns of REQUESTS with their SQL types, and `extra` those that are no field. `fill_spine` returns
    the types of the features, and `found` is SQL of the column FOUND of a row of features. Raises LifecycleError where
    a request field is missing or has another type.
    """
    # population() may omit a request field that has a default.
    sent = tuple(column for column in contract.request if column.name in known or column.required)
    if faults := tables.check_types(known, sent, DATA):
        raise LifecycleError("\n  ".join(faults), "labels() and population() select every field that a caller sends.")
    types = {column.name: known.get(column.name, "") for column in contract.request}
    parts = [
        cast(f"q.{quoted(c.name)}" if c.name in known else literal(c.default), c, types[c.name])
        for c in contract.request
    ]
    parts += [f"q.{quoted(name)}" for name in extra]
    source = f"{REQUESTS} q"
    if contract.lookups and features_sql is not None:
        key = quoted(contract.looked_up[0].name)
        types |= fill_spine()
        for column in contract.lookups:
            value = f"f.{quoted(column.name)}"
            if contract.fallback:
                value = f"CASE WHEN f.{FOUND} IS NOT NULL THEN {value} ELSE {literal(column.fallback)} END"
            parts.append(cast(value, column, types[column.name]))
        source += f" LEFT JOIN (SELECT *, {found} AS {FOUND} FROM {subquery(features_sql)}) f"
        source += f" ON f.{key} = q.{key} AND f.ts = q.ts"
    return parts, source, types


def _complete(
    connection: Connection,
    contract: Contract,
    features_sql: str | None,
    known: dict[str, str],
    extra: tuple[str, ...],
    keep: Keep = keep_in_memory,
    by: tuple[Column, ...] | None = None,
) -> int:
    """Join REQUESTS with the features into ROWS, check them against the contract, and return their number."""
    parts, source, types = completed(
        contract,
        features_sql,
        known,
        extra,
        lambda: _fill_spine(connection, contract, features_sql or "", known),
        "TRUE",
    )
    order = ["q.ts", "q.rowid"] if "ts" in known else ["q.rowid"]
    if contract.lookups and features_sql is not None:
        parts += [f"q.rowid AS {REQUEST}", f"f.{FOUND} IS NOT NULL AS {FOUND}"]
        order = ["q.ts", f"q.{quoted(contract.looked_up[0].name)}"]
    if by is not None:
        order = [f"q.{quoted(column.name)}" for column in by]
    ordered = f"{source} ORDER BY {', '.join(order)}" if order else source
    keep(connection, f"SELECT {', '.join(parts)} FROM {ordered}", WHERE if contract.lookups else DATA)
    if contract.lookups and features_sql is not None:
        _check_one_row_each(connection, contract)
    rows = tables.check_table(connection, ROWS, contract.columns, "the completed rows")
    if keep is not keep_in_memory:
        return rows
    for name in (REQUEST, FOUND):
        connection.execute(f"ALTER TABLE {ROWS} DROP COLUMN IF EXISTS {name}")
    for column in contract.columns:
        # The check above has excluded fractions, so that this cast rounds nothing.
        if column.kind == "integer" and not types[column.name].startswith(tables.INTEGERS):
            connection.execute(f"ALTER TABLE {ROWS} ALTER {quoted(column.name)} TYPE BIGINT")
    return rows


def _check_one_row_each(connection: Connection, contract: Contract) -> None:
    missing = "FALSE" if contract.fallback else f"NOT bool_and({FOUND})"
    counted = f"SELECT {REQUEST}, count(*) FILTER ({FOUND}) AS found FROM {ROWS} GROUP BY {REQUEST}"
    wrong = f"{counted} HAVING count(*) > 1 OR {missing}"
    ((count, found),) = connection.execute(f"SELECT count(*), arg_min(found, {REQUEST}) FROM ({wrong})").fetchall()
    if count:
        problem = f"{WHERE} does not return one row for each of {count} rows of the spine (for the first: {found} rows)"
        raise LifecycleError(problem, "It returns exactly one row for each row of the spine.")


def _fill_spine(connection: Connection, contract: Contract, features_sql: str, known: dict[str, str]) -> dict[str, str]:
    """Fill `spine` from REQUESTS, and return the SQL types of the features."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE spine AS {spine_query(contract, known)}")
    return verify_features(_describe(connection, features_sql, WHERE, "asks", "spine"), contract)


def spine_query(contract: Contract, known: dict[str, str]) -> str:
    """Return SQL of the keys and times in REQUESTS, whose columns are `known`; LifecycleError without a time."""
    if "ts" not in known:
        problem = f"{DATA}: labels() lacks the column ts"
        raise LifecycleError(problem, "features.sql needs the time of each row, in seconds since 1970 UTC.")
    key, name = contract.looked_up[0], quoted(contract.looked_up[0].name)
    return f"SELECT DISTINCT CAST({name} AS {SQL_TYPES[key.kind]}) AS {name}, CAST(ts AS BIGINT) AS ts FROM {REQUESTS}"


def verify_features(described: dict[str, str], contract: Contract) -> dict[str, str]:
    """Return the columns of `features.sql` with their SQL types; LifecycleError where they are not as declared."""
    faults = tables.check_types(described, contract.looked_up, WHERE)
    faults += [] if "ts" in described else [f"{WHERE} lacks the column ts"]
    if faults:
        raise LifecycleError("\n  ".join(faults), "Its columns are the key, ts and every Lookup() field.")
    return described
