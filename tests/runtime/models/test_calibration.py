"""Calibration is measured in bins of equal frequency, and precision and recall at a threshold."""

import numpy as np
import pytest

from lifecycle.models.metrics import at_threshold, reliability


def test_perfect_probabilities_have_about_the_error_of_chance() -> None:
    random = np.random.default_rng(0)
    errors, chances = [], []
    for _ in range(50):
        probability = random.beta(1, 9, 2000)
        found = reliability(random.random(2000) < probability, probability)
        assert [each["rows"] for each in found["bins"]] == [200] * 10
        errors.append(found["error"])
        chances.append(found["chance"])
    assert np.mean(errors) == pytest.approx(np.mean(chances), rel=0.1)


def test_a_seeded_miscalibration_is_measured() -> None:
    probability = np.linspace(0.05, 0.75, 5000)
    found = reliability(np.random.default_rng(0).random(5000) < probability + 0.2, probability)
    assert found["error"] == pytest.approx(0.2, abs=0.02)
    assert all(each["observed"] > each["predicted"] + 0.1 for each in found["bins"])


def test_equal_probabilities_stay_in_one_bin_whatever_the_order_of_the_rows() -> None:
    probability, label = np.repeat([0.1, 0.4], [70, 30]), np.repeat([0, 1, 0, 1], [65, 5, 10, 20])
    found = reliability(label, probability)
    first, second = found["bins"]
    assert first == {"rows": 70, "predicted": pytest.approx(0.1), "observed": 5 / 70}
    assert second == {"rows": 30, "predicted": pytest.approx(0.4), "observed": 20 / 30}
    order = np.random.default_rng(0).permutation(100)
    assert reliability(label[order], probability[order])["error"] == pytest.approx(found["error"])
    assert len(reliability(np.ones(7), np.full(7, 0.5))["bins"]) == 1


def test_no_row_and_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="not none"):
        reliability(np.array([]), np.array([]))
    with pytest.raises(ValueError, match="as many"):
        reliability(np.ones(2), np.ones(3))


def test_precision_and_recall_count_from_the_threshold_on() -> None:
    label, probability = np.array([1, 0, 1, 1, 0]), np.array([0.9, 0.5, 0.5, 0.2, 0.1])
    wanted = {"threshold": 0.5, "predicted": 3, "precision": 2 / 3, "recall": 2 / 3}
    assert at_threshold(label, probability, 0.5) == wanted


def test_undefined_precision_and_recall_are_none() -> None:
    none_predicted = at_threshold(np.array([1, 0]), np.array([0.1, 0.1]), 0.5)
    assert none_predicted == {"threshold": 0.5, "predicted": 0, "precision": None, "recall": 0.0}
    none_happened = at_threshold(np.array([0, 0]), np.array([0.9, 0.1]), 0.5)
    assert none_happened == {"threshold": 0.5, "predicted": 1, "precision": 0.0, "recall": None}
