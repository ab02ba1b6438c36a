"""`make ready` in the repository that the demo left, after its simulated year."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from looseleaf.project import make
from support import browsing
from support.rendering import ROOT, files, run

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("project")]
PAGE = "build/ready/readiness.html"


@pytest.fixture(scope="module")
def ready(project: Path, year: dict[str, Any]) -> str:
    """Return what `make ready` printed; it changes nothing in the storage."""
    before = files(project / "storage")
    quick = {"LIFECYCLE_GATE__RESAMPLES": "200", "LOOSELEAF_SOURCE": str(ROOT)}
    done = run(*make("-s", "ready", "ANNEX=1"), folder=project, **quick)
    assert done.returncode == 0, done.stdout
    assert files(project / "storage") == before
    return done.stdout


def test_each_section_earns_six_points_after_the_demo_and_a_year(ready: str) -> None:
    sums = {title: float(points) for title, points in re.findall(r"^(\w[\w ]+): ([\d.]+) of 7$", ready, re.MULTILINE)}
    assert list(sums) == ["Features and data", "Model development", "Infrastructure", "Monitoring"]
    assert min(sums.values()) >= 6, ready


def test_the_drills_are_recorded_for_the_deployed_version(project: Path, ready: str) -> None:
    deployed = json.loads((project / "storage/deployments/local.json").read_bytes())["live"]["version"]
    record = json.loads((project / "build/ready/drills.json").read_bytes())
    assert record["version"] == deployed
    assert {*record["drills"]} >= {"pipeline", "staleness", "tuning", "rollback", "monitoring", "erasure"}
    assert not (project / "build/ready/copy").exists()
    again = run(*make("-s", "ready"), folder=project, LOOSELEAF_SOURCE=str(ROOT))
    assert "drill:" not in again.stdout
    assert "claims no compliance" in " ".join((project / "build/ready/annex-iv.md").read_text().split())


@browsing.IF_THERE
def test_the_page_passes_a_browser(project: Path, ready: str) -> None:
    browsing.examine(project / PAGE)
