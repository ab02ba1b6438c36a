"""The lifted notebook as a `python` model of this repository, which `candidate` in estimator.py returns."""

import copy
import json
import logging
import traceback
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import skops.io

from lifecycle.contract import RowError
from lifecycle.models.runtimes import TRUSTED
from model.learned import Learned, as_table, serve
from model.lifted import features

FACTS = Path(__file__).with_name("lifted.json")
VALUES = "values.json"
REFUSED = "The notebook does not predict this row: "
# What the author's lines raise for a value; any other error is a defect, with status 500.
OF_VALUES = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
# Types of fitted objects that are loaded, in addition to those of every model of this repository. A booster is in its
# library's own format. The list is never extended by what a file contains.
LOADED = (
    *TRUSTED,
    "catboost.core.CatBoostClassifier",
    "catboost.core.CatBoostRegressor",
    "collections.OrderedDict",
    "imblearn.over_sampling._random_over_sampler.RandomOverSampler",
    "imblearn.over_sampling._smote.base.SMOTE",
    "imblearn.pipeline.Pipeline",
    "imblearn.under_sampling._prototype_selection._random_under_sampler.RandomUnderSampler",
    "lightgbm.basic.Booster",
    "lightgbm.sklearn.LGBMClassifier",
    "lightgbm.sklearn.LGBMRegressor",
    "numpy.exp",
    "numpy.expm1",
    "numpy.log",
    "numpy.log1p",
    "numpy.sqrt",
    "scipy.sparse._csr.csr_matrix",
    "sklearn.feature_selection._mutual_info.mutual_info_classif",
    "sklearn.feature_selection._mutual_info.mutual_info_regression",
    "sklearn.feature_selection._univariate_selection.chi2",
    "sklearn.feature_selection._univariate_selection.f_classif",
    "sklearn.feature_selection._univariate_selection.f_regression",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.gaussian_process.kernels.ConstantKernel",
    "sklearn.gaussian_process.kernels.Product",
    "sklearn.gaussian_process.kernels.RBF",
    "sklearn.metrics._dist_metrics.EuclideanDistance64",
    "sklearn.metrics._dist_metrics.ManhattanDistance64",
    "sklearn.metrics._dist_metrics.MinkowskiDistance64",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.RepeatedKFold",
    "sklearn.model_selection._split.RepeatedStratifiedKFold",
    "sklearn.model_selection._split.ShuffleSplit",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.model_selection._split.StratifiedShuffleSplit",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "xgboost.core.Booster",
    "xgboost.sklearn.XGBClassifier",
    "xgboost.sklearn.XGBRegressor",
    "xgboost.sklearn.XGBRFClassifier",
    "xgboost.sklearn.XGBRFRegressor",
)
# Attributes of a fitted search that a prediction does not need and skops cannot always store.
OF_SEARCH = ("cv_results_", "param_distributions", "param_grid", "scorer_", "scoring", "cv")
log = logging.getLogger(__name__)


