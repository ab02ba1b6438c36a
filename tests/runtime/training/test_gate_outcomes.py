"""Each outcome of the gate's comparison with the champion: its name, what it says, and what to do."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lifecycle.models.bundle import Bundle
from lifecycle.settings import Gate
from lifecycle.training import ANYWAY, FAILED, HINTS, NOT_COMPARED, PASSED, Check, evidence
from lifecycle.training.gate import Case, decide


def check(case: Case, name: str = "champion", gate: Gate | None = None) -> Check:
    """Return one check of the decision about a case."""
    (found,) = [each for each in decide(case, gate or Gate()).checks if each.name == name]
    return found


def stated(found: Check) -> tuple[str, str, str]:
    return found.outcome, found.text, found.hint


def with_evidence(case: Case, **changes: Any) -> Case:
    return replace(case, evidence=replace(case.evidence, **changes))


def on_rows(case: Case, rows: Any) -> Case:
    """Return the case whose champion can be compared on some rows only."""
    assert case.champion is not None
    version, found = case.champion.version, case.evidence
    chosen = found.predictions[version][rows]
    return with_evidence(
        case, predictions=found.predictions | {version: chosen}, rows=found.rows | {version: rows}, basis={}, slices={}
    )


def changed(bundle: Bundle, **values: Any) -> Bundle:
    """Return a bundle with other values in place of what its files contain."""
    other = replace(bundle)
    other.__dict__.update(values)
    return other


def version_of(case: Case) -> str:
    assert case.champion is not None
    return case.champion.version


def test_without_a_champion_there_is_nothing_to_compare_with(case: Case) -> None:
    text = "no version is deployed yet: there is no champion to compare with"
    assert stated(check(replace(case, champion=None))) == (PASSED, text, "")


def test_a_champion_that_cannot_be_read_is_not_compared(case: Case) -> None:
    found = check(replace(case, champion=None, unreadable="there is no bundle.json"))
    text = "the deployed version cannot be read, so results and contracts are not compared: there is no bundle.json"
    hint = "Restore that folder, or run `make rollback`, then run `make promote`."
    assert stated(found) == (NOT_COMPARED, text, hint)


def test_a_champion_that_cannot_predict_is_not_compared(case: Case) -> None:
    version = version_of(case)
    found = check(with_evidence(case, failed={version: "OSError: gone"}))
    text = f"the champion {version} cannot predict the held-out rows: OSError: gone"
    hint = "Repair it and run `make train promote`, or run `make rollback` to a version that works."
    assert stated(found) == (NOT_COMPARED, text, hint)


@pytest.mark.parametrize(
    ("given", "why"), [("it has another target", "it has another target"), (None, "its predictions are not known")]
)
def test_a_champion_without_predictions_is_not_compared(case: Case, given: str | None, why: str) -> None:
    version = version_of(case)
    predictions = {name: each for name, each in case.evidence.predictions.items() if name != version}
    incomparable = {version: given} if given else {}
    found = check(with_evidence(case, predictions=predictions, incomparable=incomparable))
    assert stated(found) == (NOT_COMPARED, f"the champion {version}: {why}", ANYWAY)


def test_equal_predictions_are_a_gain_under_another_contract_only(case: Case) -> None:
    version, same = version_of(case), with_evidence(case, same=[version_of(case)])
    text = f"it predicts the same as the champion {version} for every held-out row"
    hint = f"The deployed version stays; `make promote VERSION={version} THRESHOLD=…` changes its threshold."
    assert stated(check(same)) == (FAILED, f"{text}: there is nothing to gain", hint)
    assert same.champion is not None
    other = changed(same.champion, features_sql="SELECT 1")
    assert stated(check(replace(same, champion=other))) == (PASSED, text, "")


def test_few_common_rows_decide_nothing(case: Case) -> None:
    version = version_of(case)
    found = check(on_rows(case, np.arange(Gate().min_rows - 1)))
    text = f"the champion {version} can be compared on {Gate().min_rows - 1} rows that it has not seen, and fewer than "
    hint = 'Run `make train promote` when more labels are known, or `make promote OVERRIDE="reason"`.'
    assert stated(found) == (NOT_COMPARED, f"{text}{Gate().min_rows} decide nothing (gate.min_rows)", hint)
    assert check(on_rows(case, np.arange(len(case.evidence.label)))).outcome == PASSED


def test_common_rows_with_one_label_decide_nothing(case: Case) -> None:
    rows = np.flatnonzero(case.evidence.label == 0)
    assert len(rows) >= Gate().min_rows
    found = check(on_rows(case, rows))
    text = f"all {len(rows)} rows that are compared with the champion {version_of(case)} have the same label"
    assert stated(found) == (NOT_COMPARED, f"{text}, so they decide nothing", ANYWAY)


def test_a_champion_that_may_have_seen_the_rows_can_only_be_beaten(case: Case) -> None:
    version = version_of(case)
    unsure = with_evidence(case, basis={version: evidence.UNKNOWN})
    assert {each.outcome for each in decide(unsure, Gate()).checks} == {PASSED}
    predictions = case.evidence.predictions
    worse = predictions | {
        "candidate": predictions[version],
        "refit": predictions[version],
        version: predictions["candidate"],
    }
    found = check(with_evidence(unsure, predictions=worse))
    assert (found.outcome, found.hint) == (NOT_COMPARED, ANYWAY)
    assert ", some of which it may have been fitted to" in found.text


def test_rows_that_cannot_decide_are_the_only_result(case: Case) -> None:
    few, rows = Gate(min_rows=10**6), len(case.evidence.label)
    text = f"only {rows} rows are held out, and fewer than 1000000 decide nothing (gate.min_rows)"
    assert stated(check(case, "rows", few)) == (NOT_COMPARED, text, HINTS["rows"])
    assert "champion" not in {each.name for each in decide(case, few).checks}
    one = with_evidence(case, label=np.zeros(rows))
    text = f"all {rows} held-out rows have the same label, so they decide nothing"
    hint = "Add rows with other labels, then run `make train promote`."
    assert stated(check(one, "rows")) == (NOT_COMPARED, text, hint)


def test_skew_that_is_not_known_is_not_compared(case: Case) -> None:
    found = check(replace(case, skew={"problem": "there is no table"}), "skew")
    text = "it is not known whether the service uses the same features as training: there is no table"
    assert stated(found) == (NOT_COMPARED, text, HINTS["skew"])
    assert "skew" not in {each.name for each in decide(case, Gate()).checks}


def test_what_passes_says_so_with_its_numbers(case: Case) -> None:
    found = {each.name: each for each in decide(replace(case, milliseconds=1.0), Gate()).checks}
    assert list(found) == [
        "rows",
        "unseen",
        "refit",
        "trivial",
        "linear",
        "champion",
        "loss",
        "slices",
        "latency",
        "size",
    ]
    assert {each.outcome for each in found.values()} == {PASSED}
    held = len(case.evidence.label)
    assert found["unseen"].text == f"the evaluated fit used none of the {held:,} held-out rows"
    assert found["unseen"].numbers == {"held_out": held, "shared": 0}
    assert found["refit"].text.startswith("the deployed fit is not worse: mean log loss ")
    for name in ("trivial", "linear"):
        assert found[name].text.startswith("mean log loss ")
        assert f", of the {name} baseline " in found[name].text
    assert found["champion"].text.startswith("it is surely better: ROC AUC +")
    assert found["champion"].numbers["limit"] == 0.0
    assert found["champion"].numbers["reason"] == "manual"
    assert found["loss"].text.startswith("improvement of the mean log loss over the champion +")
    assert found["slices"].text.startswith("its squared error is surely higher in none, of ")
    assert found["latency"].text == "one prediction takes 1.0 ms (gate.max_milliseconds is 100)"
    assert found["latency"].numbers == {"milliseconds": 1.0}


@pytest.mark.parametrize("version", [1, 2])
def test_under_a_new_major_version_of_the_contract_the_candidate_may_be_worse_by_the_margin(
    case: Case, version: int
) -> None:
    contract = replace(case.bundle.contract, version=version)
    found = check(replace(case, bundle=changed(case.bundle, contract=contract)))
    rule = (
        "it is at most 0.015 worse, as a new major version of the contract may be"
        if version == 2
        else "it is surely better"
    )
    assert found.numbers["limit"] == (-0.015 if version == 2 else 0.0)
    assert found.text.startswith(f"{rule}: ROC AUC +")
