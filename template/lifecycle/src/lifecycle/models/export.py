# mypy: disable-error-code="import-untyped, import-not-found"
"""Export an estimator to ONNX and verify that the graph predicts the same before it may replace the estimator.

A converter can be wrong without a warning, so estimator and graph predict the holdout rows and the edge rows. Where
they differ the bundle keeps the estimator, and `export.json` says why.
"""

import contextlib
import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lifecycle.contract.rows import Matrix
from lifecycle.contract.schema import Target
from lifecycle.errors import LifecycleError
from lifecycle.models import boosters, composed, isolated, trees
from lifecycle.models.edge_rows import EdgeRows, edge_rows, split_rows
from lifecycle.models.runtimes import OnnxModel, Outputs, SkopsModel, differences, session, tolerance

Report = dict[str, Any]
FILE = "export.json"
LIBRARIES = "onnxruntime, skl2onnx"
OPSETS = {"": 21, "ai.onnx.ml": 3}
MOST_ROWS = 20
ALONE = 64  # rows that are also predicted alone
STEP_TOLERANCE = 1e-5  # of a step of a pipeline, absolute and relative


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


def export(
    model: SkopsModel, holdout: Matrix, outputs: Outputs, seed: int, limits: isolated.Limits | None = None
) -> Export:
    """Return a verified graph of an estimator, or the reason why there is none.

    Args:
        model: the fitted estimator.
        holdout: rows that the estimator was not trained on, float32, shape (rows, inputs).
        outputs: the estimator's outputs for them.
        seed: of the random edge rows.
        limits: of the conversion and its verification, in a process of its own; None for neither.
    """
    from threadpoolctl import threadpool_limits

    report: Report = {"kind": "skops", "reason": "", "rows": {"holdout": len(holdout), "edge": 0}}
    report |= {"largest_difference": None, "tolerance": tolerance(model.target)}
    report |= {"differing": [], "step": "", "warnings": []}
    # The process imports the converters meanwhile.
    started = isolated.process(limits, LIBRARIES) if limits else contextlib.nullcontext(_call)
    # For thousands of small batches, threads that wait for each other take ten times as long as one thread.
    with started as call, threadpool_limits(limits=1):
        try:
            edges = edge_rows(model, holdout, seed)
            expected = np.concatenate([outputs, model.raw_outputs(edges.matrix)])
        # The estimator is the team's choice and raises its own types.
        except Exception as error:
            return Export(None, report | {"reason": f"the estimator fails on its edge rows ({_first_line(error)})"})
        try:
            found: Export = call(_verified, model, holdout, edges, expected, seed, report)
        except isolated.Stopped as stopped:
            step = type(model.estimator).__name__
            return Export(None, report | {"reason": f"{step} was not converted: {stopped}", "step": step})
    return found


def _call(function: Callable[..., Export], *arguments: Any) -> Export:
    return function(*arguments)


def _verified(
    model: SkopsModel, holdout: Matrix, edges: EdgeRows, expected: Outputs, seed: int, report: Report
) -> Export:
    """Convert in double precision, because scikit-learn computes in it, and otherwise in float32."""
    found = _attempt(model, holdout, edges, expected, seed, True, report)
    if found.graph is not None:
        return found
    single = _attempt(model, holdout, edges, expected, seed, False, report)
    return min(found, single, key=lambda each: np.inf if (most := each.report["largest_difference"]) is None else most)


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
    except MemoryError:
        raise
    # A converter is a library of special cases, and each raises its own types; so does the runtime.
    except Exception as error:
        step = _first_differing_step(model.estimator, holdout[:ALONE], wide)
        return Export(None, report | {"reason": f"{step} does not convert ({_first_line(error)})", "step": step})
    edge_names = [*edges.names, *splits.names]
    distance = differences(expected, outputs, model.target)
    distance[sample] = np.maximum(distance[sample], differences(expected[sample], alone, model.target))
    finite = distance[np.isfinite(distance)]
    report = report | {
        "rows": {"holdout": len(holdout), "edge": len(edge_names)},
        "largest_difference": float(finite.max()) if len(finite) else None,
        "warnings": warned,
    }
    # Half the tolerance is allowed, because a row that was not compared may differ a little more.
    wrong = ~(distance <= report["tolerance"] / 2)
    wrong |= decisions(expected, model.target) != decisions(outputs, model.target)
    if not wrong.any():
        return Export(content, report | {"kind": "onnx"})
    worst = np.flatnonzero(wrong)
    worst = worst[np.argsort(-np.nan_to_num(distance[worst], nan=np.inf), kind="stable")][:MOST_ROWS]
    names = [f"holdout {at}" for at in range(len(holdout))]
    names += [f"edge {at} ({name})" for at, name in enumerate(edge_names)]
    known = [float(each) if np.isfinite(each) else None for each in distance[worst]]
    step = _first_differing_step(model.estimator, rows[worst], wide)
    by = "not a finite number" if known[0] is None else f"by {known[0]:.2g}"
    count = f"{wrong.sum()} of {len(names)} rows"
    reason = f"once converted, {step} predicts {count} differently ({names[worst[0]]}: {by})"
    differing = [{"row": names[at], "difference": each} for at, each in zip(worst, known, strict=True)]
    return Export(None, report | {"reason": reason, "differing": differing, "step": step})


