"""Small real bundles and deployments: a fitted estimator, written, published and verified as in training."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from sklearn.linear_model import LogisticRegression

from lifecycle.contract.rows import Encoder
from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.features import table_path, write_table
from lifecycle.models import bundle as bundles
from lifecycle.models.bundle import Bundle
from lifecycle.models.converters import convert
from lifecycle.models.runtimes import SkopsModel
from lifecycle.registry import deployments
from lifecycle.registry.deployments import Deployed, Deployment
from lifecycle.storage import Store

KEY = Column("customer_id", "key", "category", max_length=16)
DISCOUNT = Column("discount", "request", "number", required=False, default=0.0, low=0.0, high=100.0)
PLAN = Column("plan", "lookup", "category", levels=("basic", "plus"))
VISITS = Column("visits", "lookup", "integer", low=0, high=2**24)
# A key, an optional request field and two looked-up columns, for binary classification.
CHURN = Contract(1, Target("binary", "churned", ("stays", "churns")), (KEY, DISCOUNT, PLAN, VISITS))
# The same without looked-up columns.
PLAIN = Contract(1, CHURN.target, (KEY, DISCOUNT))


@dataclass(frozen=True)
class Storage:
    """A storage with the methods publish, deploy and fill, which do what the jobs do."""

    store: Store
    drafts: Path

    def publish(
        self,
        contract: Contract = CHURN,
        made: str = "20260101T000000",
        golden: list[dict[str, Any]] | None = None,
        estimator: Any = None,
        **facts: Any,
    ) -> Bundle:
        """Publish a version as training does: a bundle with a small linear model; `facts` go into its `bundle.json`.

        `kind="onnx"` makes it one of that kind; `estimator` replaces the linear model.
        """
        levels = {c.name: list(c.levels) or ["north", "south"] for c in contract.inputs if c.kind == "category"}
        estimator = estimator or _fitted(len(contract.inputs))
        model = SkopsModel(estimator, Encoder(contract, levels), contract.target)
        rows = [{column.name: _value(column, at) for column in contract.columns} for at in range(5)]
        own = [{"row": row, "answer": each} for row, each in zip(rows, model.predict_rows(rows).tolist(), strict=True)]
        folder = self.drafts / made
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "contract.json").write_text(contract.to_json())
        (folder / "golden.jsonl").write_text("\n".join(map(json.dumps, golden or own)))
        kind = facts.get("kind", "skops")
        if kind == "onnx":
            (folder / "model.onnx").write_bytes(convert(model.estimator, len(contract.inputs))[0])
        else:
            (folder / "model.skops").write_bytes(skops.io.dumps(model.estimator))
        if contract.lookups:
            (folder / "features.sql").write_text("SELECT 1")
        requires = bundles.installed_versions(
            ["numpy", "onnxruntime"] if kind == "onnx" else ["numpy", "scikit-learn", "skops"]
        )
        known = {"kind": kind, "name": "churn", "threshold": 0.5, "levels": levels, "requires": requires}
        return bundles.publish(self.store, folder, known | facts, made)

    def deploy(self, bundle: Bundle, threshold: float | None = 0.5, environment: str = "local") -> Deployment:
        """Deploy a version as promotion does after the gate passed."""
        seen = deployments.read(self.store, environment)
        live = Deployed(bundle.version, threshold)
        return deployments.swap(self.store, environment, seen, live, action="promote", who="a test", why="to see")

    def fill(self, bundle: Bundle, known: Mapping[str, Mapping[str, Any]], as_of: int = 0) -> None:
        """Write the looked-up columns of each key as `make features` does."""
        names = [column.name for column in bundle.contract.lookups]
        rows = [[key, *(entity[name] for name in names)] for key, entity in known.items()]
        write_table(table_path(self.store, bundle.feature_set), bundle.contract, rows, as_of)


@lru_cache
def _fitted(width: int) -> LogisticRegression:
    matrix = np.random.default_rng(0).normal(size=(200, width)).astype(np.float32)
    # Weak weights: predictions stay away from 0 and 1, so that no two rows have the same one after rounding.
    return LogisticRegression(C=1e-3).fit(matrix, (matrix.sum(axis=1) > 0).astype(int))


def _value(column: Column, at: int) -> Any:
    if column.levels:
        return column.levels[at % len(column.levels)]
    plain = {"number": at / 2, "integer": at, "boolean": at % 2 == 0, "time": "2000-01-01T00:00:00Z"}
    return plain.get(column.kind, "north")
