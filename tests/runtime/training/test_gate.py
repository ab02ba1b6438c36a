"""Each check of the gate is seen to close: a defect is planted for it, and the decision says so in words."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from lifecycle.contract.team import Team
from lifecycle.errors import Refused
from lifecycle.jobs.promote import milliseconds, promote, rollback
from lifecycle.models import metrics
from lifecycle.models.bundle import Bundle, hash_of, open_version
from lifecycle.models.predictor import Predictor
from lifecycle.registry import deployments
from lifecycle.registry.deployments import Deployed
from lifecycle.registry.provenance import Identity
from lifecycle.settings import Gate, Settings
from lifecycle.storage import Store
from lifecycle.training import evidence
from lifecycle.training.gate import Case, Decision, decide, proposal
from lifecycle.training.train import train
from support.teams import TARGETS, CityMeans, order_team, orders, settings_in

ANA = Identity("ana", "login")


def weak(team: Team, **limits: Any) -> Team:
    """The same team with a candidate that learns less."""
    made = SimpleNamespace(
        candidate=lambda inputs, seed: HistGradientBoostingClassifier(random_state=seed, **limits),
        baselines=team.estimator.baselines,
    )
    return replace(team, estimator=made)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Bundle, Bundle]:
    """A storage with a champion in `local`, and a better candidate that was compared with it."""
    settings, team = settings_in(tmp_path_factory.mktemp("gate")), order_team(rows=4000)
    first = train(weak(team, max_iter=5, max_depth=2), settings, settings.storage)
    deployments.swap(settings.store, "local", None, Deployed(first.version, 0.5), action="promote", who="ana", why="")
    return settings, first, train(team, settings, settings.storage)


@pytest.fixture
def case(trained: tuple[Settings, Bundle, Bundle]) -> Case:
    """The better candidate against the champion."""
    return Case(trained[2], evidence.read(trained[2]), trained[1])


def promoted(settings: Settings, **given: Any) -> deployments.Deployment:
    usual: dict[str, Any] = {"version": None, "threshold": None, "who": ANA, "why": ""}
    return promote(settings, order_team(rows=4000).data, "local", **usual | given, root=settings.storage)


def own(settings: Settings, folder: Path) -> Settings:
    """The same bundles with deployments and reports of the test's own."""
    storage = folder / "storage"
    storage.mkdir()
    (storage / "bundles").symlink_to(settings.storage / "bundles")
    return settings.model_copy(update={"storage": storage})


def failed(decision: Decision) -> list[str]:
    return [check.name for check in decision.checks if not check.passed]


def swapped(case: Case) -> Case:
    """The candidate's and the champion's answers in each other's place: a worse model."""
    given, opponent = case.evidence.predictions, case.champion.version if case.champion else ""
    slices = {name: each | {"mean": -each["mean"]} for name, each in case.evidence.slices[opponent].items()}
    turned = given | {"candidate": given[opponent], opponent: given["candidate"]}
    return replace(case, evidence=replace(case.evidence, predictions=turned, slices={opponent: slices}))


def test_evidence_holds_answers_and_no_input(trained: Any) -> None:
    _, first, second = trained
    found = json.loads(second.read("evidence.json"))
    assert found["format"] == 3
    assert set(found["predictions"]) == {"candidate", "linear", "trivial", first.version}
    assert {len(each) for each in found["predictions"].values()} == {len(found["label"])}
    assert set(found) == {"format", "label", "predictions", "slices", "incomparable", "failed"}
    assert set(found["slices"]) == {"linear", "trivial", first.version}
    assert "class=null" in found["slices"][first.version]
    seen, held = evidence.hashes(second, evidence.TRAINING), evidence.hashes(second, evidence.HOLDOUT)
    assert seen is not None
    assert held is not None
    assert (len(seen), len(held)) == (second.facts["rows"]["training"], second.facts["rows"]["holdout"])
    assert (np.diff(seen.astype(float)) > 0).all()
    assert not np.intersect1d(seen, held).size


def test_of_many_rows_and_of_many_classes_evidence_keeps_some() -> None:
    assert len(evidence.sampled(np.zeros(300))) == 300
    kept = evidence.sampled(np.zeros(50_000))
    assert (len(kept), kept[0], kept[-1]) == (evidence.MOST_ROWS, 0, 49_999)
    assert len(evidence.sampled(np.zeros((50_000, 100)))) == 4000