class LiftedModel:
    """Fit and predict with the author's lines; `values` are what they learned."""

    def __init__(self, values: dict[str, Any] | None = None) -> None:
        self.facts = json.loads(FACTS.read_text(encoding="utf-8"))
        self.values = values

    def fit(self, frame: pd.DataFrame, label: Any) -> None:
        """Run the lines for training. `label` has the codes of the contract's classes, or numbers."""
        levels, columns, name = self.facts["levels"], self.facts["columns"], self.facts["label"]
        table = as_table(frame.rename(columns=self.facts["names"]), columns)
        known = [levels[int(each)] for each in np.asarray(label)] if levels else list(label)
        table[name] = pd.Series(known, index=table.index).astype(columns[name]["dtype"])
        learned = Learned()
        features(table, learned)
        self.values = learned.values

    def predict(self, frame: pd.DataFrame) -> Any:
        """Return the probability of the positive class, shape (rows,), all probabilities, or the numbers.

        Raises RowError for a row that the author's lines remove from the table, or that they cannot compute.
        """
        if self.values is None:
            raise ValueError("the model is not fitted")
        try:
            table = as_table(frame.rename(columns=self.facts["names"]), self.facts["columns"])
            _, outputs, rejected = serve(features, table, self.values, self.facts["method"])
        except OF_VALUES as error:
            if len(frame) > 1:
                # One half after the other finds the first row that fails, with at most twice the work.
                half = len(frame) // 2
                return np.concatenate([self.predict(frame.iloc[:half]), self.predict(frame.iloc[half:])])
            # Its message may have a value of the row.
            lines = "".join(traceback.format_tb(error.__traceback__))
            log.warning("a row is refused, because its lines raise %s:\n%s", type(error).__name__, lines)
            rejected = {0: f"its lines raise {type(error).__name__}"}
        if rejected:
            reasons = {int(frame.index[at]): f"{REFUSED}{reason}" for at, reason in rejected.items()}
            raise RowError([{"type": "refused", "loc": ["body", at], "msg": msg} for at, msg in reasons.items()])
        classes, order = self.facts["classes"], self.facts["order"]
        if not classes:
            # The author may have fitted the model to the logarithm of the label.
            inverse = getattr(np, self.facts["inverse"] or "asarray")
            return inverse(np.asarray(outputs, dtype="float64").reshape(len(frame)))
        if self.facts["method"] == "predict":
            outputs = np.asarray(outputs).reshape(-1, 1) == np.array(classes)
        outputs = np.asarray(outputs, dtype="float64")[:, order]
        return outputs[:, 1] if len(order) == 2 else outputs

    def save(self, directory: Path) -> None:
        """Write the learned values: data as JSON, fitted objects with skops."""
        text = json.dumps(_encoded(self.values, directory), allow_nan=True)
        (directory / VALUES).write_text(text, encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> "LiftedModel":
        """Read what `save` wrote."""
        return cls(_decoded(json.loads((directory / VALUES).read_text(encoding="utf-8")), directory))


def _encoded(value: Any, directory: Path) -> Any:
    """Return a value as JSON; what JSON does not have is an object with a `type`."""
    inner = partial(_encoded, directory=directory)
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list):
        return list(map(inner, value))
    if isinstance(value, tuple | set | frozenset):
        return {"type": type(value).__name__, "values": list(map(inner, value))}
    if isinstance(value, dict):
        return {"type": "dict", "keys": list(map(inner, value)), "values": list(map(inner, value.values()))}
    if isinstance(value, pd.Timestamp):
        return {"type": "time", "value": value.isoformat()}
    if isinstance(value, np.ndarray):
        return {"type": "array", "dtype": str(value.dtype), "values": inner(value.tolist())}
    if isinstance(value, pd.Index):
        return {"type": "index", "name": value.name, "dtype": str(value.dtype), "values": inner(value.tolist())}
    if isinstance(value, pd.Series):
        facts = {"name": value.name, "dtype": str(value.dtype), "index": inner(value.index)}
        return {"type": "series", "values": inner(value.tolist()), **facts}
    if isinstance(value, pd.DataFrame):
        columns = [inner(value.iloc[:, at]) for at in range(value.shape[1])]
        return {"type": "frame", "columns": columns, "index": inner(value.index)}
    if hasattr(value, "best_estimator_"):
        value = copy.copy(value)
        value.__dict__.update({each: None for each in OF_SEARCH if each in value.__dict__})
    name = f"fitted_{len(list(directory.glob('*.skops')))}.skops"
    skops.io.dump(value, directory / name)
    return {"type": "fitted", "file": name}


def _decoded(value: Any, directory: Path) -> Any:
    if isinstance(value, list):
        return [_decoded(each, directory) for each in value]
    if not isinstance(value, dict):
        return value
    kind = value["type"]
    if kind == "fitted":
        return skops.io.load(directory / value["file"], trusted=list(LOADED))
    if kind == "time":
        return pd.Timestamp(value["value"])
    if kind == "frame":
        columns = [_decoded(each, directory) for each in value["columns"]]
        index = _decoded(value["index"], directory)
        return pd.concat(columns, axis=1) if columns else pd.DataFrame(index=index)
    values = [_decoded(each, directory) for each in value["values"]]
    if kind == "dict":
        return dict(zip((_decoded(each, directory) for each in value["keys"]), values, strict=True))
    if kind == "array":
        return np.array(values, dtype=value["dtype"])
    if kind == "index":
        return pd.Index(values, dtype=value["dtype"], name=value["name"])
    if kind == "series":
        return pd.Series(values, _decoded(value["index"], directory), value["dtype"], value["name"])
    return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](values)
