"""Retraining: what demands it, what forbids it, and the record of each run."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from lifecycle import cli, timestamps
from lifecycle.errors import LifecycleError
from lifecycle.jobs import retrain
from lifecycle.jobs.retrain import Request, Run
from lifecycle.registry import deployments
from lifecycle.settings import Retrain
from lifecycle.storage import Busy, Store, lock
from support.teams import order_team

NOW = timestamps.parse("2026-03-10")
DAY = 86_400
BROKEN = """monitoring reports an incident as of 2026-03-09T00:00:00Z, and no model is trained on broken data
  Fix or accept what the report names, then run `make monitor`; `make retrain FORCE=1 WHY="…"` trains anyway and records
""".rstrip()


def run_at(days_ago: float, outcome: str = "refused") -> Run:
    return Run(timestamps.format_utc(int(NOW - days_ago * DAY)), "drift", "schedule", "ana", outcome, "v", "", None)


@pytest.mark.parametrize(
    ("runs", "given", "by_hand", "problem"),
    [
        ([], {}, False, None),
        ([], {"enabled": False}, False, "switched off"),
        ([], {"enabled": False}, True, None),
        ([6.9], {}, False, "cooldown_days"),
        ([7.1], {}, False, None),
        ([0.1], {}, True, None),
        ([6, 3], {"cooldown_days": 1}, False, "most_a_week is 2"),
        ([6, 3], {}, True, "most_a_week is 2"),
        ([8, 3], {"cooldown_days": 1}, False, None),
    ],
)
def test_each_guard_refuses_a_retrain(runs: list[float], given: Any, by_hand: bool, problem: str | None) -> None:
    found = retrain.refusal([run_at(days) for days in runs], Retrain(**given), NOW, by_hand)
    assert (found is None) if problem is None else (found is not None and problem in found)


def test_a_due_retrain_is_refused_during_an_incident(here: Store, capsys: pytest.CaptureFixture[str]) -> None:
    request(here, "schedule")
    report(here, "incident")
    assert cli.main(["retrain", "--due"]) == 0
    assert "no model is trained on broken data" in capsys.readouterr().out
    assert not here.versions()
    report(here, "ok")
    assert cli.main(["retrain", "--due"]) == 0
    assert here.versions()


def test_a_retrain_by_hand_during_an_incident_needs_force_and_a_reason(
    here: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    report(here, "incident")
    assert cli.main(["retrain"]) == 0
    assert f"no retrain (manual): {BROKEN}" in capsys.readouterr().out
    for why in ([], ["--why", " "]):
        assert cli.main(["retrain", "--force", *why]) == 1
        assert BROKEN in capsys.readouterr().err
    assert not here.versions()
    assert cli.main(["retrain", "--force", "--why", "nulls are legitimate"]) == 0
    assert "by hand; during an incident, because nulls are legitimate" in capsys.readouterr().out
    [run] = retrain.runs(here, "local")
    assert (run.outcome, run.why) == ("promoted", "nulls are legitimate")
    assert "because nulls are legitimate" in deployments.required(here, "local").why


@pytest.mark.parametrize("options", [[], ["--why", "nulls are legitimate"], ["--force"], ["--force", "--why", " "]])
def test_nothing_is_trained_by_hand_during_an_incident_without_force_and_a_reason(
    here: Store, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    report(here, "incident")
    assert cli.main(["train", *options]) == 1
    assert BROKEN.replace("retrain", "train") in capsys.readouterr().err
    assert not here.versions()
    assert not retrain.runs(here, "local")


def test_training_by_hand_during_an_incident_is_recorded_with_its_reason(here: Store) -> None:
    assert cli.main(["train"]) == 0
    assert not retrain.runs(here, "local"), "there is no report yet"
    first = {*here.versions()}
    report(here, "incident")
    assert cli.main(["train", "--force", "--why", "nulls are legitimate", "--reason", "drift"]) == 0
    [run] = retrain.runs(here, "local")
    assert (run.reason, run.by, run.outcome, {run.version}) == ("drift", "hand", "trained", {*here.versions()} - first)
    assert run.why == "nulls are legitimate"
    assert run.who
    report(here, "ok")
    request(here)
    assert cli.main(["retrain", "--due"]) == 0
    assert len(retrain.runs(here, "local")) == 2, "a version that was trained by hand starts no cooldown"
    assert cli.main(["train"]) == 0
    assert len(retrain.runs(here, "local")) == 2


def test_an_incident_of_another_environment_forbids_no_training(here: Store) -> None:
    report(here, "incident", "staging")
    assert cli.main(["train"]) == 0
    assert cli.main(["train", "--environment", "staging"]) == 1


def test_a_refused_retrain_names_environment_and_reason_in_its_hint(
    here: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    report(here, "incident", "staging")
    given = ["--environment", "staging", "--reason", "drift"]
    assert cli.main(["retrain", *given]) == 0
    output = capsys.readouterr().out
    assert '`make retrain FORCE=1 WHY="…" REASON=drift ENVIRONMENT=staging`' in output
    assert "`make monitor ENVIRONMENT=staging`" in output
    assert cli.main(["train", *given]) == 1
    assert '`make train FORCE=1 WHY="…" REASON=drift ENVIRONMENT=staging`' in capsys.readouterr().err
    report(here, "ok", "staging")
    for outcome in ("refused", "refused"):
        retrain.record(here, "staging", run_at(1, outcome))
    assert cli.main(["retrain", *given]) == 0
    assert "`make retrain FORCE=1 REASON=drift ENVIRONMENT=staging`" in capsys.readouterr().out


def test_a_line_that_a_killed_retrain_left_is_skipped_and_one_of_another_kind_is_an_error(tmp_path: Path) -> None:
    store, path = Store(tmp_path), tmp_path / "reports/local/retrains.jsonl"
    retrain.record(store, "local", run_at(2))
    with path.open("a") as file:
        file.write('{"started": "20')
    assert retrain.runs(store, "local") == [run_at(2)]
    retrain.record(store, "local", run_at(1))
    assert retrain.runs(store, "local") == [run_at(2), run_at(1)]
    path.write_text('{"at": 1}\n')
    with pytest.raises(LifecycleError, match=r"a line of .*retrains\.jsonl is not a valid record of a retrain"):
        retrain.runs(store, "local")


def test_a_failed_retrain_counts_for_the_cooldown() -> None:
    assert retrain.refusal([run_at(1, "failed")], Retrain(), NOW, by_hand=False)


@pytest.mark.parametrize(
    ("trained", "given", "reason"),
    [
        (None, {"every_days": 30}, None),
        ((NOW - 31 * DAY, 0), {}, None),
        ((NOW - 31 * DAY, 0), {"every_days": 30}, "schedule"),
        ((NOW - 29 * DAY, 0), {"every_days": 30}, None),
        ((NOW, 500), {"new_labels": 500}, "labels"),
        ((NOW, 499), {"new_labels": 500}, None),
    ],
)
def test_schedule_and_new_labels_demand_a_retrain(
    trained: tuple[int, int] | None, given: Any, reason: str | None
) -> None:
    found = retrain.demand(None, trained, Retrain(**given), NOW)
    assert (found and found[0]) == reason
    assert retrain.demand(Request("drift", "x", ""), trained, Retrain(**given), NOW) == ("drift", "x")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A project in the working directory, whose team is that of the orders, on 2026-03-10."""
    (tmp_path / "config").mkdir()
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "orders"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIFECYCLE_TRACKING__ENABLED", "false")
    monkeypatch.setattr(timestamps, "clock", lambda: NOW)
    use(monkeypatch, weak(2))
    return Store(tmp_path / "storage")


