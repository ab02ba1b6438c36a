"""The same hundred trees below a threshold of their own, which does not convert to ONNX: scikit-learn serves them."""

from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import FixedThresholdClassifier

from lifecycle.contract import Inputs


def candidate(inputs: Inputs, seed: int) -> BaseEstimator:
    """The probabilities are those of the trees."""
    trees = HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=seed)
    return FixedThresholdClassifier(trees, threshold=0.5)


def baselines(inputs: Inputs, seed: int) -> dict[str, BaseEstimator]:
    """Neither knows more than the label rate."""
    return {name: DummyClassifier(strategy="prior") for name in ("trivial", "linear")}
