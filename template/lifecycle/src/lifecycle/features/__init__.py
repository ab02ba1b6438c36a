"""Point-in-time features, computed by `features.sql` over a spine, and the online feature table."""

from lifecycle.features.point_in_time import ROWS, connect, latest, population_rows, training_rows

__all__ = ["ROWS", "connect", "latest", "population_rows", "training_rows"]