def weak(depth: int | None, iterations: int = 5) -> Any:
    team = order_team(rows=4000)
    made = HistGradientBoostingClassifier(max_iter=iterations, max_depth=depth, random_state=0)
    own = SimpleNamespace(candidate=lambda inputs, seed: made, baselines=team.estimator.baselines)
    return replace(team, estimator=own)


def use(monkeypatch: pytest.MonkeyPatch, team: Any) -> None:
    monkeypatch.setattr("lifecycle.contract.team.load", lambda root: team)
    monkeypatch.setattr("lifecycle.contract.team.load_data", lambda: team.data)


def report(store: Store, verdict: str, environment: str = "local") -> None:
    """Write a report as monitoring does."""
    folder = store.reports / environment
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "monitoring.json").write_text(json.dumps({"verdict": verdict, "as_of": "2026-03-09T00:00:00Z"}))


def request(store: Store, reason: str = "drift") -> Path:
    """Write a request as monitoring does."""
    folder = store.reports / "local"
    dated = folder / "20260309T000000Z"
    dated.mkdir(parents=True)
    content = {"format": 1, "environment": "local", "as_of": "2026-03-09T00:00:00Z", "reason": reason}
    content |= {"text": "items drifts", "evidence": str(dated / "monitoring.json"), "version": "v"}
    (folder / "retrain_request.json").write_text(json.dumps(content))
    return dated


