# mypy: disable-error-code="import-untyped, import-not-found"
"""Whether a graph answers as the estimator that was trained, proved before it may stand for it.

A converter can be wrong without a word, so nothing is believed: both answer the held-out rows and the edge rows. Where
they differ the estimator itself is kept, and `export.json` says why.
"""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from lifecycle.contract.matrix import Matrix
from lifecycle.contract.schema import Target
from lifecycle.errors import LifecycleError
from lifecycle.models.export import steps
from lifecycle.models.export.convert import convert
from lifecycle.models.export.edges import Edges, edges, splits
from lifecycle.models.runtimes import PROBABILITY_TOLERANCE, VALUE_TOLERANCE, OnnxModel, Raw, SkopsModel

FILE = "export.json"
MOST_ROWS = 20
ALONE = 64


@dataclass(frozen=True)
class Export:
    """What became of an export: the graph, or None and the reason in the report."""

    graph: bytes | None
    report: dict[str, Any]

    @property
    def told(self) -> str:
        """The outcome in one line."""
        rows, reason = self.report["rows"], self.report["reason"]
        if reason:
            return f"scikit-learn, kept with skops: {reason}"
        most = f"{self.report['largest_difference']:.1e} at most"
        return f"ONNX, equal on {rows['holdout']:,} held-out and {rows['edge']:,} edge rows ({most})"

    def to_json(self) -> str:
        """The text of `export.json`."""
        return json.dumps(self.report, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def export(model: SkopsModel, held: Matrix, wanted: Raw, seed: int) -> Export:
    """The graph of an estimator that answers alike, or the reason why there is none.

    `wanted` is what the estimator answers to the rows held out. In double precision first, as scikit-learn computes.
    """
    from threadpoolctl import threadpool_limits

    tolerance = VALUE_TOLERANCE if model.target.task == "regression" else PROBABILITY_TOLERANCE
    report: dict[str, Any] = {"kind": "skops", "reason": "", "rows": {"holdout": len(held), "edge": 0}}
    report |= {"largest_difference": None, "tolerance": tolerance, "differing": [], "step": "", "warnings": []}
    # Thousands of small batches: threads that wait for one another cost ten times the work.
    with threadpool_limits(limits=1):
        return _proved(model, held, wanted, seed, report)


def _proved(model: SkopsModel, held: Matrix, wanted: Raw, seed: int, report: dict[str, Any]) -> Export:
    try:
        found = edges(model, held, seed)
        answers = model.given(found.matrix)
    except Exception as error:
        return Export(None, report | {"reason": f"the estimator does not answer its edge rows ({_first(error)})"})
    tries = []
    for wide in (True, False):
        tries.append(_tried(model, held, wanted, found, answers, wide, seed, report))
        if tries[-1].graph is not None:
            return tries[-1]
    return min(tries, key=_away)


def _tried(
    model: SkopsModel,
    held: Matrix,
    wanted: Raw,
    found: Edges,
    answers: Raw,
    wide: bool,
    seed: int,
    report: dict[str, Any],
) -> Export:
    try:
        content, warned = convert(model.estimator, held.shape[1], wide)
        graph = OnnxModel(content, model.encoder, model.target)
        own = splits(model, held, content, seed)
        rows = np.concatenate([held, found.matrix, own.matrix])
        theirs = [model.given(own.matrix)] if own.names else []
        wanted = np.concatenate([wanted, answers, *theirs])
        given = graph.given(rows)
        single = np.linspace(0, len(rows) - 1, ALONE).astype(int)
        alone = np.concatenate([graph.given(rows[at : at + 1]) for at in single])
    # A converter is a library of special cases: it raises whatever its special case raises, and the runtime too.
    except Exception as error:
        at = steps.first(model.estimator, held[:ALONE], wide)
        return Export(None, report | {"reason": f"{at} does not convert ({_first(error)})", "step": at})
    names = [*(f"holdout {at}" for at in range(len(held)))]
    names += [f"edge {at} ({name})" for at, name in enumerate((*found.names, *own.names))]
    report = report | {"rows": {"holdout": len(held), "edge": len(names) - len(held)}, "warnings": warned}
    away = differences(wanted, given, model.target)
    away[single] = np.maximum(away[single], differences(wanted[single], alone, model.target))
    # Half: another row may be a little further away than those compared.
    wrong = ~(away <= report["tolerance"] / 2) | (decisions(wanted, model.target) != decisions(given, model.target))
    finite = away[np.isfinite(away)]
    report["largest_difference"] = float(finite.max()) if len(finite) else None
    if not wrong.any():
        return Export(content, report | {"kind": "onnx"})
    worst = np.flatnonzero(wrong)
    worst = worst[np.argsort(-np.nan_to_num(away[worst], nan=np.inf), kind="stable")]
    report["differing"] = [
        {"row": names[at], "difference": float(away[at]) if np.isfinite(away[at]) else None} for at in worst[:MOST_ROWS]
    ]
    report["step"] = steps.first(model.estimator, rows[worst[:MOST_ROWS]], wide)
    first = report["differing"][0]
    by = "no finite number" if first["difference"] is None else f"{first['difference']:.2g} away"
    count = f"{len(worst)} of {len(names)} rows"
    reason = f"once converted, {report['step']} answers {count} otherwise ({first['row']}: {by})"
    return Export(None, report | {"reason": reason})


def _away(tried: Export) -> float:
    found: float | None = tried.report["largest_difference"]
    return np.inf if found is None else found


def _first(error: Exception) -> str:
    told = error.problem if isinstance(error, LifecycleError) else str(error)
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}"[:300] if lines else type(error).__name__


def differences(wanted: Raw, given: Raw, target: Target) -> Raw:
    """How far each row's answer is from the wanted one, relative to numbers that are larger than 1.

    What neither answers with a finite number, both refuse alike.
    """
    with np.errstate(invalid="ignore"):
        away = np.abs(given - wanted)
        if target.task == "regression":
            away = away / np.maximum(1.0, np.abs(wanted))
    away = np.where(~np.isfinite(given) & ~np.isfinite(wanted), 0.0, away)
    return np.asarray(away.reshape(len(wanted), -1).max(axis=1))


def decisions(answers: Raw, target: Target) -> Any:
    """What each row is decided to be, before a deployment sets its own threshold; nothing for numbers."""
    if target.task == "regression":
        return np.zeros(len(answers))
    return answers >= 0.5 if target.task == "binary" else answers.argmax(axis=1)
