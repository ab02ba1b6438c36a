"""Rows at which a converted model goes wrong first, invented from the contract, the held-out rows and the model.

Each is a held-out row with one value moved to an edge that the contract allows: a null, a level never seen, the end of
a range, and both sides of the places where the trained estimator's answer jumps.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lifecycle.contract.matrix import UNSEEN, Matrix
from lifecycle.contract.schema import Column
from lifecycle.models.runtimes import SkopsModel

Places = npt.NDArray[np.int64]
Found = Iterator[tuple[str, Matrix]]

BASES = 3  # held-out rows that each single edge is tried on
LEVELS = 50  # levels of one category
PROBES = 480  # looks for a jump, in all columns together
SPLITS = 320  # splits of the graph's trees, in all columns together
ROUNDS = 33  # halvings of all float32 numbers
# Where float32 changes its step or loses whole numbers, and the smallest it has.
NUMBERS = (0.0, -0.0, 1e-45, 1.1754944e-38, 1.0, 1e3, 2.0**24, 1e9, 1e18)


@dataclass(frozen=True)
class Edges:
    """Rows of the model's matrix, and what each is an edge of."""

    matrix: Matrix
    names: tuple[str, ...]


def edges(model: SkopsModel, held: Matrix, seed: int) -> Edges:
    """Edge rows of a contract and of a trained estimator; the same for the same arguments."""
    random, scales = np.random.default_rng(seed), _scales(model)
    return _joined([*_ends(scales, held, random), *_jumps(model, scales, held, random)], held)


def splits(model: SkopsModel, held: Matrix, graph: bytes, seed: int) -> Edges:
    """Both sides of the splits that a graph's own trees hold, where they read the matrix itself."""
    return _joined([*_splits(graph, _scales(model), held, np.random.default_rng(seed))], held)


def _scales(model: SkopsModel) -> list["Scale"]:
    return [Scale(column, len(model.encoder.codes.get(column.name, ()))) for column in model.encoder.columns]


def _joined(found: list[tuple[str, Matrix]], held: Matrix) -> Edges:
    names = tuple(name for name, rows in found for _ in rows)
    return Edges(np.concatenate([held[:0], *(rows for _, rows in found)]), names)


@dataclass(frozen=True)
class Scale:
    """The values that a column of the matrix can have, in order: whole numbers, codes, or every float32."""

    column: Column
    levels: int

    @property
    def name(self) -> str:
        """That of the column."""
        return self.column.name

    @property
    def ends(self) -> tuple[float, float]:
        """The smallest and the largest value."""
        if self.column.kind == "category":
            return (0.0 if self.column.levels else UNSEEN), float(self.levels - 1)
        if self.column.kind == "boolean":
            return 0.0, 1.0
        most = float(np.finfo(np.float32).max)
        low = -most if self.column.low is None else self.column.low
        return low, most if self.column.high is None else self.column.high

    def places(self, values: Matrix) -> Places:
        """Whole numbers in the order of the values: neighbours are one apart."""
        if self.column.kind != "number":
            return np.floor(values).astype(np.int64)
        bits = values.view(np.int32).astype(np.int64)
        return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)

    def values(self, places: Places) -> Matrix:
        """The values at these places, or at the nearest end."""
        low, high = self.places(np.array(self.ends, dtype=np.float32))
        inside = np.clip(places, low, high)
        if self.column.kind != "number":
            return inside.astype(np.float32)
        bits = np.where(inside < 0, -inside | 0x80000000, inside)
        return bits.astype(np.uint32).view(np.float32)

    def single(self, known: Matrix) -> Iterator[tuple[str, float]]:
        """Edges of this column alone, by name; `known` are values that it has."""
        if self.column.nullable:
            yield "null", np.nan
        low, high = self.ends
        yield from (("lowest", low), ("highest", high))
        if self.column.kind == "category":
            if not self.column.levels:
                yield "unseen level", UNSEEN
            yield from (
                ("level", float(at)) for at in np.linspace(0, self.levels - 1, min(self.levels, LEVELS)).round()
            )
        elif self.column.kind != "boolean":
            usual = [float(each) for each in (*self.column.expected, *known)]
            for each in (*usual, *NUMBERS, *(-number for number in NUMBERS)):
                if low <= each <= high:
                    near = self.places(np.array([each], dtype=np.float32)) + np.array([-1, 0, 1])
                    yield from (("edge", float(value)) for value in self.values(near))