def test_a_request_is_served_once_and_moved_next_to_its_report(
    here: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["retrain"]) == 0
    first = deployments.required(here, "local").current.version
    use(monkeypatch, weak(None, 60))
    dated = request(here)
    monkeypatch.setattr(timestamps, "clock", lambda: NOW + 10 * DAY)
    assert cli.main(["retrain", "--due"]) == 0
    live = deployments.required(here, "local")
    assert live.current.version != first
    assert live.changed == "2026-03-20T00:00:00+00:00"
    assert "retrain (drift): items drifts" in live.why
    assert (dated / "retrain_done.json").exists()
    runs = retrain.runs(here, "local")
    assert [(run.reason, run.by, run.outcome) for run in runs] == [
        ("manual", "hand", "promoted"),
        ("drift", "schedule", "promoted"),
    ]
    facts = json.loads((here.bundles / live.current.version / "bundle.json").read_text())
    assert facts["reason"] == "drift"
    assert facts["version"].startswith("20260320T000000")
    capsys.readouterr()
    assert cli.main(["retrain", "--due"]) == 0
    assert capsys.readouterr().out == f"{retrain.NOT_DUE}\n"
    assert len(retrain.runs(here, "local")) == 2


def test_a_refused_candidate_is_not_an_error_and_the_decision_page_is_named(
    here: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, weak(None, 60))
    assert cli.main(["retrain"]) == 0
    first = deployments.required(here, "local")
    use(monkeypatch, weak(2))
    request(here)
    assert cli.main(["retrain"]) == 0
    output = capsys.readouterr().out
    assert "refused: " in output
    assert "it may be worse by more than 0.015" in output
    [page] = [line.removeprefix("decision: ") for line in output.splitlines() if line.startswith("decision: ")][1:]
    assert Path(page).exists()
    assert deployments.required(here, "local") == first
    assert not (here.reports / "local/retrain_request.json").exists()
    assert cli.main(["retrain"]) == 0
    assert "most_a_week" in capsys.readouterr().out
    assert cli.main(["retrain", "--force"]) == 0
    assert len(retrain.runs(here, "local")) == 3


def test_a_candidate_that_was_not_compared_is_refused(here: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, weak(2))
    assert cli.main(["retrain"]) == 0
    first = deployments.required(here, "local")
    (here.bundles / first.current.version / "golden.jsonl").unlink()
    use(monkeypatch, weak(None, 60))
    request(here)
    assert cli.main(["retrain"]) == 0
    assert deployments.required(here, "local") == first
    run = retrain.runs(here, "local")[-1]
    assert run.outcome == "refused"
    assert "not compared: the deployed version cannot be read" in run.text
    assert cli.main(["promote", str(run.version), "--override", "the folder is lost"]) == 0
    assert deployments.required(here, "local").current.version == run.version


def test_a_retrain_that_fails_is_recorded_and_its_request_stays(here: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    team = weak(2)
    broken = SimpleNamespace(candidate=lambda inputs, seed: 1 / 0, baselines=team.estimator.baselines)
    use(monkeypatch, replace(team, estimator=broken))
    request(here)
    with pytest.raises(ZeroDivisionError):
        cli.main(["retrain"])
    assert [run.outcome for run in retrain.runs(here, "local")] == ["failed"]
    assert (here.reports / "local/retrain_request.json").exists()


def test_a_second_retrain_at_the_same_time_is_refused(here: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with lock(here.runs / ".local.retrain.lock"):
        assert cli.main(["retrain"]) == 1
    assert "another retrain is running" in capsys.readouterr().err
    assert not here.versions()


@pytest.mark.parametrize("written", ["{", "[]", '{"reason": "drift"}'])
def test_a_damaged_request_is_reported(here: Store, written: str, capsys: pytest.CaptureFixture[str]) -> None:
    request(here)
    (here.reports / "local/retrain_request.json").write_text(written)
    assert cli.main(["retrain"]) == 1
    assert "retrain_request.json is not a valid request" in capsys.readouterr().err


def test_history_lists_periods_and_finds_one_by_timestamp(here: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["history"]) == 0
    assert "nothing has been deployed in local yet" in capsys.readouterr().out
    assert cli.main(["retrain"]) == 0
    version = deployments.required(here, "local").current.version
    capsys.readouterr()
    assert cli.main(["history"]) == 0
    output = capsys.readouterr().out
    assert f"2026-03-10T00:00:00Z to now  {version}  threshold 0.5" in output
    assert "decision: " in output
    assert cli.main(["history", "--at", "2026-03-09"]) == 1


def test_the_lock_of_a_killed_retrain_is_released(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    body = "print(1, flush=True); input()"
    code = f"from pathlib import Path; from lifecycle.storage import lock\nwith lock(Path({str(path)!r})): {body}"
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    with pytest.raises(Busy), lock(path, wait=False):
        pass
    holder.kill()
    holder.communicate()
    with lock(path, wait=False):
        pass
