"""What is fitted, and what it must beat before it may be promoted.

Both see one float32 matrix with the contract's columns in order: numbers as they are (null is NaN), categories as codes
(0, 1, … in the order of their levels, -1 a level never seen, NaN null). `inputs` says which position is what.
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

# For an answer that is a Number: HistGradientBoostingRegressor, DummyRegressor(strategy="mean") and Ridge instead.


def candidate(inputs: Inputs, seed: int) -> BaseEstimator:
    """The model to train. Trees need neither scaling nor one-hot codes, and unscaled numbers survive an export."""
    return HistGradientBoostingClassifier(random_state=seed)


def baselines(inputs: Inputs, seed: int) -> dict[str, BaseEstimator]:
    """`trivial` knows only the label rate; `linear` is what anyone would try first."""
    numbers = make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())
    categories = OneHotEncoder(handle_unknown="ignore")
    columns = ColumnTransformer(
        [("numbers", numbers, list(inputs.numbers)), ("categories", categories, list(inputs.categories))]
    )
    return {
        "trivial": DummyClassifier(strategy="prior"),
        "linear": make_pipeline(columns, LogisticRegression(max_iter=1000, random_state=seed)),
    }
