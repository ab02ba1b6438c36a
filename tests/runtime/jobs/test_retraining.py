"""What renews a model by itself: a retrain for a reason, its guards, and one line of cron that runs what is due."""

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

from lifecycle import schedule, settings, timestamps
from lifecycle.cli import entry
from lifecycle.errors import LifecycleError
from lifecycle.registry import deployments
from lifecycle.settings import Retrain
from lifecycle.storage import Busy, Store, lock
from lifecycle.training import retrain
from lifecycle.training.retrain import Request, Run, Trained
from support.teams import order_team

NOW = timestamps.parse("2026-03-10")
DAY = 86_400


def run_at(days_ago: float, outcome: str = "refused") -> Run:
    return Run(timestamps.format_utc(int(NOW - days_ago * DAY)), "drift", "schedule", "ana", outcome, "v", "", None)


@pytest.mark.parametrize(
    ("runs", "given", "by_hand", "told"),
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
def test_each_guard_holds_a_retrain_back(runs: list[float], given: Any, by_hand: bool, told: str | None) -> None:
    found = retrain.refusal([run_at(days) for days in runs], Retrain(**given), NOW, by_hand)
    assert (found is None) if told is None else (found is not None and told in found)


def test_nothing_is_learned_from_broken_data(here: Store, capsys: pytest.CaptureFixture[str]) -> None:
    ask(here, "schedule")
    (here.reports / "local/monitoring.json").write_text('{"verdict": "incident"}')
    assert entry.main(["retrain", "--due"]) == 0
    assert "nothing is learned from broken data" in capsys.readouterr().out
    assert not here.versions()
    (here.reports / "local/monitoring.json").write_text('{"verdict": "ok"}')
    assert entry.main(["retrain", "--due"]) == 0
    assert here.versions()


def test_a_failed_retrain_counts_so_that_a_scheduler_does_not_try_at_every_tick() -> None:
    assert retrain.refusal([run_at(1, "failed")], Retrain(), NOW, by_hand=False)


@pytest.mark.parametrize(
    ("trained", "given", "reason"),
    [
        (None, {"every_days": 30}, None),
        (Trained(NOW - 31 * DAY, 0), {}, None),
        (Trained(NOW - 31 * DAY, 0), {"every_days": 30}, "schedule"),
        (Trained(NOW - 29 * DAY, 0), {"every_days": 30}, None),
        (Trained(NOW, 500), {"new_labels": 500}, "labels"),
        (Trained(NOW, 499), {"new_labels": 500}, None),
    ],
)
def test_a_schedule_and_new_labels_ask_for_a_retrain(trained: Trained | None, given: Any, reason: str | None) -> None:
    found = retrain.wanted(None, trained, Retrain(**given), NOW)
    assert (found and found[0]) == reason
    assert retrain.wanted(Request("drift", "x", ""), trained, Retrain(**given), NOW) == ("drift", "x")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A project in the working directory, whose team is that of the orders and whose clock stands."""
    (tmp_path / "config").mkdir()
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "orders"\n')
    (tmp_path / "clock").write_text("2026-03-10")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIFECYCLE_TRACKING__ENABLED", "false")
    monkeypatch.setenv("LIFECYCLE_CLOCK", "clock")
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


def ask(store: Store, reason: str = "drift") -> Path:
    """What monitoring writes."""
    folder = store.reports / "local"
    dated = folder / "20260309T000000Z"
    dated.mkdir(parents=True)
    request = {"format": 1, "environment": "local", "as_of": "2026-03-09T00:00:00Z", "reason": reason}
    request |= {"text": "items drifts", "evidence": str(dated / "monitoring.json"), "version": "v"}
    (folder / "retrain_request.json").write_text(json.dumps(request))
    return dated


def test_a_request_is_taken_once_trained_for_its_reason_and_put_beside_its_report(
    here: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert entry.main(["retrain"]) == 0
    first = deployments.required(here, "local").live.version
    use(monkeypatch, weak(None, 60))
    dated = ask(here)
    Path("clock").write_text("2026-03-20")
    assert entry.main(["retrain", "--due"]) == 0
    live = deployments.required(here, "local")
    assert live.live.version != first
    assert live.changed == "2026-03-20T00:00:00+00:00"
    assert "retrain (drift): items drifts" in live.why
    assert (dated / "retrain_done.json").exists()
    runs = retrain.runs(here, "local")
    assert [(run.reason, run.by, run.outcome) for run in runs] == [
        ("manual", "hand", "promoted"),
        ("drift", "schedule", "promoted"),
    ]
    facts = json.loads((here.bundles / live.live.version / "bundle.json").read_text())
    assert facts["reason"] == "drift"
    assert facts["version"].startswith("20260320T000000")
    capsys.readouterr()
    assert entry.main(["retrain", "--due"]) == 0
    assert capsys.readouterr().out == f"{retrain.NOTHING}\n"
    assert len(retrain.runs(here, "local")) == 2


def test_a_candidate_that_the_gate_refuses_is_no_error_and_says_where_the_decision_is(
    here: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    use(monkeypatch, weak(None, 60))
    assert entry.main(["retrain"]) == 0
    first = deployments.required(here, "local")
    use(monkeypatch, weak(2))
    ask(here)
    assert entry.main(["retrain"]) == 0
    told = capsys.readouterr().out
    assert "refused: " in told
    assert "it may be worse by more than 0.015" in told
    [page] = [line.removeprefix("decision: ") for line in told.splitlines() if line.startswith("decision: ")][1:]
    assert Path(page).exists()
    assert deployments.required(here, "local") == first
    assert not (here.reports / "local/retrain_request.json").exists()
    assert entry.main(["retrain"]) == 0
    assert "most_a_week" in capsys.readouterr().out
    assert entry.main(["retrain", "--force"]) == 0
    assert len(retrain.runs(here, "local")) == 3


def test_a_retrain_that_fails_is_recorded_and_its_request_stays(here: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    team = weak(2)
    use(monkeypatch, replace(team, estimator=SimpleNamespace(candidate=lambda inputs, seed: 1 / 0)))
    ask(here)
    with pytest.raises(ZeroDivisionError):
        entry.main(["retrain"])
    assert [run.outcome for run in retrain.runs(here, "local")] == ["failed"]
    assert (here.reports / "local/retrain_request.json").exists()


def test_of_two_retrains_at_once_one_is_told(here: Store, capsys: pytest.CaptureFixture[str]) -> None:
    with lock(here.runs / ".local.retrain.lock"):
        assert entry.main(["retrain"]) == 1
    assert "another retrain is under way" in capsys.readouterr().err
    assert not here.versions()


@pytest.mark.parametrize("written", ["{", "[]", '{"reason": "drift"}'])
def test_a_request_that_cannot_be_read_is_named(here: Store, written: str, capsys: pytest.CaptureFixture[str]) -> None:
    ask(here)
    (here.reports / "local/retrain_request.json").write_text(written)
    assert entry.main(["retrain"]) == 1
    assert "retrain_request.json is no request" in capsys.readouterr().err


def test_the_history_is_told_and_asked_about_a_moment(here: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert entry.main(["history"]) == 0
    assert "nothing has answered in local yet" in capsys.readouterr().out
    assert entry.main(["retrain"]) == 0
    version = deployments.required(here, "local").live.version
    capsys.readouterr()
    assert entry.main(["history"]) == 0
    told = capsys.readouterr().out
    assert f"2026-03-10T00:00:00Z to now  {version}  threshold 0.5" in told
    assert "decision: " in told
    assert entry.main(["history", "--at", "2026-03-09"]) == 1
    here.audit.write_text(here.audit.read_text().replace('"promote"', '"rollback"') + '{"after": ""}\n')
    assert entry.main(["history"]) == 1
    assert "does not follow from itself" in capsys.readouterr().err


def scheduled(**verbs: str) -> None:
    Path("config/base.yaml").write_text(json.dumps({"schedule": verbs}))


def test_a_misspelt_verb_is_told_before_anything_runs(here: Store, capsys: pytest.CaptureFixture[str]) -> None:
    scheduled(history="1h", colect="15m")
    assert entry.main(["run-due"]) == 1
    told = capsys.readouterr()
    assert "schedule names colect, which is no verb; is collect meant?" in told.err
    assert "== history" not in told.out


def test_what_is_due_runs_once_and_one_failure_stops_no_other(here: Store, capsys: pytest.CaptureFixture[str]) -> None:
    scheduled(score="1d", history="1h", config="2h", retrain="7d")
    Path("clock").write_text("2026-03-10T00:00:00Z")
    assert entry.main(["run-due"]) == 1
    told = capsys.readouterr()
    assert [line for line in told.out.splitlines() if line.startswith("== ")] == [
        "== score",
        "== history",
        "== config",
        "== retrain",
    ]
    assert retrain.NOTHING in told.out, "by itself a retrain waits for a reason"
    assert "of what was due, score failed" in told.err
    assert {verb: run["code"] for verb, run in schedule.read(here, "local").items()} == {
        "score": 1,
        "history": 0,
        "config": 0,
        "retrain": 0,
    }
    for moment, due in (
        ("2026-03-10T00:54:59Z", []),
        ("2026-03-10T01:00:00Z", ["history"]),
        ("2026-03-10T02:00:00Z", ["history", "config"]),
    ):
        Path("clock").write_text(moment)
        assert entry.main(["run-due"]) == 0
        assert [line[3:] for line in capsys.readouterr().out.splitlines() if line.startswith("== ")] == due


def test_cron_that_is_never_on_time_runs_every_verb_at_each_tick(here: Store) -> None:
    every = {"collect": 3600, "monitor": 3600}
    for hour in range(48):
        now = NOW + hour * 3600 + (2, -2, 0)[hour % 3]
        assert schedule.due(here, "local", every, now) == [*every]
        for verb in every:
            schedule.record(here, "local", verb, now, 0)


def test_two_schedulers_at_once_run_nothing_twice(here: Store, capsys: pytest.CaptureFixture[str]) -> None:
    scheduled(history="1h")
    with lock(here.runs / ".local.lock"):
        assert entry.main(["run-due"]) == 0
    assert "another run is under way" in capsys.readouterr().out
    assert schedule.read(here, "local") == {}


@pytest.mark.parametrize("code", ["raise SystemExit(2)", "raise RuntimeError('a defect')", "raise SystemExit('said')"])
def test_a_defect_of_one_job_keeps_no_other_from_its_turn(
    here: Store, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    scheduled(config="1h", history="1h")
    usual = entry.main

    def main(words: list[str]) -> int:
        if words[0] == "config":
            exec(code)
        return usual(words)

    monkeypatch.setattr(entry, "main", main)
    assert usual(["run-due"]) == 1
    assert [run["code"] > 0 for run in schedule.read(here, "local").values()] == [True, False]


@pytest.mark.parametrize("interval", ["", "1", "1 h", "-1h", "0d", "1w", "1.5h", 7, None, "100000d"])
def test_an_interval_that_is_none_is_refused_when_settings_are_read(here: Store, interval: Any) -> None:
    Path("config/base.yaml").write_text(json.dumps({"schedule": {"monitor": interval}}))
    with pytest.raises(LifecycleError, match=r"config/base.yaml: schedule\.monitor: .*such as 15m, 1h or 7d"):
        settings.load(Path())


def test_intervals_are_seconds_and_are_told_as_people_write_them(here: Store) -> None:
    scheduled(monitor="1d", collect="90m", retrain="2h")
    loaded = settings.load(Path())
    assert loaded.settings.schedule == {"monitor": DAY, "collect": 5400, "retrain": 7200}
    told = [line.split("  (")[0] for line in loaded.lines() if line.startswith("schedule")]
    assert told == ["schedule.monitor = '1d'", "schedule.collect = '90m'", "schedule.retrain = '2h'"]


@pytest.mark.parametrize("verb", ["serve", "run-due"])
def test_what_never_ends_is_not_scheduled(here: Store, verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("config/base.yaml").write_text(json.dumps({"schedule": {verb: "1h"}}))
    assert entry.main(["run-due"]) == 1
    assert f"schedule names {verb}" in capsys.readouterr().err


def test_a_killed_retrain_leaves_its_lock_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    told = "print(1, flush=True); input()"
    code = f"from pathlib import Path; from lifecycle.storage import lock\nwith lock(Path({str(path)!r})): {told}"
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
