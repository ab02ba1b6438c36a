# mypy: disable-error-code="import-untyped, import-not-found"
"""Convert classifiers that are made of other classifiers to ONNX, where skl2onnx has no converter or a wrong one."""

import copy
from typing import Any

import numpy as np

from lifecycle.models.trees import Writer


def converters() -> dict[type, Any]:
    """Return the conversion functions of this module by the class of the estimator."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.ensemble import AdaBoostClassifier, VotingClassifier

    functions: dict[type, Any] = {VotingClassifier: _convert_voting, CalibratedClassifierCV: _convert_calibrated}
    return functions | {AdaBoostClassifier: _convert_ada_boost, LinearDiscriminantAnalysis: _convert_discriminant}


def unwrapped(estimator: Any) -> Any:
    """Return an estimator without what only chooses parameters or a threshold, also at the end of a pipeline."""
    from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
    from sklearn.pipeline import Pipeline

    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        return Pipeline([*estimator.steps[:-1], (name, unwrapped(last))])
    if isinstance(estimator, FixedThresholdClassifier | TunedThresholdClassifierCV):
        return unwrapped(estimator.estimator_)
    # Every search of parameters has it, also those of other libraries.
    return unwrapped(estimator.best_estimator_) if hasattr(estimator, "best_estimator_") else estimator


def _convert_voting(scope: Any, operator: Any, container: Any) -> None:
    from skl2onnx.operator_converters.voting_classifier import convert_voting_classifier

    # It refuses two values that do not concern probabilities, or that have another type.
    operator.raw_operator = model = copy.copy(operator.raw_operator)
    model.flatten_transform = False
    model.weights = None if model.weights is None else np.array(model.weights)
    convert_voting_classifier(scope, operator, container)


def _convert_ada_boost(scope: Any, operator: Any, container: Any) -> None:
    model, write = operator.raw_operator, Writer(scope, operator, container)
    classes, votes = np.arange(len(model.classes_)), []
    for each, weight in zip(model.estimators_, model.estimator_weights_, strict=False):
        chosen = write.node("ArgMax", [write.scores(each, False)], axis=1)
        yes, no = write.vector(weight), write.vector(-weight / classes[-1])
        votes.append(write.node("Where", [write.node("Equal", [chosen, write.vector(classes)]), yes, no]))
    whole = write.vector(model.estimator_weights_.sum() * classes[-1])
    write.outputs(write.node("Div", [write.node("Sum", votes), whole]), "Softmax")


def _convert_discriminant(scope: Any, operator: Any, container: Any) -> None:
    model, write = operator.raw_operator, Writer(scope, operator, container)
    value = write.node("Cast", [write.input], to=write.double)
    value = write.node("MatMul", [value, write.vector(model.coef_.T.astype(np.float64))])
    value = write.node("Add", [value, write.vector(model.intercept_.astype(np.float64))])
    write.outputs(value, "Sigmoid" if len(model.classes_) == 2 else "Softmax")


def _convert_calibrated(scope: Any, operator: Any, container: Any) -> None:
    write = Writer(scope, operator, container)
    parts = [_calibrated(write, each) for each in operator.raw_operator.calibrated_classifiers_]
    write.outputs(write.node("Div", [write.node("Sum", parts), write.vector(np.float64(len(parts)))]))


def _calibrated(write: Writer, model: Any) -> str:
    binary, is_raw = len(model.classes) == 2, hasattr(model.estimator, "decision_function")
    scores = write.node("Cast", [write.scores(model.estimator, is_raw)], to=write.double)
    if model.method == "temperature":
        [calibrator] = model.calibrators
        if not is_raw:
            scores = write.node("Log", [write.node("Add", [scores, write.vector(np.finfo(np.float64).eps)])])
        return write.node("Softmax", [write.node("Mul", [scores, write.vector(np.float64(calibrator.beta_))])])
    parts = []
    for at, each in enumerate(model.calibrators, start=int(binary)):
        score = write.node("Gather", [scores, write.vector(np.array([at]))], axis=1)
        if model.method == "sigmoid":
            score = write.node("Add", [write.node("Mul", [score, write.vector(-each.a_)]), write.vector(-each.b_)])
            parts.append(write.node("Sigmoid", [score]))
        else:
            # A line through each two neighbouring points.
            x, y = each.X_thresholds_.astype(np.float64), each.y_thresholds_.astype(np.float64)
            width = np.diff(x)
            past = write.node("Max", [write.node("Sub", [score, write.vector(x[:-1])]), write.vector(np.zeros(1))])
            share = write.node("Div", [write.node("Min", [past, write.vector(width)]), write.vector(width)])
            rise = write.node("MatMul", [share, write.vector(np.diff(y)[:, None])])
            parts.append(write.node("Add", [rise, write.vector(y[:1])]))
    if binary:
        return write.node("Concat", [write.node("Sub", [write.vector(np.ones(1)), *parts]), *parts], axis=1)
    joined = write.node("Concat", parts, axis=1)
    total = write.node("ReduceSum", [joined, write.vector(np.array([1]))])
    none = write.node("Equal", [total, write.vector(np.zeros(1))])
    uniform = write.vector(np.full(len(parts), 1 / len(parts)))
    return write.node("Where", [none, uniform, write.node("Div", [joined, total])])
