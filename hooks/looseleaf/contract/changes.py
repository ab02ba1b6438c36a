"""Write the generated files without losing one that a user has edited, and remove the sample and nothing else."""

import hashlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lifecycle import sample, settings
from lifecycle.contract.schema import Contract
from lifecycle.errors import LifecycleError, Refused
from lifecycle.storage import Store, explain_disk_errors, write_atomically

REPORT = "docs/contract-report.md"
WRITTEN = re.compile(r"^\| `([^`]+)` \| ([0-9a-f]{64}) \|$", re.MULTILINE)
# Entries of the storage that training on the sample creates; other entries are never removed.
STORED = ("bundles", "deployments", "features", "scores", "audit.jsonl", ".audit.lock", "mlflow.db", "mlruns")
SAMPLE_TABLES = ("customers.parquet", "events.parquet", "labels.parquet")


@dataclass(frozen=True)
class Changes:
    """New file contents by path below the repository's root; None removes the file.

    `merged` names files whose new content keeps the user's own text.
    """

    root: Path
    contents: Mapping[str, bytes | None]
    pristine: Mapping[str, bytes]
    merged: frozenset[str] = frozenset()

    def edited(self) -> list[str]:
        """Return the files that would be replaced and that neither the template nor `make contract` wrote."""
        report = self.root / REPORT
        recorded = dict(WRITTEN.findall(report.read_text(encoding="utf-8"))) if report.exists() else {}
        names = []
        for name, content in self.contents.items():
            current = self._read(name)
            if current is None or name == REPORT or name in self.merged:
                continue
            if current not in (content, self.pristine.get(name)) and digest(current) != recorded.get(name):
                names.append(name)
        return names

    def refuse_edited(self, force: bool) -> None:
        """Raise Refused if an edited file would be replaced, unless `force` is set."""
        if not force and (edited := self.edited()):
            listed = "\n  ".join(edited)
            hint = "FORCE=1 (--force) replaces them and keeps a copy of each; DIFF=1 (--diff) only shows the changes."
            raise Refused(f"these files were edited and would be replaced:\n  {listed}", hint)

    def apply(self) -> dict[str, str]:
        """Write all files or none; returns the backup name of each edited file that was replaced."""
        before = {name: self._read(name) for name in self.contents}
        with explain_disk_errors(self.root):
            backups = {name: backup(self.root / name) for name in self.edited()}
            try:
                for name, content in self.contents.items():
                    self._put(name, content)
            except BaseException:
                for name, content in before.items():
                    self._put(name, content)
                raise
        return backups

    def _read(self, name: str) -> bytes | None:
        path = self.root / name
        return path.read_bytes() if path.exists() else None

    def _put(self, name: str, content: bytes | None) -> None:
        path = self.root / name
        if content is None:
            path.unlink(missing_ok=True)
        elif content != self._read(name):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, content)


def digest(content: bytes) -> str:
    """Return the SHA-256 that distinguishes a generated file from an edited one."""
    return hashlib.sha256(content).hexdigest()


def backup(path: Path) -> str:
    """Copy a file to a free sibling name and return that name."""
    number = 1
    while (copy := path.with_name(f"{path.name}.bak{number}")).exists():
        number += 1
    shutil.copy2(path, copy)
    return copy.name


def link(source: Path, folder: Path, name: str) -> None:
    """Create a symbolic link `folder / name` to a file; raises LifecycleError if another file has that name."""
    place = folder / name
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if place.is_symlink():
            place.unlink()
        elif place.exists():
            raise LifecycleError(f"{place} is another file of that name", f"Remove it, or use it: DATA={place}.")
        try:
            place.symlink_to(source)
        except OSError:
            # Some systems do not allow links to every user; a copy is the only way there.
            shutil.copy2(source, place)


def remove_sample(root: Path, data: Path, file: str, pristine: Mapping[str, bytes]) -> list[str]:
    """Remove the sample's models and tables, and nothing else; returns lines for the terminal.

    `file` is the user's table below the data folder, `pristine` the template's render.
    """
    lines = []
    store, root = Store(root / settings.load(root).settings.storage), root.resolve()
    is_inside = store.root.resolve() != root and store.root.resolve().is_relative_to(root)
    stored = [path for name in STORED if (path := store.root / name).exists()] if is_inside else []
    has_links = any(path.is_symlink() for path in (store.root, *stored))
    if stored and (has_links or not store.versions() or not is_of_sample(store, pristine)):
        lines.append(f"{store.root} is kept: it contains more than models of the sample")
    elif stored:
        for path in stored:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        if not any(store.root.iterdir()):
            store.root.rmdir()
        lines.append(f"models of the sample were removed: {', '.join(path.name for path in stored)}")
    tables = [data / name for name in SAMPLE_TABLES]
    if file not in SAMPLE_TABLES and not data.is_symlink() and _are_sample_tables(tables):
        for path in tables:
            path.unlink()
        lines.append(f"tables of the sample were removed: {', '.join(SAMPLE_TABLES)}")
    return lines


def is_of_sample(store: Store, pristine: Mapping[str, bytes]) -> bool:
    """Return whether every stored version has the sample's contract."""
    wanted = Contract.from_json(pristine["contract.json"]) if "contract.json" in pristine else None
    return all(each == wanted for each in stored_contracts(store))


def stored_contracts(store: Store) -> Iterator[Contract]:
    """Yield the contract of every stored version."""
    for version in store.versions():
        path = store.bundles / version / "contract.json"
        yield Contract.from_json(path.read_bytes(), where=str(path))


def _are_sample_tables(tables: list[Path]) -> bool:
    """Return whether these are the sample's files, byte for byte."""
    if any(path.is_symlink() or not path.is_file() for path in tables):
        return False
    with tempfile.TemporaryDirectory() as folder:
        sample.write(Path(folder))
        return all(path.read_bytes() == (Path(folder) / path.name).read_bytes() for path in tables)
