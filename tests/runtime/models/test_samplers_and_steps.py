"""Samplers take part in the training alone, and a `python` model keeps steps of the team's own, as serving.md shows."""

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from imblearn.ensemble import BalancedRandomForestClassifier
from imblearn.over_sampling import RandomOverSampler
from imblearn.pipeline import make_pipeline as resampled
from imblearn.under_sampling import RandomUnderSampler
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import HistGradientBoostingClassifier, StackingClassifier, VotingClassifier
from sklearn.impute import SimpleImputer
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV

from lifecycle import sample
from lifecycle.errors import LifecycleError
from lifecycle.models.export import predicting_part
from lifecycle.models.predictor import Predictor
from lifecycle.training.train import train
from support.export_table import hgb
from support.exports import Entry, differing_fresh_rows, exported, fitted, label, linear, rows
from support.pages import blocks
from support.rendering import TEMPLATE
from support.teams import TARGETS, estimator_of, order_team, sample_team, settings_in


def balanced(*steps: Any) -> Any:
    return resampled(RandomUnderSampler(random_state=0), *steps)


BASELINES = estimator_of(TARGETS["binary"]).baselines
PAGE = (TEMPLATE / "lifecycle/docs/serving.md").read_text(encoding="utf-8")
SAMPLER, CLIPPED = blocks(PAGE, "Samplers, and steps of your own")
BOTH = [("resampled", balanced(hgb())), ("boosting", hgb())]
DEPTHS = {"histgradientboostingclassifier__max_depth": [2, 3]}
RESAMPLED = [
    Entry("in front", lambda: balanced(hgb())),
    Entry("between steps", lambda: resampled(SimpleImputer(), RandomOverSampler(random_state=0), linear()), nulls=True),
    Entry("in a search", lambda: GridSearchCV(balanced(hgb()), DEPTHS, cv=2)),
    Entry("below a calibration", lambda: CalibratedClassifierCV(balanced(hgb()), cv=2)),
    Entry("in a vote", lambda: VotingClassifier(BOTH, voting="soft")),
    Entry("in a stack", lambda: StackingClassifier(BOTH, cv=2)),
]


@pytest.mark.parametrize("entry", RESAMPLED, ids=lambda entry: entry.name)
def test_a_model_with_a_sampler_becomes_a_graph_that_predicts_the_same(entry: Entry) -> None:
    model = fitted(entry)
    found = exported(model, entry.nulls)
    assert found.graph is not None, found.summary
    assert differing_fresh_rows(model, found.graph, entry.nulls) == 0
    # What was fitted is not changed by leaving the sampler out.
    matrix, cause = rows(800, 1, entry.nulls)
    whole = entry.make().fit(matrix.astype(np.float64), label(entry.task, cause))
    np.testing.assert_array_equal(model.predict_matrix(matrix), whole.predict_proba(matrix.astype(np.float64))[:, 1])


def test_a_model_without_samplers_keeps_all_its_steps() -> None:
    pipeline = resampled(SimpleImputer(), linear()).fit([[0.0], [1.0]], [0, 1])
    assert [name for name, _ in predicting_part(pipeline).steps] == ["simpleimputer", "logisticregression"]


def test_a_threshold_below_another_estimator_stays() -> None:
    matrix, cause = rows(800, 1, False)
    inner = FixedThresholdClassifier(hgb(), threshold=0.2)
    whole = StackingClassifier([("inner", inner)], stack_method="predict", cv=2).fit(matrix, label("binary", cause))
    np.testing.assert_array_equal(predicting_part(whole).predict_proba(matrix), whole.predict_proba(matrix))


def train_with(candidate: Any, folder: Path) -> Any:
    estimator = SimpleNamespace(candidate=lambda inputs, seed: candidate(inputs), baselines=BASELINES)
    return train(order_team(estimator=estimator), settings_in(folder), folder)


def voting(model: Any) -> Any:
    return VotingClassifier([("resampled", balanced(model)), ("boosting", model)], voting="soft")


CATEGORICAL = {"categorical_features": [3]}


@pytest.mark.parametrize(
    ("kind", "own", "around"),
    [("onnx", {}, balanced), ("skops", CATEGORICAL, balanced), ("skops", CATEGORICAL, voting)],
)
def test_the_bundle_of_a_resampled_model_needs_no_sampler(
    kind: str, own: dict[str, Any], around: Any, tmp_path: Path
) -> None:
    bundle = train_with(lambda inputs: around(boosting(**own)), tmp_path)
    assert (bundle.kind, bundle.facts["estimator"]) == (kind, "candidate")
    assert not {"imbalanced-learn", "imblearn"} & bundle.facts["requires"].keys()
    assert b"imblearn" not in bundle.read("model.skops")
    Predictor(bundle)


def boosting(**own: Any) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(**{"max_iter": 20, "random_state": 0} | own)


def test_an_ensemble_of_imbalanced_learn_is_refused_with_a_hint(tmp_path: Path) -> None:
    with pytest.raises(LifecycleError, match="BalancedRandomForestClassifier") as refused:
        train_with(lambda inputs: resampled(SimpleImputer(), BalancedRandomForestClassifier(20)), tmp_path)
    assert "`python` model" in refused.value.hint


def test_the_sampler_example_of_serving_md_trains(tmp_path: Path) -> None:
    found: dict[str, Any] = {"BaseEstimator": object, "Inputs": object, "HistGradientBoostingClassifier": boosting}
    exec(SAMPLER, found)
    assert train_with(lambda inputs: found["candidate"](inputs, 0), tmp_path).kind == "onnx"


def test_the_python_model_of_serving_md_is_stored_with_its_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "src/clippedmodel"
    package.mkdir(parents=True)
    (package / "clipped.py").write_text(CLIPPED, encoding="utf-8")
    monkeypatch.syspath_prepend(package.parent)
    made = importlib.import_module("clippedmodel.clipped").Clipped
    sample.write(tmp_path / "data", customers=400)
    estimator = SimpleNamespace(candidate=lambda inputs, seed: made(seed), baselines=BASELINES)
    bundle = train(sample_team(estimator=estimator, name="looseleaf-lifecycle"), settings_in(tmp_path), tmp_path)
    assert (bundle.kind, bundle.facts["estimator"]) == ("python", "candidate")
    assert {"model/limits.npy", "model/trees.txt", "source/clippedmodel/clipped.py"} <= bundle.facts["files"].keys()
    assert "lightgbm" in bundle.facts["requires"]
    Predictor(bundle)
