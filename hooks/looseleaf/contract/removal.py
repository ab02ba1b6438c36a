"""Remove the sample from a repository: its tables, and the models that were trained on it."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from lifecycle import sample, settings
from lifecycle.contract.schema import Contract
from lifecycle.storage import Store

# Entries of the storage that training on the sample creates; other entries are never removed.
STORED = ("bundles", "deployments", "features", "scores", "audit.jsonl", ".audit.lock", "mlflow.db", "mlruns")
SAMPLE_TABLES = ("customers.parquet", "events.parquet", "labels.parquet")


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
