"""Alerts and dashboard use only metrics of the service; promtool accepts the rules; each alert has a runbook entry."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from lifecycle.ownership import ROLES
from support.rendering import ROOT, TEMPLATE, run
from support.tools import needs

DEPLOY = TEMPLATE / "lifecycle/deploy"
RULE_TESTS = ROOT / "tests/system/alerts_test.yml"
GROUPS: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "alerts.yml").read_text(encoding="utf-8"))["groups"]
RULES = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
SERVED = "\n".join(
    path.read_text(encoding="utf-8") for path in (TEMPLATE / "lifecycle/src/lifecycle/serving").glob("*.py")
)

PANELS: list[dict[str, Any]] = json.loads((DEPLOY / "dashboard.json").read_bytes())["panels"]
# PromQL without what can contain other names: strings, label matchers, ranges, and the labels of a grouping.
NO_METRIC = re.compile(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)')
IDENTIFIER = re.compile(r"\b[a-zA-Z_:][\w:]*\b(?!\s*\()")
KEYWORDS = {"and", "or", "unless", "bool", "offset", "by", "without", "on", "ignoring", "group_left", "group_right"}
# Prometheus itself adds these to each target.
BUILT_IN = {"up"}

each_alert = pytest.mark.parametrize("alert", RULES)


@each_alert
def test_an_alert_has_an_owner_a_severity_and_an_entry_in_the_runbook(alert: str) -> None:
    labels, annotations = RULES[alert]["labels"], RULES[alert]["annotations"]
    assert labels["owner"] in ROLES
    assert labels["severity"] in ("page", "ticket")
    page, anchor = annotations["runbook"].split("#")
    text = (TEMPLATE / page).read_text(encoding="utf-8")
    entries = {title.lower(): body for title, body in re.findall(r"^### (\w+)\n(.*?)(?=\n##|\Z)", text, re.M | re.S)}
    assert anchor == alert.lower()
    assert [part for part in ("Symptom", "Check", "Act") if f"**{part}**" in entries[anchor]] == [
        "Symptom",
        "Check",
        "Act",
    ]
    assert "roll" in entries[anchor] or alert in ("LogDropped", "LogUncollected", "MonitoringNeverRan")


def test_each_runbook_entry_has_its_alert() -> None:
    text = (TEMPLATE / "lifecycle/docs/runbook.md").read_text(encoding="utf-8")
    assert re.findall(r"^### (\w+)$", text, re.MULTILINE) == list(RULES)


@each_alert
def test_an_alert_uses_only_metrics_of_the_service(alert: str) -> None:
    assert unknown_metrics(RULES[alert]["expr"]) == set()


def test_the_dashboard_uses_only_metrics_of_the_service() -> None:
    queries = [target["expr"] for panel in PANELS for target in panel.get("targets", ())]
    assert len(queries) >= 20
    for query in queries:
        assert unknown_metrics(query) == set(), query


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in PANELS)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len({*cells})
    assert max(x for x, _ in cells) == 23


def metrics_of(query: str) -> set[str]:
    """Return the metrics in a PromQL expression by the name of their family."""
    names = set(IDENTIFIER.findall(NO_METRIC.sub(" ", query))) - KEYWORDS
    return {re.sub("_(bucket|sum|count)$", "", name) for name in names}


def unknown_metrics(query: str) -> set[str]:
    """Return the metrics in a PromQL expression that the service does not define."""
    known = {*re.findall(r'"([a-z_]+)"', SERVED), *BUILT_IN}
    return {name for name in metrics_of(query) if not {name, name.removesuffix("_total")} & known}


def test_the_metrics_of_a_query_are_neither_its_labels_nor_its_functions() -> None:
    query = (
        'sum by (le, job) (rate(a_bucket{b="c d", e=~"f"}[5m])) / on (job) group_left max(g:h) or vector(0) > bool k'
    )
    assert metrics_of(query) == {"a", "g:h", "k"}
    assert unknown_metrics("sum(http_requests_in_fligth)") == {"http_requests_in_fligth"}


def with_rule_tests(tmp_path: Path, expression: str | None = None) -> Path:
    """Copy the deployment files and the tests of their rules; `expression` replaces that of every rule."""
    copied = Path(shutil.copytree(DEPLOY, tmp_path / "deploy"))
    shutil.copy(RULE_TESTS, copied)
    if expression:
        rules = yaml.safe_load((copied / "alerts.yml").read_text(encoding="utf-8"))
        for rule in (rule for group in rules["groups"] for rule in group["rules"]):
            rule["expr"] = expression
        (copied / "alerts.yml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    return copied


@needs("promtool")
def test_promtool_accepts_the_rules_and_their_tests_pass(tmp_path: Path) -> None:
    for command in (("check", "config", "prometheus.yml"), ("test", "rules", RULE_TESTS.name)):
        done = run("promtool", *command, folder=with_rule_tests(tmp_path / command[0]))
        assert done.returncode == 0, done.stdout


@needs("promtool")
@pytest.mark.parametrize("always", [False, True])
def test_a_rule_that_never_or_always_fires_fails_its_test(tmp_path: Path, always: bool) -> None:
    copied = with_rule_tests(tmp_path, "vector(1) == 1" if always else "vector(1) == 2")
    done = run("promtool", "test", "rules", RULE_TESTS.name, folder=copied)
    assert done.returncode == 1
    found = re.findall(r"name: (.*),\s+alertname: (\w+),", done.stdout)
    clean = [alert for name, alert in found if name == "a day without a fault"]
    assert clean == (list(RULES) if always else [])
    assert always or found == [(alert, alert) for alert in RULES]
