"""`make up` as podman-compose runs it, with stand-ins of the images of Prometheus, Alertmanager and Grafana.

Prometheus and Alertmanager are Debian's programs in images that start them as upstream's do. There is no package of
Grafana: its stand-in only serves the dashboard and queries the data source that Grafana is configured with.
"""

import json
import os
import re
import shutil
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import compose
import pytest
import yaml

from looseleaf.project import make, post
from maintenance.demo import readme_request
from support.images import BASE, MARKS, STATE, USER, Images, image_of
from support.processes import free_port
from support.rendering import Template
from support.tools import needs
from support.waiting import eventually

pytestmark = [*MARKS, needs("prometheus", "prometheus-alertmanager")]
# Debian's Alertmanager reads them from there; upstream's contains them.
TEMPLATES = "/usr/share/prometheus/alertmanager"
GRAFANA = r"""
import http.server, json, os, re, urllib.request
from pathlib import Path

class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/api/dashboards/home":
            body = Path(os.environ["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]).read_bytes()
        else:
            source = Path("/etc/grafana/provisioning/datasources/prometheus.yml").read_text()
            body = urllib.request.urlopen(re.search(r"url: (\S+)", source)[1] + self.path).read()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("", 3000), Page).serve_forever()
"""


def stand_ins(images: Images, folder: Path) -> dict[str, str]:
    """Make the images that have no package, and return the variables that select them."""
    page = folder / "grafana.py"
    page.write_text(GRAFANA)
    programs = {
        "prometheus": [
            "/bin/prometheus",
            "--config.file=/etc/prometheus/prometheus.yml",
            "--storage.tsdb.path=/prometheus",
        ],
        "alertmanager": ["/bin/alertmanager"],
        "grafana": ["python", "/grafana.py"],
    }
    files = {
        "prometheus": {"/bin/prometheus": which("prometheus"), "/bin/promtool": which("promtool")},
        "alertmanager": {"/bin/alertmanager": which("prometheus-alertmanager"), TEMPLATES: Path(TEMPLATES)},
        "grafana": {"/grafana.py": page},
    }
    state = {"prometheus": "/prometheus", "alertmanager": "/alertmanager", "grafana": "/var/lib/grafana"}
    for name, (entrypoint, *command) in programs.items():
        empty = folder / name
        empty.mkdir()
        options = ["--user", "65534:65534", "--entrypoint", json.dumps([entrypoint]), "--cmd", " ".join(command)]
        options += ["--workingdir", state[name]]
        images.derive(BASE, f"stand-in-{name}:1", *options, files=files[name] | {state[name]: empty})
    return {f"{name.upper()}_IMAGE": f"localhost/stand-in-{name}:1" for name in programs}


def which(name: str) -> Path:
    return Path(str(shutil.which(name)))


