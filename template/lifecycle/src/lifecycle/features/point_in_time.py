"""From raw tables to completed rows: the same SQL for training, batch and look-up; only the spine changes.

`features.sql` reads a table `spine(<key>, ts)` and the team's tables, and returns key, ts and every entity column.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle import timestamps
from lifecycle.contract.schema import Column, Contract
from lifecycle.contract.tables import INTEGERS, SQL_TYPES, check_table, check_types, describe, quoted, subquery, text
from lifecycle.contract.team import Data, Team
from lifecycle.errors import LifecycleError
from lifecycle.renamed import warn_renamed

if TYPE_CHECKING:
    import duckdb

# Tables and columns of our own. Of the names in SQL, the team shares two with us: `spine` and `as_of`.
QUESTIONS = "lifecycle_questions"
ROWS = "lifecycle_completed"  # the completed rows that the functions below leave behind
QUESTION, FOUND = "lifecycle_question", "lifecycle_found"
TIMES = {"ts", "seen_ts"}
WHERE = "src/model/features.sql"


def in_memory(connection: "duckdb.DuckDBPyConnection", query: str, where: str) -> None:
    """Fill ROWS with what a query selects; raises LifecycleError, `where` says what the query is of."""
    import duckdb

    try:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {ROWS} AS {query}")
    except duckdb.Error as error:
        raise failed(where, error) from error


# How completed rows are kept: `pipelines.score_rows` has the way for more of them than the memory holds.
Keep = Callable[["duckdb.DuckDBPyConnection", str, str], None]


def connect(data: Data, folder: Path, **limits: str) -> "duckdb.DuckDBPyConnection":
    """A DuckDB connection in UTC with the team's tables registered; one thread, so that sums repeat exactly.

    `limits` are further settings of DuckDB, such as `memory_limit`.
    """
    import duckdb

    connection = duckdb.connect(config={"threads": 1, **limits})
    connection.execute("SET TimeZone = 'UTC'")
    try:
        data.tables(connection, folder)
    except duckdb.Error as error:
        raise failed("src/model/data.py: tables()", error) from error
    return connection


def training_rows(connection: "duckdb.DuckDBPyConnection", team: Team, as_of: int) -> int:
    """Fill ROWS with every labelled question asked and known at `as_of`; returns how many.

    Columns: keys, inputs, label, and `ts` and `seen_ts` where labels() has them; oldest first where there is a `ts`.
    """
    where = "src/model/data.py: labels()"
    known = _questions(connection, team.data.labels(connection), where)
    for name in TIMES & known.keys():
        # A label that is not known yet has no moment at which it was seen.
        connection.execute(f"DELETE FROM {QUESTIONS} WHERE {name} IS NULL OR {name} > {int(as_of)}")
    if team.contract.target.label not in known:
        raise LifecycleError(
            f"{where} lacks the label {team.contract.target.label}",
            "Select it under the name that TARGET in src/model/contract.py gives.",
        )
    extra = (team.contract.target.label, *sorted(TIMES & known.keys()))
    return _complete(connection, team.contract, team.features_sql, known, extra)


def population_rows(
    connection: "duckdb.DuckDBPyConnection",
    data: Data,
    contract: Contract,
    features_sql: str | None,
    moment: int,
    keep: Keep = in_memory,
) -> int:
    """Fill ROWS with everyone asked about at `moment`, by key (without one, as population() has them).

    Returns how many.
    """
    # Asked once, and sorted where it goes: what need not be looked up needs no table before.
    once = keep is not in_memory and bool(contract.keys) and not contract.lookups
    known = _ask_population(connection, data, moment, "VIEW" if once else "TABLE")
    return _complete(connection, contract, features_sql, known, ("ts",), keep, contract.keys)


def lookup_rows(
    connection: "duckdb.DuckDBPyConnection", data: Data, contract: Contract, features_sql: str, moment: int
) -> int:
    """Fill ROWS with key and entity columns of everyone at `moment`; returns how many."""
    assert contract.key is not None, "a contract with entity columns has a key"
    known = _ask_population(connection, data, moment)
    key = quoted(contract.key.name)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {QUESTIONS} AS SELECT DISTINCT {key}, ts FROM {QUESTIONS}")
    only = Contract(contract.version, contract.target, contract.looked_up)
    return _complete(connection, only, features_sql, known, ())


def recomputed(connection: "duckdb.DuckDBPyConnection", contract: Contract, features_sql: str, query: str) -> str:
    """SQL of key, ts and entity columns for the (key, ts) that a query selects: a key without features has no row.

    Raises LifecycleError when `features.sql` does not fit the tables of the connection.
    """
    assert contract.key is not None, "a contract with entity columns has a key"
    known = _questions(connection, query, "the log")
    types = _fill_spine(connection, contract, contract.key, features_sql, known)
    parts = [cast(quoted(column.name), column, types[column.name]) for column in contract.looked_up]
    return f"SELECT {', '.join(parts)}, CAST(ts AS BIGINT) AS ts FROM {subquery(features_sql)}"


def check_sql(connection: "duckdb.DuckDBPyConnection", contract: Contract, features_sql: str) -> None:
    """Compare the columns of `features.sql` with the contract, without running it; raises LifecycleError."""
    assert contract.key is not None, "a contract with entity columns has a key"
    name, kind = quoted(contract.key.name), SQL_TYPES[contract.key.kind]
    connection.execute(f"CREATE OR REPLACE TEMP TABLE spine ({name} {kind}, ts BIGINT)")
    _check_columns(connection, contract, contract.key, features_sql)


def _ask_population(
    connection: "duckdb.DuckDBPyConnection", data: Data, moment: int, kept: str = "TABLE"
) -> dict[str, str]:
    import duckdb

    where = "src/model/data.py: population()"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE as_of AS SELECT CAST({int(moment)} AS BIGINT) AS ts")
    query = data.population(connection)
    _keep_old_name(connection, query, "moment", "as_of")
    try:
        names = [quoted(name) for name in describe(connection, query) if name != "ts"]
    except duckdb.Error as error:
        raise failed(where, error) from error
    asked = ", ".join([*names, f"CAST({int(moment)} AS BIGINT) AS ts"])
    return _questions(connection, f"SELECT {asked} FROM {subquery(query)}", where, kept)


def _questions(connection: "duckdb.DuckDBPyConnection", query: str, where: str, kept: str = "TABLE") -> dict[str, str]:
    """Fill QUESTIONS, a table or a view, and return its columns with their SQL types."""
    import duckdb

    try:
        connection.execute(f"CREATE OR REPLACE TEMP {kept} {QUESTIONS} AS {subquery(query)}")
    except duckdb.Error as error:
        raise failed(where, error) from error
    known = describe(connection, f"FROM {QUESTIONS}")
    for name in TIMES & known.keys():
        if not known[name].startswith((*INTEGERS, '"NULL"')):
            hint = f"Select whole seconds since 1970 UTC, for example CAST(epoch({name}) AS BIGINT) AS {name}."
            raise LifecycleError(f"{where}: {name} is {known[name]}", hint)
    return known


def _complete(
    connection: "duckdb.DuckDBPyConnection",
    contract: Contract,
    features_sql: str | None,
    known: dict[str, str],
    extra: tuple[str, ...],
    keep: Keep = in_memory,
    by: tuple[Column, ...] | None = None,
) -> int:
    """Join QUESTIONS with the features, check what comes out against the contract, and leave it in ROWS."""
    # A question may leave out a request field that has a default.
    sent = tuple(column for column in contract.request if column.name in known or column.required)
    faults = check_types(known, sent, "src/model/data.py")
    if faults:
        raise LifecycleError("\n  ".join(faults), "labels() and population() select every key and request field.")
    types = {column.name: known.get(column.name, "") for column in contract.request}
    parts = [
        cast(f"q.{quoted(c.name)}" if c.name in known else literal(c.default), c, types[c.name])
        for c in contract.request
    ]
    parts += [f"q.{quoted(name)}" for name in extra]
    source, order = f"{QUESTIONS} q", "q.ts, q.rowid" if "ts" in known else "q.rowid"
    if contract.lookups and contract.key and features_sql is not None:
        key = quoted(contract.key.name)
        types |= _fill_spine(connection, contract, contract.key, features_sql, known)
        parts += [_looked_up(column, contract.fallback, types[column.name]) for column in contract.lookups]
        source += f" LEFT JOIN (SELECT *, TRUE AS {FOUND} FROM {subquery(features_sql)}) f"
        source += f" ON f.{key} = q.{key} AND f.ts = q.ts"
        order = f"q.ts, q.{key}"
        parts += [f"q.rowid AS {QUESTION}", f"f.{FOUND} IS NOT NULL AS {FOUND}"]
    if by is not None:
        order = ", ".join(f"q.{quoted(column.name)}" for column in by)
    ordered = f"{source} ORDER BY {order}" if order else source
    keep(connection, f"SELECT {', '.join(parts)} FROM {ordered}", WHERE if contract.lookups else "src/model/data.py")
    if contract.lookups and features_sql is not None:
        _one_row_each(connection, contract)
    rows = check_table(connection, ROWS, contract.columns, "the completed rows")
    if keep is not in_memory:
        return rows
    for name in (QUESTION, FOUND):
        connection.execute(f"ALTER TABLE {ROWS} DROP COLUMN IF EXISTS {name}")
    for column in contract.columns:
        # Only now is it known that nothing is rounded.
        if column.kind == "integer" and not types[column.name].startswith(INTEGERS):
            connection.execute(f"ALTER TABLE {ROWS} ALTER {quoted(column.name)} TYPE BIGINT")
    return rows


def _one_row_each(connection: "duckdb.DuckDBPyConnection", contract: Contract) -> None:
    """Raise LifecycleError when a question has several rows of features, or none where there is no fallback."""
    missing = "FALSE" if contract.fallback else f"NOT bool_and({FOUND})"
    wrong = f"SELECT {QUESTION} FROM {ROWS} GROUP BY {QUESTION} HAVING count(*) > 1 OR {missing}"
    found = connection.execute(f"SELECT count(*), min({QUESTION}) FROM ({wrong})").fetchone()
    if found and found[0]:
        count = connection.execute(f"SELECT count(*) FROM {ROWS} WHERE {QUESTION} = {found[1]} AND {FOUND}").fetchone()
        told = count[0] if count else 0
        problem = f"{WHERE} does not answer {found[0]} of the rows of the spine with one row (the first has {told})"
        raise LifecycleError(problem, "It returns exactly one row for each row of the spine.")


def _looked_up(column: Column, fallback: dict[str, object] | None, found: str) -> str:
    value = f"f.{quoted(column.name)}"
    if fallback is not None:
        value = f"CASE WHEN f.{FOUND} THEN {value} ELSE {literal(fallback[column.name])} END"
    return cast(value, column, found)


def cast(expression: str, column: Column, found: str) -> str:
    """A column of a table with the SQL type `found`, as its contract has it."""
    # A whole number that comes as DOUBLE keeps its fraction until the check has seen it.
    kind = "DOUBLE" if column.kind == "integer" and not found.startswith(INTEGERS) else SQL_TYPES[column.kind]
    return f"CAST({expression} AS {kind}) AS {quoted(column.name)}"


def _fill_spine(
    connection: "duckdb.DuckDBPyConnection", contract: Contract, key: Column, features_sql: str, known: dict[str, str]
) -> dict[str, str]:
    """Fill `spine`; returns the SQL types of the features."""
    if "ts" not in known:
        problem = "src/model/data.py: labels() lacks the column ts"
        raise LifecycleError(problem, "features.sql needs the moment of each question, in seconds since 1970 UTC.")
    parts = f"CAST({quoted(key.name)} AS {SQL_TYPES[key.kind]}) AS {quoted(key.name)}, CAST(ts AS BIGINT) AS ts"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE spine AS SELECT DISTINCT {parts} FROM {QUESTIONS}")
    return _check_columns(connection, contract, key, features_sql)


def _keep_old_name(connection: "duckdb.DuckDBPyConnection", query: str, old: str, new: str) -> None:
    """Offer a table under the name that releases before 0.3.0 gave it, to a query that uses that name."""
    if re.search(rf"\b{old}\b", query):
        warn_renamed(f"the SQL table {old}", new)
        connection.execute(f"CREATE OR REPLACE TEMP VIEW {old} AS FROM {new}")


def _check_columns(
    connection: "duckdb.DuckDBPyConnection", contract: Contract, key: Column, features_sql: str
) -> dict[str, str]:
    import duckdb

    _keep_old_name(connection, features_sql, "asks", "spine")
    try:
        described = describe(connection, features_sql)
    except duckdb.Error as error:
        raise failed(WHERE, error) from error
    faults = check_types(described, contract.looked_up, WHERE)
    faults += [] if "ts" in described else [f"{WHERE} lacks the column ts"]
    if faults:
        raise LifecycleError("\n  ".join(faults), "Its columns are the key, ts and every Lookup() field.")
    return described


def literal(value: object) -> str:
    """A value of a contract in SQL."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    return repr(value) if isinstance(value, int | float) else text(str(value))


def failed(where: str, error: Exception) -> LifecycleError:
    """The error for SQL of the team's that DuckDB refuses."""
    import duckdb

    hint = "The message above is DuckDB's and names the place in the SQL."
    if isinstance(error, duckdb.OutOfMemoryException):
        hint = "Raise score.memory_mb, or free some space where `storage` stands: what does not fit spills there."
    return LifecycleError(f"{where} failed: {error}", hint)


def latest(connection: "duckdb.DuckDBPyConnection", data: Data) -> int:
    """Return the latest timestamp of the data where `model.data` defines `latest`, else the current time."""
    named = getattr(data, "latest", None)
    return int(named(connection)) if named else timestamps.now()
