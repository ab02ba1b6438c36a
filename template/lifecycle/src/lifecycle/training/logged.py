"""Training rows from the prediction log: logged predictions whose label has arrived."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lifecycle.contract.schema import Target
from lifecycle.contract.tables import count, describe, quoted, text
from lifecycle.contract.team import Team
from lifecycle.errors import LifecycleError
from lifecycle.features.point_in_time import ROWS
from lifecycle.models.bundle import feature_set, open_version
from lifecycle.registry import labels, predictions
from lifecycle.settings import Settings
from lifecycle.timestamps import DAY

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection

TABLE = "lifecycle_logged_rows"


@dataclass(frozen=True)
class Logged:
    """How many labelled predictions there are, and how many joined the rows of `labels()`.

    The others have other columns or features than the candidate (`other`), are younger than `monitor.label_days`
    (`immature`: labels that are known early are not a random sample), or repeat a row (`repeated`).
    """

    labelled: int = 0
    joined: int = 0
    other: int = 0
    immature: int = 0
    repeated: int = 0


def add_logged(connection: "Connection", team: Team, settings: Settings, environment: str, as_of: int) -> Logged:
    """Add the labelled predictions of an environment, known at `as_of` (seconds), to the completed rows in ROWS.

    A prediction whose key (without one, whose fields) and UTC date `labels()` has already is not added again, and of
    several of them the first is. Looked-up values are those that the service used.
    """
    contract, store = team.contract, settings.store
    if not labels.files(store) or not predictions.load_rows(connection, store, environment, 0, as_of + 1):
        return Logged()
    labelled = labels.joined(connection, store, contract, as_of)
    usable = [version for version in _versions(connection) if _fits(settings, version, team)]
    known, logged = describe(connection, f"FROM {ROWS}"), describe(connection, f"FROM {labels.LABELLED}")
    needed = [column.name for column in contract.columns if column.name in known]
    if not usable or not {*needed} <= {*logged}:
        return Logged(labelled, other=labelled)
    label = contract.target.label
    values = {name: quoted(name) for name in needed} | {"ts": "ts", "seen_ts": labels.SEEN}
    values[label] = _label(contract.target, known[label])
    parts = [f"CAST({values[name]} AS {kind}) AS {quoted(name)}" for name, kind in known.items() if name in values]
    row = [column.name for column in (contract.key, contract.time) if column] if contract.key else needed
    same = [name for name in row if name in known]
    identity = [*map(quoted, same), *([f"ts // {DAY}"] if "ts" in known else [])]
    mature = f"ts <= {as_of - settings.monitor.label_days * DAY}"
    listed = f"{labels.LABEL} IS NOT NULL AND version IN ({', '.join(map(text, usable))})"
    if contract.target.classes:
        listed += f" AND {labels.LABEL} IN ({', '.join(map(text, contract.target.classes))})"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {TABLE} AS SELECT {', '.join(parts)}, {mature} AS lifecycle_mature "
        f"FROM {labels.LABELLED} WHERE {listed} ORDER BY ts, lifecycle_request, lifecycle_position"
    )
    first = f"1 = row_number() OVER (PARTITION BY {', '.join(identity)} ORDER BY rowid)"
    equal = " AND ".join(f"r.{each} IS NOT DISTINCT FROM l.{each}" for each in identity)
    before, found, old = (
        count(connection, f"FROM {each}") for each in (ROWS, TABLE, f"{TABLE} WHERE lifecycle_mature")
    )
    connection.execute(
        f"INSERT INTO {ROWS} BY NAME SELECT * EXCLUDE (lifecycle_mature) FROM {TABLE} l WHERE lifecycle_mature "
        f"AND NOT EXISTS (SELECT 1 FROM {ROWS} r WHERE {equal}) QUALIFY {first} ORDER BY rowid"
    )
    joined = count(connection, f"FROM {ROWS}") - before
    return Logged(labelled, joined, labelled - found, found - old, old - joined)


def _versions(connection: "Connection") -> list[str]:
    return [version for (version,) in connection.execute(f"SELECT DISTINCT version FROM {labels.LABELLED}").fetchall()]


def _fits(settings: Settings, version: str, team: Team) -> bool:
    """Return whether the rows that a version was given can be rows of the team's contract and features."""
    try:
        bundle = open_version(settings.store, version)
    except LifecycleError:
        return False
    own, other = team.contract, bundle.contract
    logged = tuple(column for column in other.columns if column.loggable)
    same_features = bundle.feature_set == feature_set(team.features_sql, own)
    return own.target.has_labels_of(other.target) and logged == own.columns and same_features


def _label(target: Target, kind: str) -> str:
    """Return SQL that converts the text of an imported label to the type of the team's own labels."""
    if target.task != "binary" or kind == "VARCHAR":
        return labels.LABEL
    return f"{labels.LABEL} = {text(target.classes[1])}"
