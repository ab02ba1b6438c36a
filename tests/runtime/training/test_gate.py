"""Each check of the gate fails for a planted defect, and its text names the defect."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lifecycle.jobs.promote import milliseconds
from lifecycle.models import metrics
from lifecycle.models.predictor import Predictor
from lifecycle.settings import Gate
from lifecycle.training import evidence
from lifecycle.training.comparison import compare_slices
from lifecycle.training.dataset import split
from lifecycle.training.gate import Case, calibration, decide
from lifecycle.training.train import train
from support.gate import failed, faults, swapped
from support.teams import order_team, orders, settings_in


def test_evidence_has_predictions_and_row_hashes_and_no_input(trained: Any) -> None:
    _, first, second = trained
    found = json.loads(second.read("evidence.json"))
    assert found["format"] == 4
    assert set(found["predictions"]) == {"candidate", "linear", "trivial", "refit", first.version}
    assert {len(each) for each in found["predictions"].values()} == {len(found["label"])}
    assert {name for name, each in found.items() if each} == {
        "format",
        "label",
        "predictions",
        "rows",
        "basis",
        "slices",
    }
    # Both were trained on the same rows, so that the fits that evaluated them are compared.
    assert found["basis"] == {first.version: "fits"}
    assert set(found["slices"]) == {first.version}
    assert "class=null" in found["slices"][first.version]
    names = (evidence.DEPLOYED, evidence.EVALUATED, evidence.HOLDOUT, evidence.IDS)
    deployed, evaluated, held, kept = (evidence.hashes(second, name) for name in names)
    rows = second.facts["rows"] | second.facts["fits"]
    assert deployed is not None
    assert evaluated is not None
    assert held is not None
    assert kept is not None
    assert (len(deployed), len(held)) == (rows["deployed"], rows["holdout"])
    assert len(evaluated) == rows["evaluated"] + rows["selection"]
    assert (np.diff(deployed.astype(float)) > 0).all()
    assert not np.intersect1d(evaluated, held).size
    assert np.isin(held, deployed).all()
    assert {*kept.tolist()} == {*held.tolist()}


def test_evidence_keeps_a_sample_of_many_rows_or_classes() -> None:
    hashes = np.random.default_rng(0).integers(0, 2**63, 50_000).astype(np.uint64)
    assert len(evidence.sampled(hashes[:300], 1)) == 300
    kept = evidence.sampled(hashes, 1)
    assert len(kept) == evidence.MOST_ROWS
    assert hashes[kept].max() < np.delete(hashes, kept).min()
    assert len(evidence.sampled(hashes, 100)) == 4000


def test_a_better_model_is_accepted_for_every_reason(case: Case) -> None:
    for reason in ("manual", "schedule", "labels", "drift", "decay", "stale"):
        decision = decide(replace(case, reason=reason, milliseconds=1.0), Gate())
        assert faults(decision) == []
        assert "ROC AUC +0." in " ".join(check.text for check in decision.checks)


def test_too_few_rows_fail_and_the_smallest_detectable_difference_is_reported(case: Case) -> None:
    assert failed(decide(case, Gate(min_rows=10**6))) == ["rows"]
    found = decide(case, Gate()).checks[0]
    assert "would be detected in 80% of cases" in found.text
    assert 0 < found.numbers["smallest_difference"] < 0.05


@pytest.mark.parametrize("reason", ["manual", "drift"])
def test_a_worse_model_is_refused_for_every_reason(case: Case, reason: str) -> None:
    decision = decide(replace(swapped(case), reason=reason), Gate())
    assert {"champion", "loss", "slices"} <= set(failed(decision))
    assert decision.outcome == "failed"
    assert ("it is not surely better" if reason == "manual" else "worse by more than 0.015") in faults(decision)[0]


def test_a_model_within_the_margin_passes_after_drift_and_fails_as_a_routine(case: Case) -> None:
    assert case.champion is not None
    given = case.evidence.predictions["candidate"]
    near = np.clip(given + np.random.default_rng(0).normal(0, 1e-4, len(given)), 0, 1)
    predictions = case.evidence.predictions | {case.champion.version: near}
    equal = replace(case, evidence=replace(case.evidence, predictions=predictions, slices={}))
    assert failed(decide(equal, Gate())) == ["champion"]
    for reason in ("drift", "decay", "stale"):
        assert failed(decide(replace(equal, reason=reason), Gate())) == []


def test_a_model_with_equal_ranking_and_wrong_probabilities_is_refused(case: Case) -> None:
    assert case.champion is not None
    bold = case.evidence.predictions["candidate"] ** 12
    turned = replace(case.evidence, predictions=case.evidence.predictions | {"candidate": bold}, slices={})
    assert "loss" in failed(decide(replace(case, evidence=turned), Gate()))


def test_a_model_that_is_worse_in_one_slice_is_refused_and_the_slice_named(case: Case) -> None:
    assert case.champion is not None
    slices = case.evidence.slices[case.champion.version]
    bad = slices | {"city=Bonn": {"rows": 200, "mean": 0.05, "se": 0.01}}
    decision = decide(replace(case, evidence=replace(case.evidence, slices={case.champion.version: bad})), Gate())
    assert failed(decision) == ["slices"]
    assert "city=Bonn (+0.0500 on 200 rows)" in faults(decision)[0]
    small = Gate(min_slice_rows=201)
    decision = decide(replace(case, evidence=replace(case.evidence, slices={case.champion.version: bad})), small)
    assert failed(decision) == []


def test_one_of_many_slices_may_look_worse_by_chance(case: Case) -> None:
    """Two standard errors are nothing where fifty slices are looked at."""
    assert case.champion is not None
    slices = {f"x={at}": {"rows": 200, "mean": 0.02 if at == 7 else 0.0, "se": 0.01} for at in range(50)}
    for count, wanted in ((50, []), (8, []), (1, ["slices"])):
        some = dict(list(slices.items())[8 - count : 8] if count <= 8 else slices.items())
        found = replace(case.evidence, slices={case.champion.version: some})
        assert failed(decide(replace(case, evidence=found), Gate())) == wanted


def test_a_holdout_that_the_evaluated_fit_has_seen_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def leaking(*given: Any) -> Any:
        found = split(*given)
        return replace(found, training=found.training | found.holdout)

    monkeypatch.setattr("lifecycle.training.dataset.split", leaking)
    bundle = train(order_team(rows=4000), settings_in(tmp_path), tmp_path)
    decision = decide(Case(bundle, evidence.read(bundle)), Gate())
    assert "unseen" in failed(decision)
    assert "the evaluated fit used " in faults(decision)[0]


def test_a_deployed_fit_that_is_worse_than_the_evaluated_one_is_refused(case: Case) -> None:
    assert failed(decide(case, Gate())) == []
    spoilt = np.random.default_rng(0).permutation(case.evidence.predictions["refit"])
    predictions = case.evidence.predictions | {"refit": spoilt}
    decision = decide(replace(case, evidence=replace(case.evidence, predictions=predictions)), Gate())
    assert failed(decision) == ["refit"]
    assert "the deployed fit is surely worse" in faults(decision)[0]


def test_no_number_of_a_candidate_that_was_trained_on_held_out_rows_is_reported(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "HOLDOUT", evidence.EVALUATED)
    decision = decide(case, Gate())
    assert decision.outcome == "failed"
    assert "failed: the evaluated fit used " in faults(decision)[0]
    assert {check.name for check in decision.checks} == {"unseen", "size"}
    assert calibration(case, {"deployed": 0.5}) is None


@pytest.mark.parametrize(("different", "wanted"), [(0, []), (10, []), (11, ["skew"])])
def test_skew_above_the_limit_is_refused(case: Case, different: int, wanted: list[str]) -> None:
    skew = {"rows": 1000, "different": different, "columns": {"items": different}}
    decision = decide(replace(case, skew=skew, max_skew=0.01), Gate())
    assert failed(decision) == wanted
    assert "logged rows differ when their features are recomputed (items)" in " ".join(
        check.text for check in decision.checks
    )


def test_a_slow_or_heavy_model_is_refused(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor(case.bundle)
    quick = milliseconds(predictor)
    usual = predictor.predict

    def slow(*given: Any) -> Any:
        time.sleep(0.02)
        return usual(*given)

    monkeypatch.setattr(predictor, "predict", slow)
    assert quick < 20 <= milliseconds(predictor)
    assert failed(decide(replace(case, milliseconds=milliseconds(predictor)), Gate(max_milliseconds=20))) == ["latency"]
    assert failed(decide(case, Gate(max_megabytes=0.001))) == ["size"]


def test_the_threshold_with_the_lowest_cost_is_proposed(case: Case) -> None:
    found = calibration(replace(case, costs=(1, 9, "settings")), {"deployed": 0.5})
    assert found is not None
    deployed, proposed = found["thresholds"].values()
    assert proposed["threshold"] == pytest.approx(0.1)
    given, label = case.evidence.predictions["candidate"], case.evidence.label
    assert proposed["cost"] == metrics.mean_cost(label, given, 0.1, 1, 9)
    assert proposed["cost"] < deployed["cost"]
    assert proposed["recall"] > deployed["recall"]


def test_a_slice_that_only_the_candidate_predicts_wrong_is_found_from_the_rows(tmp_path: Path) -> None:
    contract, frame = order_team().contract, orders(2000)
    label = frame.returned.to_numpy(float)
    good = np.where(label == 1, 0.8, 0.2)
    bad = np.where(frame.city == "Bonn", 1 - good, good)
    found = compare_slices(contract, frame, label, bad, good)
    assert found["city=Bonn"]["mean"] - 4 * found["city=Bonn"]["se"] > 0
    assert found["city=Aix"] == {"rows": int((frame.city == "Aix").sum()), "mean": 0.0, "se": 0.0}
    assert not any(name.startswith("order_id") for name in found)
