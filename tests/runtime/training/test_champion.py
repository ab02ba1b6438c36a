"""Promotion against a champion: compared on the same rows, or refused with the reason."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from lifecycle.errors import Refused
from lifecycle.jobs.promote import promote, rollback
from lifecycle.models import metrics
from lifecycle.models.bundle import Bundle, open_version
from lifecycle.registry import deployments
from lifecycle.registry.deployments import Deployed
from lifecycle.settings import Gate, Settings
from lifecycle.storage import Store, hash_of
from lifecycle.training import evidence
from lifecycle.training.train import train
from support.gate import ANA, own, promoted, weak
from support.teams import TARGETS, CityMeans, order_team, settings_in


def test_promotion_is_refused_when_skew_cannot_be_measured(
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
    assert [check["name"] for check in checks if check["outcome"] == "not compared"] == ["skew"]


@pytest.mark.parametrize("skew", [{"problem": "no table visits"}, {"rows": 9, "different": 9, "columns": {"items": 9}}])
def test_skew_of_other_features_is_not_held_against_the_candidate(
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


def test_each_decision_is_written_as_json_and_page(trained: Any, tmp_path: Path) -> None:
    settings = own(trained[0], tmp_path)
    pages: list[Path] = []
    first = promoted(settings, version=trained[1].version, on_decision=pages.append)
    strict = settings.model_copy(update={"gate": Gate(max_megabytes=0.001)})
    with pytest.raises(Refused, match=r"All checks: .*\.html"):
        promoted(strict, on_decision=pages.append)
    assert deployments.read(settings.store, "local") == first
    second = promoted(settings, why="it is <b>better</b>", on_decision=pages.append)
    verdicts = [json.loads(page.with_suffix(".json").read_text())["verdict"] for page in pages]
    assert verdicts == ["passed", "failed", "passed"]
    assert len({*pages}) == 3
    document = json.loads(pages[2].with_suffix(".json").read_text())
    assert (document["version"], document["champion"]) == (trained[2].version, trained[1].version)
    assert document["checks"][0]["numbers"]["rows"] > 200
    refused = pages[1].read_text()
    assert f"{trained[2].version}\nmay not be deployed in local" in refused
    assert ">Size</th><td>failed</td><td>the bundle has" in re.sub(r"\s*\n\s*", "", refused)
    assert "&lt;b&gt;better" in pages[2].read_text()
    [line] = [each for each in settings.store.audit.read_text().splitlines() if second.current.version in each]
    assert settings.storage / json.loads(line)["evidence"]["decision"] == pages[2]


def test_promoting_an_equal_model_is_refused(trained: Any, tmp_path: Path) -> None:
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
def test_each_task_is_compared_by_its_own_measure(task: str, tmp_path: Path) -> None:
    settings, team = settings_in(tmp_path), order_team(task, rows=3000)
    boosting = HistGradientBoostingRegressor if task == "regression" else HistGradientBoostingClassifier
    shallow = boosting(max_iter=4, max_depth=2, learning_rate=0.3)
    own = SimpleNamespace(candidate=lambda inputs, seed: shallow, baselines=team.estimator.baselines)
    train(replace(team, estimator=own), settings, tmp_path)
    first = promote(settings, team.data, "local", None, None, ANA, "", tmp_path)
    second = train(team, settings, tmp_path)
    done = promote(settings, team.data, "local", None, None, ANA, "", tmp_path)
    assert f"it is surely better: {metrics.measure_names(TARGETS[task])[0]} +0." in done.why
    assert done.current == Deployed(second.version, None)
    with pytest.raises(Refused, match=r"was trained before .* was deployed and never compared with it"):
        promote(settings, team.data, "local", first.current.version, None, ANA, "", tmp_path)


def test_equal_predictions_under_another_contract_are_promoted(tmp_path: Path) -> None:
    settings, team = settings_in(tmp_path), order_team(rows=4000)
    train(team, settings, tmp_path)
    promoted(settings)
    second = train(replace(team, contract=replace(team.contract, version=2)), settings, tmp_path)
    with pytest.raises(Refused, match=r"contract version 1 .* their client refuses responses of version 2") as caught:
        promoted(settings)
    assert "predicts the same" not in str(caught.value)
    done = promoted(settings, override="both clients are replaced tonight")
    assert done.current.version == second.version
    assert "it predicts the same as the champion" in done.why


def test_a_version_that_was_trained_before_the_champion_was_deployed_is_not_compared(tmp_path: Path) -> None:
    settings, team = settings_in(tmp_path), order_team(rows=4000)
    first = train(weak(team, max_iter=5, max_depth=2), settings, tmp_path)
    second = train(team, settings, tmp_path)
    promoted(settings, version=first.version)
    never = f"not compared: {second.version} was trained before {first.version} was deployed"
    with pytest.raises(Refused, match=rf"(?s){never} and never compared with it\n    Run `make train`") as caught:
        promoted(settings)
    assert "failed" not in str(caught.value)
    third = train(team, settings, tmp_path)
    done = promoted(settings)
    assert done.current.version == third.version
    assert "it is surely better: ROC AUC +0." in done.why


def test_a_champion_with_another_target_is_not_compared(tmp_path: Path) -> None:
    settings, team = settings_in(tmp_path), order_team(rows=4000)
    train(team, settings, tmp_path)
    first = promoted(settings)
    other = replace(
        team, contract=replace(order_team("multiclass").contract, version=2), data=order_team("multiclass", 4000).data
    )
    other = replace(other, estimator=order_team("multiclass").estimator)
    second = train(other, settings, tmp_path)
    assert evidence.read(second).incomparable == {first.current.version: f"{first.current.version} has another target"}
    with pytest.raises(Refused, match=r"not compared: the champion .* has another target"):
        promote(settings, other.data, "local", None, None, ANA, "", tmp_path)
    done = promote(settings, other.data, "local", None, None, ANA, "", tmp_path, override="agreed with product")
    assert done.current.threshold is None


def test_a_champion_that_does_not_load_is_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, team = settings_in(tmp_path), order_team(rows=4000, name="looseleaf-lifecycle")
    baselines = team.estimator.baselines(None, 0)
    means = SimpleNamespace(
        candidate=lambda inputs, seed: CityMeans(),
        baselines=lambda inputs, seed: baselines | {"linear": baselines["trivial"]},
    )
    first = train(replace(team, estimator=means), settings, tmp_path)
    assert first.kind == "python"
    live = Deployed(first.version, 0.5)
    deployments.swap(settings.store, "local", None, live, action="promote", who="ana", why="")

    def missing(bundle: Bundle) -> Any:
        raise AttributeError("load")

    monkeypatch.setattr("lifecycle.models.predictor.load_class", missing)
    second = train(team, settings, tmp_path)
    with pytest.raises(Refused, match=r"(?s)not compared: the champion .* does not load .*`make rollback`"):
        promoted(settings)
    assert promoted(settings, override="it never loaded").current.version == second.version
    assert audited(settings)["override"]["checks"] == ["champion"]


def test_promotion_is_refused_when_the_bundle_of_the_champion_was_edited(tmp_path: Path) -> None:
    settings, team = settings_in(tmp_path), order_team(rows=4000)
    first = train(weak(team, max_iter=5, max_depth=2), settings, tmp_path)
    seen = promoted(settings)
    (first.path / "contract.json").write_text("{}")
    second = train(team, settings, tmp_path)
    assert list(evidence.read(second).failed) == [first.version]
    pages: list[Path] = []
    with pytest.raises(Refused, match=r"(?s)cannot be read.*changed contract\.json.*`make rollback`") as caught:
        promoted(settings, on_decision=pages.append)
    assert "failed" not in str(caught.value)
    assert json.loads(pages[0].with_suffix(".json").read_text())["verdict"] == "not compared"
    assert deployments.read(settings.store, "local") == seen
    # The checks that need no champion are made all the same.
    strict = settings.model_copy(update={"gate": Gate(max_megabytes=0.001)})
    with pytest.raises(Refused, match="failed: the bundle has"):
        promoted(strict)


def audited(settings: Settings) -> Any:
    """Return the evidence in the last line of the audit log."""
    return json.loads(settings.store.audit.read_text().splitlines()[-1])["evidence"]


def old(bundle: Bundle) -> Bundle:
    """The bundle as an earlier lifecycle wrote it: losses for evidence, and no questions."""
    facts = json.loads((bundle.path / "bundle.json").read_text())
    for name in (evidence.DEPLOYED, evidence.EVALUATED, evidence.IDS, evidence.HOLDOUT):
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


def test_a_bundle_of_an_earlier_release_is_not_promoted_and_can_be_replaced(tmp_path: Path) -> None:
    settings, team = settings_in(tmp_path), order_team(rows=4000)
    first = old(train(weak(team, max_iter=5, max_depth=2), settings, tmp_path))
    with pytest.raises(Refused, match=r"not compared: .* was trained by an earlier lifecycle") as caught:
        promoted(settings)
    assert "make train" in str(caught.value)
    assert "failed" not in str(caught.value)
    deployments.swap(settings.store, "local", None, Deployed(first.version, 0.5), action="promote", who="ana", why="")
    assert promoted(settings, threshold=0.4).current.threshold == 0.4, "the threshold of a deployed version may change"
    second = train(team, settings, tmp_path)
    pages: list[Path] = []
    assert promoted(settings, on_decision=pages.append).current.version == second.version
    assert "rows, some of which it may have been fitted to" in pages[0].read_text()
    rollback(settings, team.data, "local", ANA, "", tmp_path)


RACE = """
import sys
from pathlib import Path
from lifecycle.errors import LifecycleError
from lifecycle.jobs.promote import promote
from lifecycle.registry import Identity
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


def test_one_of_four_concurrent_promotions_succeeds(trained: Any, tmp_path: Path) -> None:
    settings = own(trained[0], tmp_path)
    code, there = RACE.format(folder=str(tmp_path)), os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": there}
    racers = [subprocess.Popen([sys.executable, "-c", code, str(at)], **pipes) for at in range(4)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    outcomes = []
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("\n")
        racer.stdin.flush()
    for racer in racers:
        outcomes.append(racer.communicate()[0].strip())
    # A promotion that starts after the winner's finds its version deployed already.
    assert len(settings.store.audit.read_text().splitlines()) == 1
    assert set(outcomes) <= {"won", "DeploymentChanged"}
    assert len(list((settings.store.reports / "local/decisions").glob("*.json"))) >= 1
