"""The sample data set, and a clock that simulates another time."""

from pathlib import Path


def write(folder: Path, seed: int = 0, drift: bool = False, customers: int = 2000) -> None:
    """Write the tables of the sample as Parquet files: the same bytes for the same arguments.

    Args:
        folder: directory for customers.parquet, events.parquet and labels.parquet.
        seed: of the random numbers.
        drift: whether customers behave differently in the last quarter.
        customers: number of customers.

    Raises:
        LifecycleError: the disk refuses.
    """
    # Imported here: the generator needs pandas, and the clock of this package does not.
    from lifecycle.sample import generate

    generate.write(folder, seed, drift, customers)
