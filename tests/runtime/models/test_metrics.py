"""Losses and metrics equal those of scikit-learn, and the bootstrap detects an improvement only where there is one."""

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_squared_error

from lifecycle.contract.schema import Target
from lifecycle.models.metrics import calibration, losses, metrics, weighted_measure
from lifecycle.training.comparison import improvement
from support.teams import TARGETS

BINARY, REGRESSION = Target("binary", "label", ("no", "yes")), Target("regression", "label")
MULTICLASS = Target("multiclass", "label", ("a", "b", "c"))

RANDOM = np.random.default_rng(0)


def test_losses_equal_those_of_scikit_learn() -> None:
    actual = RANDOM.integers(0, 2, 500).astype(float)
    outputs = np.clip(actual * 0.5 + RANDOM.random(500) * 0.5, 0.01, 0.99)
    assert losses(BINARY, actual, outputs).mean() == pytest.approx(log_loss(actual, outputs))
    three = RANDOM.integers(0, 3, 500).astype(float)
    probabilities = RANDOM.dirichlet([1, 1, 1], 500)
    assert losses(MULTICLASS, three, probabilities).mean() == pytest.approx(log_loss(three, probabilities))
    numbers = RANDOM.normal(size=500)
    found = losses(REGRESSION, numbers, outputs).mean()
    assert found == pytest.approx(mean_squared_error(numbers, outputs))
    assert metrics(REGRESSION, numbers, outputs)["root_mean_squared_error"] == pytest.approx(found**0.5)


def test_a_certain_prediction_of_the_wrong_class_has_a_finite_loss() -> None:
    assert np.isfinite(losses(BINARY, np.array([1.0]), np.array([0.0]))).all()


def test_a_better_model_is_detected_and_an_equal_one_is_not() -> None:
    noise = RANDOM.random(1000)
    better = improvement(noise + 0.1, noise, 0.95, 500)
    assert better.lower > 0
    assert better.mean == pytest.approx(0.1)
    shuffled = RANDOM.permutation(noise)
    equal = improvement(noise, shuffled, 0.95, 500)
    assert equal.lower < 0 < equal.upper


def test_equal_models_are_called_better_no_more_often_than_the_confidence_allows() -> None:
    called = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        called += improvement(random.exponential(size=400), random.exponential(size=400), 0.95, 200, seed).lower > 0
    assert called / 200 < 0.10


@pytest.mark.parametrize("task", TARGETS)
def test_the_measure_of_each_task_equals_that_of_scikit_learn_with_weights(task: str) -> None:
    from sklearn.metrics import accuracy_score, r2_score, roc_auc_score

    random, target = np.random.default_rng(0), TARGETS[task]
    actual = random.integers(0, max(len(target.classes), 2), 300).astype(float)
    outputs = random.dirichlet([1, 1, 1], 300) if task == "multiclass" else random.random(300).round(1)
    usual = {"binary": roc_auc_score, "multiclass": accuracy_score, "regression": r2_score}[task]
    decided = outputs.argmax(axis=1) if task == "multiclass" else outputs
    drawn = random.integers(0, 300, 300)
    weights = np.bincount(drawn, minlength=300).astype(float)
    measure = weighted_measure(target, actual, outputs)
    assert measure(np.ones(len(actual))) == pytest.approx(usual(actual, decided))
    assert measure(weights) == pytest.approx(usual(actual[drawn], decided[drawn]))


@pytest.mark.parametrize("target", [BINARY, MULTICLASS], ids=lambda target: target.task)
def test_probabilities_that_are_too_extreme_have_a_calibration_error(target: Target) -> None:
    random = np.random.default_rng(0)
    if target is BINARY:
        true = random.random(4000)
        actual, extreme = (random.random(4000) < true).astype(float), (true > 0.5) * 0.98 + 0.01
    else:
        true = random.dirichlet([1, 1, 1], 4000)
        actual = np.array([random.choice(3, p=each) for each in true], dtype=float)
        extreme = np.eye(3)[true.argmax(axis=1)] * 0.97 + 0.01
    good, bad = metrics(target, actual, true), metrics(target, actual, extreme)
    assert good["expected_calibration_error"] < 0.03 < 0.15 < bad["expected_calibration_error"]
    assert good["brier"] < bad["brier"]
    found = calibration(target, actual, true, {"deployed": 0.7, "none": None}, (1, 1))
    assert found is not None
    assert found["error"] == good["expected_calibration_error"]
    assert [each["rows"] for each in found["bins"]] == [400] * 10
    assert set(found["thresholds"]) == ({"deployed", "proposed"} if target is BINARY else set())


def test_precision_and_recall_are_those_at_each_threshold() -> None:
    from sklearn.metrics import precision_score, recall_score

    random = np.random.default_rng(0)
    outputs = random.random(500)
    actual = (random.random(500) < outputs).astype(float)
    found = calibration(BINARY, actual, outputs, {"deployed": 0.3, "never": 1.0}, (4, 1))
    assert found is not None
    assert found["thresholds"]["proposed"]["threshold"] == 0.8
    for each in (found["thresholds"]["deployed"], found["thresholds"]["proposed"]):
        called = outputs >= each["threshold"]
        wanted = {"precision": precision_score(actual, called), "recall": recall_score(actual, called)}
        assert {name: each[name] for name in wanted} == pytest.approx(wanted)
    never = found["thresholds"]["never"]
    assert (never["precision"], never["cost"]) == (None, actual.mean())


def test_a_regression_has_a_bias_and_no_calibration() -> None:
    numbers = RANDOM.normal(size=500)
    found = metrics(REGRESSION, numbers, numbers + 0.25)
    assert found["bias"] == pytest.approx(found["mean_absolute_error"]) == pytest.approx(0.25)
    assert calibration(REGRESSION, numbers, numbers, {}, (1, 1)) is None
