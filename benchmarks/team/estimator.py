"""The default estimator. The linear baseline is a blind one, so that the boosting is served whatever the table says."""

from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier

from lifecycle.contract import Inputs


def candidate(inputs: Inputs, seed: int) -> BaseEstimator:
    """A hundred trees, whatever the number of rows."""
    return HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=seed)


def baselines(inputs: Inputs, seed: int) -> dict[str, BaseEstimator]:
    """Neither knows more than the label rate."""
    return {name: DummyClassifier(strategy="prior") for name in ("trivial", "linear")}
