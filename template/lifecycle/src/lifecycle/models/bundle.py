"""Write, verify and read a model bundle: the directory that holds one immutable model version.

`bundle.json` holds the facts and the hash of every other file. The other files are `contract.json`, `golden.jsonl`, the
model itself, the code of a `python` model, and `features.sql` where the contract has looked-up columns.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lifecycle.contract import team
from lifecycle.contract.schema import Contract
from lifecycle.errors import LifecycleError
from lifecycle.models import OPENSSF, SIGNATURE, is_signed, sign
from lifecycle.settings import SIGNING_KEY
from lifecycle.storage import VERSION, Store, draft, explain_disk_errors, flush, hash_of

FORMAT, UNLISTED = 1, ("bundle.json", SIGNATURE, OPENSSF)
RETRAIN = "Promote another version, or train again; a bundle is never edited."
SIGN = "Run `make bundle SIGN=1 VERSION={}` where the private key is, or train there."
# How to install what a bundle of each kind needs where it serves.
INSTALL = {
    "onnx": "uv sync --package looseleaf-lifecycle --extra serve",
    "skops": "uv sync --package looseleaf-lifecycle --extra serve --extra skops",
    "python": "uv sync --all-packages --no-default-groups --extra serve",
}
# What a `python` bundle contains of the team's package, in the folder CODE, and at most how many bytes.
CODE, SUFFIXES, LARGEST = "source", (".py", ".sql", ".json", ".yaml", ".yml", ".toml", ".txt"), 1_000_000
LOAD = "import sys; from lifecycle.models import predictor; predictor.load_draft(*sys.argv[1:])"


class BundleError(LifecycleError):
    """A bundle that is damaged, or that this environment cannot load."""


def _fact(name: str) -> "cached_property[str]":
    return cached_property(lambda bundle: str(bundle.facts[name]))


@dataclass(frozen=True)
class Bundle:
    """A bundle directory and the content of its `bundle.json`."""

    path: Path
    facts: dict[str, Any]

    # The identifier of this model version.
    version = _fact("version")
    # Which loader reads the model: `onnx`, `skops` or `python`.
    kind = _fact("kind")
    # An identifier that is equal for bundles that can share one feature table.
    feature_set = _fact("feature_set")

    @cached_property
    def contract(self) -> Contract:
        """Return the contract that this model was trained for."""
        return Contract.from_json(self.read("contract.json"), where=str(self.path / "contract.json"))

    @cached_property
    def features_sql(self) -> str | None:
        """Return the SQL of the looked-up columns, None where the contract has none."""
        return self.read("features.sql").decode() if "features.sql" in self.facts["files"] else None

    def read(self, name: str) -> bytes:
        """Return the content of one file of the bundle."""
        return (self.path / name).read_bytes()


def publish(
    store: Store, folder: Path, facts: dict[str, Any], created: str, check: Callable[[Bundle], object] | None = None
) -> Bundle:
    """Copy a finished folder of files, without `bundle.json`, into the storage as a new version, in one step.

    `facts` is the content of `bundle.json` besides format, version, feature set and hashes. The version is the time of
    creation `created`, as `YYYYMMDDTHHMMSS[ffffff]`, and a hash of all files; none appears if `check(draft)` raises.
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
            own = {"format": FORMAT, "version": version, "feature_set": feature_set(made.features_sql, made.contract)}
            text = json.dumps(own | facts | {"files": files}, indent=2, ensure_ascii=False) + "\n"
            (temporary / "bundle.json").write_text(text, encoding="utf-8")
            sign(temporary)
            if store.trusted_keys and not is_signed(temporary, text.encode(), store.trusted_keys):
                hint = f"Set {SIGNING_KEY} to the private key of one of them."
                raise BundleError("no key in trusted_keys signs this version, so nothing could load it", hint)
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
    # What a link leads to may change after the check, and a linked folder is not searched.
    paths = [path for path in sorted(folder.rglob("*")) if path.is_symlink() or path.is_file()]
    return {path.relative_to(folder).as_posix(): "a link" if path.is_symlink() else hash_of(path) for path in paths}


def feature_set(features_sql: str | None, contract: Contract) -> str:
    """Return the identifier of looked-up features: versions with the same one share a feature table."""
    # Published bundles record their identifier, so a change of this formula does not affect them.
    key = (contract.key.name, contract.key.kind) if contract.key else None
    columns = [(column.name, column.kind) for column in contract.lookups]
    return hashlib.sha256(repr((features_sql, key, columns)).encode()).hexdigest()[:16]


