"""Jobs: promote, retrain, and, here, fill feature tables of deployed versions and carry versions between storages."""

import os
import shutil
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from lifecycle import spark, timestamps
from lifecycle.contract.tables import quoted
from lifecycle.contract.team import Data
from lifecycle.errors import LifecycleError
from lifecycle.features import point_in_time, table_path, write_table
from lifecycle.models.bundle import Bundle, BundleError, open_version, verify
from lifecycle.registry import deployments
from lifecycle.settings import ENVIRONMENTS, Settings
from lifecycle.storage import VERSION, Store, draft, explain_disk_errors, replacing

# Of every file in an exported version: the same bundle gives the same bytes.
WRITTEN = (1980, 1, 1, 0, 0, 0)


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
    connection = spark.connect(settings, data)
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


def export(store: Store, version: str, file: Path) -> None:
    """Write a verified version to a ZIP file; raises LifecycleError where it is damaged or the file is not writable."""
    folder = open_version(store, version).path
    with replacing(file) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(each for each in folder.rglob("*") if each.is_file()):
            name = zipfile.ZipInfo(f"{version}/{path.relative_to(folder).as_posix()}", WRITTEN)
            name.external_attr = 0o644 << 16
            with path.open("rb") as source, archive.open(name, "w", force_zip64=True) as target:
                shutil.copyfileobj(source, target)


def bring(store: Store, file: Path) -> str:
    """Add the version in a ZIP file to the storage, in one step, and return its name; one that is there already stays.

    Raises LifecycleError where the file is not what `export` writes: nothing is added.
    """
    with explain_disk_errors(store.bundles):
        store.bundles.mkdir(parents=True, exist_ok=True)
        temporary = draft(store.bundles / "import")
        try:
            version = _extract(file, temporary)
            verify(temporary / version, store.trusted_keys)
            if version not in store.versions():
                os.replace(temporary / version, store.bundles / version)
        except (OSError, zipfile.BadZipFile, zlib.error, BundleError) as error:
            if isinstance(error, OSError) and file.is_file():
                raise
            problem = error.problem if isinstance(error, BundleError) else str(error)
            hint = "Export it again, signed where `trusted_keys` requires it, and copy it."
            raise LifecycleError(f"{file} holds no valid bundle: {problem}", hint) from error
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return open_version(store, version).version


def _extract(file: Path, folder: Path) -> str:
    with zipfile.ZipFile(file) as archive:
        names = [PurePosixPath(name) for name in archive.namelist()]
        versions = {name.parts[0] for name in names if name.parts}
        version = min(versions, default="")
        if len(versions) != 1 or not VERSION.fullmatch(version) or any(".." in name.parts for name in names):
            raise zipfile.BadZipFile("it is not a file of `lifecycle bundle export`")
        archive.extractall(folder)
    return version
