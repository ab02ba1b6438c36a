"""The whole way with the real programs: the service is scraped, alerts reach their role, the dashboard is drawn."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lifecycle.cli import entry
from lifecycle.monitoring import dashboard
from lifecycle.ownership import derived
from lifecycle.storage import Store
from looseleaf import dashboard as built
from support import browsing
from support.owned import owners_of, owners_text
from support.rendering import ROOT, TEMPLATE
from support.reports import report
from support.storages import Storage
from support.tools import needs
from support.watching import alertmanager, inbox, prometheus, value, wait

DEPLOY = TEMPLATE / "lifecycle/deploy"
KNOWN = {"ann": {"plan": "basic", "visits": 3}}


def test_the_committed_dashboard_is_what_its_code_builds() -> None:
    said = "run make dashboard-json and commit template/lifecycle/deploy/dashboard.json"
    assert (ROOT / built.DASHBOARD).read_text(encoding="utf-8") == built.text(), said


def test_panels_stand_beside_each_other_and_every_query_reads_what_the_service_tells() -> None:
    panels = built.dashboard()["panels"]
    places = [panel["gridPos"] for panel in panels]
    cells = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len({*cells})
    assert max(x for x, _ in cells) == 23
    code = "\n".join(path.read_text() for path in (TEMPLATE / "lifecycle/src/lifecycle/serving").glob("*.py"))
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    assert len(queries) >= 20
    for name in {name for query in queries for name in dashboard.metrics_of(query)}:
        assert f'"{name}"' in code or f'"{name.removesuffix("_total")}"' in code, name


def test_the_metrics_of_a_query_are_those_and_not_its_labels_or_functions() -> None:
    query = (
        'sum by (le, job) (rate(a_bucket{b="c d", e=~"f"}[5m])) / on (job) group_left max(g:h) or vector(0) > bool k'
    )
    assert dashboard.metrics_of(query) == {"a", "g:h", "k"}


@dataclass
class Watched:
    """A running service, who watches it, and what was posted."""

    storage: Storage
    version: str
    service: str
    prometheus: str
    posted: list[dict[str, Any]]
    process: "subprocess.Popen[str]"

    def ask(self, row: Any) -> int:
        request = urllib.request.Request(f"{self.service}/predict", json.dumps(row).encode())
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return int(reply.status)
        except urllib.error.HTTPError as error:
            return error.code

    def alerts(self) -> set[tuple[str, str]]:
        """The receiver and the name of each alert that was posted."""
        return {
            (each["receiver"], alert["labels"]["alertname"])
            for each in [*self.posted]
            for alert in each["alerts"]
            if alert["status"] == "firing"
        }


def quick(text: str, seconds: int = 1) -> str:
    """A configuration or rules that wait seconds where they wait minutes."""
    text = re.sub(r"(group_wait|group_interval): \w+", rf"\1: {seconds}s", text)
    text = re.sub(r"(scrape_interval|evaluation_interval): \w+", rf"\1: {seconds}s", text)
    return re.sub(r"for: \w+", f"for: {seconds}s", text)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """The service of a small bundle, scraped by a Prometheus whose Alertmanager posts here; all with short waits."""
    folder = tmp_path_factory.mktemp("watched")
    storage = Storage(Store(folder / "storage"), folder / "drafts")
    bundle = storage.publish(created="2026-11-01T00:00:00+00:00")
    storage.fill(bundle, KNOWN, as_of=0)
    storage.deploy(bundle)
    command = [sys.executable, "-m", "lifecycle", "serve", "--storage", str(storage.store.root), "--port", "0"]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    process = subprocess.Popen(command, cwd=folder, env=environ, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    service = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
    assert service
    owners = owners_of(owners_text())
    with inbox() as (url, posted):
        (folder / "alertmanager.yml").write_text(quick(derived.alertmanager(owners, url)), encoding="utf-8")
        (folder / "alerts.yml").write_text(quick((DEPLOY / "alerts.yml").read_text(encoding="utf-8")), encoding="utf-8")
        with alertmanager(folder, folder / "alertmanager.yml") as manager:
            config = yaml.safe_load(quick((DEPLOY / "prometheus.yml").read_text(encoding="utf-8")))
            config["scrape_configs"][0]["static_configs"][0]["targets"] = [service[0].removeprefix("http://")]
            config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [manager.removeprefix("http://")]
            (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
            with prometheus(folder, folder / "prometheus.yml") as watching:
                yield Watched(storage, bundle.version, service[0], watching, posted, process)
    process.kill()
    process.communicate()


real = [pytest.mark.slow, pytest.mark.xdist_group("watching"), needs("prometheus", "prometheus-alertmanager")]


def marked(test: Any) -> Any:
    for mark in real:
        test = mark(test)
    return test


@marked
def test_what_the_service_counts_stands_in_prometheus(watched: Watched) -> None:
    assert watched.ask({"customer_id": "ann"}) == 200
    assert watched.ask([{"customer_id": "ann"}] * 6) == 200
    assert watched.ask({"customer_id": "nobody"}) == 404
    wait(lambda: value(watched.prometheus, "sum(model_predictions_total)") == 7, "the count of rows")
    assert value(watched.prometheus, 'model_requests_refused_total{reason="unknown_key"}') == 1
    assert value(watched.prometheus, 'http_requests_total{route="/predict", status="200"}') == 2
    assert value(watched.prometheus, f'model_info{{version="{watched.version}"}}') == 1


@marked
def test_each_alert_is_posted_to_the_role_that_owns_it(watched: Watched) -> None:
    path = watched.storage.store.reports / "local" / "monitoring.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Quality of 0.74 at most with a bound of 0.75, and a column that drifted.
    path.write_text(json.dumps(report(watched.version, verdict="incident")), encoding="utf-8")
    wanted = {
        # The features of this service are as of 1970.
        ("engineering", "FeaturesStale"),
        ("engineering", "DataIncident"),
        ("data-science", "QualityLow"),
        ("data-science", "ModelDrift"),
    }
    wait(lambda: watched.alerts() >= wanted, f"{wanted}")
    [alert] = [
        alert
        for each in watched.posted
        for alert in each["alerts"]
        if (each["receiver"], alert["labels"]["alertname"]) == ("data-science", "QualityLow")
    ][:1]
    assert alert["annotations"]["runbook"] == "lifecycle/docs/runbook.md#qualitylow"
    assert "at most 0.740" in alert["annotations"]["summary"]
    assert not {each for each in watched.alerts() if each[1] in ("ServiceDown", "ModelMissing", "MonitoringNeverRan")}


@marked
def test_the_dashboard_runs_every_query_and_draws_every_panel(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lifecycle").symlink_to(TEMPLATE / "lifecycle")
    monkeypatch.chdir(tmp_path)
    watched.ask([{"customer_id": "ann"}] * 3)
    assert entry.main(["dashboard", "--url", watched.prometheus, "--hours", "0.02"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'build/dashboard.html'}\n"
    page = (tmp_path / "build/dashboard.html").read_text(encoding="utf-8")
    for panel in built.dashboard()["panels"]:
        assert panel["title"] in page
    assert watched.version in page
    assert "polyline" in page


@marked
@browsing.IF_THERE
def test_the_page_of_the_dashboard_is_in_order_in_a_browser(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lifecycle").symlink_to(TEMPLATE / "lifecycle")
    monkeypatch.chdir(tmp_path)
    assert entry.main(["dashboard", "--url", watched.prometheus, "--hours", "0.02"]) == 0
    browsing.examine(tmp_path / "build/dashboard.html")


DEFECTS = {
    "a slip in a query": ("sum(http_requests_in_flight)", "sum(http_requests_in_flight", "Prometheus refuses"),
    "a metric that nobody tells": ("http_requests_in_flight", "http_requests_in_fligth", "no target tells of"),
}


@marked
@pytest.mark.parametrize("defect", DEFECTS)
def test_a_panel_that_has_no_answer_fails_the_dashboard_by_its_name(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], defect: str
) -> None:
    old, new, told = DEFECTS[defect]
    text = built.text()
    assert old in text
    wait(lambda: value(watched.prometheus, "http_requests_in_flight") is not None, "a scrape")
    (tmp_path / "lifecycle/deploy").mkdir(parents=True)
    (tmp_path / dashboard.DASHBOARD).write_text(text.replace(old, new), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert entry.main(["dashboard", "--url", watched.prometheus]) == 1
    error = capsys.readouterr().err
    assert "In flight: " in error
    assert told in error
    assert not (tmp_path / "build").exists()


@marked
def test_a_service_that_ends_pages_engineering_and_hides_what_follows_from_it(watched: Watched) -> None:
    watched.process.send_signal(signal.SIGKILL)
    wait(lambda: ("engineering", "ServiceDown") in watched.alerts(), "ServiceDown")


def test_without_a_prometheus_the_dashboard_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "lifecycle").symlink_to(TEMPLATE / "lifecycle")
    monkeypatch.chdir(tmp_path)
    assert entry.main(["dashboard", "--url", "http://127.0.0.1:9"]) == 1
    assert "no Prometheus answers at http://127.0.0.1:9" in capsys.readouterr().err
    assert entry.main(["dashboard", "--url", "file:///etc/passwd"]) == 1
    assert "is no address" in capsys.readouterr().err