def test_a_better_model_is_accepted_for_every_reason(case: Case) -> None:
    for reason in ("manual", "schedule", "labels", "drift", "decay", "stale"):
        decision = decide(replace(case, reason=reason, milliseconds=1.0), Gate())
        assert decision.faults == ()
        assert "ROC AUC +0." in " ".join(check.text for check in decision.checks)


def test_too_few_rows_decide_nothing_and_the_smallest_difference_is_told(case: Case) -> None:
    assert failed(decide(case, Gate(min_rows=10**6))) == ["rows"]
    found = decide(case, Gate()).checks[0]
    assert "would be detected in 80% of cases" in found.text
    assert 0 < found.numbers["smallest_difference"] < 0.05


@pytest.mark.parametrize("reason", ["manual", "drift"])
def test_a_worse_model_is_refused_for_every_reason(case: Case, reason: str) -> None:
    decision = decide(replace(swapped(case), reason=reason), Gate())
    assert {"champion", "loss", "slices"} <= set(failed(decision))
    assert ("it is not surely better" if reason == "manual" else "worse by more than 0.015") in decision.faults[0]


def test_a_difference_within_the_margin_is_enough_after_drift_and_not_as_a_routine(case: Case) -> None:
    assert case.champion is not None
    given = case.evidence.predictions["candidate"]
    near = np.clip(given + np.random.default_rng(0).normal(0, 1e-4, len(given)), 0, 1)
    answers = case.evidence.predictions | {case.champion.version: near}
    equal = replace(case, evidence=replace(case.evidence, predictions=answers, slices={}))
    assert failed(decide(equal, Gate())) == ["champion"]
    for reason in ("drift", "decay", "stale"):
        assert failed(decide(replace(equal, reason=reason), Gate())) == []


def test_a_model_that_ranks_as_well_and_is_off_in_its_probabilities_is_refused(case: Case) -> None:
    assert case.champion is not None
    bold = case.evidence.predictions["candidate"] ** 12
    turned = replace(case.evidence, predictions=case.evidence.predictions | {"candidate": bold}, slices={})
    assert "loss" in failed(decide(replace(case, evidence=turned), Gate()))


def test_a_model_that_is_bad_in_one_slice_is_refused_by_its_name(case: Case) -> None:
    assert case.champion is not None
    slices = case.evidence.slices[case.champion.version]
    bad = slices | {"city=Bonn": {"rows": 200, "mean": 0.05, "se": 0.01}}
    decision = decide(replace(case, evidence=replace(case.evidence, slices={case.champion.version: bad})), Gate())
    assert failed(decision) == ["slices"]
    assert "city=Bonn (+0.0500 on 200 rows)" in decision.faults[0]
    small = Gate(min_slice_rows=201)
    decision = decide(replace(case, evidence=replace(case.evidence, slices={case.champion.version: bad})), small)
    assert failed(decision) == []


def test_of_many_slices_one_that_looks_bad_by_chance_is_none(case: Case) -> None:
    """Two standard errors are nothing where fifty slices are looked at."""
    assert case.champion is not None
    slices = {f"x={at}": {"rows": 200, "mean": 0.02 if at == 7 else 0.0, "se": 0.01} for at in range(50)}
    for count, wanted in ((50, []), (8, []), (1, ["slices"])):
        some = dict(list(slices.items())[8 - count : 8] if count <= 8 else slices.items())
        found = replace(case.evidence, slices={case.champion.version: some})
        assert failed(decide(replace(case, evidence=found), Gate())) == wanted


def test_a_holdout_that_either_model_has_seen_is_refused(trained: Any, tmp_path: Path) -> None:
    _, first, _ = trained
    # Another share holds other rows out: some of them trained the champion.
    other = settings_in(tmp_path, train={"holdout": 0.4})
    leaking = train(order_team(rows=4000), other, tmp_path)
    decision = decide(Case(leaking, evidence.read(leaking), first), Gate())
    assert failed(decision) == ["unseen"]
    assert f"{first.version} was trained on " in decision.faults[0]


@pytest.mark.parametrize(("different", "wanted"), [(0, []), (10, []), (11, ["skew"])])
def test_a_service_that_does_not_see_what_training_saw_is_refused(
    case: Case, different: int, wanted: list[str]
) -> None:
    skew = {"rows": 1000, "different": different, "columns": {"items": different}}
    decision = decide(replace(case, skew=skew, max_skew=0.01), Gate())
    assert failed(decision) == wanted
    assert "logged rows differ when their features are recomputed (items)" in " ".join(
        check.text for check in decision.checks
    )


