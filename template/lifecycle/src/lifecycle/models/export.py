"""Export an estimator to ONNX and verify that the graph predicts the same before it may replace the estimator.

A converter can be wrong without a warning, so estimator and graph predict the holdout rows and the edge rows. Where
they differ the bundle keeps the estimator, and `export.json` says why.
"""

import copy
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple

import numpy as np

from lifecycle.contract.rows import Matrix
from lifecycle.contract.schema import Target
from lifecycle.models.converters import convert
from lifecycle.models.edge_rows import EdgeRows, edge_rows
from lifecycle.models.runtimes import OnnxModel, Outputs, SkopsModel, differences, tolerance

Report = dict[str, Any]
FILE = "export.json"
ALONE = 64  # rows that are also predicted alone


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


class Limits(NamedTuple):
    """The limits of one call: seconds, and megabytes of memory, which only Linux enforces."""

    seconds: float
    megabytes: int


class Stopped(Exception):
    """The call returned nothing: it reached a limit, its process ended, or its arguments could not be sent."""


def predicting_part(estimator: Any) -> Any:
    """Return the part of a fitted estimator that predicts: without samplers, the last search and the last threshold.

    Samplers are those of imbalanced-learn, in pipelines at any depth; they do not change rows that are predicted.
    """
    estimator = _unwrapped(estimator)
    return _without_samplers(estimator) if "imblearn" in sys.modules else estimator


def _unwrapped(estimator: Any) -> Any:
    from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV

    if isinstance(estimator, FixedThresholdClassifier | TunedThresholdClassifierCV):
        return _unwrapped(estimator.estimator_)
    # Every search of parameters has it, also those of other libraries.
    if hasattr(estimator, "best_estimator_"):
        return _unwrapped(estimator.best_estimator_)
    if _is_plain_pipeline(estimator):
        name, last = estimator.steps[-1]
        estimator = copy.copy(estimator)
        estimator.steps = [*estimator.steps[:-1], (name, _unwrapped(last))]
    return estimator


def _without_samplers(part: Any) -> Any:
    """Return an estimator, or a collection of estimators, whose pipelines have no samplers."""
    from sklearn.base import BaseEstimator
    from sklearn.pipeline import Pipeline

    if isinstance(part, list | tuple):
        return type(part)(map(_without_samplers, part))
    if isinstance(part, dict):
        return type(part)(**{name: _without_samplers(each) for name, each in part.items()})
    if _is_plain_pipeline(part):
        steps = [each for each in part.steps if not hasattr(each[1], "fit_resample")]
        return Pipeline(_without_samplers(steps))
    if isinstance(part, BaseEstimator) or hasattr(part, "calibrators"):
        part = copy.copy(part)
        estimators = {name: each for name, each in vars(part).items() if "estimator" in name or "classifier" in name}
        vars(part).update({name: _without_samplers(each) for name, each in estimators.items()})
    return part


def _is_plain_pipeline(estimator: Any) -> bool:
    """Return whether an estimator is a pipeline of scikit-learn or imbalanced-learn, and no class derived from one."""
    name = f"{type(estimator).__module__}.{type(estimator).__name__}"
    return name in ("sklearn.pipeline.Pipeline", "imblearn.pipeline.Pipeline")


def export(model: SkopsModel, holdout: Matrix, outputs: Outputs, seed: int, limits: Limits | None = None) -> Export:
    """Return a verified graph of a fitted estimator, or the reason why there is none.

    `holdout` has rows that it was not trained on, float32, shape (rows, inputs), and `outputs` what it returns for
    them. `seed` is that of the random edge rows. With `limits`, it is converted and verified in a process of its own.
    """
    from threadpoolctl import threadpool_limits

    report: Report = {"kind": "skops", "reason": "", "rows": {"holdout": len(holdout), "edge": 0}}
    report |= {"largest_difference": None, "tolerance": tolerance(model.target), "warnings": []}
    # For thousands of small batches, threads that wait for each other take ten times as long as one thread.
    with threadpool_limits(limits=1):
        try:
            edges = edge_rows(model, holdout, seed)
            expected = np.concatenate([outputs, model.raw_outputs(edges.matrix)])
        # The estimator is the team's choice and raises its own types.
        except Exception as error:
            return Export(None, report | {"reason": f"the estimator fails on its edge rows ({_first_line(error)})"})
        given = model, holdout, edges, expected, report
        try:
            found: Export = limited(limits, _export, *given) if limits else _export(*given)
        except Stopped as stopped:
            return Export(None, report | {"reason": f"{_name(model)} was not converted: {stopped}"})
    return found


