"""The same hundred trees in an estimator that does not convert to ONNX: scikit-learn serves them."""

from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.semi_supervised import SelfTrainingClassifier

from lifecycle.contract import Inputs


def candidate(inputs: Inputs, seed: int) -> BaseEstimator:
    """The probabilities are those of the trees, because every row has a label."""
    return SelfTrainingClassifier(HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=seed))


def baselines(inputs: Inputs, seed: int) -> dict[str, BaseEstimator]:
    """Neither knows more than the label rate."""
    return {name: DummyClassifier(strategy="prior") for name in ("trivial", "linear")}
