"""Losses and metrics equal those of scikit-learn, and the bootstrap detects an improvement only where there is one."""

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_squared_error

from lifecycle.contract.schema import Target
from lifecycle.models.metrics import improvement, losses, metrics, weighted_measure
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
