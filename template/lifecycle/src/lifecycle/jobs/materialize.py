"""Fill the feature tables that the service looks up in."""

from pathlib import Path

from lifecycle import timestamps
from lifecycle.contract.tables import quoted
from lifecycle.contract.team import Data
from lifecycle.errors import LifecycleError
from lifecycle.features import point_in_time
from lifecycle.features.online import table_path, write_table
from lifecycle.models.bundle import Bundle, BundleError, open_version
from lifecycle.registry import deployments
from lifecycle.settings import ENVIRONMENTS, Settings
from lifecycle.storage import Store


def materialise(settings: Settings, data: Data, as_of: int | None = None) -> dict[str, str]:
    """Refresh the table of every contract that a deployment names, live or previous, as of a moment.

    Returns what was written, by version. Without a moment: the data's own latest, or the clock. Raises LifecycleError
    for versions that cannot be read, once all others have their table.
    """
    sound, faults = _deployed(settings.store)
    told = fill(settings, data, sound, as_of)
    if faults:
        raise LifecycleError("\n  ".join(faults), "The other versions have their features.")
    return told


def prepare(settings: Settings, data: Data, bundle: Bundle) -> None:
    """Write the table of a version that is about to answer, unless a deployed version has it kept fresh already.

    A table of nothing that is deployed may be of any age: `materialise` has passed it by.
    """
    path = table_path(settings.store, bundle.feature_set)
    kept_fresh = {table_path(settings.store, each.feature_set) for each in _deployed(settings.store)[0]}
    if path not in kept_fresh or not path.exists():
        fill(settings, data, [bundle])


def _deployed(store: Store) -> tuple[list[Bundle], list[str]]:
    """The bundles that deployments name, live or previous, and what is wrong with those that cannot be read."""
    sound, faults = [], []
    for version in sorted(set().union(*(deployments.named(store, each) for each in ENVIRONMENTS))):
        try:
            sound.append(open_version(store, version))
        except BundleError as error:
            faults.append(error.problem)
    return sound, faults


def fill(settings: Settings, data: Data, wanted: list[Bundle], as_of: int | None = None) -> dict[str, str]:
    """Write the feature tables of bundles; equal feature sets share one."""
    told: dict[str, str] = {}
    paths: dict[Path, list[Bundle]] = {}
    for bundle in wanted:
        if bundle.contract.lookups:
            paths.setdefault(table_path(settings.store, bundle.feature_set), []).append(bundle)
    if not paths:
        return told
    connection = point_in_time.connect(data, settings.data)
    moment = point_in_time.latest(connection, data, settings.clock) if as_of is None else as_of
    for path, sharing in paths.items():
        bundle = sharing[0]
        assert bundle.features_sql is not None, "training refuses entity columns without point_in_time.sql"
        point_in_time.lookup_rows(connection, data, bundle.contract, bundle.features_sql, moment)
        names = ", ".join(quoted(column.name) for column in bundle.contract.looked_up)
        rows = connection.execute(f"SELECT {names} FROM {point_in_time.ROWS}")
        count = write_table(path, bundle.contract, iter(rows.fetchone, None), moment)
        for each in sharing:
            told[each.version] = f"{count} rows as of {timestamps.format_utc(moment)}"
    return told
