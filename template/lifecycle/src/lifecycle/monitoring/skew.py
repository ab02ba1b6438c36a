"""Whether what answered is what training would have seen: features of logged requests, recomputed as of their moment.

The one test that finds a difference between the table that the service looks up in and the SQL that a model learned
from (Breck et al. 2017, Monitor 3).
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

ROWS = 2000
TOLERANCE = 1e-9  # relative: sums of floating-point numbers depend on their order
SAMPLE = "lifecycle_sampled"


@dataclass(frozen=True)
class Skew:
    """Of `rows` logged rows, how many are `different` when they are computed again, and in which columns."""

    rows: int
    different: int
    columns: dict[str, int] = field(default_factory=dict)

    @property
    def share(self) -> float:
        """The share of rows that are different."""
        return self.different / self.rows if self.rows else 0.0


def measure(
    settings: Settings, data: Data, environment: str, bundle: Bundle, as_of: int, rows: int = ROWS
) -> Skew | None:
    """Of the newest rows that a version answered in an environment before `as_of`, within one window.

    None where there is nothing to compare: no looked-up column, no key in the log, no row. Raises LifecycleError when
    the tables cannot be read, or `point_in_time.sql` does not run on them.
    """
    if not comparable(bundle.contract):
        return None
    connection = point_in_time.connect(data, settings.data)
    first = as_of - settings.monitor.window_days * DAY
    if not predictions.load_rows(connection, settings.store, environment, first, as_of, bundle.version):
        return None
    return compare(connection, bundle, rows)


def comparable(contract: Contract) -> bool:
    """Whether the log of a contract says what was looked up, and for whom."""
    return bool(_columns(contract)) and contract.key is not None and contract.key.loggable


def compare(connection: "duckdb.DuckDBPyConnection", bundle: Bundle, rows: int = ROWS) -> Skew | None:
    """The newest `rows` of the table that `predictions.load_rows` created; the connection has the team's tables."""
    contract, key = bundle.contract, bundle.contract.key
    assert key is not None, "what is looked up has a key"
    assert bundle.features_sql is not None, "what is looked up is computed"
    looked_up = f"as_of IS NOT NULL AND NOT ({_is_fallback(contract)})"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {SAMPLE} AS SELECT * FROM {predictions.LOGGED} WHERE {looked_up} "
        f"ORDER BY ts DESC, lifecycle_request, lifecycle_position LIMIT {int(rows)}"
    )
    asked = f"SELECT DISTINCT {quoted(key.name)}, as_of AS ts FROM {SAMPLE}"
    again = point_in_time.recompute_query(connection, contract, bundle.features_sql, asked)
    columns = _columns(contract)
    different = {column.name: _different(column) for column in columns}
    counts = ", ".join(f"count(*) FILTER ({sql})" for sql in different.values())
    found = connection.execute(
        f"SELECT count(*), count(*) FILTER ({' OR '.join(different.values())}), {counts} FROM {SAMPLE} l "
        f"LEFT JOIN ({again}) f ON f.{quoted(key.name)} = l.{quoted(key.name)} AND f.ts = l.as_of"
    ).fetchone()
    assert found is not None, "an aggregate has one row"
    told = {name: int(count) for name, count in zip(different, found[2:], strict=True) if count}
    return Skew(int(found[0]), int(found[1]), told) if found[0] else None


def _columns(contract: Contract) -> tuple[Column, ...]:
    return tuple(column for column in contract.lookups if column.loggable)


def _is_fallback(contract: Contract) -> str:
    """A row of fallbacks was not looked up: nothing is to be computed again."""
    if contract.fallback is None:
        return "FALSE"
    equal = (f"{quoted(column.name)} IS NOT DISTINCT FROM {literal(column.fallback)}" for column in _columns(contract))
    return " AND ".join(equal)


def _different(column: Column) -> str:
    logged, again = f"l.{quoted(column.name)}", f"f.{quoted(column.name)}"
    if column.kind != "number":
        return f"{logged} IS DISTINCT FROM {again}"
    far = f"abs({logged} - {again}) > {TOLERANCE} * greatest(abs({logged}), abs({again}))"
    return f"(({logged} IS NULL) <> ({again} IS NULL) OR coalesce({far}, FALSE))"