def test_skew_that_cannot_be_measured_is_decided_on(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = own(trained[0], tmp_path)
    promoted(settings, version=trained[1].version)
    pages: list[Path] = []
    monkeypatch.setattr("lifecycle.jobs.promote.logged_skew", lambda *given: {"problem": "no table visits"})
    with pytest.raises(Refused, match="uses the same features as training: no table visits"):
        promoted(settings, on_decision=pages.append)
    [page] = pages
    checks = json.loads(page.with_suffix(".json").read_text())["checks"]
    assert [check["name"] for check in checks if not check["passed"]] == ["skew"]


@pytest.mark.parametrize("skew", [{"problem": "no table visits"}, {"rows": 9, "different": 9, "columns": {"items": 9}}])
def test_skew_of_other_features_says_nothing_of_the_candidate(
    skew: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, team = settings_in(tmp_path), order_team(rows=4000)
    first = train(weak(team, max_iter=5, max_depth=2), settings, tmp_path)
    promoted(settings)
    facts = json.loads((first.path / "bundle.json").read_text()) | {"feature_set": "another"}
    (first.path / "bundle.json").write_text(json.dumps(facts))
    second = train(team, settings, tmp_path)
    monkeypatch.setattr("lifecycle.jobs.promote.logged_skew", lambda *given: skew)
    assert promoted(settings).current.version == second.version


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


def test_the_threshold_that_costs_least_is_proposed(case: Case) -> None:
    gate = Gate(false_positive_cost=1, false_negative_cost=9)
    found = proposal(replace(case, threshold=0.5), gate)
    assert found is not None
    assert found["threshold"] == pytest.approx(0.1)
    given, label = case.evidence.predictions["candidate"], case.evidence.label
    assert found["cost"] == metrics.mean_cost(label, given, 0.1, 1, 9)
    assert found["cost"] < found["live_cost"]  # type: ignore[operator]


def test_each_decision_is_written_for_programs_terminals_and_people(trained: Any, tmp_path: Path) -> None:
    settings = own(trained[0], tmp_path)
    pages: list[Path] = []
    first = promoted(settings, version=trained[1].version, on_decision=pages.append)
    strict = settings.model_copy(update={"gate": Gate(max_megabytes=0.001)})
    with pytest.raises(Refused, match=r"All checks: .*\.html"):
        promoted(strict, on_decision=pages.append)
    assert deployments.read(settings.store, "local") == first
    second = promoted(settings, why="it is <b>better</b>", on_decision=pages.append)
    verdicts = [json.loads(page.with_suffix(".json").read_text())["verdict"] for page in pages]
    assert verdicts == ["agreed", "refused", "agreed"]
    assert len({*pages}) == 3
    document = json.loads(pages[2].with_suffix(".json").read_text())
    assert (document["version"], document["champion"]) == (trained[2].version, trained[1].version)
    assert document["checks"][0]["numbers"]["rows"] > 200
    assert "  NO  Size: the bundle has" in pages[1].with_suffix(".txt").read_text()
    assert "&lt;b&gt;better" in pages[2].read_text()
    [line] = [each for each in settings.store.audit.read_text().splitlines() if second.current.version in each]
    assert settings.storage / json.loads(line)["evidence"]["decision"] == pages[2]


def test_the_same_model_again_says_so_and_is_refused(trained: Any, tmp_path: Path) -> None:
    settings = own(trained[0], tmp_path)
    (settings.storage / "bundles").unlink()
    settings = settings_in(tmp_path)
    train(order_team(rows=4000), settings, tmp_path)
    first = promoted(settings)
    train(order_team(rows=4000), settings, tmp_path)
    for reason in (None, "drift"):
        with pytest.raises(Refused, match=r"predicts the same as the champion .* there is nothing to gain"):
            promoted(settings, reason=reason)
    assert deployments.read(settings.store, "local") == first
    assert promoted(settings, version=first.current.version, threshold=0.3).current.threshold == 0.3


@pytest.mark.parametrize("task", ["multiclass", "regression"])
def test_other_tasks_are_compared_by_their_own_measure(task: str, tmp_path: Path) -> None:
    settings, team = settings_in(tmp_path), order_team(task, rows=3000)
    boosting = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    shallow = boosting(max_iter=4, max_depth=2, learning_rate=0.3)
    own = SimpleNamespace(candidate=lambda inputs, seed: shallow, baselines=team.estimator.baselines)
    train(replace(team, estimator=own), settings, tmp_path)
    first = promote(settings, team.data, "local", None, None, ANA, "", tmp_path)
    second = train(team, settings, tmp_path)
    done = promote(settings, team.data, "local", None, None, ANA, "", tmp_path)
    assert f"it is surely better: {metrics.MEASURES[TARGETS[task].task]} +0." in done.why
    assert done.current == Deployed(second.version, None)
    with pytest.raises(Refused, match="it is not surely better"):
        promote(settings, team.data, "local", first.current.version, None, ANA, "", tmp_path)


def test_the_same_answers_under_another_contract_are_let_through(tmp_path: Path) -> None:
    settings, team = settings_in(tmp_path), order_team(rows=4000)
    train(team, settings, tmp_path)
    promoted(settings)
    second = train(replace(team, contract=replace(team.contract, version=2)), settings, tmp_path)
    done = promoted(settings)
    assert done.current.version == second.version
    assert "it predicts the same as the champion" in done.why


def test_a_champion_that_training_did_not_compare_is_scored_from_the_same_tables_or_not_at_all(
    trained: Any, tmp_path: Path
) -> None:
    settings, team = settings_in(tmp_path), order_team(rows=4000)
    first = train(weak(team, max_iter=5, max_depth=2), settings, tmp_path)
    second = train(team, settings, tmp_path)
    assert first.version not in evidence.read(second).predictions
    promoted(settings, version=first.version)
    with pytest.raises(Refused, match=r"was never compared with .* and the tables have changed since then"):
        promote(settings, order_team(rows=3000).data, "local", None, None, ANA, "", tmp_path)
    done = promoted(settings)
    assert done.current.version == second.version
    assert "it is surely better: ROC AUC +0." in done.why


def test_a_champion_of_another_question_is_told_and_stops_nobody(tmp_path: Path) -> None:
    settings, team = settings_in(tmp_path), order_team(rows=4000)
    train(team, settings, tmp_path)
    first = promoted(settings)
    other = replace(
        team, contract=replace(order_team("multiclass").contract, version=2), data=order_team("multiclass", 4000).data
    )
    other = replace(other, estimator=order_team("multiclass").estimator)
    second = train(other, settings, tmp_path)
    assert evidence.read(second).incomparable == {first.current.version: f"{first.current.version} has another target"}
    assert promote(settings, other.data, "local", None, None, ANA, "", tmp_path).current.threshold is None


@pytest.mark.parametrize("when", ["before training", "after training"])
def test_a_champion_that_does_not_load_lets_only_a_new_contract_follow(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, team = settings_in(tmp_path), order_team(rows=4000, name="looseleaf-lifecycle")
    baselines = team.estimator.baselines(None, 0)
    means = SimpleNamespace(
        candidate=lambda inputs, seed: CityMeans(),
        baselines=lambda inputs, seed: baselines | {"linear": baselines["trivial"]},
    )
    first = train(replace(team, estimator=means), settings, tmp_path)
    assert first.kind == "python"
    live = Deployed(first.version, 0.5)
    if when == "before training":
        deployments.swap(settings.store, "local", None, live, action="promote", who="ana", why="")
    monkeypatch.delattr(CityMeans, "load")
    second = train(team, settings, tmp_path)
    third = train(replace(team, contract=replace(team.contract, version=2)), settings, tmp_path)
    if when == "after training":
        deployments.swap(settings.store, "local", None, live, action="promote", who="ana", why="")
    with pytest.raises(Refused, match=r"does not load .*`make rollback` .* a new VERSION"):
        promoted(settings, version=second.version)
    done = promoted(settings, version=third.version)
    assert "the contract has a new major version" in done.why


def test_a_champion_whose_bundle_was_edited_is_decided_on(tmp_path: Path) -> None:
    settings, team = settings_in(tmp_path), order_team(rows=4000)
    first = train(weak(team, max_iter=5, max_depth=2), settings, tmp_path)
    seen = promoted(settings)
    (first.path / "contract.json").write_text("{}")
    second = train(team, settings, tmp_path)
    assert list(evidence.read(second).failed) == [first.version]
    pages: list[Path] = []
    with pytest.raises(Refused, match=r"cannot be read: .*changed contract\.json.*`make rollback`"):
        promoted(settings, on_decision=pages.append)
    assert pages[0].exists()
    assert deployments.read(settings.store, "local") == seen


def old(bundle: Bundle) -> Bundle:
    """The bundle as an earlier lifecycle wrote it: losses for evidence, and no questions."""
    facts = json.loads((bundle.path / "bundle.json").read_text())
    for name in (evidence.TRAINING, evidence.HOLDOUT):
        (bundle.path / name).unlink()
        del facts["files"][name]
    (bundle.path / evidence.FILE).write_text(
        '{"loss": "log loss", "candidate": [0.1], "trivial": [0.2], "linear": [0.3]}'
    )
    facts["files"][evidence.FILE] = hash_of(bundle.path / evidence.FILE)
    for name in ("reason", "identity"):
        del facts[name]
    (bundle.path / "bundle.json").write_text(json.dumps(facts))
    return open_version(Store(bundle.path.parents[1]), bundle.version)


def test_a_bundle_of_an_earlier_lifecycle_is_told_and_can_be_replaced(tmp_path: Path) -> None:
    settings, team = settings_in(tmp_path), order_team(rows=4000)
    first = old(train(weak(team, max_iter=5, max_depth=2), settings, tmp_path))
    with pytest.raises(Refused, match="was trained by an earlier lifecycle") as caught:
        promoted(settings)
    assert "make train" in str(caught.value)
    deployments.swap(settings.store, "local", None, Deployed(first.version, 0.5), action="promote", who="ana", why="")
    assert promoted(settings, threshold=0.4).current.threshold == 0.4, "what answers may get another threshold"
    second = train(team, settings, tmp_path)
    pages: list[Path] = []
    assert promoted(settings, on_decision=pages.append).current.version == second.version
    assert "was trained on held-out rows is not known" in pages[0].with_suffix(".txt").read_text()
    rollback(settings, team.data, "local", ANA, "", tmp_path)


RACE = """
import sys
from pathlib import Path
from lifecycle.errors import LifecycleError
from lifecycle.jobs.promote import promote
from lifecycle.registry.provenance import Identity
from support.teams import order_team, settings_in
folder = Path({folder!r})
settings, who = settings_in(folder), Identity(sys.argv[1], "login")
print("ready", flush=True)
sys.stdin.readline()
try:
    promote(settings, order_team(rows=4000).data, "local", None, None, who, "", folder)
    print("won")
except LifecycleError as error:
    print(type(error).__name__)
"""


def test_of_eight_racing_promotions_one_wins_and_the_others_are_told(trained: Any, tmp_path: Path) -> None:
    settings = own(trained[0], tmp_path)
    code, there = RACE.format(folder=str(tmp_path)), os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": there}
    racers = [subprocess.Popen([sys.executable, "-c", code, str(at)], **pipes) for at in range(8)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    told = []
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    for racer in racers:
        told.append(racer.communicate()[0].strip())
    # Who comes after the winner finds that its version answers already.
    assert len(settings.store.audit.read_text().splitlines()) == 1
    assert set(told) <= {"won", "DeploymentChanged"}
    assert len(list((settings.store.reports / "local/decisions").glob("*.json"))) >= 1


@pytest.mark.parametrize("task", TARGETS)
def test_the_measure_of_each_task_is_scikit_learns_and_resampling_counts_rows(task: str) -> None:
    from sklearn.metrics import accuracy_score, r2_score, roc_auc_score

    random, answer = np.random.default_rng(0), TARGETS[task]
    actual = random.integers(0, max(len(answer.classes), 2), 300).astype(float)
    given = random.dirichlet([1, 1, 1], 300) if task == "multiclass" else random.random(300).round(1)
    usual = {"binary": roc_auc_score, "multiclass": accuracy_score, "regression": r2_score}[task]
    answered = given.argmax(axis=1) if task == "multiclass" else given
    drawn = random.integers(0, 300, 300)
    weights = np.bincount(drawn, minlength=300).astype(float)
    measure = metrics.weighted_measure(answer, actual, given)
    assert measure(np.ones(len(actual))) == pytest.approx(usual(actual, answered))
    assert measure(weights) == pytest.approx(usual(actual[drawn], answered[drawn]))


def test_a_slice_that_only_the_candidate_gets_wrong_is_seen_from_the_rows(tmp_path: Path) -> None:
    contract, frame = order_team().contract, orders(2000)
    label = frame.returned.to_numpy(float)
    good = np.where(label == 1, 0.8, 0.2)
    bad = np.where(frame.city == "Bonn", 1 - good, good)
    found = evidence.slices(contract, frame, label, bad, good)
    assert found["city=Bonn"]["mean"] - 4 * found["city=Bonn"]["se"] > 0
    assert found["city=Aix"] == {"rows": int((frame.city == "Aix").sum()), "mean": 0.0, "se": 0.0}
    assert not any(name.startswith("order_id") for name in found)