@contextmanager
def receiver() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Listen for the webhooks of Alertmanager; yields the port and what arrives."""
    received: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port, received
        finally:
            server.shutdown()
            thread.join()


def edit(path: Path, **times: str) -> None:
    """Replace times in a file, so that the test does not wait for minutes."""
    text = path.read_text()
    for name, seconds in times.items():
        text, count = re.subn(rf"\b{name}: \w+", f"{name}: {seconds}", text)
        assert count, name
    path.write_text(text)


def get(url: str) -> Any:
    """Return the JSON of an address, or null while it does not respond."""
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return json.loads(reply.read())
    except (OSError, urllib.error.URLError):
        return None


def values(response: Any) -> list[str]:
    """Return the values of a response of Prometheus."""
    return [each["value"][1] for each in response["data"]["result"]] if response else []


@pytest.fixture(scope="module")
def stack(images: Images, template: Template, tmp_path_factory: pytest.TempPathFactory) -> Images:
    """A repository with owners and the tables of the other one, and shorter times."""
    folder = template.copy(tmp_path_factory.mktemp("stack") / "project", platform="kubernetes", owners="@ana, @bo, @cy")
    (folder / ".venv").symlink_to(sys.prefix)
    shutil.copytree(images.folder / "data", folder / "data", dirs_exist_ok=True)
    edit(folder / "lifecycle/deploy/alerts.yml", **{"for": "0s"})
    edit(folder / "deploy/compose/prometheus.yml", scrape_interval="2s", evaluation_interval="2s")
    return replace(images, folder=folder)


def test_compose_serves_monitors_and_routes_an_alert_to_its_owner(
    stack: Images, serve: str, jobs: str, tmp_path: Path
) -> None:
    variables = stand_ins(stack, tmp_path) | {name: str(free_port()) for name in compose.PORTS}
    variables |= {"SERVE_IMAGE": f"localhost/{image_of(serve)}", "JOBS_IMAGE": f"localhost/{image_of(jobs)}"}
    path = f"{Path(sys.prefix) / 'bin'}{os.pathsep}{os.environ['PATH']}"

    def ran(*goals: str, **more: str) -> str:
        return stack.done(*make("-s", *goals), PATH=path, **variables, **more)

    with receiver() as (port, received):
        ran("owners", f"LOOSELEAF_ALERT_URL=http://host.containers.internal:{port}/")
        # Prometheus repeats ended alerts of the start, and the next one of their group would wait for minutes.
        edit(stack.folder / "deploy/alertmanager.yml", group_wait="0s", group_interval="1s")
        try:
            output = ran("up", "COMPOSE=podman-compose")
            addresses = dict(re.findall(r"^  (\w+) +(http://\S+)$", output, re.MULTILINE))
            check_service(stack, addresses)
            check_monitoring(stack, addresses)
            check_jobs(stack)
            stack.done("podman", "stop", "--time", "30", container(stack, "serve"))
            eventually(lambda: routed(received, "ServiceDown"))
            assert routed(received, "ServiceDown") == {"engineering"}
        finally:
            for name in services(stack):
                print(f"--- {name}", stack.run("podman", "logs", container(stack, name)).stdout[-3000:])
            stack.run(*make("-s", "down", "COMPOSE=podman-compose"), PATH=path, **variables)
    # The state remains.
    assert services(stack) == []
    volumes = stack.done("podman", "volume", "ls", "--format", "{{.Name}}").split()
    assert {f"churn-local_{name}" for name in ("storage", "prometheus", "alertmanager", "grafana")} <= {*volumes}


def services(stack: Images) -> list[str]:
    """Return the services that have a container."""
    label = '{{index .Labels "com.docker.compose.service"}}'
    return stack.done("podman", "ps", "--all", "--format", label).split()


def container(stack: Images, service: str) -> str:
    """Return the id of the container of a service."""
    label = f"label=com.docker.compose.service={service}"
    return stack.done("podman", "ps", "--all", "--quiet", "--filter", label).strip()


def check_service(stack: Images, addresses: dict[str, str]) -> None:
    """Check that a prediction comes through the published port, from a hardened container."""
    assert {*services(stack)} == {*addresses, "jobs"}
    # A new volume has the deployed version of the image.
    eventually(lambda: get(f"{addresses['serve']}/info"))
    assert post(f"{addresses['serve']}/predict", readme_request(stack.folder)).keys() == {"prediction", "probability"}
    assert stack.python(container(stack, "serve"), STATE) == {
        "user": int(USER), "capabilities": 0, "no_new_privileges": 1, "writable": ["/app/storage/bundles"]
    }  # fmt: skip
    for name in services(stack):
        state = json.loads(stack.done("podman", "inspect", container(stack, name)))[0]
        assert state["HostConfig"]["ReadonlyRootfs"], name
        assert state["EffectiveCaps"] in (None, []), name
        assert state["HostConfig"]["Memory"] >= 2**29, name


def check_monitoring(stack: Images, addresses: dict[str, str]) -> None:
    """Check that Prometheus has our rules and scrapes the service, and that Grafana has our dashboard."""
    eventually(lambda: values(get(f"{addresses['grafana']}/api/v1/query?query=up")) == ["1"])
    rules = get(f"{addresses['prometheus']}/api/v1/rules")["data"]["groups"]
    ours = yaml.safe_load((stack.folder / "lifecycle/deploy/alerts.yml").read_text())["groups"]
    names = {rule["name"] for group in rules for rule in group["rules"]}
    assert names == {rule["alert"] for group in ours for rule in group["rules"]}
    dashboard = json.loads((stack.folder / "lifecycle/deploy/dashboard.json").read_bytes())
    assert get(f"{addresses['grafana']}/api/dashboards/home") == dashboard
    status = get(f"{addresses['alertmanager']}/api/v2/status")
    assert [each["name"] for each in yaml.safe_load(status["config"]["original"])["receivers"]] == [
        "data-science", "product", "engineering"
    ]  # fmt: skip


def check_jobs(stack: Images) -> None:
    """Check that each job has run once, and that the jobs read what the service has logged."""
    jobs = container(stack, "jobs")
    eventually(lambda: re.search(r"^sleep \d+", stack.run("podman", "top", jobs, "args").stdout, re.MULTILINE))
    log = stack.done("podman", "logs", jobs)
    for name in ("features", "collect", "monitor", "retrain", "score"):
        assert re.search(rf"^\S+Z {name}", log, re.MULTILINE), name
    assert "rows as of" in log
    assert "error:" not in log
    stack.done("podman", "exec", jobs, "lifecycle", "collect")
    volume = stack.done("podman", "volume", "inspect", "--format", "{{.Mountpoint}}", "churn-local_storage").strip()
    assert any(Path(volume).rglob("predictions/local/*/*.parquet"))


def routed(received: list[dict[str, Any]], alert: str) -> set[str]:
    """Return the receivers to which Alertmanager has sent an alert."""
    return {each["receiver"] for each in received if alert in {a["labels"]["alertname"] for a in each["alerts"]}}
