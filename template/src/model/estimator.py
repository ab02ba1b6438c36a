"""The model to train, and the baselines that it must beat before it may be promoted.

All are fitted to one float32 matrix with the contract's columns in order: numbers unchanged (NaN for null), categories
as codes (0, 1, … in the order of their levels, -1 for an unseen level, NaN for null). `inputs` gives the positions.
"""

from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from lifecycle.contract import Inputs

# For regression, use HistGradientBoostingRegressor, DummyRegressor(strategy="mean") and Ridge.


def candidate(inputs: Inputs, seed: int) -> BaseEstimator:
    """Return the unfitted model. Trees need neither scaling nor one-hot codes, and unscaled numbers convert to ONNX."""
    return HistGradientBoostingClassifier(random_state=seed)


def baselines(inputs: Inputs, seed: int) -> dict[str, BaseEstimator]:
    """Return unfitted baselines. `trivial` predicts the share of the classes; `linear` is the usual first model."""
    numbers = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    categories = OneHotEncoder(handle_unknown="ignore")
    columns = ColumnTransformer(
        [("numbers", numbers, list(inputs.numbers)), ("categories", categories, list(inputs.categories))]
    )
    return {
        "trivial": DummyClassifier(strategy="prior"),
        "linear": make_pipeline(columns, LogisticRegression(max_iter=1000, random_state=seed)),
    }
