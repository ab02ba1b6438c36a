"""Recompute the features of logged requests as of their own time and compare them with what the service used.

This detects a difference between the online feature table and the SQL that produced the training rows (Breck et al.
2017, test Monitor 3).
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lifecycle.contract.schema import Column, Contract
from lifecycle.contract.tables import literal, quoted
from lifecycle.contract.team import Data
from lifecycle.features import point_in_time
from lifecycle.models.bundle import Bundle
from lifecycle.registry import predictions
from lifecycle.settings import Settings
from lifecycle.timestamps import DAY

if TYPE_CHECKING:
    import duckdb

MAX_ROWS = 2000
TOLERANCE = 1e-9  # relative, because a sum of floating-point numbers depends on their order
SAMPLE = "lifecycle_sampled"


@dataclass(frozen=True)
class Skew:
    """The number of logged rows that were recomputed, how many differ, and in which columns."""

    rows: int
    different: int
    columns: dict[str, int] = field(default_factory=dict)


def measure_skew(settings: Settings, data: Data, environment: str, bundle: Bundle, as_of: int) -> Skew | None:
    """Compare the newest rows that a version predicted for within one window before `as_of` (seconds).

    Returns:
        None where nothing can be compared: no looked-up column, no key in the log, or no row.

    Raises:
        LifecycleError: the tables cannot be read, or `features.sql` does not run on them.
    """
    if not comparable(bundle.contract):
        return None
    connection = point_in_time.connect(data, settings.data)
    first = as_of - settings.monitor.window_days * DAY
    if not predictions.load_rows(connection, settings.store, environment, first, as_of, bundle.version):
        return None
    return compare_logged(connection, bundle)


def comparable(contract: Contract) -> bool:
    """Return whether the log of a contract holds looked-up columns and the key they were looked up by."""
    return bool(_columns(contract)) and contract.key is not None and contract.key.loggable


def compare_logged(connection: "duckdb.DuckDBPyConnection", bundle: Bundle) -> Skew | None:
    """Compare the newest rows of the table that `predictions.load_rows` filled; None where no row was looked up.

    The connection has the team's tables. The bundle's own `features.sql` is run; LifecycleError when it fails.
    """
    contract, key = bundle.contract, bundle.contract.key
    assert key is not None, "a contract with lookups has a key"
    assert bundle.features_sql is not None, "a contract with lookups has features.sql"
    columns = _columns(contract)
    looked_up = "as_of IS NOT NULL"
    if contract.fallback is not None:
        # A row of fallback values was not looked up, so there is nothing to compare.
        same = (f"{quoted(column.name)} IS NOT DISTINCT FROM {literal(column.fallback)}" for column in columns)
        looked_up += f" AND NOT ({' AND '.join(same)})"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {SAMPLE} AS SELECT * FROM {predictions.LOGGED} WHERE {looked_up} "
        f"ORDER BY ts DESC, lifecycle_request, lifecycle_position LIMIT {MAX_ROWS}"
    )
    spine = f"SELECT DISTINCT {quoted(key.name)}, as_of AS ts FROM {SAMPLE}"
    recomputed = point_in_time.recompute_query(connection, contract, bundle.features_sql, spine)
    different = {column.name: _different(column) for column in columns}
    counts = ", ".join(f"count(*) FILTER ({sql})" for sql in different.values())
    ((rows, differing, *found),) = connection.execute(
        f"SELECT count(*), count(*) FILTER ({' OR '.join(different.values())}), {counts} FROM {SAMPLE} l "
        f"LEFT JOIN ({recomputed}) f ON f.{quoted(key.name)} = l.{quoted(key.name)} AND f.ts = l.as_of"
    ).fetchall()
    counted = {name: count for name, count in zip(different, found, strict=True) if count}
    return Skew(rows, differing, counted) if rows else None


def _columns(contract: Contract) -> tuple[Column, ...]:
    return tuple(column for column in contract.lookups if column.loggable)


def _different(column: Column) -> str:
    logged, again = f"l.{quoted(column.name)}", f"f.{quoted(column.name)}"
    if column.kind != "number":
        return f"{logged} IS DISTINCT FROM {again}"
    far = f"abs({logged} - {again}) > {TOLERANCE} * greatest(abs({logged}), abs({again}))"
    return f"(({logged} IS NULL) <> ({again} IS NULL) OR coalesce({far}, FALSE))"
