"""`make year` in the repository that the demo left: the whole loop, by HTTP and by the verbs, and its pages."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from looseleaf.project import make
from looseleaf.steps import StepFailed
from looseleaf.year import play
from looseleaf.year.repository import Repository
from support import browsing
from support.rendering import ROOT, TEMPLATE, files, run

PROJECT = [pytest.mark.slow, pytest.mark.xdist_group("project")]


@pytest.fixture(scope="module")
def year(project: Path) -> dict[str, Any]:
    """What `make year` wrote, what it said, and what of the repository's own it touched."""
    before = files(project / "storage")
    done = run(*make("year"), folder=project, LOOSELEAF_SOURCE=str(ROOT))
    assert done.returncode == 0, done.stdout
    found: dict[str, Any] = json.loads((project / "build/year.json").read_text(encoding="utf-8"))
    return found | {"said": done.stdout, "untouched": before == files(project / "storage")}


def happened(year: dict[str, Any]) -> list[tuple[str, str]]:
    return [(event["date"], event["what"]) for event in year["timeline"]]


class TestYear:
    """The year as it is told."""

    pytestmark = PROJECT

    def test_it_asks_the_service_and_leaves_the_repositorys_own_alone(self, year: dict[str, Any]) -> None:
        assert year["predictions"] >= 10_000
        assert year["untouched"]

    def test_a_quiet_season_asks_for_nothing(self, year: dict[str, Any]) -> None:
        quiet = {what for date, what in happened(year) if "2025-04" <= date < "2025-10"} - {"refused"}
        assert quiet <= {"ok", "watch"}
        assert "ok" in quiet

    def test_drift_is_seen_asks_for_a_retrain_and_the_gate_lets_it_answer(self, year: dict[str, Any]) -> None:
        late = [what for date, what in happened(year) if date >= "2025-11"]
        assert late[:3] == ["watch", "retrain", "promoted"]

    def test_a_worse_candidate_is_refused_and_says_why(self, year: dict[str, Any]) -> None:
        (event,) = (event for event in year["timeline"] if event["what"] == "refused")
        assert "not surely better than answering without looking" in event["told"]

    def test_a_bad_promotion_is_rolled_back(self, year: dict[str, Any]) -> None:
        assert happened(year)[-2:] == [("2025-12-22", "promoted"), ("2025-12-22", "rolled back")]
        assert re.search(r"[4-9]\d% of the customers count as leaving, usual are \d%", year["timeline"][-1]["told"])
        assert "threshold 0.5" in year["history"][-2]

    def test_it_ends_with_the_timeline_and_the_path_of_the_report(self, year: dict[str, Any]) -> None:
        assert all(event["date"] in year["said"] and event["told"] in year["said"] for event in year["timeline"])
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


def test_a_repository_about_a_table_of_its_own_is_told_where_to_play(tmp_path: Path) -> None:
    with pytest.raises(StepFailed) as caught:
        repository(tmp_path, label="left")
    assert "a table of its own" in str(caught.value)
    assert "Render the template into a new folder" in caught.value.hint


def test_a_repository_without_a_service_is_told(tmp_path: Path) -> None:
    repository(tmp_path)
    shutil.rmtree(tmp_path / "build")
    shutil.rmtree(tmp_path / "lifecycle")
    with pytest.raises(StepFailed, match="has none"):
        Repository(tmp_path, tmp_path / "build/year")


def test_a_gate_that_lets_a_worse_model_answer_stops_the_year(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    playing = play.Year(repository(tmp_path))
    monkeypatch.setattr(Repository, "mixed_up_labels", lambda self: {})
    monkeypatch.setattr(Repository, "run", lambda self, *words, **options: "v2 answers in local (threshold 0.5)")
    with pytest.raises(StepFailed, match="mixed-up labels was promoted"):
        play._try_a_worse_candidate(playing, play.WORSE)