def _export(model: SkopsModel, holdout: Matrix, edges: EdgeRows, expected: Outputs, report: Report) -> Export:
    """Convert in double precision, because scikit-learn computes in it, and otherwise in float32."""
    found = _attempt(model, holdout, edges, expected, True, report)
    if found.graph is not None:
        return found
    single = _attempt(model, holdout, edges, expected, False, report)
    return min(found, single, key=lambda each: np.inf if (most := each.report["largest_difference"]) is None else most)


def _attempt(
    model: SkopsModel, holdout: Matrix, edges: EdgeRows, expected: Outputs, wide: bool, report: Report
) -> Export:
    try:
        content, warned = convert(model.estimator, holdout.shape[1], wide)
        graph = OnnxModel(content, model.encoder, model.target)
        rows = np.concatenate([holdout, edges.matrix])
        outputs = graph.raw_outputs(rows)
        sample = np.linspace(0, len(rows) - 1, ALONE).astype(int)
        alone = np.concatenate([graph.raw_outputs(rows[at : at + 1]) for at in sample])
    except MemoryError:
        raise
    # A converter is a library of special cases, and each raises its own types; so does the runtime.
    except Exception as error:
        return Export(None, report | {"reason": f"{_name(model)} does not convert ({_first_line(error)})"})
    distance = differences(expected, outputs, model.target)
    distance[sample] = np.maximum(distance[sample], differences(expected[sample], alone, model.target))
    finite = distance[np.isfinite(distance)]
    report = report | {
        "rows": {"holdout": len(holdout), "edge": len(edges.names)},
        "largest_difference": float(finite.max()) if len(finite) else None,
        "warnings": warned,
    }
    # Half the tolerance is allowed, because a row that was not compared may differ a little more.
    wrong = ~(distance <= report["tolerance"] / 2)
    wrong |= decisions(expected, model.target) != decisions(outputs, model.target)
    if not wrong.any():
        return Export(content, report | {"kind": "onnx"})
    at = int(np.argmax(np.where(wrong, np.nan_to_num(distance, nan=np.inf), -1.0)))
    edge = at - len(holdout)
    row = f"holdout {at}" if edge < 0 else f"edge {edge} ({edges.names[edge]})"
    by = f"by {distance[at]:.2g}" if np.isfinite(distance[at]) else "not a finite number"
    reason = f"once converted, {_name(model)} predicts {wrong.sum()} of {len(rows)} rows differently ({row}: {by})"
    return Export(None, report | {"reason": reason})


def decisions(outputs: Outputs, target: Target) -> Any:
    """Return the decision of each row before a deployment sets its own threshold; all equal for regression."""
    if target.task == "regression":
        return np.zeros(len(outputs))
    return outputs >= 0.5 if target.task == "binary" else outputs.argmax(axis=1)


def _name(model: SkopsModel) -> str:
    steps = [type(step).__name__ for _, step in getattr(model.estimator, "steps", ())]
    return f"the pipeline of {', '.join(steps)}" if steps else type(model.estimator).__name__


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip()}".splitlines()[0].removesuffix(": ")[:300]


def limited(limits: Limits, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return the result of a call in a process of its own, or raise Stopped.

    All is sent as multiprocessing sends it; unlike there, the process does not import the script that called it.
    """
    try:
        content = bytes(ForkingPickler.dumps((function, arguments)))
    # Objects of any library raise their own types.
    except Exception as error:
        raise Stopped(f"it cannot be sent to another process ({type(error).__name__})") from error
    command = f"from lifecycle.models import export; export.serve({limits.seconds}, {limits.megabytes})"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    done = subprocess.run([sys.executable, "-c", command], input=content, stdout=pipe, stderr=null, env=environment)
    status = done.returncode
    if status == -signal.SIGALRM:
        raise Stopped(f"it takes longer than {limits.seconds:g} s (setting train.export_seconds)")
    if status or not done.stdout:
        raise Stopped(f"its process ended with {signal.Signals(-status).name if status < 0 else f'code {status}'}")
    result = ForkingPickler.loads(done.stdout)
    if isinstance(result, MemoryError):
        raise Stopped(f"it needs more than {limits.megabytes} MB of memory (setting train.export_mb)")
    return result


def serve(seconds: float, megabytes: int) -> None:
    """Execute the one call that arrives at the standard input, and write its result (the code of a child process)."""
    import resource

    content, output = sys.stdin.buffer.read(), os.fdopen(os.dup(1), "wb")
    # What a library prints is not the result.
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_DATA, (megabytes << 20, megabytes << 20))
    # The signal ends the process, also where its caller was killed.
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        function, arguments = ForkingPickler.loads(content)
        result = function(*arguments)
    except MemoryError as error:
        result = error
    output.write(ForkingPickler.dumps(result))
    output.close()
