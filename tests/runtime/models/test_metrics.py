"""Losses and metrics agree with scikit-learn; the bootstrap sees a difference and no difference."""

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_squared_error

from lifecycle.models.metrics import improvement, losses, metrics
from support.teams import ANSWERS

RANDOM = np.random.default_rng(0)


def test_losses_are_scikit_learns() -> None:
    actual = RANDOM.integers(0, 2, 500).astype(float)
    given = np.clip(actual * 0.5 + RANDOM.random(500) * 0.5, 0.01, 0.99)
    assert losses(ANSWERS["binary"], actual, given).mean() == pytest.approx(log_loss(actual, given))
    three = RANDOM.integers(0, 3, 500).astype(float)
    chances = RANDOM.dirichlet([1, 1, 1], 500)
    assert losses(ANSWERS["multiclass"], three, chances).mean() == pytest.approx(log_loss(three, chances))
    numbers = RANDOM.normal(size=500)
    found = losses(ANSWERS["regression"], numbers, given).mean()
    assert found == pytest.approx(mean_squared_error(numbers, given))
    assert metrics(ANSWERS["regression"], numbers, given)["root_mean_squared_error"] == pytest.approx(found**0.5)


def test_certainty_about_the_wrong_class_costs_a_finite_loss() -> None:
    assert np.isfinite(losses(ANSWERS["binary"], np.array([1.0]), np.array([0.0]))).all()


def test_a_better_model_is_seen_and_an_equal_one_is_not() -> None:
    noise = RANDOM.random(1000)
    better = improvement(noise + 0.1, noise, 0.95, 500)
    assert better.lower > 0
    assert better.mean == pytest.approx(0.1)
    shuffled = RANDOM.permutation(noise)
    equal = improvement(noise, shuffled, 0.95, 500)
    assert equal.lower < 0 < equal.upper


def test_equal_models_are_called_better_no_more_often_than_promised() -> None:
    called = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        called += improvement(random.exponential(size=400), random.exponential(size=400), 0.95, 200, seed).lower > 0
    assert called / 200 < 0.10
