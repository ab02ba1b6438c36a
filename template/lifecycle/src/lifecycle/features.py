"""From raw tables to completed rows: the same SQL for training, batch and look-up; only `asks` changes.

`features.sql` reads a table `asks(<key>, ts)` and the team's tables, and returns key, ts and every entity column.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle import moments
from lifecycle.contract import Column, Contract
from lifecycle.errors import LifecycleError
from lifecycle.frames import SQL_TYPES, check_table, check_types, describe, quoted, text
from lifecycle.team import Data, Team

if TYPE_CHECKING:
    import duckdb

ROWS = "completed"  # the table of completed rows that the functions below leave behind
WHERE = "src/model/features.sql"


def connect(data: Data, folder: Path) -> "duckdb.DuckDBPyConnection":
    """A DuckDB connection in UTC with the team's tables registered; one thread, so that sums repeat exactly."""
    import duckdb

    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    try:
        data.tables(connection, folder)
    except duckdb.Error as error:
        raise _failed("src/model/data.py: tables()", error) from error
    return connection


def training_rows(connection: "duckdb.DuckDBPyConnection", team: Team, as_of: int) -> int:
    """Fill `completed` with every labelled question known at `as_of`, oldest first; returns how many.

    Columns: keys, `ts` where there is one, the inputs, the label.
    """
    _questions(connection, team.data.labels(connection), "src/model/data.py: labels()")
    known = describe(connection, "FROM questions")
    if "seen_ts" in known:
        connection.execute(f"DELETE FROM questions WHERE seen_ts > {int(as_of)}")
    if team.contract.answer.label not in known:
        raise LifecycleError(
            f"src/model/data.py: labels() lacks the label {team.contract.answer.label}",
            "Select it under the name that ANSWER in src/model/contract.py gives.",
        )
    return _complete(connection, team.contract, team.features_sql, extra=(team.contract.answer.label,))


def population_rows(
    connection: "duckdb.DuckDBPyConnection", data: Data, contract: Contract, features_sql: str | None, moment: int
) -> int:
    """Fill `completed` with everyone asked about at `moment`; returns how many."""
    _ask_population(connection, data, moment)
    return _complete(connection, contract, features_sql, extra=())


def entity_rows(
    connection: "duckdb.DuckDBPyConnection", data: Data, contract: Contract, features_sql: str, moment: int
) -> int:
    """Fill `completed` with key and entity columns of everyone at `moment`; returns how many."""
    assert contract.key is not None, "a contract with entity columns has a key"
    _ask_population(connection, data, moment)
    key = quoted(contract.key.name)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE questions AS SELECT DISTINCT {key}, ts FROM questions")
    only = Contract(contract.version, contract.answer, (contract.key, *contract.entity))
    return _complete(connection, only, features_sql, extra=())


def check_sql(connection: "duckdb.DuckDBPyConnection", contract: Contract, features_sql: str) -> None:
    """Compare the columns of `features.sql` with the contract, without running it; raises LifecycleError."""
    assert contract.key is not None, "a contract with entity columns has a key"
    name, kind = quoted(contract.key.name), SQL_TYPES[contract.key.kind]
    connection.execute(f"CREATE OR REPLACE TEMP TABLE asks ({name} {kind}, ts BIGINT)")
    _check_columns(connection, contract, contract.key, features_sql)


def _ask_population(connection: "duckdb.DuckDBPyConnection", data: Data, moment: int) -> None:
    connection.execute(f"CREATE OR REPLACE TEMP TABLE moment AS SELECT CAST({int(moment)} AS BIGINT) AS ts")
    _questions(connection, data.population(connection), "src/model/data.py: population()")
    connection.execute("ALTER TABLE questions ADD COLUMN IF NOT EXISTS ts BIGINT")
    connection.execute(f"UPDATE questions SET ts = {int(moment)}")


def _questions(connection: "duckdb.DuckDBPyConnection", query: str, where: str) -> None:
    import duckdb

    try:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE questions AS ({query})")
    except duckdb.Error as error:
        raise _failed(where, error) from error


def _complete(
    connection: "duckdb.DuckDBPyConnection", contract: Contract, features_sql: str | None, extra: tuple[str, ...]
) -> int:
    import duckdb

    known = describe(connection, "FROM questions")
    # A question may leave out a request field that has a default.
    sent = tuple(column for column in contract.request if column.name in known or column.required)
    faults = check_types(known, sent, "src/model/data.py")
    if faults:
        raise LifecycleError("\n  ".join(faults), "labels() and population() select every key and request field.")
    parts = [_sent(column, column.name in known) for column in contract.request]
    parts += [f"q.{quoted(name)}" for name in extra] + (["q.ts"] if "ts" in known else [])
    source, order = "questions q", "q.ts" if "ts" in known else "q.rowid"
    if contract.entity and contract.key and features_sql is not None:
        key = quoted(contract.key.name)
        _fill_asks(connection, contract.key, known)
        _check_columns(connection, contract, contract.key, features_sql)
        parts += [_cast(f"f.{quoted(column.name)}", column) for column in contract.entity]
        source += f" JOIN ({features_sql}) f ON f.{key} = q.{key} AND f.ts = q.ts"
        order += f", q.{key}"
    query = f"CREATE OR REPLACE TEMP TABLE {ROWS} AS SELECT {', '.join(parts)} FROM {source} ORDER BY {order}"
    try:
        connection.execute(query)
    except duckdb.Error as error:
        raise _failed(WHERE, error) from error
    rows = check_table(connection, ROWS, contract.columns, "the completed rows")
    asked = connection.execute("SELECT count(*) FROM questions").fetchone()
    if asked and asked[0] != rows:
        problem = f"{WHERE} answers {asked[0]} questions with {rows} rows"
        raise LifecycleError(problem, "It returns exactly one row for each row of asks.")
    return rows


def _sent(column: Column, known: bool) -> str:
    return _cast(f"q.{quoted(column.name)}" if known else _literal(column.default), column)


def _cast(expression: str, column: Column) -> str:
    return f"CAST({expression} AS {SQL_TYPES[column.kind]}) AS {quoted(column.name)}"


def _fill_asks(connection: "duckdb.DuckDBPyConnection", key: Column, known: dict[str, str]) -> None:
    if "ts" not in known:
        problem = "src/model/data.py: labels() lacks the column ts"
        raise LifecycleError(problem, "features.sql needs the moment of each question, in seconds since 1970 UTC.")
    parts = f"{_cast(quoted(key.name), key)}, CAST(ts AS BIGINT) AS ts"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE asks AS SELECT DISTINCT {parts} FROM questions")


def _check_columns(connection: "duckdb.DuckDBPyConnection", contract: Contract, key: Column, features_sql: str) -> None:
    import duckdb

    try:
        described = describe(connection, features_sql)
    except duckdb.Error as error:
        raise _failed(WHERE, error) from error
    faults = check_types(described, (key, *contract.entity), WHERE)
    faults += [] if "ts" in described else [f"{WHERE} lacks the column ts"]
    if faults:
        raise LifecycleError("\n  ".join(faults), "Its columns are the key, ts and every Entity() field.")


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    return repr(value) if isinstance(value, int | float) else text(str(value))


def _failed(where: str, error: Exception) -> LifecycleError:
    return LifecycleError(f"{where} failed: {error}", "The message above is DuckDB's and names the place in the SQL.")


def latest(connection: "duckdb.DuckDBPyConnection", data: Data) -> int:
    """The moment that stands for now: the data's own where `model.data` names one, else the clock."""
    named = getattr(data, "latest", None)
    return int(named(connection)) if named else moments.now()
