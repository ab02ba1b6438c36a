"""Rows on which a converted model is most likely to be wrong, made from the contract, the holdout rows and the model.

Each is a holdout row with one value moved to an edge that the contract allows: a null, an unseen level, the end of a
range, and both sides of the places where the estimator's output jumps.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lifecycle.contract.rows import FIRST_DAY, LAST_DAY, UNSEEN, Encoder, Matrix, expected_range
from lifecycle.contract.schema import Column
from lifecycle.models.runtimes import SkopsModel

BASES = 3  # holdout rows on which each single edge is tried
LEVELS = 50  # levels of one category
COLUMNS = 100  # columns of which every edge is tried on its own; rows of a wide matrix take much memory
PROBES = 480  # searches for a jump, in all columns together
ROUNDS = 33  # halvings of all float32 numbers
# Where the step between float32 numbers changes or no longer holds all integers, and the smallest ones.
NUMBERS = (0.0, -0.0, 1e-45, 1.1754944e-38, 1.0, 1e3, 2.0**24, 1e9, 1e18)


class EdgeRows(NamedTuple):
    """Rows of the model's matrix, float32, shape (rows, inputs), and for each row the name of its edge."""

    matrix: Matrix
    names: list[str]


def edge_rows(model: SkopsModel, holdout: Matrix, seed: int) -> EdgeRows:
    """Return edge rows of the contract and of a fitted estimator from `holdout`; equal arguments give equal rows."""
    random, scales = np.random.default_rng(seed), _Scales(model.encoder)
    ends, jumps = _ends(scales, holdout, random), _jumps(model, scales, holdout, random)
    return EdgeRows(np.concatenate([ends.matrix, jumps.matrix]), ends.names + jumps.names)


class _Scales:
    """The values that each column of the matrix can have, in order: integers, codes, or every float32."""

    def __init__(self, encoder: Encoder) -> None:
        self.columns = encoder.columns
        self.levels = [len(encoder.codes.get(column.name, ())) for column in self.columns]
        self.ends = [_ends_of(column, levels) for column, levels in zip(self.columns, self.levels, strict=True)]
        self.numbers = np.array([column.kind in ("number", "time") for column in self.columns])
        self.low, self.high = (self.places(np.arange(len(self.columns)), each) for each in np.transpose(self.ends))

    def places(self, at: Any, values: Any) -> npt.NDArray[np.int64]:
        """Return integers in the order of the values of the columns `at`: neighbouring values are one apart."""
        bits = np.asarray(values, dtype=np.float32).view(np.int32).astype(np.int64)
        ordered = np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
        return np.where(self.numbers[at], ordered, np.floor(values)).astype(np.int64)

    def values(self, at: Any, places: npt.NDArray[np.int64]) -> Matrix:
        inside = np.clip(places, self.low[at], self.high[at])
        bits = np.where(inside < 0, -inside | 0x80000000, inside).astype(np.uint32)
        return np.where(self.numbers[at], bits.view(np.float32), inside).astype(np.float32)

    def neighbours(self, at: Any, values: Any) -> Matrix:
        """Return values, shape (values, 1), with the values before and after them, shape (values, 3)."""
        return self.values(at, self.places(at, values) + np.array([-1, 0, 1]))

    def edges(self, at: int, known: Matrix) -> list[tuple[str, float]]:
        """Return the edges of a column by name; `known` are values of the holdout rows."""
        column, (low, high) = self.columns[at], self.ends[at]
        edges = [("null", np.nan)] if column.nullable else []
        edges += [("lowest", low), ("highest", high)]
        if column.kind == "category":
            edges += [] if column.levels else [("unseen level", UNSEEN)]
            last = self.levels[at] - 1
            edges += [("level", code) for code in np.linspace(0, last, min(last + 1, LEVELS)).round().tolist()]
        elif column.kind != "boolean":
            expected = expected_range(column) if column.expected else ()
            usual = np.array([*expected, *known, *NUMBERS, *(-number for number in NUMBERS)])
            usual = usual[(usual >= low) & (usual <= high), None]
            edges += [("edge", value) for value in self.neighbours(at, usual).ravel().tolist()]
        return edges


def _ends_of(column: Column, levels: int) -> tuple[float, float]:
    most = float(np.finfo(np.float32).max)
    ends: dict[str, tuple[float, float]] = {"boolean": (0, 1), "time": (FIRST_DAY, LAST_DAY)}
    ends["category"] = (0 if column.levels else UNSEEN), levels - 1
    low, high = ends.get(column.kind, (-most, most))
    return (low if column.low is None else column.low), (high if column.high is None else column.high)


def _ends(scales: _Scales, holdout: Matrix, random: np.random.Generator) -> EdgeRows:
    parts, names = [], []
    for at in np.sort(random.permutation(len(scales.columns))[:COLUMNS]):
        edges = scales.edges(at, random.choice(_known(holdout, at), BASES))
        values = np.repeat([value for _, value in edges], BASES)
        parts.append(_moved(_some(holdout, random, len(values)), at, values))
        names += [f"{name} of {scales.columns[at].name}" for name, _ in edges for _ in range(BASES)]
    return EdgeRows(np.concatenate(parts), names)


def _jumps(model: SkopsModel, scales: _Scales, holdout: Matrix, random: np.random.Generator) -> EdgeRows:
    # Bisection keeps the half in which the output changes more. It needs the outputs alone, so that it finds the splits
    # of any model, behind a scaler as well.
    width = len(scales.columns)
    column = np.sort(random.permutation(width).repeat(-(-PROBES // width))[:PROBES])
    bases = _some(holdout, random, PROBES)
    pairs = [random.choice(_known(holdout, at), (2, (column == at).sum())) for at in range(width)]
    low, high = np.sort(scales.places(column, np.concatenate(pairs, axis=1)), axis=0)

    def rows(places: npt.NDArray[np.int64]) -> Matrix:
        return _moved(bases, column, scales.values(column, places))

    def outputs(places: npt.NDArray[np.int64]) -> Any:
        return model.raw_outputs(rows(places)).reshape(PROBES, -1)

    below, above = outputs(low), outputs(high)
    for _ in range(ROUNDS):
        middle = (low + high) // 2
        between = outputs(middle)
        up = (np.abs(above - between) > np.abs(between - below)).any(axis=1)
        low, below = np.where(up, middle, low), np.where(up[:, None], between, below)
        high, above = np.where(up, high, middle), np.where(up[:, None], above, between)
    found = np.concatenate([rows(near) for near in (low - 1, low, low + 1, low + 2)])
    return EdgeRows(found, [f"jump in {scales.columns[at].name}" for at in column] * 4)


def _known(holdout: Matrix, at: int) -> Matrix:
    known = holdout[np.isfinite(holdout[:, at]), at]
    return known if len(known) else np.zeros(1, dtype=np.float32)


def _some(holdout: Matrix, random: np.random.Generator, count: int) -> Matrix:
    return holdout[random.integers(0, len(holdout), count)]


def _moved(bases: Matrix, at: Any, values: Any) -> Matrix:
    rows = bases.copy()
    rows[np.arange(len(rows)), at] = values
    return rows
