"""Rows on which a converted model is most likely to be wrong, made from the contract, the holdout rows and the model.

Each is a holdout row with one value moved to an edge that the contract allows: a null, an unseen level, the end of a
range, and both sides of the places where the estimator's output jumps.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lifecycle.contract.matrix import UNSEEN, Matrix
from lifecycle.contract.schema import Column
from lifecycle.models.runtimes import SkopsModel

# Positions of values on a `Scale`.
Places = npt.NDArray[np.int64]
NamedRows = Iterator[tuple[str, Matrix]]

BASES = 3  # holdout rows on which each single edge is tried
LEVELS = 50  # levels of one category
PROBES = 480  # searches for a jump, in all columns together
SPLITS = 320  # splits of the graph's trees, in all columns together
ROUNDS = 33  # halvings of all float32 numbers
# Where the step between float32 numbers changes or no longer holds all integers, and the smallest ones.
NUMBERS = (0.0, -0.0, 1e-45, 1.1754944e-38, 1.0, 1e3, 2.0**24, 1e9, 1e18)


@dataclass(frozen=True)
class EdgeRows:
    """Rows of the model's matrix, float32, shape (rows, inputs), and for each row the name of its edge."""

    matrix: Matrix
    names: tuple[str, ...]


def edge_rows(model: SkopsModel, holdout: Matrix, seed: int) -> EdgeRows:
    """Return edge rows of the contract and of a fitted estimator, by varying rows of `holdout`, shape (rows, inputs).

    The same arguments give the same rows.
    """
    random, scales = np.random.default_rng(seed), _scales(model)
    return _joined([*_ends(scales, holdout, random), *_jumps(model, scales, holdout, random)], holdout)


def split_rows(model: SkopsModel, holdout: Matrix, graph: bytes, seed: int) -> EdgeRows:
    """Return rows on both sides of the splits of a graph's own trees, where these read the matrix itself."""
    return _joined([*_splits(graph, _scales(model), holdout, np.random.default_rng(seed))], holdout)


def _scales(model: SkopsModel) -> list["Scale"]:
    return [Scale(column, len(model.encoder.codes.get(column.name, ()))) for column in model.encoder.columns]


def _joined(found: list[tuple[str, Matrix]], holdout: Matrix) -> EdgeRows:
    names = tuple(name for name, rows in found for _ in rows)
    return EdgeRows(np.concatenate([holdout[:0], *(rows for _, rows in found)]), names)


@dataclass(frozen=True)
class Scale:
    """The values that a column of the matrix can have, in order: integers, codes, or every float32."""

    column: Column
    levels: int

    @property
    def ends(self) -> tuple[float, float]:
        """Return the smallest and the largest value."""
        if self.column.kind == "category":
            return (0.0 if self.column.levels else UNSEEN), float(self.levels - 1)
        if self.column.kind == "boolean":
            return 0.0, 1.0
        most = float(np.finfo(np.float32).max)
        low = -most if self.column.low is None else self.column.low
        return low, most if self.column.high is None else self.column.high

    def places(self, values: Matrix) -> Places:
        """Return integers in the order of the values: neighbouring values are one apart."""
        if self.column.kind != "number":
            return np.floor(values).astype(np.int64)
        bits = values.view(np.int32).astype(np.int64)
        return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)

    def values(self, places: Places) -> Matrix:
        """Return the values at these places, or the nearest end."""
        low, high = self.places(np.array(self.ends, dtype=np.float32))
        inside = np.clip(places, low, high)
        if self.column.kind != "number":
            return inside.astype(np.float32)
        bits = np.where(inside < 0, -inside | 0x80000000, inside)
        return bits.astype(np.uint32).view(np.float32)

    def neighbours(self, value: float) -> Matrix:
        """Return a value and the values before and after it."""
        return self.values(self.places(np.array([value], dtype=np.float32)) + np.array([-1, 0, 1]))

    def edges(self, known: Matrix) -> Iterator[tuple[str, float]]:
        """Return the edges of this column by name; `known` are values of the holdout rows."""
        if self.column.nullable:
            yield "null", np.nan
        low, high = self.ends
        yield from (("lowest", low), ("highest", high))
        if self.column.kind == "category":
            if not self.column.levels:
                yield "unseen level", UNSEEN
            codes = np.linspace(0, self.levels - 1, min(self.levels, LEVELS)).round()
            yield from (("level", float(code)) for code in codes)
        elif self.column.kind != "boolean":
            usual = [float(each) for each in (*self.column.expected, *known)]
            for each in (*usual, *NUMBERS, *(-number for number in NUMBERS)):
                if low <= each <= high:
                    yield from (("edge", float(value)) for value in self.neighbours(each))


