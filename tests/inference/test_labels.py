"""How the label is read, and choices of a user."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lifecycle.errors import LifecycleError
from support.inference import LABEL, RANDOM, ROWS, SIGN, SIGNAL, every, infer, written


@pytest.mark.parametrize(
    ("label", "classes"),
    [
        (np.where(SIGN == 1, "Yes", "No"), ("No", "Yes")),
        (SIGN, ("0", "1")),
        (SIGN.astype(float), ("0", "1")),
        (SIGN == 1, None),
        (np.where(SIGN == 1, "good", "bad"), ("good", "bad")),
        (SIGN + 1, None),
    ],
)
def test_two_values_are_two_classes(table: Any, label: Any, classes: tuple[str, ...] | None) -> None:
    made = table(label=label)
    assert made.contract.target.task == "binary"
    if classes:
        assert made.contract.target.classes == classes


def test_the_rarer_class_is_positive_where_no_name_is_and_it_is_reported(table: Any) -> None:
    made = table(label=every(5, "b", lambda at: "a"))
    assert made.contract.target.classes == ("a", "b")
    assert "because it is rarer" in made.unsure


def test_several_texts_are_classes_and_one_that_is_too_rare_is_not_used_for_training(table: Any) -> None:
    label = every(130, "odd", lambda at: ("red", "green", "blue")[at % 3])
    made = table(label=label)
    assert made.contract.target.classes == ("blue", "green", "red")
    assert made.rows == ROWS - 4
    assert "1 classes have too few rows to learn (4)" in made.unsure
    assert "odd" not in made.notes


def test_few_whole_numbers_are_classes_unless_the_task_is_set(table: Any) -> None:
    stars = RANDOM.integers(1, 6, ROWS)
    made = table(label=stars)
    assert made.contract.target.classes == ("1", "2", "3", "4", "5")
    assert "TASK=regression" in made.unsure
    assert table(label=stars, wishes={"task": "regression"}).contract.target.task == "regression"


def test_many_numbers_are_a_number_with_its_unit(table: Any) -> None:
    made = table(label=[f"${each:,.2f}" for each in RANDOM.gamma(2, 900, ROWS)])
    assert (made.contract.target.task, made.contract.target.unit) == ("regression", "$")


def test_a_rare_class_is_reported(table: Any) -> None:
    assert "'yes' is rare: 10 of 400 rows (2.50%)" in table(label=every(40, "yes", lambda at: "no")).unsure


def test_rows_without_a_label_are_scored_and_not_used_for_training(table: Any) -> None:
    made = table(label=every(5, None, lambda at: LABEL[at]))
    assert made.rows == ROWS - ROWS // 5
    assert "80 rows have no label" in made.notes


def test_spellings_of_one_class_are_one_class(table: Any) -> None:
    made = table(label=["Yes", "yes", "NO", "no"] * 100)
    assert len(made.contract.target.classes) == 2
    assert made.rows == ROWS
    assert "counts as" in made.unsure


class ScriptedUser:
    """A chooser that selects the first option that is in `choices`."""

    def __init__(self, *choices: str) -> None:
        self.choices, self.questions = choices, list[str]()

    def choose(self, question: str, options: dict[str, str], default: str) -> str:
        self.questions.append(question)
        return next((each for each in self.choices if each in options), default)


def test_a_user_may_keep_a_leak_choose_the_label_and_choose_the_key(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"id": range(ROWS), "uuid": [f"u-{at}" for at in range(ROWS)], "code": SIGN, "label": LABEL, "x": SIGNAL},
    )
    kept = infer(path, "label", ScriptedUser("keep", "uuid"))
    assert "code" in kept.inputs
    assert kept.contract.key is not None
    assert kept.contract.key.name == "uuid"
    other = infer(path, "label", user := ScriptedUser("label"))
    assert other.contract.target.label == "code"
    assert "label" in other.excluded
    assert any("code" in question for question in user.questions)


def test_the_example_request_is_not_a_row_of_the_table(tmp_path: Path) -> None:
    from looseleaf.contract import generated

    path = written(tmp_path, {"id": [f"k-{at}" for at in range(ROWS)], "x": SIGNAL, "label": LABEL})
    made = infer(path, "label")
    request = generated.request(made.contract, made.plan)
    assert request["id"] == "example-1"
    assert json.dumps(request)


DAYS = [f"2024-{1 + at // 34:02}-{1 + at % 34 * 28 // 34:02}" for at in range(ROWS)]


def test_a_class_that_appears_in_the_held_out_period_only_is_named_and_not_used_for_training(table: Any) -> None:
    label = [("red", "green")[at % 2] if at < 380 or at % 2 else "recall" for at in range(ROWS)]
    made = table(label=label, day=DAYS, wishes={"time": "day"})
    assert made.contract.target.classes == ("green", "red")
    assert made.rows == ROWS - 10
    assert made.plan.labels.rows == ROWS - 10
    assert f"'recall' first appears at {DAYS[380]}, in the period that is held out" in made.unsure
    assert sorted({*made.plan.labels.sample[:380]}) == [0.0, 1.0]


def test_one_of_two_classes_that_appears_late_is_reported(table: Any) -> None:
    made = table(label=["yes" if at >= 390 else "no" for at in range(ROWS)], day=DAYS, wishes={"time": "day"})
    assert made.contract.target.classes == ("no", "yes")
    assert f"'yes' first appears at {DAYS[390]}" in made.unsure
    assert "training needs earlier rows of it, or another TIME" in made.unsure


def test_a_key_with_two_values_is_refused_and_one_with_few_is_reported(table: Any) -> None:
    with pytest.raises(LifecycleError, match="shop has 2 values") as caught:
        table(shop=every(20, "paris", lambda at: "berlin"), wishes={"key": ("shop",)})
    assert "Leave out KEY=shop" in caught.value.hint
    made = table(shop=[f"shop {at % 7}" for at in range(ROWS)], wishes={"key": ("shop",)})
    assert "shop has 7 values" in made.unsure