def convert(estimator: Any, width: int, wide: bool = True) -> tuple[bytes, list[str]]:
    """Convert a fitted estimator or transformer of scikit-learn, LightGBM or XGBoost to ONNX.

    Double precision (`wide`) is that of scikit-learn; some operators only exist in float32.

    Returns:
        The serialised graph from a float32 matrix, shape (rows, width), to float64 (probabilities of all classes, the
        predicted value, or the output of a transformer), and the warnings of the converter.
    """
    from onnx import TensorProto, helper
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
    from sklearn.base import is_classifier

    boosters.register()
    estimator = composed.unwrapped(estimator)
    kind = DoubleTensorType if wide else FloatTensorType
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = convert_sklearn(
            estimator,
            initial_types=[("wide" if wide else "rows", kind([None, width]))],
            options={"zipmap": False} if is_classifier(estimator) else None,
            target_opset=OPSETS,
            custom_conversion_functions=trees.converters(wide) | composed.converters(),
            custom_shape_calculators=trees.shapes(wide),
        )
    graph = model.graph
    if wide:
        _round_inputs_of_trees(graph)
        graph.node.insert(0, helper.make_node("Cast", ["rows"], ["wide"], to=TensorProto.DOUBLE))
        graph.input[0].CopyFrom(helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, width]))
    # A classifier's graph returns the label first, then the probabilities.
    del graph.output[:-1]
    # Some operators return float32 for any input, so the types that the converter declared may be wrong.
    del graph.value_info[:]
    graph.node.append(helper.make_node("Cast", [graph.output[0].name], ["outputs"], to=TensorProto.DOUBLE))
    shape = [each.dim_value or None for each in graph.output[0].type.tensor_type.shape.dim]
    graph.output[0].CopyFrom(helper.make_tensor_value_info("outputs", TensorProto.DOUBLE, shape or None))
    return model.SerializeToString(), sorted({f"{each.category.__name__}: {each.message}" for each in caught})


def _round_inputs_of_trees(graph: Any) -> None:
    # Trees of scikit-learn compare float32 with limits that the converter rounded for it; ours have limits of float64.
    from onnx import TensorProto, helper

    for at, node in reversed(list(enumerate(graph.node))):
        ours = any(each.name == "nodes_values_as_tensor" for each in node.attribute)
        if node.op_type.startswith("TreeEnsemble") and not ours:
            rounded = helper.make_node("Cast", [node.input[0]], [f"rounded {at}"], to=TensorProto.FLOAT)
            node.input[0] = f"rounded {at}"
            graph.node.insert(at, rounded)


def decisions(outputs: Outputs, target: Target) -> Any:
    """Return the decision of each row before a deployment sets its own threshold; all equal for regression."""
    if target.task == "regression":
        return np.zeros(len(outputs))
    return outputs >= 0.5 if target.task == "binary" else outputs.argmax(axis=1)


def _first_line(error: Exception) -> str:
    text = error.problem if isinstance(error, LifecycleError) else str(error)
    lines = text.strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}"[:300] if lines else type(error).__name__


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
