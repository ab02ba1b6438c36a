"""A version that failed a check or could not be compared is deployed only with a reason, which is recorded."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lifecycle import cli
from lifecycle.errors import Refused
from lifecycle.models.bundle import Bundle
from lifecycle.registry import deployments
from lifecycle.settings import Gate, Settings
from lifecycle.training import FAILED, HINTS, NOT_COMPARED, PASSED, Check, Decision
from lifecycle.training.gate import Case, decide
from lifecycle.training.train import train
from support.gate import own, promoted, swapped, weak
from support.teams import order_team, settings_in


def audited(settings: Settings) -> list[dict[str, Any]]:
    return [json.loads(line) for line in settings.store.audit.read_text().splitlines()]


@pytest.fixture
def champion(trained: Any, tmp_path: Path) -> Settings:
    """Settings of a storage in which the weaker version is deployed."""
    settings = own(trained[0], tmp_path)
    promoted(settings, version=trained[1].version)
    return settings


def test_a_decision_failed_before_it_was_not_compared_before_it_passed() -> None:
    some = [Check("rows", outcome, "") for outcome in (PASSED, NOT_COMPARED, FAILED)]
    assert [Decision(tuple(some[:count])).outcome for count in (1, 2, 3)] == ["passed", "not compared", "failed"]
    assert [check.passed for check in some] == [True, False, False]


@pytest.mark.parametrize(
    ("limits", "outcome", "check"),
    [({"max_megabytes": 0.001}, "failed", "size"), ({"min_rows": 10**6}, "not compared", "rows")],
)
def test_only_a_reason_deploys_a_version_that_did_not_pass(
    champion: Settings, limits: dict[str, Any], outcome: str, check: str
) -> None:
    settings = champion.model_copy(update={"gate": Gate(**limits)})
    before, newest = deployments.read(settings.store, "local"), settings.store.versions()[-1]
    for override in ("", "  "):
        with pytest.raises(Refused, match=f"\n  {outcome}: ") as caught:
            promoted(settings, override=override)
        assert f'`make promote VERSION={newest} OVERRIDE="reason"`' in caught.value.hint
    assert deployments.read(settings.store, "local") == before
    pages: list[Path] = []
    done = promoted(settings, override="it is <b>urgent", on_decision=pages.append)
    assert done.current.version == newest
    document = json.loads(pages[0].with_suffix(".json").read_text())
    assert (document["verdict"], document["override"], document["overridden"]) == (outcome, "it is <b>urgent", [check])
    text = " ".join(pages[0].read_text().split())
    assert f"<strong>{outcome}</strong>: {newest} may be deployed in local" in text
    assert "<strong>Overridden</strong> by ana (recorded, not verified): it is &lt;b&gt;urgent." in text
    assert f"Checks that did not pass: {check}." in text
    line = audited(settings)[-1]
    assert (line["who"], line["evidence"]["source"]) == ("ana", "login")
    wanted = {"reason": "it is <b>urgent", "checks": [check], "verdict": outcome}
    assert line["evidence"]["override"] == wanted


def test_a_reason_that_overrides_nothing_is_not_recorded_as_an_override(champion: Settings) -> None:
    pages: list[Path] = []
    promoted(champion, override="to be safe", on_decision=pages.append)
    assert "override" not in audited(champion)[-1]["evidence"]
    assert "Overridden" not in pages[0].read_text()


def test_history_shows_who_overrode_which_check_and_why(
    champion: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    promoted(champion.model_copy(update={"gate": Gate(min_rows=10**6)}), override="the old rows are lost")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LIFECYCLE_STORAGE", str(champion.storage))
    assert cli.main(["history"]) == 0
    shown = capsys.readouterr().out
    assert "promote by ana (name recorded, not verified)" in shown
    assert shown.count("    not compared, overridden (rows): the old rows are lost\n") == 1


def test_train_and_promote_report_calibration_and_thresholds(
    champion: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    settings, team = champion.model_copy(update={"storage": tmp_path}), order_team(rows=4000)
    (tmp_path / "docs").mkdir()
    costs = "| Predicted *returns*, is *keeps* | | 1 EUR | |\n| Predicted *keeps*, is *returns* | | 4 EUR | |\n"
    (tmp_path / "docs/agreement.md").write_text(costs)
    train(team, settings, tmp_path)
    promoted(settings, threshold=0.3)
    monkeypatch.setattr("lifecycle.contract.team.load", lambda root: team)
    monkeypatch.chdir(tmp_path)
    given = {"STORAGE": settings.storage, "TRACKING__ENABLED": "false"}
    for name, value in given.items():
        monkeypatch.setenv(f"LIFECYCLE_{name}", str(value))
    assert cli.main(["train"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"- evaluated: fitted to [\d,]+ rows, chosen with", shown)
    assert re.search(r"\|  \| log_loss \| brier \| expected_calibration_error \|.*\n.*\n\| candidate \| 0\.\d+", shown)
    assert re.search(r"(\| 0\.\d{4} \| \d\.\d{4} \| \d+ \|\n){10}", shown)
    for row in (r"deployed in local \| 0\.3", r"proposed \| 0\.2"):
        assert re.search(rf"\| {row} \| [\d,]+ \| 0\.\d{{3}} \| 0\.\d{{3}} \|", shown)
    pages: list[Path] = []
    with pytest.raises(Refused, match="nothing to gain"):
        promoted(settings, threshold=0.4, on_decision=pages.append)
    found = json.loads(pages[0].with_suffix(".json").read_text())["calibration"]
    thresholds = {name: each["threshold"] for name, each in found["thresholds"].items()}
    assert thresholds == {"deployed": 0.3, "requested": 0.4, "proposed": 0.2}
    assert len(found["bins"]) == 10
    assert "Calibration on held-out rows. Predicted probability" in pages[0].read_text()
    assert "a false positive costs\n1 and a false negative 4 (docs/agreement.md)." in pages[0].read_text()
    assert "A false positive costs 1 and a false negative 4 (docs/agreement.md)." in shown


def test_the_first_version_needs_no_champion(trained: Any, tmp_path: Path) -> None:
    settings, pages = own(trained[0], tmp_path), list[Path]()
    promoted(settings, version=trained[1].version, on_decision=pages.append)
    assert json.loads(pages[0].with_suffix(".json").read_text())["verdict"] == "passed"


def test_a_lower_contract_version_breaks_callers_too(tmp_path: Path) -> None:
    settings, team = settings_in(tmp_path), order_team(rows=4000)
    first: Bundle = train(team, settings, tmp_path)
    second = train(
        replace(weak(team, max_iter=5, max_depth=2), contract=replace(team.contract, version=2)), settings, tmp_path
    )
    promoted(settings, version=second.version)
    with pytest.raises(Refused, match="their client refuses responses of version 1"):
        promoted(settings, version=first.version)


def test_every_check_that_does_not_pass_names_the_next_command(case: Case) -> None:
    champion = case.champion
    assert champion is not None
    version, found = champion.version, case.evidence
    worse = swapped(case)
    lost = {name: each for name, each in found.predictions.items() if name != version}
    same = found.predictions | {version: found.predictions["candidate"]}
    wrong = found.predictions | {"candidate": 1 - found.predictions["candidate"]}
    skew = {"rows": 10, "different": 9, "columns": {"items": 9}}
    cases = [
        (case, Gate(min_rows=10**6, max_megabytes=0.001)),
        (replace(case, evidence=replace(found, label=found.label * 0)), Gate()),
        (worse, Gate()),
        (replace(worse, reason="drift"), Gate()),
        (replace(case, evidence=replace(found, predictions=lost)), Gate()),
        (replace(case, evidence=replace(found, predictions=lost, failed={version: "no such file"})), Gate()),
        (replace(case, evidence=replace(found, predictions=same)), Gate()),
        (replace(case, evidence=replace(found, predictions=wrong)), Gate()),
        (replace(case, champion=None, unreadable="golden.jsonl is missing"), Gate()),
        (replace(case, skew={"problem": "no table visits"}), Gate()),
        (replace(case, skew=skew, milliseconds=500.0), Gate()),
    ]
    checks = [check for given, gate in cases for check in decide(given, gate).checks]
    blocked = [check for check in checks if not check.passed]
    assert {check.name for check in blocked} >= {*HINTS} - {"unseen", "refit", "fairness"}
    for check in blocked:
        assert re.search(r"`make \w+", check.hint), check
        assert check.fault == f"{check.outcome}: {check.text}\n    {check.hint}"
    assert not [check for check in checks if check.passed and check.hint]
