"""Behaviour that the model needs besides good metrics: it predicts unusual rows, and reacts as experts expect."""

from collections.abc import Callable
from statistics import fmean
from typing import Any

import pytest
from project import Project

Rows = list[dict[str, Any]]
Probabilities = Callable[[Rows], list[float]]


def with_values(rows: Rows, **changed: Any) -> Rows:
    """Return the same rows with some columns set to one value."""
    return [row | changed for row in rows]


def test_the_model_ranks_later_customers_better_than_a_linear_model(trained: Project) -> None:
    metrics = trained.newest.facts["metrics"]
    assert metrics["candidate"]["roc_auc"] > metrics["linear"]["roc_auc"] + 0.02
    assert metrics["linear"]["roc_auc"] > metrics["trivial"]["roc_auc"] + 0.1


def test_the_mean_probability_is_the_churn_rate(trained: Project, probabilities: Probabilities, rows: Rows) -> None:
    # The sample loses about one customer in eight each month.
    assert 0.05 < fmean(probabilities(rows)) < 0.25


@pytest.mark.parametrize(
    "changes",
    [
        {"region": "islands"},
        {"days_since_visit": None, "visits_30d": 0},
        {"discount": 100.0},
        {"days_with_us": 0.0, "visits_30d": 0, "purchases_30d": 0, "spent_30d": 0.0, "complaints_90d": 0},
        {"visits_30d": 100_000, "spent_30d": 1e9},
    ],
    ids=["unseen region", "no visit", "full discount", "first day", "far outside"],
)
def test_an_unusual_row_gets_a_probability(probabilities: Probabilities, rows: Rows, changes: dict[str, Any]) -> None:
    assert all(0 <= each <= 1 for each in probabilities(with_values(rows[:50], **changes)))


def test_the_customer_id_does_not_change_the_prediction(probabilities: Probabilities, rows: Rows) -> None:
    assert probabilities(with_values(rows, customer_id="c-99999")) == probabilities(rows)


def test_a_row_gets_the_same_prediction_alone_and_in_a_batch(probabilities: Probabilities, rows: Rows) -> None:
    together = probabilities(rows[:20])
    assert [probabilities([row])[0] for row in rows[:20]] == pytest.approx(together, abs=1e-12)


def test_complaints_do_not_make_leaving_less_likely(probabilities: Probabilities, rows: Rows) -> None:
    none, some, many = (fmean(probabilities(with_values(rows, complaints_90d=count))) for count in (0, 1, 3))
    assert none < some < many


def test_a_discount_does_not_make_leaving_more_likely(probabilities: Probabilities, rows: Rows) -> None:
    none, some, much = (fmean(probabilities(with_values(rows, discount=percent))) for percent in (0.0, 15.0, 30.0))
    assert much < some < none


def test_visits_without_purchases_make_leaving_more_likely(probabilities: Probabilities, rows: Rows) -> None:
    looking = with_values(rows, visits_30d=12, purchases_30d=0, spent_30d=0.0, days_since_visit=1.0)
    buying = with_values(rows, visits_30d=12, purchases_30d=4, spent_30d=180.0, days_since_visit=1.0)
    assert fmean(probabilities(looking)) > 2 * fmean(probabilities(buying))
