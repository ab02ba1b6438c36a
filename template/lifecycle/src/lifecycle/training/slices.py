"""Compare two models in each level of the categories."""

from typing import TYPE_CHECKING

import numpy as np

from lifecycle.contract.schema import Contract
from lifecycle.models import metrics
from lifecycle.models.metrics import Floats

if TYPE_CHECKING:
    import pandas as pd

# Slices of fewer rows would describe individual people.
FEWEST_ROWS, MOST_LEVELS = 20, 20

Slices = dict[str, dict[str, float]]


def compare_slices(
    contract: Contract, frame: "pd.DataFrame", label: Floats, candidate: Floats, opponent: Floats
) -> Slices:
    """Compare the quadratic loss (Brier 1950) of two models in each level of each category and boolean column.

    `frame` has the completed rows of `label`; both models' predictions have shape (rows,) or (rows, classes).

    Returns:
        By `column=level`: the number of rows, and mean and standard error of the candidate's loss less the opponent's.
        Levels of fewer than FEWEST_ROWS rows and columns of more than MOST_LEVELS levels are excluded.
    """
    own, other = (metrics.squared_errors(contract.target, label, each) for each in (candidate, opponent))
    result: Slices = {}
    for name in (column.name for column in contract.inputs if column.kind in ("category", "boolean")):
        values = frame[name].astype("object").where(frame[name].notna(), "null").astype(str).to_numpy()
        levels, counts = np.unique(values, return_counts=True)
        for level in levels[counts >= FEWEST_ROWS] if len(levels) <= MOST_LEVELS else ():
            worse = (own - other)[values == level]
            error = float(worse.std(ddof=1) / len(worse) ** 0.5)
            result[f"{name}={level}"] = {"rows": len(worse), "mean": float(worse.mean()), "se": error}
    return result
