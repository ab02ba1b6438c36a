"""Estimators for which skl2onnx has no converter, or one that computes otherwise than the estimator, become graphs."""

from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from skl2onnx import convert_sklearn
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaggingClassifier, GradientBoostingRegressor, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import RandomizedSearchCV, TunedThresholdClassifierCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

from lifecycle.models.converters import convert
from lifecycle.models.runtimes import OnnxModel
from support.export_table import forest, hgb
from support.exports import CODES, NUMBERS, Entry, differing_fresh_rows, exported, fitted, linear, regression, rows


def light(**given: Any) -> Any:
    return lightgbm.LGBMClassifier(**{"n_estimators": 30, "verbose": -1, "n_jobs": 1} | given)


def extreme(**given: Any) -> Any:
    return xgboost.XGBClassifier(**{"n_estimators": 20, "random_state": 0} | given)


def scaled(estimator: Any) -> Any:
    return make_pipeline(StandardScaler(), estimator)


def calibrated(estimator: Any, method: str) -> Any:
    return CalibratedClassifierCV(estimator, method=method, cv=2)


PAIR = [("forest", forest()), ("linear", scaled(linear()))]
BOTH = [("light", light()), ("extreme", extreme())]
FOREST = {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}
SETS = {"categorical_feature": CODES, "min_data_per_group": 5}
KINDS = {"enable_categorical": True, "feature_types": ["q"] * len(NUMBERS) + ["c"] * len(CODES)}
BECOME_GRAPHS = [
    Entry("lightgbm, raw", light),
    Entry("lightgbm, random forest", lambda: light(**FOREST)),
    Entry("lightgbm, zeros are nulls", lambda: light(zero_as_missing=True), nulls=True),
    Entry("lightgbm, cross entropy", lambda: light(objective="cross_entropy")),
    Entry("lightgbm, sets of levels", lambda: light(**SETS), nulls=True),
    Entry("lightgbm, sets of levels, multiclass", lambda: light(**SETS), task="multiclass"),
    Entry("lightgbm, sets of levels, zeros are nulls", lambda: light(**SETS, zero_as_missing=True), nulls=True),
    Entry("xgboost, sets of levels", lambda: extreme(**KINDS), nulls=True),
    Entry("xgboost, single levels", lambda: extreme(**KINDS, max_cat_to_onehot=10)),
    Entry("xgboost behind a scaler", lambda: scaled(extreme())),
    Entry("xgboost behind min-max, multiclass", lambda: make_pipeline(MinMaxScaler(), extreme()), task="multiclass"),
    # XGBoost adds hundreds of trees in float32, which a sum in double precision would differ from.
    Entry("xgboost, many trees, multiclass", lambda: extreme(n_estimators=300), task="multiclass"),
    regression("xgboost, many trees", lambda: xgboost.XGBRegressor(n_estimators=1000)),
    Entry("xgboost, dropped trees", lambda: extreme(booster="dart", rate_drop=0.3)),
    Entry("xgboost, parallel trees", lambda: extreme(num_parallel_tree=3), nulls=True),
    Entry("xgboost, -1 is null", lambda: extreme(missing=-1.0), nulls=True),
    Entry("xgboost, random forest", lambda: xgboost.XGBRFClassifier(n_estimators=20)),
    regression("xgboost, gamma", lambda: xgboost.XGBRegressor(n_estimators=20, objective="reg:gamma")),
    regression("gradient boosting behind a scaler", lambda: scaled(GradientBoostingRegressor(n_estimators=20))),
    Entry("weighted voting", lambda: VotingClassifier(PAIR, voting="soft", weights=[1, 3])),
    Entry("voting, multiclass", lambda: VotingClassifier(PAIR, voting="soft"), task="multiclass"),
    Entry("voting of lightgbm and xgboost", lambda: VotingClassifier(BOTH, voting="soft")),
    Entry("bags of boosting", lambda: BaggingClassifier(hgb(), 3, random_state=0)),
    Entry("sigmoid calibration of boosting", lambda: calibrated(hgb(), "sigmoid"), nulls=True),
    Entry("sigmoid calibration, multiclass", lambda: calibrated(hgb(), "sigmoid"), task="multiclass"),
    Entry("isotonic calibration of a pipeline", lambda: calibrated(scaled(linear()), "isotonic")),
    Entry("isotonic calibration of bayes", lambda: calibrated(GaussianNB(), "isotonic")),
    Entry("sigmoid calibration of lightgbm", lambda: calibrated(light(), "sigmoid")),
    Entry("temperature calibration of boosting", lambda: calibrated(hgb(), "temperature")),
    Entry("a tuned threshold", lambda: TunedThresholdClassifierCV(scaled(linear()), cv=2)),
    Entry(
        "a search at the end of a pipeline",
        lambda: scaled(RandomizedSearchCV(LogisticRegression(), {"C": [0.1, 1]}, n_iter=2, cv=2, random_state=0)),
    ),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("entry", BECOME_GRAPHS, ids=lambda entry: entry.name)
def test_the_estimator_becomes_a_graph_that_is_equal_on_rows_that_were_not_compared(entry: Entry) -> None:
    model = fitted(entry)
    found = exported(model, entry.nulls)
    assert found.graph is not None, found.summary
    assert differing_fresh_rows(model, found.graph, entry.nulls) == 0


def test_lightgbm_takes_the_smallest_numbers_for_zeros_and_so_does_the_graph() -> None:
    # Training puts a split at the negative end of what counts as zero, and a dump writes that as an ordinary limit.
    column = np.repeat([-1.0, 0.0], 100)[:, None]
    stump = light(n_estimators=1, min_child_samples=1).fit(column, column[:, 0] < 0)
    model = fitted(Entry("any", linear))
    content, _ = convert(stump, 1)
    model.encoder.columns = model.encoder.columns[:1]
    small = np.nextafter(np.float32(1e-35), np.float32(1))
    numbers = np.array([-1, -small, -1e-35, -1e-40, 0, 1e-35, small, np.nan], dtype=np.float32)[:, None]
    expected = stump.predict_proba(numbers.astype(np.float64))[:, 1]
    assert len(np.unique(expected)) == 2
    outputs = OnnxModel(content, model.encoder, model.target).predict_matrix(numbers)
    np.testing.assert_allclose(outputs, expected, atol=1e-7)


def test_trees_after_the_best_round_of_xgboost_are_not_converted() -> None:
    matrix, cause = rows(800, 1, False)
    label = (cause > 0.8).astype(int)
    model = fitted(Entry("any", linear))
    model.estimator = extreme(n_estimators=300, early_stopping_rounds=3)
    model.estimator.fit(matrix[:400], label[:400], eval_set=[(matrix[400:], label[400:])], verbose=False)
    assert model.estimator.best_iteration < 250
    found = exported(model, False)
    assert found.graph is not None, found.summary


def test_the_order_of_the_operator_sets_is_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = hgb().fit(np.arange(40.0).reshape(20, 2), np.arange(20) % 2)
    expected, _ = convert(model, 2)

    def reversed_sets(*given: Any, **options: Any) -> Any:
        made = convert_sklearn(*given, **options)
        made.opset_import.reverse()
        return made

    monkeypatch.setattr("lifecycle.models.converters.convert_sklearn", reversed_sets)
    assert convert(model, 2)[0] == expected