def _ends(scales: list[Scale], holdout: Matrix, random: np.random.Generator) -> NamedRows:
    far = []
    for at, scale in enumerate(scales):
        known = random.choice(_known(holdout, at), BASES)
        single = list(scale.edges(known))
        far.append([value for name, value in single if name in ("null", "lowest", "highest", "unseen level")])
        for name, value in single:
            yield f"{name} of {scale.column.name}", _moved(_some(holdout, random, BASES), at, np.float32(value))
    together = [[random.choice(each) for each in far] for _ in range(LEVELS)]
    yield "ends of all columns", np.array(together, dtype=np.float32)


def _jumps(model: SkopsModel, scales: list[Scale], holdout: Matrix, random: np.random.Generator) -> NamedRows:
    # Bisection keeps the half in which the output changes more. It needs the outputs alone, so that it finds the splits
    # of any model, behind a scaler as well.
    column = np.sort(random.permutation(len(scales)).repeat(-(-PROBES // len(scales)))[:PROBES])
    bases = _some(holdout, random, len(column))
    low, high = np.empty(len(column), dtype=np.int64), np.empty(len(column), dtype=np.int64)
    for at, scale in enumerate(scales):
        here = column == at
        pairs = scale.places(random.choice(_known(holdout, at), (2, here.sum())))
        low[here], high[here] = pairs.min(axis=0, initial=2**40), pairs.max(axis=0, initial=-(2**40))

    def rows(places: Places) -> Matrix:
        moved = bases.copy()
        for at, scale in enumerate(scales):
            here = column == at
            moved[here, at] = scale.values(places[here])
        return moved

    def outputs(places: Places) -> Any:
        return model.raw_outputs(rows(places)).reshape(len(places), -1)

    below, above = outputs(low), outputs(high)
    for _ in range(ROUNDS):
        middle = (low + high) // 2
        between = outputs(middle)
        up = (np.abs(above - between) > np.abs(between - below)).any(axis=1)
        low, below = np.where(up, middle, low), np.where(up[:, None], between, below)
        high, above = np.where(up, high, middle), np.where(up[:, None], above, between)
    for near in (low - 1, low, low + 1, low + 2):
        for at, row in zip(column, rows(near), strict=True):
            yield f"jump in {scales[at].column.name}", row[None]


def _splits(graph: bytes, scales: list[Scale], holdout: Matrix, random: np.random.Generator) -> NamedRows:
    import onnx

    model = onnx.load_from_string(graph)
    unchanged = {each.name for each in model.graph.input}
    found: set[tuple[int, float]] = set()
    for node in model.graph.node:
        if node.op_type in ("Cast", "Identity") and node.input[0] in unchanged:
            unchanged |= set(node.output)
        if node.op_type.startswith("TreeEnsemble") and node.input[0] in unchanged:
            fields = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
            exact = fields.get("nodes_values_as_tensor")
            limits = fields.get("nodes_values", ()) if exact is None else onnx.numpy_helper.to_array(exact).tolist()
            nodes = zip(fields["nodes_featureids"], limits, fields["nodes_modes"], strict=True)
            found |= {(at, limit) for at, limit, mode in nodes if mode != b"LEAF" and np.isfinite(limit)}
    listed = sorted(found)
    for place in random.permutation(len(listed))[:SPLITS]:
        at, limit = listed[place]
        for value in scales[at].neighbours(limit):
            yield f"split of {scales[at].column.name}", _moved(_some(holdout, random, 1), at, value)


def _known(holdout: Matrix, at: int) -> Matrix:
    known = holdout[np.isfinite(holdout[:, at]), at]
    return known if len(known) else np.zeros(1, dtype=np.float32)


def _some(holdout: Matrix, random: np.random.Generator, count: int) -> Matrix:
    return holdout[random.integers(0, len(holdout), count)]


def _moved(rows: Matrix, at: int, value: Any) -> Matrix:
    rows[:, at] = value
    return rows
