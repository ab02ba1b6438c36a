"""Jobs: promote, retrain, and, here, fill the feature tables of deployed versions."""

from pathlib import Path

from lifecycle import timestamps
from lifecycle.contract.tables import quoted
from lifecycle.contract.team import Data
from lifecycle.errors import LifecycleError
from lifecycle.features import point_in_time, table_path, write_table
from lifecycle.models.bundle import Bundle, BundleError, open_version
from lifecycle.registry import deployments
from lifecycle.settings import ENVIRONMENTS, Settings
from lifecycle.storage import Store


def materialize(settings: Settings, data: Data, as_of: int | None = None) -> dict[str, str]:
    """Refresh the feature table of every version that is deployed or would be deployed by a rollback.

    The features are as of `as_of` in seconds, by default the data's latest timestamp, or now. Returns a text about each
    version. Raises LifecycleError where some cannot be read; the tables of all others are written.
    """
    bundles, faults = _deployed(settings.store)
    written = _write(settings, data, bundles, as_of)
    if faults:
        raise LifecycleError("\n  ".join(faults), "The tables of the other versions are written.")
    return written


def materialize_for(settings: Settings, data: Data, bundle: Bundle) -> None:
    """Write the feature table of a version that is about to be deployed, unless a deployed one shares it."""
    path = table_path(settings.store, bundle.feature_set)
    deployed, _ = _deployed(settings.store)
    if not path.exists() or bundle.feature_set not in {each.feature_set for each in deployed}:
        _write(settings, data, [bundle], None)


def _deployed(store: Store) -> tuple[list[Bundle], list[str]]:
    """Return the bundles in use in any environment, and a message for each that cannot be read."""
    bundles, faults = [], []
    current = [deployment for each in ENVIRONMENTS if (deployment := deployments.read(store, each))]
    for version in sorted({used.version for each in current for used in (each.current, each.previous) if used}):
        try:
            bundles.append(open_version(store, version))
        except BundleError as error:
            faults.append(error.problem)
    return bundles, faults


def _write(settings: Settings, data: Data, bundles: list[Bundle], as_of: int | None) -> dict[str, str]:
    bundles = [bundle for bundle in bundles if bundle.contract.lookups]
    if not bundles:
        return {}
    connection = point_in_time.connect(data, settings.data)
    as_of = point_in_time.latest(connection, data) if as_of is None else as_of
    counts: dict[Path, int] = {}
    written = {}
    for bundle in bundles:
        path = table_path(settings.store, bundle.feature_set)
        if path not in counts:
            assert bundle.features_sql is not None, "training refuses lookups without features.sql"
            point_in_time.lookup_rows(connection, data, bundle.contract, bundle.features_sql, as_of)
            # SQLite has no times.
            parts = [(each.kind == "time", quoted(each.name)) for each in bundle.contract.looked_up]
            names = ", ".join(f"CAST({name} AS VARCHAR)" if is_time else name for is_time, name in parts)
            rows = connection.execute(f"SELECT {names} FROM {point_in_time.ROWS}")
            counts[path] = write_table(path, bundle.contract, iter(rows.fetchone, None), as_of)
        written[bundle.version] = f"{counts[path]} rows as of {timestamps.format_utc(as_of)}"
        if not counts[path]:
            written[bundle.version] += ": population() of src/model/data.py returns no row"
    return written
