"""`lifecycle/docs/deploying.md`: its units, its line for cron and its examples for other platforms are valid."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from lifecycle.settings import Serve
from support.rendering import TEMPLATE, run
from support.tools import needs

PAGE = (TEMPLATE / "lifecycle/docs/deploying.md").read_text(encoding="utf-8")
UNITS = dict(re.findall(r"^```ini\n# /etc/systemd/system/(\S+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))


def blocks(language: str) -> list[str]:
    """Return the code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def verified(folder: Path, units: dict[str, str]) -> str:
    """Return what systemd finds in units, with a folder that has the command in place of /srv/churn."""
    command = folder / "churn/.venv/bin/lifecycle"
    command.parent.mkdir(parents=True)
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    for name, text in units.items():
        (folder / name).write_text(text.replace("/srv/churn", str(folder / "churn")))
    done = run("systemd-analyze", "verify", "--man=no", *(f"./{name}" for name in units), folder=folder)
    return done.stdout + "".join(
        f"{name} starts nothing\n"
        for name in units
        if name.endswith(".timer") and name.replace(".timer", ".service") not in units
    )


@needs("systemd-analyze")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    assert [*UNITS] == ["churn.service", "churn-jobs.service", "churn-jobs.timer"]
    assert verified(tmp_path, UNITS) == ""


@needs("systemd-analyze")
@pytest.mark.parametrize(
    ("unit", "find", "replace", "message"),
    [
        ("churn.service", "Restart=always", "Restrt=always", "Unknown key"),
        ("churn.service", "bin/lifecycle serve", "bin/lifecycles serve", "is not executable"),
        ("churn.service", "After=network-online.target", "After=network-online", "Failed to add dependency"),
        ("churn-jobs.service", "Type=oneshot", "Type=simple", "more than one ExecStart"),
        ("churn-jobs.timer", "05:10", "25:10", "calendar"),
    ],
)
def test_a_planted_fault_in_a_unit_is_found(tmp_path: Path, unit: str, find: str, replace: str, message: str) -> None:
    assert UNITS[unit].count(find) == 1
    assert message in verified(tmp_path, UNITS | {unit: UNITS[unit].replace(find, replace)})


@needs("systemd-analyze")
def test_a_timer_of_another_name_is_found(tmp_path: Path) -> None:
    units = {name.replace("churn-jobs.timer", "churn-job.timer"): text for name, text in UNITS.items()}
    assert verified(tmp_path, units) == "churn-job.timer starts nothing\n"


def test_systemd_waits_longer_than_the_service_needs_to_stop() -> None:
    unit = UNITS["churn.service"]
    (leave,), (stop,) = (re.findall(rf"{name}=(\d+)$", unit, re.M) for name in ("LEAVE_SECONDS", "TimeoutStopSec"))
    assert int(stop) >= int(leave) + Serve().drain_seconds + 2


def test_the_line_for_cron_is_one_command_at_a_time_of_the_day() -> None:
    (line,) = re.findall(r"^((?:[\d*/,-]+ ){5}.*)$", PAGE, re.MULTILINE)
    minute, hour, *days, command = line.split(maxsplit=5)
    assert (int(minute) < 60, int(hour) < 24, days) == (True, True, ["*", "*", "*"])
    # cron ends the command at a percent sign.
    assert "%" not in command
    assert run("sh", "-n", "-c", command, folder=TEMPLATE).returncode == 0


def test_the_manifests_for_other_platforms_name_the_image_the_port_and_a_probe() -> None:
    kinds = {}
    for text in blocks("yaml"):
        manifest = yaml.safe_load(text)
        (container,) = containers(manifest["spec"])
        assert container["image"] == "churn-serve:VERSION"
        assert container["ports"] == [{"containerPort": 8000}]
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        kinds[manifest["kind"]] = manifest["apiVersion"].partition("/")[0]
    assert kinds == {"InferenceService": "serving.kserve.io", "Service": "serving.knative.dev"}
    assert "\nEXPOSE 8000\n" in (TEMPLATE / "deploy/Containerfile").read_text()


def containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the containers of a manifest's specification, however deep they are."""
    if "containers" in spec:
        return list(spec["containers"])
    (inner,) = spec.values()
    return containers(inner)


def test_the_code_for_orchestrators_is_python_and_runs_commands_of_make() -> None:
    goals = re.findall(r"^([a-z]+):", (TEMPLATE / "lifecycle/lifecycle.mk").read_text(), re.MULTILINE)
    airflow, dagster = blocks("python")
    for text, called in ((airflow, "score"), (dagster, "retrain")):
        lists = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.List)]
        (jobs,) = [found for each in lists if "features" in (found := words(each))]
        assert {called, "features", "collect", "monitor"} <= {*jobs}
        assert {each for each in jobs if each != "make" and each.isalpha() and each.islower()} <= {*goals}


def words(node: ast.List) -> list[str]:
    """Return the words of a list of texts."""
    texts = [each.value for each in node.elts if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    return " ".join(texts).split()
