"""Bundles as one file: to carry a version from one storage to another, such as from CI to production."""

import os
import shutil
import zipfile
from pathlib import Path, PurePosixPath

from lifecycle.errors import LifecycleError
from lifecycle.models.bundle import BundleError, open_version, verify
from lifecycle.storage import VERSION, Store, draft, explain_disk_errors, replacing

# Of every file in an archive: the same bundle gives the same bytes.
WRITTEN = (1980, 1, 1, 0, 0, 0)


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
            verify(temporary / version)
            if version not in store.versions():
                os.replace(temporary / version, store.bundles / version)
        except (OSError, zipfile.BadZipFile, BundleError) as error:
            if isinstance(error, OSError) and file.is_file():
                raise
            problem = error.problem if isinstance(error, BundleError) else str(error)
            raise LifecycleError(f"{file} holds no valid bundle: {problem}", "Export it again, and copy it.") from error
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
