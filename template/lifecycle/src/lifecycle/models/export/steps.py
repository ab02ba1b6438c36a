"""Which step of an estimator does not convert, or is the first that answers otherwise."""

from typing import Any

import numpy as np

from lifecycle.contract.matrix import Matrix
from lifecycle.models.export.convert import convert
from lifecycle.models.runtimes import session

ALIKE = 1e-5


def first(estimator: Any, rows: Matrix, wide: bool) -> str:
    """The name of that step, from the outside in, and its class; the last one where all before it are alike."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    if isinstance(estimator, Pipeline):
        for at, (name, step) in enumerate(estimator.steps[:-1]):
            if not _alike(estimator[: at + 1], rows, wide):
                return f"{name}: {first(step, rows, wide)}" if at == 0 else f"{name}: {type(step).__name__}"
        name, last = estimator.steps[-1]
        return f"{name}: {type(last).__name__}"
    if isinstance(estimator, ColumnTransformer):
        for name, part, columns in estimator.transformers_:
            if not isinstance(part, str) and not _alike(part, rows[:, columns], wide):
                return f"{name}: {first(part, rows[:, columns], wide)}"
    return type(estimator).__name__


def _alike(transformer: Any, rows: Matrix, wide: bool) -> bool:
    try:
        wanted = transformer.transform(rows.astype(np.float64))
        wanted = np.asarray(wanted.toarray() if hasattr(wanted, "toarray") else wanted, dtype=np.float64)
        content, _ = convert(transformer, rows.shape[1], wide)
        [given] = session(content).run(None, {"rows": rows})
        return bool(np.allclose(given, wanted, rtol=ALIKE, atol=ALIKE, equal_nan=True))
    except Exception:
        return False
