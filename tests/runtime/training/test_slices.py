"""Declared slices: how they are marked and measured, and the agreement's limit that the gate enforces."""

from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import pytest

from lifecycle import registry
from lifecycle.contract.compatibility import breaking_changes
from lifecycle.contract.declare import Binary, Key, Lookup, Request, Row, derive
from lifecycle.contract.schema import Contract
from lifecycle.errors import LifecycleError
from lifecycle.models import metrics
from lifecycle.settings import Gate, Settings
from lifecycle.training import FAILED, PASSED
from lifecycle.training.comparison import benefits, fairness, measure_slices
from lifecycle.training.dataset import LabelledRows
from lifecycle.training.evidence import Evidence
from lifecycle.training.gate import Case, decide
from support.rendering import TEMPLATE

TARGET = Binary("late", positive="late", negative="punctual")
FEW = Settings(gate=Gate(resamples=200))


class Parcel(Row):
    parcel: Annotated[str, Key()]
    size: Annotated[Literal["small", "large"], Request(slice=True)]
    stops: Annotated[int, Lookup(slice=True)]
    colour: Annotated[Literal["red", "blue"], Request()]
    weight: Annotated[float, Request()]


CONTRACT = derive(Parcel, TARGET, 1)


def rows(worse: bool, count: int = 2000) -> tuple[LabelledRows, metrics.Floats]:
    """Return parcels and their predictions, which say nothing about large ones where `worse`."""
    random = np.random.default_rng(0)
    size = random.choice(["small", "large"], count)
    frame = pd.DataFrame({"size": size, "stops": random.integers(1, 3, count), "weight": random.random(count)})
    frame["colour"] = random.choice(["red", "blue"], count)
    predicted = random.random(count)
    label = (random.random(count) < predicted).astype(float)
    shown = np.where((size == "large") & worse, random.permutation(predicted), predicted)
    return LabelledRows(frame, label), shown


def facts(worse: bool) -> dict[str, Any]:
    given, outputs = rows(worse)
    found = {"candidate": metrics.metrics(TARGET, given.label, outputs)}
    return {"metrics": found, "slices": measure_slices(CONTRACT, given, outputs, FEW), "files": {}}


def test_only_declared_slices_are_measured_and_their_bounds_contain_the_value() -> None:
    found = facts(worse=False)["slices"]
    assert list(found) == ["size=large", "size=small", "stops=1", "stops=2"]
    assert all(each["lower"] < each["value"] < each["upper"] for each in found.values())


def test_a_slice_that_is_worse_than_the_agreement_allows_is_refused() -> None:
    (check,) = fairness(facts(worse=True), TARGET, 0.1)
    assert check.outcome == FAILED
    assert "size=large" in check.text
    assert "size=small" not in check.text
    assert "docs/agreement.md" in check.hint
    for fair, limit in ((facts(worse=False), 0.1), (facts(worse=True), 0.9)):
        (check,) = fairness(fair, TARGET, limit)
        assert check.outcome == PASSED


def test_without_a_limit_or_without_declared_slices_nothing_is_refused() -> None:
    assert [*fairness(facts(worse=True), TARGET, None)] == []
    (check,) = fairness(facts(worse=True) | {"slices": {}}, TARGET, 0.1)
    assert (check.outcome, check.numbers["tested"]) == (PASSED, 0)
    assert "slice=True" in check.text


@pytest.mark.parametrize(("limit", "outcome"), [(0.1, "failed"), (0.9, "passed")])
def test_the_gate_enforces_the_limit(limit: float, outcome: str, tmp_path: Path) -> None:
    given, outputs = rows(worse=True)
    flat = np.full(len(outputs), 0.5)
    found = Evidence(given.label, np.arange(len(outputs), dtype=np.uint64), {"candidate": outputs, "refit": outputs})
    found.predictions.update({"trivial": flat, "linear": flat})
    bundle: Any = SimpleNamespace(version="v1", contract=CONTRACT, path=tmp_path, facts=facts(worse=True))
    checks = decide(Case(bundle, found, slice_limit=limit), FEW.gate).checks
    assert [check.outcome for check in checks if check.name == "fairness"] == [outcome]


@pytest.mark.parametrize(
    ("cell", "limit"), [("0.1", 0.1), ("10 %", 0.1), ("0,05", 0.05), ("**0.2**", 0.2), ("", None), ("  ", None)]
)
def test_the_limit_is_read_from_the_agreement(tmp_path: Path, cell: str, limit: float | None) -> None:
    write(tmp_path, f"| Slice limit: how much lower? | {cell} | ana |")
    assert registry.slice_limit(tmp_path) == limit


