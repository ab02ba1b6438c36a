# mypy: disable-error-code="import-untyped, import-not-found"
"""Export an estimator to ONNX and verify that the graph predicts the same before it may replace the estimator.

A converter can be wrong without a warning, so estimator and graph predict the holdout rows and the edge rows. Where
they differ the bundle keeps the estimator, and `export.json` says why.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from lifecycle.contract.matrix import Matrix
from lifecycle.contract.schema import Target
from lifecycle.errors import LifecycleError
from lifecycle.models.export.convert import convert
from lifecycle.models.export.edges import EdgeRows, edge_rows, split_rows
from lifecycle.models.runtimes import OnnxModel, Outputs, SkopsModel, session, tolerance

Report = dict[str, Any]
FILE = "export.json"
MOST_ROWS = 20
# How many rows are also predicted alone.
ALONE = 64
# Tolerance, absolute and relative, within which two steps of a pipeline return the same.
STEP_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Export:
    """The result of an export: the graph, or None and the reason in the report."""

    graph: bytes | None
    report: Report

    @property
    def summary(self) -> str:
        """Return the result in one line."""
        rows, reason = self.report["rows"], self.report["reason"]
        if reason:
            return f"scikit-learn, kept with skops: {reason}"
        most = f"{self.report['largest_difference']:.1e} at most"
        return f"ONNX, equal on {rows['holdout']:,} held-out and {rows['edge']:,} edge rows ({most})"

    def to_json(self) -> str:
        """Return the text of `export.json`."""
        return json.dumps(self.report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def export(model: SkopsModel, holdout: Matrix, outputs: Outputs, seed: int) -> Export:
    """Return a verified graph of an estimator, or the reason why there is none.

    Double precision is tried first, because scikit-learn computes in it; then float32.

    Args:
        model: the fitted estimator with the encoder of its matrix.
        holdout: rows that the estimator was not trained on, float32, shape (rows, inputs).
        outputs: the estimator's outputs for them.
        seed: of the random edge rows.
    """
    from threadpoolctl import threadpool_limits

    report: Report = {"kind": "skops", "reason": "", "rows": {"holdout": len(holdout), "edge": 0}}
    report |= {"largest_difference": None, "tolerance": tolerance(model.target)}
    report |= {"differing": [], "step": "", "warnings": []}
    # For thousands of small batches, threads that wait for each other take ten times as long as one thread.
    with threadpool_limits(limits=1):
        try:
            edges = edge_rows(model, holdout, seed)
            expected = np.concatenate([outputs, model.raw_outputs(edges.matrix)])
        # The estimator is the team's choice and raises its own types.
        except Exception as error:
            return Export(None, report | {"reason": f"the estimator fails on its edge rows ({_first_line(error)})"})
        attempts = []
        for wide in (True, False):
            attempts.append(_attempt(model, holdout, edges, expected, seed, wide, report))
            if attempts[-1].graph is not None:
                return attempts[-1]
    return min(attempts, key=lambda each: np.inf if (most := each.report["largest_difference"]) is None else most)


def _attempt(
    model: SkopsModel, holdout: Matrix, edges: EdgeRows, expected: Outputs, seed: int, wide: bool, report: Report
) -> Export:
    try:
        content, warned = convert(model.estimator, holdout.shape[1], wide)
        graph = OnnxModel(content, model.encoder, model.target)
        splits = split_rows(model, holdout, content, seed)
        rows = np.concatenate([holdout, edges.matrix, splits.matrix])
        if splits.names:
            expected = np.concatenate([expected, model.raw_outputs(splits.matrix)])
        outputs = graph.raw_outputs(rows)
        sample = np.linspace(0, len(rows) - 1, ALONE).astype(int)
        alone = np.concatenate([graph.raw_outputs(rows[at : at + 1]) for at in sample])
    # A converter is a library of special cases, and each raises its own types; so does the runtime.
    except Exception as error:
        step = _first_differing_step(model.estimator, holdout[:ALONE], wide)
        return Export(None, report | {"reason": f"{step} does not convert ({_first_line(error)})", "step": step})
    names = [f"holdout {at}" for at in range(len(holdout))]
    names += [f"edge {at} ({name})" for at, name in enumerate((*edges.names, *splits.names))]
    report = report | {"rows": {"holdout": len(holdout), "edge": len(names) - len(holdout)}, "warnings": warned}
    distance = differences(expected, outputs, model.target)
    distance[sample] = np.maximum(distance[sample], differences(expected[sample], alone, model.target))
    # Half the tolerance is allowed, because a row that was not compared may differ a little more.
    wrong = ~(distance <= report["tolerance"] / 2)
    wrong |= decisions(expected, model.target) != decisions(outputs, model.target)
    finite = distance[np.isfinite(distance)]
    report["largest_difference"] = float(np.max(finite)) if len(finite) else None
    if not wrong.any():
        return Export(content, report | {"kind": "onnx"})
    worst = np.flatnonzero(wrong)
    worst = worst[np.argsort(-np.nan_to_num(distance[worst], nan=np.inf), kind="stable")]
    report["differing"] = [
        {"row": names[at], "difference": float(distance[at]) if np.isfinite(distance[at]) else None}
        for at in worst[:MOST_ROWS]
    ]
    report["step"] = _first_differing_step(model.estimator, rows[worst[:MOST_ROWS]], wide)
    first = report["differing"][0]
    by = "not a finite number" if first["difference"] is None else f"by {first['difference']:.2g}"
    count = f"{len(worst)} of {len(names)} rows"
    reason = f"once converted, {report['step']} predicts {count} differently ({first['row']}: {by})"
    return Export(None, report | {"reason": reason})


def _first_line(error: Exception) -> str:
    text = error.problem if isinstance(error, LifecycleError) else str(error)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}"[:300] if lines else type(error).__name__


def differences(expected: Outputs, outputs: Outputs, target: Target) -> Outputs:
    """Return how far each row's output is from the expected one, shape (rows,).

    For regression the difference is relative to max(1, |expected|). Where neither output is finite it is 0: estimator
    and graph both refuse such a row.
    """
    with np.errstate(invalid="ignore"):
        distance = np.abs(outputs - expected)
        if target.task == "regression":
            distance = distance / np.maximum(1.0, np.abs(expected))
    distance = np.where(~np.isfinite(outputs) & ~np.isfinite(expected), 0.0, distance)
    return np.asarray(distance.reshape(len(expected), -1).max(axis=1))


def decisions(outputs: Outputs, target: Target) -> Any:
    """Return the decision of each row before a deployment sets its own threshold; all equal for regression."""
    if target.task == "regression":
        return np.zeros(len(outputs))
    return outputs >= 0.5 if target.task == "binary" else outputs.argmax(axis=1)


def _first_differing_step(estimator: Any, rows: Matrix, wide: bool) -> str:
    # The name and class of the first step, from the outside in, that does not convert or that returns something else
    # once converted; the last step where all before it are equal.
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import Pipeline

    if isinstance(estimator, Pipeline):
        for at, (name, step) in enumerate(estimator.steps[:-1]):
            if not _converts_equally(estimator[: at + 1], rows, wide):
                found = _first_differing_step(step, rows, wide) if at == 0 else type(step).__name__
                return f"{name}: {found}"
        name, last = estimator.steps[-1]
        return f"{name}: {type(last).__name__}"
    if isinstance(estimator, ColumnTransformer):
        for name, part, columns in estimator.transformers_:
            if not isinstance(part, str) and not _converts_equally(part, rows[:, columns], wide):
                return f"{name}: {_first_differing_step(part, rows[:, columns], wide)}"
    return type(estimator).__name__


def _converts_equally(transformer: Any, rows: Matrix, wide: bool) -> bool:
    try:
        expected = transformer.transform(rows.astype(np.float64))
        expected = np.asarray(expected.toarray() if hasattr(expected, "toarray") else expected, dtype=np.float64)
        content, _ = convert(transformer, rows.shape[1], wide)
        [outputs] = session(content).run(None, {"rows": rows})
        return bool(np.allclose(outputs, expected, rtol=STEP_TOLERANCE, atol=STEP_TOLERANCE, equal_nan=True))
    except Exception:
        return False