def _ends(scales: list[Scale], held: Matrix, random: np.random.Generator) -> Found:
    far = []
    for at, scale in enumerate(scales):
        known = random.choice(_known(held, at), BASES)
        single = list(scale.single(known))
        far.append([value for name, value in single if name in ("null", "lowest", "highest", "unseen level")])
        for name, value in single:
            yield f"{name} of {scale.name}", _moved(_some(held, random, BASES), at, np.float32(value))
    together = [[random.choice(each) for each in far] for _ in range(LEVELS)]
    yield "ends of all columns", np.array(together, dtype=np.float32)


def _jumps(model: SkopsModel, scales: list[Scale], held: Matrix, random: np.random.Generator) -> Found:
    """Neighbouring values between which the answer jumps: halving keeps the half where it changes more.

    It finds the splits of any model by its answers alone, behind a scaler, too.
    """
    column = np.sort(random.permutation(len(scales)).repeat(-(-PROBES // len(scales)))[:PROBES])
    bases = _some(held, random, len(column))
    low, high = np.empty(len(column), dtype=np.int64), np.empty(len(column), dtype=np.int64)
    for at, scale in enumerate(scales):
        here = column == at
        pairs = scale.places(random.choice(_known(held, at), (2, here.sum())))
        low[here], high[here] = pairs.min(axis=0, initial=2**40), pairs.max(axis=0, initial=-(2**40))

    def rows(places: Places) -> Matrix:
        moved = bases.copy()
        for at, scale in enumerate(scales):
            here = column == at
            moved[here, at] = scale.values(places[here])
        return moved

    def answers(places: Places) -> Any:
        return model.given(rows(places)).reshape(len(places), -1)

    below, above = answers(low), answers(high)
    for _ in range(ROUNDS):
        middle = (low + high) // 2
        between = answers(middle)
        up = (np.abs(above - between) > np.abs(between - below)).any(axis=1)
        low, below = np.where(up, middle, low), np.where(up[:, None], between, below)
        high, above = np.where(up, high, middle), np.where(up[:, None], above, between)
    for near in (low - 1, low, low + 1, low + 2):
        for at, row in zip(column, rows(near), strict=True):
            yield f"jump in {scales[at].name}", row[None]


def _splits(graph: bytes, scales: list[Scale], held: Matrix, random: np.random.Generator) -> Found:
    import onnx

    model = onnx.load_from_string(graph)
    raw = {each.name for each in model.graph.input}
    pairs: set[tuple[int, float]] = set()
    for node in model.graph.node:
        if node.op_type in ("Cast", "Identity") and node.input[0] in raw:
            raw |= set(node.output)
        if node.op_type.startswith("TreeEnsemble") and node.input[0] in raw:
            given = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
            exact = given.get("nodes_values_as_tensor")
            limits = given.get("nodes_values", ()) if exact is None else onnx.numpy_helper.to_array(exact).tolist()
            trees = zip(given["nodes_featureids"], limits, given["nodes_modes"], strict=True)
            pairs |= {(at, limit) for at, limit, mode in trees if mode != b"LEAF" and np.isfinite(limit)}
    listed = sorted(pairs)
    for place in random.permutation(len(listed))[:SPLITS]:
        at, limit = listed[place]
        near = scales[at].places(np.array([limit], dtype=np.float32)) + np.array([-1, 0, 1])
        for value in scales[at].values(near):
            yield f"split of {scales[at].name}", _moved(_some(held, random, 1), at, value)


def _known(held: Matrix, at: int) -> Matrix:
    known = held[np.isfinite(held[:, at]), at]
    return known if len(known) else np.zeros(1, dtype=np.float32)


def _some(held: Matrix, random: np.random.Generator, count: int) -> Matrix:
    return held[random.integers(0, len(held), count)]


def _moved(rows: Matrix, at: int, value: Any) -> Matrix:
    rows[:, at] = value
    return rows
