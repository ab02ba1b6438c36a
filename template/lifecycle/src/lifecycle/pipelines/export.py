"""From a fitted estimator to a graph for ONNX Runtime, where both are proved to answer alike.

A converter can be wrong without a word, so nothing is believed: both answer the held-out rows, and only then does the
graph stand for the estimator. Otherwise the estimator itself is kept, and the report says why.
"""

import json
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from lifecycle.contract import Answer
from lifecycle.matrix import Matrix
from lifecycle.models import PROBABILITY_TOLERANCE, VALUE_TOLERANCE, OnnxModel, Raw, SkopsModel

FILE = "export.json"
MOST_ROWS = 20


@dataclass(frozen=True)
class Export:
    """What became of an export: the graph, or None and the reason in the report."""

    graph: bytes | None
    report: dict[str, Any]

    def to_json(self) -> str:
        """The text of `export.json`."""
        return json.dumps(self.report, indent=2, ensure_ascii=False) + "\n"


def export(model: SkopsModel, held: Matrix) -> Export:
    """The graph of an estimator that answers these rows within tolerance, or the reason why there is none."""
    tolerance = VALUE_TOLERANCE if model.answer.task == "number" else PROBABILITY_TOLERANCE
    report: dict[str, Any] = {"kind": "skops", "reason": "", "rows": {"holdout": len(held), "edge": 0}}
    report |= {"largest_difference": None, "tolerance": tolerance, "differing": [], "step": ""}
    try:
        graph = convert(model.estimator, held.shape[1])
        given = OnnxModel(graph, model.encoder, model.answer).matrix(held)
    # A converter is a library of special cases: it raises whatever its special case raises.
    except Exception as error:
        first = str(error).strip().splitlines() or [""]
        return Export(None, report | {"reason": f"it does not convert ({type(error).__name__}: {first[0]})"})
    found = differences(model.matrix(held), given, model.answer)
    wrong = np.flatnonzero(~(found <= tolerance))
    report["largest_difference"] = float(found.max())
    report["differing"] = [
        {"row": f"holdout {at}", "difference": float(found[at])} for at in wrong[np.argsort(-found[wrong])][:MOST_ROWS]
    ]
    if len(wrong):
        return Export(None, report | {"reason": f"it answers {len(wrong)} of {len(held)} rows otherwise"})
    return Export(graph, report | {"kind": "onnx"})


def convert(estimator: Any, width: int) -> bytes:
    """A graph from the matrix to the probabilities of all classes, or to the number; raises what the converter does."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.base import is_classifier

    options = {"zipmap": False} if is_classifier(estimator) else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = convert_sklearn(estimator, initial_types=[("rows", FloatTensorType([None, width]))], options=options)
    # The label comes first where there are probabilities.
    del model.graph.output[:-1]
    content: bytes = model.SerializeToString()
    return content


def differences(wanted: Raw, given: Raw, answer: Answer) -> Raw:
    """How far each row's answer is from the wanted one, relative to numbers that are larger than 1."""
    away = np.abs(given - wanted)
    if answer.task == "number":
        away = away / np.maximum(1.0, np.abs(wanted))
    return np.asarray(away.reshape(len(wanted), -1).max(axis=1))
