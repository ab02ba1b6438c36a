"""The alerts: Prometheus' own tool tests them, each leads to a page, and no test of them passes without its rule."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from lifecycle.ownership.rules import ROLES
from support.rendering import TEMPLATE, run
from support.tools import needs

DEPLOY = TEMPLATE / "lifecycle/deploy"
GROUPS: list[dict[str, Any]] = yaml.safe_load((DEPLOY / "alerts.yml").read_text(encoding="utf-8"))["groups"]
RULES = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
SERVED = "\n".join(
    path.read_text(encoding="utf-8") for path in (TEMPLATE / "lifecycle/src/lifecycle/serving").glob("*.py")
)

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


def test_the_runbook_has_no_entry_without_its_alert() -> None:
    text = (TEMPLATE / "lifecycle/docs/runbook.md").read_text(encoding="utf-8")
    assert re.findall(r"^### (\w+)$", text, re.MULTILINE) == list(RULES)


@each_alert
def test_an_alert_reads_what_the_service_tells(alert: str) -> None:
    words = set(re.findall(r"\b(?:http|model|prediction_log)_\w+", RULES[alert]["expr"]))
    for word in words:
        assert re.search(rf'"{re.sub("_(bucket|total)$", "", word)}(_total)?"', SERVED), word


def rules_that_say(tmp_path: Path, expression: str) -> Path:
    """The rules and their tests, with every expression replaced."""
    copied = Path(shutil.copytree(DEPLOY, tmp_path / "deploy"))
    rules = yaml.safe_load((copied / "alerts.yml").read_text(encoding="utf-8"))
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        rule["expr"] = expression
    (copied / "alerts.yml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    return copied


@needs("promtool")
def test_promtool_takes_the_rules_and_their_tests_pass() -> None:
    for command in (("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")):
        done = run("promtool", *command, folder=DEPLOY)
        assert done.returncode == 0, done.stdout


@needs("promtool")
@pytest.mark.parametrize("always", [False, True])
def test_a_rule_that_never_or_always_fires_fails_its_test(tmp_path: Path, always: bool) -> None:
    copied = rules_that_say(tmp_path, "vector(1) == 1" if always else "vector(1) == 2")
    done = run("promtool", "test", "rules", "alerts_test.yml", folder=copied)
    assert done.returncode == 1
    found = re.findall(r"name: (.*),\s+alertname: (\w+),", done.stdout)
    clean = [alert for name, alert in found if name == "a day without a fault"]
    assert clean == (list(RULES) if always else [])
    assert always or found == [(alert, alert) for alert in RULES]
