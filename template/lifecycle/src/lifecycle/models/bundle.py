"""Write, verify and read the directory that is one immutable model version.

`bundle.json` holds the facts and the hash of every other file; `contract.json`, `golden.jsonl` and the model itself
stand beside it, and `features.sql` where the entity's columns are computed.
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
from lifecycle.storage import Store, draft, explain_disk_errors, flush

FORMAT = 1


class BundleError(LifecycleError):
    """The bundle is not what it says it is, or cannot be used here."""


@dataclass(frozen=True)
class Bundle:
    """A bundle whose files all have the hashes that `bundle.json` promises."""

    path: Path
    facts: dict[str, Any]

    @property
    def version(self) -> str:
        """The name of this model version."""
        return str(self.facts["version"])

    @property
    def kind(self) -> str:
        """Which loader reads the model: `onnx`, `skops` or `python`."""
        return str(self.facts["kind"])

    @cached_property
    def contract(self) -> Contract:
        """The row and the answer this model was trained for."""
        return Contract.from_json(self.read("contract.json"), where=str(self.path / "contract.json"))

    @cached_property
    def features_sql(self) -> str | None:
        """How the entity's columns are computed, when they are."""
        return self.read("features.sql").decode() if "features.sql" in self.facts["files"] else None

    @property
    def feature_set(self) -> str:
        """Equal for bundles that share one feature table; as written when it was published."""
        return str(self.facts["feature_set"])

    def read(self, name: str) -> bytes:
        """The bytes of one file of the bundle."""
        return (self.path / name).read_bytes()


def hash_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def publish(
    store: Store,
    folder: Path,
    facts: dict[str, Any],
    made: str,
    prove: Callable[[Bundle], object] = lambda bundle: None,
) -> Bundle:
    """Move a finished folder of files into the storage as a new version, in one step.

    The version is `made` (a moment as text) and the first letters of the hash of all files. `prove` is called with the
    written draft; when it raises, no version appears.
    """
    files = {path.relative_to(folder).as_posix(): hash_of(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    digest = hashlib.sha256(json.dumps([facts, files], sort_keys=True, default=str).encode()).hexdigest()
    version = f"{made}-{digest[:8]}"
    target = store.bundles / version
    if target.exists():
        return verify(target)
    with explain_disk_errors(target):
        store.bundles.mkdir(parents=True, exist_ok=True)
        beside = draft(target)
        try:
            for name in files:
                (beside / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / name, beside / name)
            own = {"version": version, "feature_set": _feature_set(Bundle(folder, {"files": files}))}
            whole = {"format": FORMAT} | own | facts | {"files": files}
            text = json.dumps(whole, indent=2, ensure_ascii=False) + "\n"
            (beside / "bundle.json").write_text(text, encoding="utf-8")
            prove(Bundle(beside, json.loads(text)))
            for path in (*beside.rglob("*"), beside):
                flush(path)
            os.replace(beside, target)
            flush(store.bundles)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return verify(target)


def _feature_set(bundle: Bundle) -> str:
    """The same for the same SQL, entity columns and key. A change of this formula leaves published bundles alone."""
    contract = bundle.contract
    key = (contract.key.name, contract.key.kind) if contract.key else None
    columns = [(column.name, column.kind) for column in contract.lookups]
    return hashlib.sha256(repr((bundle.features_sql, key, columns)).encode()).hexdigest()[:16]


def verify(path: Path) -> Bundle:
    """The bundle at `path`; raises BundleError naming the file that is missing, changed or added."""
    try:
        facts = json.loads((path / "bundle.json").read_bytes())
        promised = dict(facts["files"])
        fault = None if facts["format"] == FORMAT else f"has format {facts['format']}, this lifecycle reads {FORMAT}"
    except FileNotFoundError:
        raise BundleError(f"{path} is no bundle: it has no bundle.json", "`make train` writes one.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path / 'bundle.json'} cannot be read ({error})", _RETRAIN) from error
    if facts.get("version") != path.name:
        fault = f"says that it is {facts.get('version')}"
    found = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()} - {"bundle.json"}
    for name, digest in promised.items():
        if name not in found:
            fault = f"lacks {name}"
        elif hash_of(path / name) != digest:
            fault = f"holds a changed {name}: it does not have the hash that bundle.json promises"
    if fault is None and found - set(promised):
        fault = f"holds {sorted(found - set(promised))[0]}, which bundle.json does not name"
    if fault:
        raise BundleError(f"{path} {fault}", _RETRAIN)
    return Bundle(path, facts)


_RETRAIN = "Promote another version, or train again; a bundle is never edited."


def versions_of(distributions: list[str]) -> dict[str, str]:
    """The installed version of each distribution, to be written into a bundle."""
    return {name: importlib.metadata.version(name) for name in distributions}


def check_environment(bundle: Bundle) -> None:
    """Raise BundleError naming each distribution that the bundle needs and this environment cannot give."""
    wanting = []
    for name, needed in bundle.facts["requires"].items():
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wanting.append(f"{name} {needed} (not installed)")
            continue
        if _release(installed) < _release(needed):
            wanting.append(f"{name} {needed} (installed is {installed})")
    if wanting:
        raise BundleError(
            f"bundle {bundle.version} of kind {bundle.kind} needs {', '.join(wanting)}",
            f"Install what it needs: {INSTALL[bundle.kind]}",
        )


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


INSTALL = {
    "onnx": "uv sync --package looseleaf-lifecycle --extra serve",
    "skops": "uv sync --package looseleaf-lifecycle --extra serve --extra skops",
    "python": "uv sync --all-packages --no-default-groups --extra serve",
}


def newest(store: Store) -> str:
    """The version that was trained last; raises LifecycleError before the first."""
    names = store.versions()
    if not names:
        raise LifecycleError(f"{store.bundles} holds no version", "Run `make train` first.")
    return names[-1]


def open_version(store: Store, version: str) -> Bundle:
    """The verified bundle of that name; raises BundleError listing the versions that exist."""
    if version not in store.versions():
        known = ", ".join(store.versions()[-5:]) or "none yet"
        raise BundleError(f"{store.bundles} holds no version {version!r}", f"The newest are: {known}.")
    return verify(store.bundles / version)