def verify(path: Path, trusted_keys: tuple[str, ...] = ()) -> Bundle:
    """Return the bundle at `path`; BundleError where format, list of files, the hash of one, or signature is wrong."""
    try:
        facts = json.loads(content := (path / "bundle.json").read_bytes())
        recorded, form = dict(facts["files"]), facts["format"]
    except FileNotFoundError:
        raise BundleError(f"{path} is not a bundle: it has no bundle.json", "`make train` writes one.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path / 'bundle.json'} cannot be read ({error})", RETRAIN) from error
    if trusted_keys and not is_signed(path, content, trusted_keys):
        raise BundleError(f"{path} is not signed by one of the keys in trusted_keys", SIGN.format(path.name))
    found = {name: digest for name, digest in _hashes(path).items() if name not in UNLISTED}
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
    else:
        return Bundle(path, facts)
    raise BundleError(f"{path} {fault}", RETRAIN)


def installed_versions(distributions: list[str]) -> dict[str, str]:
    """Return the installed version of each distribution, as a bundle records it under `requires`."""
    return {name: importlib.metadata.version(name) for name in distributions}


def newest(store: Store) -> str:
    """Return the version that was trained last; raise LifecycleError when there is none."""
    names = store.versions()
    if not names:
        raise LifecycleError(f"{store.bundles} holds no version", "Run `make train` first.")
    return names[-1]


def open_version(store: Store, version: str) -> Bundle:
    """Return a version's verified bundle; BundleError when it does not exist, is damaged or lacks its signature."""
    if VERSION.fullmatch(version):
        store.pull(f"bundles/{version}")
    if version not in store.versions():
        known = ", ".join(store.versions()[-5:]) or "none yet"
        raise BundleError(f"{store.bundles} holds no version {version!r}", f"The newest are: {known}.")
    return verify(store.bundles / version, store.trusted_keys)


def copy_code(cls: type, folder: Path) -> None:
    """Copy the package of a class (or its module, where that is a single file) into the folder of a bundle.

    Hidden files, other SUFFIXES and packages of other distributions are omitted. LifecycleError above LARGEST bytes.
    """
    whole = _home(cls)
    if _is_foreign(whole):
        return
    found = whole.rglob("*") if whole.is_dir() else [whole]
    names = (path.relative_to(whole.parent) for path in found if path.suffix in SUFFIXES and path.is_file())
    sizes = {name: (whole.parent / name).stat().st_size for name in sorted(names) if "/." not in f"/{name.as_posix()}"}
    if sum(sizes.values()) > LARGEST:
        most = max(sizes, key=sizes.__getitem__)
        problem = f"{whole} holds {sum(sizes.values()) / 1e6:.1f} MB of code and text, most of it in {most}"
        hint = f"A bundle holds at most {LARGEST / 1e6:g} MB of it: move data to another folder."
        raise LifecycleError(problem, hint)
    for name in sizes:
        (folder / CODE / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(whole.parent / name, folder / CODE / name)


def verify_alone(cls: type, folder: Path) -> dict[str, Any]:
    """Load the class of a bundle that is being written in a process that can import only its code and distributions.

    Returns the facts about it in `bundle.json`: its name, and under `requires` the packages that its code imports.
    Raises LifecycleError where something is missing there, or the golden rows are not reproduced.
    """
    home, package = _home(cls).parent, cls.__module__.partition(".")[0]
    facts = {"kind": "python", "class": f"{cls.__module__}:{cls.__qualname__}", "requires": {}}
    files = dict.fromkeys(path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    installed = {os.path.realpath(each): each for each in sys.path if each and any(Path(each).glob("*.dist-info"))}
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(installed.values())}
    hidden, blocked = ("" if str(home) in installed else str(home)), ("" if _is_foreign(_home(cls)) else package)
    draft = json.dumps(facts | {"version": "draft", "files": files})
    command = [sys.executable, "-P", "-c", LOAD, str(folder), draft, blocked, hidden]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        reason = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        hint = f"A bundle holds the {', '.join(SUFFIXES)} files of src/{package}. Move there what the class imports or "
        hint += "reads, use `import` statements, save other files in save(), and `uv add` what it needs of others."
        raise LifecycleError(f"the model does not load from the code in its bundle: {reason}", hint)
    return facts | {"requires": [package, *(done.stdout.splitlines() or [""])[-1].split()]}


def _is_foreign(whole: Path) -> bool:
    # The team's own package may be installed as well.
    return whole.name != team.PACKAGE and any(whole.parent.glob("*.dist-info"))


def _home(cls: type) -> Path:
    """Return the folder of the package that a class belongs to, or the file of its module."""
    package = cls.__module__.partition(".")[0]
    spec = None if package == "__main__" else importlib.util.find_spec(package)
    places = [*(spec.submodule_search_locations or ()), spec.origin] if spec else []
    if not places or places[0] is None:
        problem = f"the model's class {cls.__name__} is defined in {cls.__module__}"
        raise LifecycleError(problem, "Define it in a module of src/model/.")
    return Path(places[0]).resolve()
