"""`make year` in the repository that the demo left: the whole loop, by HTTP and by commands, and its pages."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from looseleaf.steps import StepFailed
from looseleaf.year import play
from looseleaf.year.repository import Repository
from support import browsing
from support.rendering import TEMPLATE

PROJECT = [pytest.mark.slow, pytest.mark.xdist_group("project")]


def happened(year: dict[str, Any]) -> list[tuple[str, str]]:
    return [(event["date"], event["what"]) for event in year["timeline"]]


class TestYear:
    """The events of the year."""

    pytestmark = PROJECT

    def test_it_uses_the_service_and_does_not_change_the_storage_of_the_repository(self, year: dict[str, Any]) -> None:
        assert year["predictions"] >= 10_000
        assert year["untouched"]

    def test_a_quiet_season_requests_no_retrain(self, year: dict[str, Any]) -> None:
        quiet = {what for date, what in happened(year) if "2025-04" <= date < "2025-10"} - {"refused"}
        assert quiet <= {"ok", "watch"}
        assert "ok" in quiet

    def test_drift_leads_to_a_retrain_that_the_gate_promotes(self, year: dict[str, Any]) -> None:
        late = [what for date, what in happened(year) if date >= "2025-11"]
        assert late[:3] == ["watch", "retrain", "promoted"]

    def test_a_worse_candidate_is_refused_with_a_reason(self, year: dict[str, Any]) -> None:
        (event,) = (event for event in year["timeline"] if event["what"] == "refused")
        assert "not surely better than answering without looking" in event["text"]

    def test_it_ends_with_a_judged_month_and_without_an_incident(self, year: dict[str, Any]) -> None:
        date, verdict = happened(year)[-1]
        assert (date, verdict in ("ok", "watch")) == ("2025-12-31", True)
        report = json.loads(Path(year["report"]).with_suffix(".json").read_bytes())
        assert not report["windows"][-1]["state"].startswith("too few")
        for column in report["windows"][-1]["columns"].values():
            assert (column["psi"] > column["limit"]) == column["drifted"]
        assert "incident" not in {what for _, what in happened(year)}

    def test_a_bad_promotion_is_rolled_back(self, year: dict[str, Any]) -> None:
        assert happened(year)[-3:-1] == [("2025-12-22", "promoted"), ("2025-12-22", "rolled back")]
        assert re.search(r"[4-9]\d% of the customers count as leaving, usual are \d%", year["timeline"][-2]["text"])
        assert "threshold 0.5" in year["history"][-2]

    def test_it_prints_the_timeline_and_the_path_of_the_report(self, year: dict[str, Any]) -> None:
        words = " ".join(year["said"].split())
        assert all(event["date"] in words and event["text"] in words for event in year["timeline"])
        assert f"The last report: {year['report']}" in year["said"]

    @browsing.IF_THERE
    def test_report_and_decision_pass_a_browser(self, year: dict[str, Any]) -> None:
        report = Path(year["report"])
        browsing.examine(report)
        for page in sorted((report.parents[1] / "decisions").glob("*.html"))[-2:]:
            browsing.examine(page)


def repository(folder: Path, label: str = "churned") -> Repository:
    (folder / "lifecycle/src/lifecycle/serving").mkdir(parents=True, exist_ok=True)
    contract = json.loads((TEMPLATE / "contract.json").read_text(encoding="utf-8"))
    contract["x-target"]["x-label"] = label
    (folder / "contract.json").write_text(json.dumps(contract), encoding="utf-8")
    return Repository(folder, folder / "build/year")


def test_a_repository_with_a_table_of_its_own_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StepFailed) as caught:
        repository(tmp_path, label="left")
    assert "a table of its own" in str(caught.value)
    assert "Render the template into a new folder" in caught.value.hint


def test_a_repository_without_a_service_is_refused(tmp_path: Path) -> None:
    repository(tmp_path)
    shutil.rmtree(tmp_path / "build")
    shutil.rmtree(tmp_path / "lifecycle")
    with pytest.raises(StepFailed, match="has none"):
        Repository(tmp_path, tmp_path / "build/year")


def test_a_gate_that_promotes_a_worse_model_stops_the_year(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    playing = play.Year(repository(tmp_path))
    monkeypatch.setattr(Repository, "mixed_up_labels", lambda self: {})
    monkeypatch.setattr(
        Repository, "run", lambda self, *words, **options: "v2 is deployed in local with the threshold 0.5"
    )
    with pytest.raises(StepFailed, match="mixed-up labels was promoted"):
        play._try_a_worse_candidate(playing, play.WORSE)
