"""Fill the feature tables that the service looks up in."""

from pathlib import Path

from lifecycle import deployments, features, moments
from lifecycle.bundle import Bundle, BundleError, open_version
from lifecycle.errors import LifecycleError
from lifecycle.frames import quoted
from lifecycle.lookup import table_path, write_table
from lifecycle.settings import Settings
from lifecycle.team import Data


def materialise(settings: Settings, data: Data, as_of: int | None = None) -> dict[str, str]:
    """Refresh the table of every contract that a deployment names, live or previous, as of a moment.

    Returns what was written, by version. Without a moment: the data's own latest, or the clock. Raises LifecycleError
    for versions that cannot be read, once all others have their table.
    """
    store = settings.store
    versions = {
        each.version: None
        for deployment in deployments.every(store)
        for each in (deployment.live, deployment.previous)
        if each
    }
    sound, faults = [], []
    for version in versions:
        try:
            sound.append(open_version(store, version))
        except BundleError as error:
            faults.append(error.problem)
    told = fill(settings, data, sound, as_of)
    if faults:
        raise LifecycleError("\n  ".join(faults), "The other versions have their features.")
    return told


def fill(
    settings: Settings, data: Data, wanted: list[Bundle], as_of: int | None = None, only_missing: bool = False
) -> dict[str, str]:
    """Write the feature tables of bundles; equal feature sets share one. `only_missing`: leave those that exist."""
    told: dict[str, str] = {}
    paths: dict[Path, list[Bundle]] = {}
    for bundle in wanted:
        path = table_path(settings.store, bundle)
        if bundle.contract.entity and not (only_missing and path.exists()):
            paths.setdefault(path, []).append(bundle)
    if not paths:
        return told
    connection = features.connect(data, settings.data)
    moment = features.latest(connection, data) if as_of is None else as_of
    for path, sharing in paths.items():
        bundle = sharing[0]
        assert bundle.features_sql is not None, "training refuses entity columns without features.sql"
        features.entity_rows(connection, data, bundle.contract, bundle.features_sql, moment)
        assert bundle.contract.key is not None, "a contract with entity columns has a key"
        names = [bundle.contract.key.name, *(column.name for column in bundle.contract.entity)]
        rows = connection.execute(f"SELECT {', '.join(map(quoted, names))} FROM {features.ROWS}")
        count = write_table(path, bundle.contract, iter(rows.fetchone, None), moment)
        for each in sharing:
            told[each.version] = f"{count} rows as of {moments.told(moment)}"
    return told
