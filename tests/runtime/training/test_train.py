"""Training writes a verified bundle for each task, and refuses what it cannot use with a message that names it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import FunctionTransformer

import lifecycle
from lifecycle.errors import LifecycleError
from lifecycle.models.bundle import verify
from lifecycle.models.predictor import Predictor
from lifecycle.training.train import train
from support.teams import TARGETS, CityMeans, Pickled, Zipped, data_of, estimator_of, order_team, orders, settings_in


def with_candidate(candidate: Any, task: str = "binary", linear: Any = None) -> SimpleNamespace:
    """An estimator module whose candidate (and linear baseline) are replaced."""
    usual = estimator_of(TARGETS[task])

    def baselines(inputs: Any, seed: int) -> dict[str, Any]:
        found: dict[str, Any] = usual.baselines(inputs, seed)
        return found | ({"linear": linear} if linear else {})

    return SimpleNamespace(candidate=lambda inputs, seed: candidate, baselines=baselines)


@pytest.mark.parametrize("task", TARGETS)
def test_a_model_of_each_task_is_trained_and_predicts(task: str, tmp_path: Path) -> None:
    team = order_team(task)
    bundle = train(team, settings_in(tmp_path), tmp_path)
    assert bundle.facts["estimator"] == "candidate"
    assert bundle.facts["lifecycle"] == lifecycle.__version__
    loss = "root_mean_squared_error" if task == "regression" else "log_loss"
    metrics = bundle.facts["metrics"]
    assert metrics["candidate"][loss] < metrics["linear"][loss] < metrics["trivial"][loss]
    found = bundle.facts["calibration"]
    assert (found is None) == (task == "regression")
    if found:
        assert sum(each["rows"] for each in found["bins"]) == bundle.facts["rows"]["holdout"]
        assert set(found["thresholds"]) == ({"default", "proposed"} if task == "binary" else set())
    rows = [json.loads(line)["row"] for line in bundle.read("golden.jsonl").splitlines()]
    responses = Predictor(verify(bundle.path)).predict(rows, bundle.facts["threshold"])
    assert len(responses) == 50
    for response in responses:
        if task == "regression":
            assert isinstance(response["prediction"], float)
        elif task == "binary":
            assert response["prediction"] == ("returns" if response["probability"] >= 0.5 else "keeps")
        else:
            assert sum(response["probabilities"].values()) == pytest.approx(1)
            assert response["prediction"] == max(response["probabilities"], key=response["probabilities"].get)


def test_golden_rows_describe_no_real_entity(tmp_path: Path) -> None:
    frame = orders()
    bundle = train(order_team(), settings_in(tmp_path), tmp_path)
    real = set(map(tuple, frame[["items", "city", "order amount €"]].to_numpy(dtype=object)))
    golden = [json.loads(line)["row"] for line in bundle.read("golden.jsonl").splitlines()]
    assert not {row["order_id"] for row in golden} & set(frame.order_id)
    assert sum((row["items"], row["city"], row["order amount €"]) in real for row in golden) < 5
    assert {row["city"] for row in golden} <= set(frame.city)


def test_the_same_data_give_the_same_model(tmp_path: Path) -> None:
    first, second = (train(order_team(), settings_in(tmp_path / name), tmp_path) for name in "ab")
    assert first.facts["data"] == second.facts["data"]
    assert first.read("golden.jsonl") == second.read("golden.jsonl")
    other = train(order_team(data=data_of(orders(seed=1), "returned")), settings_in(tmp_path / "c"), tmp_path)
    assert other.facts["data"] != first.facts["data"]


def test_labels_may_be_class_names_booleans_or_codes(tmp_path: Path) -> None:
    frame = orders()
    found = []
    for label in (frame.returned, frame.returned.astype(int), frame.returned.map({True: "returns", False: "keeps"})):
        team = order_team(data=data_of(frame.assign(returned=label), "returned"))
        found.append(train(team, settings_in(tmp_path / str(len(found))), tmp_path).read("golden.jsonl"))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda f: f.assign(returned=f.returned.map({True: "perhaps", False: "keeps"})), "TARGET does not name"),
        (lambda f: f.assign(returned=f.returned.astype(int) * 2), "TARGET does not name"),
        (lambda f: f.assign(returned=f.returned.astype(object).where(f.index != 3)), "null in 1 of 2000 rows"),
        (lambda f: f.assign(returned=False), "no training row is labelled returns"),
        (lambda f: f.head(0), "no label is known"),
        (lambda f: f.head(1), "cannot be divided"),
        (lambda f: f.drop(columns="items"), "items"),
        (lambda f: f.assign(items=-1), "items is below 0 in 2000 of 2000 rows"),
    ],
)
def test_invalid_training_data_are_refused(change: Any, problem: str, tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    with pytest.raises(LifecycleError) as caught:
        train(order_team(data=data_of(change(orders()), "returned")), settings, tmp_path)
    assert problem in str(caught.value)
    assert settings.store.versions() == []


def test_an_estimator_that_does_not_fit_is_named(tmp_path: Path) -> None:
    # A random forest of the team's own that cannot take what it is given.
    team = order_team(estimator=with_candidate(RandomForestClassifier(n_estimators=-1)))
    with pytest.raises(LifecycleError, match="the candidate estimator does not fit or predict"):
        train(team, settings_in(tmp_path), tmp_path)


def test_an_estimator_with_custom_code_is_refused_by_type(tmp_path: Path) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline

    own = make_pipeline(FunctionTransformer(np.nan_to_num), HistGradientBoostingClassifier())
    team = order_team(estimator=with_candidate(own))
    with pytest.raises(LifecycleError, match="which a bundle of kind skops does not take") as caught:
        train(team, settings_in(tmp_path), tmp_path)
    assert "python" in caught.value.hint


def test_baselines_must_be_trivial_and_linear(tmp_path: Path) -> None:
    estimator = with_candidate(RandomForestClassifier())
    estimator.baselines = lambda inputs, seed: {"trivial": None}
    with pytest.raises(LifecycleError, match=r"baselines\(\) returns trivial"):
        train(order_team(estimator=estimator), settings_in(tmp_path), tmp_path)


def test_a_python_model_becomes_a_python_bundle(tmp_path: Path) -> None:
    # The linear baseline must not win: it is made trivial here.
    estimator = with_candidate(CityMeans(), linear=estimator_of(TARGETS["binary"]).baselines(None, 0)["trivial"])
    bundle = train(order_team(name="looseleaf-lifecycle", estimator=estimator), settings_in(tmp_path), tmp_path)
    assert bundle.kind == "python"
    # The class stands in a module that imports scikit-learn: to load it, scikit-learn is needed.
    assert {"numpy", "pandas", "scikit-learn"} <= set(bundle.facts["requires"])
    # pandas imports pyarrow where there is one, and needs none; the team's own code is in the bundle.
    assert not {"looseleaf-lifecycle", "mlflow-skinny", "pyarrow"} & set(bundle.facts["requires"])
    assert "source/support/teams.py" in bundle.facts["files"]
    row = {"order_id": "x", "order amount €": None, "items": 1, "gift": None, "class": None, "city": "Bonn"}
    [response] = Predictor(verify(bundle.path)).predict([row], 0.5)
    means = json.loads(bundle.read("model/means.json"))
    assert response["probability"] == means["Bonn"]


@pytest.mark.parametrize("pickling", [Pickled, Zipped])
def test_a_pickle_in_a_python_bundle_is_refused(pickling: type[CityMeans], tmp_path: Path) -> None:
    estimator = with_candidate(pickling(), linear=estimator_of(TARGETS["binary"]).baselines(None, 0)["trivial"])
    settings = settings_in(tmp_path)
    with pytest.raises(LifecycleError, match="wrote a pickle"):
        train(order_team(name="looseleaf-lifecycle", estimator=estimator), settings, tmp_path)
    assert settings.store.versions() == []


class Odd(CityMeans):
    """A model that returns invalid predictions."""

    kind = ""

    def predict(self, frame: Any) -> Any:
        good = super().predict(frame)
        odd = {"column": good[:, None], "two": np.stack([1 - good, good], axis=1), "nan": good * np.nan, "5": good * 50}
        return odd[self.kind]


@pytest.mark.parametrize(
    ("kind", "problem"),
    [("column", "the shape"), ("two", "the shape"), ("nan", "not a finite number"), ("5", "not a probability")],
)
def test_invalid_predictions_are_refused_and_the_estimator_named(kind: str, problem: str, tmp_path: Path) -> None:
    odd = Odd()
    odd.kind = kind
    settings = settings_in(tmp_path)
    with pytest.raises(LifecycleError, match="the candidate estimator does not fit or predict") as caught:
        train(order_team(estimator=with_candidate(odd)), settings, tmp_path)
    assert problem in str(caught.value)
    assert settings.store.versions() == []


def test_a_classifier_without_probabilities_is_named(tmp_path: Path) -> None:
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    own = make_pipeline(SimpleImputer(), LinearSVC())
    with pytest.raises(LifecycleError, match="the candidate estimator does not fit or predict"):
        train(order_team(estimator=with_candidate(own)), settings_in(tmp_path), tmp_path)


def test_a_bundle_that_fails_its_verification_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forgetful(self: Any, directory: Path) -> None:
        (directory / "means.json").write_text("{}")

    monkeypatch.setattr(CityMeans, "save", forgetful)
    estimator = with_candidate(CityMeans(), linear=estimator_of(TARGETS["binary"]).baselines(None, 0)["trivial"])
    settings = settings_in(tmp_path)
    with pytest.raises(LifecycleError, match="does not reproduce its training outputs"):
        train(order_team(name="looseleaf-lifecycle", estimator=estimator), settings, tmp_path)
    assert settings.store.versions() == []


def test_a_number_given_as_text_is_refused_and_codes_may_be_doubles(tmp_path: Path) -> None:
    frame = orders()
    words = order_team("regression", data=data_of(frame.assign(days="three"), "days"))
    with pytest.raises(LifecycleError, match="a regression predicts a number"):
        train(words, settings_in(tmp_path / "a"), tmp_path)
    doubles = order_team(data=data_of(frame.assign(returned=frame.returned.astype(float)), "returned"))
    assert train(doubles, settings_in(tmp_path / "b"), tmp_path).facts["estimator"] == "candidate"
