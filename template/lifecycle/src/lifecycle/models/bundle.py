"""Write, verify and read a model bundle: the directory that holds one immutable model version.

`bundle.json` holds the facts and the hash of every other file. The other files are `contract.json`, `golden.jsonl`, the
model itself, and `features.sql` where the contract has looked-up columns.
"""

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lifecycle.contract.schema import Contract
from lifecycle.errors import LifecycleError
from lifecycle.storage import Store, draft, explain_disk_errors, flush, hash_of

FORMAT = 1
RETRAIN = "Promote another version, or train again; a bundle is never edited."
# How to install what a bundle of each kind needs where it serves.
INSTALL = {
    "onnx": "uv sync --package looseleaf-lifecycle --extra serve",
    "skops": "uv sync --package looseleaf-lifecycle --extra serve --extra skops",
    "python": "uv sync --all-packages --no-default-groups --extra serve",
}


class BundleError(LifecycleError):
    """A bundle that is damaged, or that this environment cannot load."""


@dataclass(frozen=True)
class Bundle:
    """A bundle directory and the content of its `bundle.json`."""

    path: Path
    facts: dict[str, Any]

    @property
    def version(self) -> str:
        """Return the identifier of this model version."""
        return str(self.facts["version"])

    @property
    def kind(self) -> str:
        """Return which loader reads the model: `onnx`, `skops` or `python`."""
        return str(self.facts["kind"])

    @cached_property
    def contract(self) -> Contract:
        """Return the contract that this model was trained for."""
        return Contract.from_json(self.read("contract.json"), where=str(self.path / "contract.json"))

    @cached_property
    def features_sql(self) -> str | None:
        """Return the SQL of the looked-up columns, None where the contract has none."""
        return self.read("features.sql").decode() if "features.sql" in self.facts["files"] else None

    @property
    def feature_set(self) -> str:
        """Return an identifier that is equal for bundles that can share one feature table."""
        return str(self.facts["feature_set"])

    def read(self, name: str) -> bytes:
        """Return the content of one file of the bundle."""
        return (self.path / name).read_bytes()


def publish(
    store: Store, folder: Path, facts: dict[str, Any], created: str, check: Callable[[Bundle], object] | None = None
) -> Bundle:
    """Copy a finished folder of files into the storage as a new version, in one step.

    Args:
        store: the storage that receives the version.
        folder: the files of the bundle, without `bundle.json`.
        facts: content of `bundle.json` besides format, version, feature set and hashes.
        created: time of creation as `YYYYMMDDTHHMMSS[ffffff]`; the version is this and a hash of all files.
        check: is called with the written draft; when it raises, no version appears.
    """
    files = _hashes(folder)
    digest = hashlib.sha256(json.dumps([facts, files], sort_keys=True, default=str).encode()).hexdigest()
    version = f"{created}-{digest[:8]}"
    target = store.bundles / version
    if target.exists():
        return verify(target)
    with explain_disk_errors(target):
        store.bundles.mkdir(parents=True, exist_ok=True)
        temporary = draft(target)
        try:
            for name in files:
                (temporary / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / name, temporary / name)
            made = Bundle(folder, {"files": files})
            identifier = feature_set(made.features_sql, made.contract)
            own = {"format": FORMAT, "version": version, "feature_set": identifier}
            text = json.dumps(own | facts | {"files": files}, indent=2, ensure_ascii=False) + "\n"
            (temporary / "bundle.json").write_text(text, encoding="utf-8")
            if check:
                check(Bundle(temporary, json.loads(text)))
            for path in (*temporary.rglob("*"), temporary):
                flush(path)
            os.replace(temporary, target)
            flush(store.bundles)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return verify(target)


def _hashes(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): hash_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}


def feature_set(features_sql: str | None, contract: Contract) -> str:
    """Return the identifier of looked-up features: versions with the same one share a feature table."""
    # Published bundles record their identifier, so a change of this formula does not affect them.
    key = (contract.key.name, contract.key.kind) if contract.key else None
    columns = [(column.name, column.kind) for column in contract.lookups]
    return hashlib.sha256(repr((features_sql, key, columns)).encode()).hexdigest()[:16]


def verify(path: Path) -> Bundle:
    """Return the bundle at `path` after comparing every file with its recorded hash.

    Raises:
        BundleError: `bundle.json` is missing, unreadable or of another format, or a file is missing, changed or added.
    """
    try:
        facts = json.loads((path / "bundle.json").read_bytes())
        recorded, form = dict(facts["files"]), facts["format"]
    except FileNotFoundError:
        raise BundleError(f"{path} is not a bundle: it has no bundle.json", "`make train` writes one.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path / 'bundle.json'} cannot be read ({error})", RETRAIN) from error
    found = _hashes(path)
    del found["bundle.json"]
    fault = ""
    if form != FORMAT:
        fault = f"has format {form}, this lifecycle reads {FORMAT}"
    elif facts.get("version") != path.name:
        fault = f"has the version {facts.get('version')} in its bundle.json"
    elif lacking := sorted(recorded.keys() - found):
        fault = f"lacks {lacking[0]}"
    elif changed := [name for name in recorded if found[name] != recorded[name]]:
        # Tests of repositories of 0.1.0 and 0.2.0 look for "holds a changed {file}".
        fault = f"holds a changed {changed[0]}: its hash is not the one in bundle.json"
    elif added := sorted(found.keys() - recorded):
        fault = f"holds {added[0]}, which bundle.json does not list"
    if fault:
        raise BundleError(f"{path} {fault}", RETRAIN)
    return Bundle(path, facts)


def installed_versions(distributions: list[str]) -> dict[str, str]:
    """Return the installed version of each distribution, as a bundle records it under `requires`."""
    return {name: importlib.metadata.version(name) for name in distributions}


def check_environment(bundle: Bundle) -> None:
    """Raise BundleError naming each distribution that is missing or older (major, minor) than the bundle requires."""
    missing = []
    for name, required in bundle.facts["requires"].items():
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            installed = ""
        if not installed or _major_minor(installed) < _major_minor(required):
            missing.append(f"{name} {required} ({f'installed is {installed}' if installed else 'not installed'})")
    if missing:
        problem = f"bundle {bundle.version} of kind {bundle.kind} needs {', '.join(missing)}"
        raise BundleError(problem, f"Install what it needs: {INSTALL[bundle.kind]}")


def _major_minor(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def newest(store: Store) -> str:
    """Return the version that was trained last; raise LifecycleError when there is none."""
    names = store.versions()
    if not names:
        raise LifecycleError(f"{store.bundles} holds no version", "Run `make train` first.")
    return names[-1]


def open_version(store: Store, version: str) -> Bundle:
    """Return a version's verified bundle; raise BundleError when it does not exist or is damaged."""
    if version not in store.versions():
        known = ", ".join(store.versions()[-5:]) or "none yet"
        raise BundleError(f"{store.bundles} holds no version {version!r}", f"The newest are: {known}.")
    return verify(store.bundles / version)
