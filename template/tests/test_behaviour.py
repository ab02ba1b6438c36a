"""What a model must do to be believed, whatever its metrics say: answer odd rows, lean the way people know it leans."""

from collections.abc import Callable
from statistics import fmean
from typing import Any

import pytest
from project import Project

Rows = list[dict[str, Any]]
Chances = Callable[[Rows], list[float]]


def each(rows: Rows, **changed: Any) -> Rows:
    """The same rows with some columns set to one value in all of them."""
    return [row | changed for row in rows]


def test_it_ranks_later_customers_better_than_a_linear_model_does(trained: Project) -> None:
    metrics = trained.newest.facts["metrics"]
    assert metrics["candidate"]["roc_auc"] > metrics["linear"]["roc_auc"] + 0.02
    assert metrics["linear"]["roc_auc"] > metrics["trivial"]["roc_auc"] + 0.1


def test_on_average_it_says_what_happens(trained: Project, chances: Chances, rows: Rows) -> None:
    # The sample loses about one customer in eight each month.
    assert 0.05 < fmean(chances(rows)) < 0.25


@pytest.mark.parametrize(
    "odd",
    [
        {"region": "islands"},
        {"days_since_visit": None, "visits_30d": 0},
        {"discount": 100.0},
        {"days_with_us": 0.0, "visits_30d": 0, "purchases_30d": 0, "spent_30d": 0.0, "complaints_90d": 0},
        {"visits_30d": 100_000, "spent_30d": 1e9},
    ],
    ids=["unseen region", "no visit", "full discount", "first day", "far outside"],
)
def test_an_odd_row_gets_a_probability(chances: Chances, rows: Rows, odd: dict[str, Any]) -> None:
    assert all(0 <= chance <= 1 for chance in chances(each(rows[:50], **odd)))


def test_who_the_customer_is_by_name_changes_nothing(chances: Chances, rows: Rows) -> None:
    assert chances(each(rows, customer_id="c-99999")) == chances(rows)


def test_a_row_is_answered_alike_alone_and_among_others(chances: Chances, rows: Rows) -> None:
    together = chances(rows[:20])
    assert [chances([row])[0] for row in rows[:20]] == pytest.approx(together, abs=1e-12)


def test_complaints_do_not_make_leaving_less_likely(chances: Chances, rows: Rows) -> None:
    none, some, many = (fmean(chances(each(rows, complaints_90d=count))) for count in (0, 1, 3))
    assert none < some < many


def test_a_discount_does_not_make_leaving_more_likely(chances: Chances, rows: Rows) -> None:
    none, some, much = (fmean(chances(each(rows, discount=percent))) for percent in (0.0, 15.0, 30.0))
    assert much < some < none


def test_who_looks_around_and_does_not_buy_is_about_to_leave(chances: Chances, rows: Rows) -> None:
    looking = each(rows, visits_30d=12, purchases_30d=0, spent_30d=0.0, days_since_visit=1.0)
    buying = each(rows, visits_30d=12, purchases_30d=4, spent_30d=180.0, days_since_visit=1.0)
    assert fmean(chances(looking)) > 2 * fmean(chances(buying))
