"""Training rows from the prediction log: logged predictions whose label has arrived."""

from dataclasses import dataclass
from pathlib import Path

from lifecycle.contract.tables import Connection, count, describe, quoted, text
from lifecycle.contract.team import Team
from lifecycle.errors import LifecycleError
from lifecycle.features.point_in_time import ROWS
from lifecycle.models.bundle import feature_set, open_version
from lifecycle.registry import labels, predictions
from lifecycle.settings import Settings
from lifecycle.timestamps import DAY

MATCHED, TABLE = "lifecycle_matched", "lifecycle_logged_rows"
# Options of DuckDB that add two columns, which identify a row of the log.
PLACE = (predictions.FILE, "file_row_number = true")


@dataclass(frozen=True)
class Logged:
    """How many labelled predictions there are, and how many joined the rows of `labels()`.

    The others have other columns, features or classes than the candidate (`other`), repeat a row (`repeated`), or are
    younger than `monitor.label_days` (`immature`): labels that are known early are not a random sample.
    """

    labelled: int = 0
    joined: int = 0
    other: int = 0
    immature: int = 0
    repeated: int = 0


def add_logged(connection: Connection, team: Team, settings: Settings, environment: str, as_of: int) -> Logged:
    """Add the labelled predictions of an environment, known at `as_of` (seconds), to the completed rows in ROWS.

    A prediction whose id (without one, whose key or fields, and UTC date) `labels()` has already is not added again,
    and of several of them the first is. Looked-up values are those that the service used.
    """
    contract, store, paths = team.contract, settings.store, predictions.files(settings.store, environment)
    if not (paths and labels.files(store)):
        return Logged()
    source = predictions.table_of(paths, *PLACE)
    matches = " UNION ".join(
        f"SELECT version, lifecycle_file, file_row_number FROM {source} p "
        f"SEMI JOIN ({labels.known(store, as_of)}) l ON {condition} WHERE p.ts <= {as_of}"
        for condition in labels.conditions(connection, contract, source)
    )
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {MATCHED} AS {matches}")
    labelled = count(connection, f"FROM {MATCHED}")
    versions = connection.execute(f"SELECT DISTINCT version FROM {MATCHED}").fetchall()
    usable = ", ".join(text(version) for (version,) in versions if _fits(settings, version, team))
    if not usable:
        return Logged(labelled, other=labelled)
    connection.execute(f"DELETE FROM {MATCHED} WHERE version NOT IN ({usable})")
    # A file of another contract would widen the types of the columns.
    files = connection.execute(f"SELECT DISTINCT lifecycle_file FROM {MATCHED} ORDER BY ALL").fetchall()
    source = predictions.table_of([Path(name) for (name,) in files], *PLACE)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {predictions.LOGGED} AS SELECT * EXCLUDE (lifecycle_file, file_row_number) "
        f"FROM {source} p SEMI JOIN {MATCHED} m USING (lifecycle_file, file_row_number) "
        "ORDER BY ts, lifecycle_request, lifecycle_position"
    )
    labels.joined(connection, store, contract, as_of)
    known, logged = describe(connection, f"FROM {ROWS}"), describe(connection, f"FROM {labels.LABELLED}")
    needed = [column.name for column in contract.columns if column.name in known]
    label = contract.target.label
    # The log of older versions lacks a column that was added since, see `_fits`.
    values = {name: quoted(name) if name in logged else "NULL" for name in needed}
    values |= {"ts": "ts", "seen_ts": labels.SEEN}
    # An imported label is text, and those of the team may be truth values.
    is_text = contract.target.task != "binary" or known[label] == "VARCHAR"
    values[label] = labels.LABEL if is_text else f"{labels.LABEL} = {text(contract.target.classes[1])}"
    parts = [f"CAST({values[name]} AS {kind}) AS {quoted(name)}" for name, kind in known.items() if name in values]
    row = contract.row_identity if contract.id else (*contract.row_identity, *contract.keys)
    identity = [quoted(name) for name in dict.fromkeys(column.name for column in row) if name in known]
    identity += [f"ts // {DAY}"] if "ts" in known and not contract.id else []
    mature = f"ts <= {as_of - settings.monitor.label_days * DAY}"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE {TABLE} AS SELECT {', '.join(parts)}, {mature} AS lifecycle_mature "
        f"FROM {labels.LABELLED} WHERE {labels.LABEL} IS NOT NULL ORDER BY ts, lifecycle_request, lifecycle_position"
    )
    first = f"1 = row_number() OVER (PARTITION BY {', '.join(identity)} ORDER BY rowid)"
    equal = " AND ".join(f"r.{each} IS NOT DISTINCT FROM l.{each}" for each in identity)
    counted = ROWS, TABLE, f"{TABLE} WHERE lifecycle_mature"
    before, found, old = (count(connection, f"FROM {each}") for each in counted)
    connection.execute(
        f"INSERT INTO {ROWS} BY NAME SELECT * EXCLUDE (lifecycle_mature) FROM {TABLE} l WHERE lifecycle_mature "
        f"AND NOT EXISTS (SELECT 1 FROM {ROWS} r WHERE {equal}) QUALIFY {first} ORDER BY rowid"
    )
    joined = count(connection, f"FROM {ROWS}") - before
    return Logged(labelled, joined, labelled - found, found - old, old - joined)


def _fits(settings: Settings, version: str, team: Team) -> bool:
    """Return whether rows of a version can be the team's: a field that it did not have must be null by default."""
    try:
        bundle = open_version(settings.store, version)
    except LifecycleError:
        return False
    own = {column.name: column for column in team.contract.columns}
    other = {column.name: column for column in bundle.contract.columns}
    added = [own[name] for name in own.keys() - other.keys()]
    return (
        team.contract.target.has_labels_of(bundle.contract.target)
        and bundle.feature_set == feature_set(team.features_sql, team.contract)
        and all(column.loggable and column == own.get(name) for name, column in other.items())
        and all(column.nullable and not column.required and column.default is None for column in added)
    )