def write(folder: Path, row: str) -> None:
    (folder / "docs").mkdir(exist_ok=True)
    text = f"# Agreement\n\n| Property | Objective | By |\n|---|---|---|\n{row}\n"
    (folder / "docs/agreement.md").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("cell", ["low", "1.5", "-0.1", "150 %"])
def test_a_limit_that_is_not_a_share_is_named_with_its_line(tmp_path: Path, cell: str) -> None:
    write(tmp_path, f"| Slice limit | {cell} | ana |")
    with pytest.raises(LifecycleError, match=r"docs/agreement.md:5: the slice limit '.*' is not a number") as caught:
        registry.slice_limit(tmp_path)
    assert "0.1" in caught.value.hint


def test_without_an_agreement_or_its_row_there_is_no_limit(tmp_path: Path) -> None:
    assert registry.slice_limit(tmp_path) is None
    write(tmp_path, "| Other | 0.1 | ana |")
    assert registry.slice_limit(tmp_path) is None


def test_a_changed_mark_breaks_no_caller_and_older_contracts_have_none() -> None:
    before = Contract.from_json(
        CONTRACT.to_json().replace('"x-slice": true,', "").replace(',\n      "x-slice": true', "")
    )
    assert not any(column.slice for column in before.columns)
    assert breaking_changes(before, CONTRACT) == breaking_changes(CONTRACT, before) == []
    assert Contract.from_json(CONTRACT.to_json()) == CONTRACT
    assert "x-slice" not in before.to_json()


def test_a_field_without_levels_cannot_be_a_slice() -> None:
    for annotation in (Annotated[float, Request(slice=True)], Annotated[str, Key(slice=True)]):
        with pytest.raises(LifecycleError, match="no levels"):
            derive(type("Wrong", (Row,), {"__annotations__": {"a": annotation}}), TARGET, 1)


def test_the_benefit_of_an_input_is_the_loss_without_its_values() -> None:
    given, _ = rows(worse=False)
    truth = given.frame["weight"].to_numpy()
    label = (np.random.default_rng(1).random(len(truth)) < truth).astype(float)
    model: Any = SimpleNamespace(predict_frame=lambda frame: frame["weight"].to_numpy())
    found = benefits(model, CONTRACT, LabelledRows(given.frame, label))
    assert found["weight"]["mean"] > 10 * found["weight"]["se"] > 0
    assert found["colour"] == {"mean": 0.0, "se": 0.0}


def write_costs(folder: Path, *cells: str) -> None:
    rows = (
        f"| Predicted *{name}*, is not | harm | {cell} | ana |"
        for name, cell in zip(("late", "punctual"), cells, strict=False)
    )
    write(folder, "\n".join(rows))


@pytest.mark.parametrize(
    ("cells", "costs"),
    [
        (("20 EUR", "EUR 1,200 a parcel"), (20, 1200)),
        (("0,5", "about 2.5"), (0.5, 2.5)),
        (("20 to 40", "3"), None),
        (("much", "3"), None),
        (("0", "3"), None),
        (("", "3"), None),
        (("1.2.3", "3"), None),
        (("3",), None),
    ],
)
def test_the_costs_of_errors_are_the_numbers_of_the_agreement_or_else_of_the_settings(
    tmp_path: Path, cells: tuple[str, ...], costs: tuple[float, float] | None
) -> None:
    assert registry.error_costs(tmp_path, TARGET.classes, (7, 9)) == (7, 9, "gate in config/")
    write_costs(tmp_path, *cells)
    expected = (*costs, "docs/agreement.md") if costs else (7, 9, "gate in config/")
    assert registry.error_costs(tmp_path, TARGET.classes, (7, 9)) == expected
    for other in (("fast", "slow"), (*TARGET.classes, "lost"), ()):
        assert registry.error_costs(tmp_path, other, (7, 9)) == (7, 9, "gate in config/")


def test_the_value_of_a_threshold_is_highest_where_the_costs_say() -> None:
    random = np.random.default_rng(0)
    outputs = random.random(20_000)
    actual = (random.random(20_000) < outputs).astype(float)
    found = metrics.calibration(TARGET, actual, outputs, {}, (1.0, 4.0, ""))
    assert found is not None
    best, value = max(found["curve"], key=lambda each: each[1])
    # A miss costs four times as much as a false alarm: 1 / (1 + 4).
    assert best == pytest.approx(0.2, abs=0.06)
    assert value == pytest.approx(-found["thresholds"]["proposed"]["cost"], rel=0.02)
    binary = Contract.from_json((TEMPLATE / "contract.json").read_bytes()).target
    assert metrics.calibration(binary, actual, outputs, {}, (1.0, 1.0, "")) is not None
