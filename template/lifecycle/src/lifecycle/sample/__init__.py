"""The sample data set, and synthetic rows of any contract."""

from pathlib import Path


def write(folder: Path, seed: int = 0, drift: bool = False, customers: int = 2000) -> None:
    """Write customers, events and labels as Parquet files, on request with a drift in the last quarter."""
    # Imported here: the generator needs pandas, and most commands import this package only as a part of `model.data`.
    from lifecycle.sample import generate

    generate.write(folder, seed, drift, customers)
