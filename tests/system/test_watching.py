"""With a real Prometheus and Alertmanager: the service is scraped, alerts reach their role, dashboard queries run."""

import json
import re
import signal
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import owners as derived
import pytest
import yaml

from lifecycle.storage import Store
from support.owned import owners_of, owners_text
from support.rendering import TEMPLATE
from support.reports import report
from support.services import running
from support.storages import Storage
from support.tools import needs
from support.watching import alertmanager, get_json, inbox, prometheus, value, wait

DEPLOY = TEMPLATE / "lifecycle/deploy"
PANELS: list[dict[str, Any]] = json.loads((DEPLOY / "dashboard.json").read_bytes())["panels"]
QUERIES: list[str] = [target["expr"] for panel in PANELS for target in panel.get("targets", ())]
KNOWN = {"ann": {"plan": "basic", "visits": 3}}


@dataclass
class Watched:
    """A running service, its Prometheus, and the alerts that were posted."""

    storage: Storage
    version: str
    service: str
    prometheus: str
    posted: list[dict[str, Any]]
    process: "subprocess.Popen[str]"

    def predict(self, row: Any) -> int:
        request = urllib.request.Request(f"{self.service}/predict", json.dumps(row).encode())
        try:
            with urllib.request.urlopen(request, timeout=10) as reply:
                return int(reply.status)
        except urllib.error.HTTPError as error:
            return error.code

    def alerts(self) -> set[tuple[str, str]]:
        """Return the receiver and the name of each firing alert that was posted."""
        return {
            (each["receiver"], alert["labels"]["alertname"])
            for each in [*self.posted]
            for alert in each["alerts"]
            if alert["status"] == "firing"
        }


def quick(text: str, seconds: int = 1) -> str:
    """Return a configuration or rules with waits of seconds instead of minutes."""
    text = re.sub(r"(group_wait|group_interval): \w+", rf"\1: {seconds}s", text)
    text = re.sub(r"(scrape_interval|evaluation_interval): \w+", rf"\1: {seconds}s", text)
    return re.sub(r"for: \w+", f"for: {seconds}s", text)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Run the service of a small bundle, a Prometheus that scrapes it and an Alertmanager that posts here."""
    folder = tmp_path_factory.mktemp("watched")
    storage = Storage(Store(folder / "storage"), folder / "drafts")
    bundle = storage.publish(created="2026-11-01T00:00:00+00:00")
    storage.fill(bundle, KNOWN, as_of=0)
    storage.deploy(bundle)
    owners = owners_of(owners_text())
    with running(storage.store.root, folder) as service, inbox() as (url, posted):
        target = f"127.0.0.1:{service.port}"
        (folder / "alertmanager.yml").write_text(quick(derived.alertmanager(owners, url)), encoding="utf-8")
        (folder / "alerts.yml").write_text(quick((DEPLOY / "alerts.yml").read_text(encoding="utf-8")), encoding="utf-8")
        with alertmanager(folder, folder / "alertmanager.yml") as manager:
            config = yaml.safe_load(quick((DEPLOY / "prometheus.yml").read_text(encoding="utf-8")))
            config["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
            config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [manager.removeprefix("http://")]
            (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
            with prometheus(folder, folder / "prometheus.yml") as watching:
                yield Watched(storage, bundle.version, f"http://{target}", watching, posted, service.process)


real = [pytest.mark.slow, pytest.mark.xdist_group("watching"), needs("prometheus", "prometheus-alertmanager")]


def marked(test: Any) -> Any:
    for mark in real:
        test = mark(test)
    return test


@marked
def test_prometheus_holds_what_the_service_counts(watched: Watched) -> None:
    assert watched.predict({"customer_id": "ann"}) == 200
    assert watched.predict([{"customer_id": "ann"}] * 6) == 200
    assert watched.predict({"customer_id": "unknown"}) == 404
    wait(lambda: value(watched.prometheus, "sum(model_predictions_total)") == 7, "the count of rows")
    assert value(watched.prometheus, 'model_requests_refused_total{reason="unknown_key"}') == 1
    assert value(watched.prometheus, 'http_requests_total{route="/predict", status="200"}') == 2
    assert value(watched.prometheus, f'model_info{{version="{watched.version}"}}') == 1


@marked
def test_each_alert_is_posted_to_its_owner(watched: Watched) -> None:
    path = watched.storage.store.reports / "local" / "monitoring.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    # The interval of quality ends at 0.74, the bound is 0.75, and one column has drifted.
    path.write_text(json.dumps(report(watched.version, verdict="incident")), encoding="utf-8")
    wanted = {
        # The feature table of this service is from 1970.
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
    assert "ends at 0.740" in alert["annotations"]["summary"]
    assert not {each for each in watched.alerts() if each[1] in ("ServiceDown", "ModelMissing", "MonitoringNeverRan")}


@marked
def test_every_query_of_the_dashboard_runs(watched: Watched) -> None:
    watched.predict([{"customer_id": "ann"}] * 3)
    wait(lambda: value(watched.prometheus, "sum(http_requests_in_flight)") is not None, "a scrape")
    for query in QUERIES:
        found = get_json(f"{watched.prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}")
        assert found, query
        assert found["status"] == "success", query


@marked
def test_a_killed_service_pages_engineering(watched: Watched) -> None:
    watched.process.send_signal(signal.SIGKILL)
    wait(lambda: ("engineering", "ServiceDown") in watched.alerts(), "ServiceDown")
