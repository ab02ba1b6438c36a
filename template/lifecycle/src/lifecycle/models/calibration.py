"""Calibration of probabilities, and precision and recall at a decision threshold.

`label` holds 1 or true where the event happened and `probability` its predicted probability, both of shape (rows,).
With more than two classes, the event is that the predicted class is right, and the probability is that of this class.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bin:
    """Rows of similar probability: their number, their mean probability, and the share with the event."""

    rows: int
    predicted: float
    observed: float


@dataclass(frozen=True)
class Reliability:
    """Bins from the lowest to the highest probability, and the expected calibration error over them.

    `chance` is the error that perfectly calibrated probabilities have on average with so few rows.
    """

    bins: tuple[Bin, ...]
    error: float
    chance: float


@dataclass(frozen=True)
class AtThreshold:
    """Precision and recall when the event is predicted from `threshold` on; None where no row defines it."""

    threshold: float
    predicted: int
    precision: float | None
    recall: float | None


def reliability(label: npt.NDArray[Any], probability: Floats, bins: int = 10) -> Reliability:
    """Compare predicted probabilities with observed shares in bins of about equally many rows.

    Equal probabilities are never split between bins, so that the order of the rows does not matter; with few distinct
    probabilities there are fewer bins.

    Args:
        label: whether the event happened, shape (rows,).
        probability: its predicted probability, shape (rows,).
        bins: the largest number of bins.

    Returns:
        The bins, and the mean distance between probability and share weighted by rows: the expected calibration error
        (Naeini et al. 2015) with bins of equal frequency (Nixon et al. 2019).

    Raises:
        ValueError: there is no row, or the shapes differ.
    """
    happened = label.astype(np.float64)
    if not len(happened) or happened.shape != probability.shape:
        raise ValueError(f"labels {happened.shape} and probabilities {probability.shape} must be as many, and not none")
    edges = np.unique(np.quantile(probability, np.arange(1, bins) / bins, method="inverted_cdf"))
    places = np.searchsorted(edges, probability, side="left")
    rows = np.bincount(places)
    filled = rows > 0
    sums = (np.bincount(places, each)[filled] for each in (probability, happened, probability * (1 - probability)))
    predicted, observed, variance = (each / rows[filled] for each in sums)
    shares = rows[filled] / len(happened)
    # The mean of the absolute value of a normal variable is its standard deviation times sqrt(2 / pi).
    chance = shares @ np.sqrt(2 / np.pi * variance / rows[filled])
    found = zip(rows[filled].tolist(), predicted.tolist(), observed.tolist(), strict=True)
    return Reliability(tuple(Bin(*each) for each in found), float(shares @ abs(predicted - observed)), float(chance))


def at_threshold(label: npt.NDArray[Any], probability: Floats, threshold: float) -> AtThreshold:
    """Return precision and recall when the event is predicted from `threshold` on.

    Precision is the share with the event among the rows predicted to have it, recall the share predicted among the rows
    that had it.
    """
    happened, predicted = label.astype(bool), probability >= threshold
    right, called = int((happened & predicted).sum()), int(predicted.sum())
    precision = right / called if called else None
    return AtThreshold(threshold, called, precision, right / int(happened.sum()) if happened.any() else None)
