"""For each comparison, a defect that only it finds makes the lift fail."""

import re

from support.notebooks import FIT, MEAN, PREDICT, READ, SEX, SPLIT

CELLS = (READ, MEAN, SEX, SPLIT, FIT, PREDICT)
KEPT = 'learned("age_mean", lambda: df["age"].mean())'


def verdicts(result) -> dict[str, bool]:
    return {name: each["equal"] for name, each in result.checks["parities"].items()}


def replaced(old: str, new: str):
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


def test_a_line_that_is_missing_is_found_by_the_comparison_with_the_notebook(lift) -> None:
    result = lift(
        *CELLS, change=replaced('    df["sex"] = (df["sex"] == "female").astype(int)\n', '    df["sex"] = 1\n')
    )
    assert not result.is_verified
    assert verdicts(result)["slice"] or not verdicts(result)["batch"]


def test_a_mean_that_each_request_computes_is_found_by_the_rows_alone(lift) -> None:
    result = lift(*CELLS, change=replaced(KEPT, 'df["age"].mean()'))
    assert verdicts(result) == {"slice": True, "batch": True, "rows": False, "json": False, "retrain": True}


def test_levels_that_each_request_computes_are_found_by_the_rows_alone(lift) -> None:
    levels = 'df["port"] = df["port"].astype("category").cat.codes'
    split = SPLIT.replace('"sex"]', '"sex", "port"]')
    result = lift(
        READ, MEAN, SEX, levels, split, FIT, PREDICT,
        change=lambda text: re.sub(r"learned.category\(.*?, (.*?)\)", r'\1.astype("category")', text),
    )  # fmt: skip
    assert verdicts(result)["batch"]
    assert not verdicts(result)["rows"]
    assert ", because column port of the model's input is 0.0 instead of " in result.checks["parities"]["rows"]["error"]


def test_a_feature_that_contains_the_label_is_found_by_the_batch_without_labels(lift) -> None:
    leaking = SPLIT.replace('"sex"]', '"sex", "luck"]')
    result = lift(READ, MEAN, SEX, 'df["luck"] = df["survived"] * df["fare"]', leaking, FIT, PREDICT)
    assert verdicts(result) == {"slice": True, "batch": False}
    assert result.checks["label"] == "survived"


def test_a_filter_that_drops_rows_without_a_reason_is_found_by_the_batch(lift) -> None:
    condition = 'df = df[df["fare"] < 40]'
    wrapped = 'learned.keep("df[df[\'fare\'] < 40]", df, df[df["fare"] < 40])'
    result = lift(READ, MEAN, SEX, condition, SPLIT, FIT, PREDICT, change=replaced(wrapped, 'df[df["fare"] < 40]'))
    assert verdicts(result) == {"slice": True, "batch": False}
    assert "are not the rows of the table" in result.checks["parities"]["batch"]["error"]


def test_a_split_without_a_seed_repeats_the_notebook_only_with_its_random_state(lift) -> None:
    unseeded = SPLIT.replace(", random_state=0", "")
    result = lift(READ, MEAN, SEX, unseeded, FIT, PREDICT)
    assert result.is_verified, result.checks
    assert "without a seed" in result.checks["parities"]["retrain"]["note"]


def test_a_seed_that_is_lost_is_found_by_training_again(lift) -> None:
    result = lift(*CELLS, change=replaced(", random_state=0", ""))
    assert verdicts(result)["slice"]
    assert not verdicts(result)["retrain"]


def test_a_value_that_json_does_not_have_is_found_by_the_round_trip(lift) -> None:
    read = READ.replace('.csv"', '.csv", converters={"name": tuple}')
    letters = 'df["fare"] = df["name"].map(lambda value: len(value) if isinstance(value, tuple) else 9)'
    result = lift(read, MEAN, SEX, letters, SPLIT, FIT, PREDICT)
    assert verdicts(result) == {"slice": True, "batch": True, "rows": True, "json": False, "retrain": True}


def test_a_seed_of_the_notebook_is_carried_over(lift) -> None:
    unseeded = SPLIT.replace(", random_state=0", "")
    result = lift("import numpy as np\nnp.random.seed(4)", READ, MEAN, SEX, unseeded, FIT, PREDICT)
    assert result.is_verified, result.checks
    assert "np.random.seed(4)" in result.lifted.text
    assert "note" not in result.checks["parities"]["retrain"]
