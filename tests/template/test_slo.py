"""Rules from the objectives in docs/slo.yaml: a burn of the budget turns each red, and a clean replay stays quiet."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import slo
import yaml

from lifecycle.errors import LifecycleError, Refused
from support.rendering import TEMPLATE, run
from support.tools import needs

MINUTES = 4 * 24 * 60
PER_MINUTE = 10_000
TOTAL = {"availability": 'http_requests_total{job="model", route="/predict", status="200"}'}
PREFIX = 'http_request_duration_seconds_{}{{job="model", route="/predict"{}}}'


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    shutil.copy(TEMPLATE / slo.SOURCE, tmp_path / slo.SOURCE)
    return tmp_path


def series(share: float, minutes: int = MINUTES) -> list[dict[str, str]]:
    """Return requests of which a share fails, and a share is slow, from the last `minutes` on."""
    before, bad = MINUTES - minutes, round(share * PER_MINUTE)

    def counter(name: str, usual: int, then: int) -> dict[str, str]:
        first = f"0+{usual}x{before} " if before else ""
        return {"series": name, "values": f"{first}{usual * before}+{then}x{minutes}"}

    requests = 'http_requests_total{{job="model", route="/predict", status="{}"}}'
    return [
        counter(requests.format(200), PER_MINUTE, PER_MINUTE - bad),
        counter(requests.format(500), 0, bad),
        counter(PREFIX.format("bucket", ', le="0.5"'), PER_MINUTE, PER_MINUTE - bad),
        counter(PREFIX.format("count", ""), PER_MINUTE, PER_MINUTE),
    ]


def expected(rules: list[dict[str, Any]], firing: list[str]) -> list[dict[str, Any]]:
    """Return, for each alert, the rules that must fire at the end: those with a long window in `firing`."""
    found = []
    for name in sorted({rule["alert"] for rule in rules}):
        alerts = [
            {"exp_labels": rule["labels"] | {"job": "model"}, "exp_annotations": rule["annotations"]}
            for rule in rules
            if rule["alert"] == name and rule["labels"]["window"] in firing
        ]
        found.append({"eval_time": f"{MINUTES}m", "alertname": name, "exp_alerts": alerts})
    return found


def promtool(root: Path, given: list[dict[str, str]], firing: list[str], budget: str = "") -> str:
    """Run the derived rules on series; return the output of promtool, empty where exactly `firing` fire."""
    document = yaml.safe_load(slo.derive(root))
    rules = [rule for group in document["groups"] for rule in group["rules"] if budget in rule["alert"]]
    (root / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "slo", "rules": rules}]}), encoding="utf-8")
    test = {"interval": "1m", "input_series": given, "alert_rule_test": expected(rules, firing)}
    document = {"rule_files": ["rules.yml"], "evaluation_interval": f"{MINUTES}m", "tests": [test]}
    (root / "test.yml").write_text(yaml.safe_dump(document), encoding="utf-8")
    done = run("promtool", "test", "rules", "test.yml", folder=root)
    return "" if done.returncode == 0 else done.stdout


@needs("promtool")
@pytest.mark.parametrize(("budget", "share"), [("Availability", 0.005), ("Latency", 0.01)])
def test_each_rule_fires_when_the_budget_burns_faster_than_its_factor(root: Path, budget: str, share: float) -> None:
    windows = ["1h", "6h", "1d", "3d"]
    for number, (factor, *_) in enumerate(slo.BURNS):
        assert promtool(root, series(1.1 * factor * share), windows[number:], budget) == ""


@needs("promtool")
def test_a_clean_replay_and_a_short_burn_stay_quiet(root: Path) -> None:
    assert promtool(root, series(0), []) == ""
    # Three minutes of errors are too short for every long window.
    assert promtool(root, series(0.05, minutes=3), []) == ""
    # The test itself can fail.
    assert "exp" in promtool(root, series(0), ["1h"])


def test_the_objectives_of_the_template_are_valid_and_their_rules_follow(root: Path, capsys: Any) -> None:
    slo.check(root)
    assert slo.main(root) == 0
    slo.check(root)
    assert "docs/slo-rules.yml follows from it" in capsys.readouterr().out
    assert len(yaml.safe_load((root / slo.RULES).read_text(encoding="utf-8"))["groups"]) == 2


def test_rules_that_differ_from_the_objectives_are_refused(root: Path) -> None:
    slo.main(root)
    path = root / slo.SOURCE
    path.write_text(path.read_text(encoding="utf-8").replace("0.995", "0.99"), encoding="utf-8")
    with pytest.raises(Refused, match=r"docs/slo-rules.yml differs from the objectives"):
        slo.check(root)
    slo.main(root)
    slo.check(root)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("target: 0.995", "target: 99.5", "document 1 is not an objective"),
        ("target: 0.995", "targets: 1", "'target' is missing"),
        ("ratioMetric", "thresholdMetric", "'ratioMetric' is missing"),
        (
            "openslo/v1\nkind: SLO\nmetadata:\n  name: latency",
            "openslo/v2\nkind: SLO\nmetadata:\n  name: x",
            "document 2",
        ),
        ("spec:\n  description: Share of prediction requests without", "spec: [\n", "is not YAML"),
    ],
)
def test_objectives_that_are_not_valid_are_named(root: Path, old: str, new: str, problem: str, capsys: Any) -> None:
    path = root / slo.SOURCE
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(LifecycleError, match=problem):
        slo.check(root)
    assert slo.main(root) == 1
    assert "docs/slo.yaml" in capsys.readouterr().err
    assert not (root / slo.RULES).exists()


def test_a_repository_without_objectives_passes_the_check_and_make_slo_names_the_command(
    tmp_path: Path, capsys: Any
) -> None:
    slo.check(tmp_path)
    assert slo.main(tmp_path) == 1
    assert "make update TAKE=docs/slo.yaml" in capsys.readouterr().err
