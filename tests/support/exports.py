"""Export small estimators, and compare the graph with the estimator on rows that the export did not compare."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression

from lifecycle.contract.rows import Encoder, Matrix
from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.models import export as exporting
from lifecycle.models.runtimes import OnnxModel, SkopsModel, tolerance

TARGETS = {
    "binary": Target("binary", "label", ("no", "yes")),
    "multiclass": Target("multiclass", "label", ("a", "b", "c")),
    "regression": Target("regression", "label"),
}
NUMBERS, CODES = [0, 1, 2, 3], [4, 5]
TRAINING, HOLDOUT, FRESH = 800, 300, 20_000


def contract(task: str, nulls: bool) -> Contract:
    """Return a contract with four numbers, one of them an integer, an open and a closed category."""
    limits: dict[str, Any] = {"low": -1e6, "high": 1e6, "nullable": nulls}
    return Contract(
        1,
        TARGETS[task],
        (
            Column("amount", "request", "number", **limits),
            Column("balance", "request", "number", **limits),
            Column("rate", "request", "number", **limits),
            Column("visits", "request", "integer", **limits | {"low": 0.0, "high": 1000.0}),
            Column("city", "request", "category", nullable=nulls),
            Column("plan", "request", "category", levels=("x", "y", "z"), nullable=nulls),
        ),
    )


LEVELS = {"city": ["a", "b", "c", "d", "e"], "plan": ["x", "y", "z"]}


@lru_cache
def rows(count: int, seed: int, nulls: bool) -> tuple[Matrix, Any]:
    """Return a matrix and the cause of every label; callers must not change them."""
    random = np.random.default_rng(seed)
    matrix = np.empty((count, 6), dtype=np.float32)
    matrix[:, 0] = random.gamma(2, 40, count)
    matrix[:, 1] = random.normal(300, 120, count)
    matrix[:, 2] = random.uniform(-1, 1, count)
    matrix[:, 3] = random.poisson(6, count)
    matrix[:, 4] = random.integers(-1 if count == FRESH else 0, 5, count)
    matrix[:, 5] = random.integers(0, 3, count)
    cause = np.sin(matrix[:, 0] / 30) + matrix[:, 2] * (matrix[:, 5] - 1) + matrix[:, 3] / 10 + (matrix[:, 4] == 2)
    cause = cause + random.normal(0, 0.3, count)
    if nulls:
        matrix[random.random(matrix.shape) < 0.1] = np.nan
    return matrix, cause


def label(task: str, cause: Any) -> Any:
    if task == "regression":
        return np.exp(cause)
    return (np.digitize(cause, [0.8] if task == "binary" else [0.2, 1.2])).astype(int)


@dataclass(frozen=True)
class Entry:
    """One estimator, what it is fitted on, and the kind of bundle it becomes."""

    name: str
    make: Callable[[], Any]
    kind: str = "onnx"
    task: str = "binary"
    nulls: bool = False


def fitted(entry: Entry) -> SkopsModel:
    matrix, cause = rows(TRAINING, 1, entry.nulls)
    estimator = entry.make().fit(matrix.astype(np.float64), label(entry.task, cause))
    estimator = exporting.predicting_part(estimator)
    return SkopsModel(estimator, Encoder(contract(entry.task, entry.nulls), LEVELS), TARGETS[entry.task])


def exported(model: SkopsModel, nulls: bool) -> exporting.Export:
    holdout, _ = rows(HOLDOUT, 2, nulls)
    return exporting.export(model, holdout, model.predict_matrix(holdout), seed=0)


def differing_fresh_rows(model: SkopsModel, graph: bytes, nulls: bool) -> int:
    """Return in how many of many rows that the export did not compare the graph differs by more than the tolerance."""
    fresh, _ = rows(FRESH, 3, nulls)
    outputs = OnnxModel(graph, model.encoder, model.target).predict_matrix(fresh)
    distance = exporting.differences(model.predict_matrix(fresh), outputs, model.target)
    return int((~(distance <= tolerance(model.target))).sum())


def linear() -> LogisticRegression:
    return LogisticRegression(max_iter=2000)


def regression(name: str, make: Callable[[], Any], kind: str = "onnx", nulls: bool = False) -> Entry:
    return Entry(name, make, kind, "regression", nulls)
