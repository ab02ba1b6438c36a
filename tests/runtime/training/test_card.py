"""The model card states what a version predicts, from which data and how well, and is valid Markdown for any names."""

import re
from pathlib import Path
from typing import Any

import pytest

from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.ownership import approvals
from lifecycle.training.package import model_card
from lifecycle.training.train import train
from support.owned import owners_text
from support.teams import order_team, settings_in

FACTS: dict[str, Any] = {
    "name": "churn",
    "as_of": "2026-01-01T00:00:00Z",
    "estimator": "candidate",
    "rows": {"training": 1200, "holdout": 300},
    "fits": {"deployed": 1500, "evaluated": 1050, "selection": 150},
    "sources": {
        "labels": 1400,
        "logged": {"labelled": 180, "joined": 100, "other": 20, "immature": 50, "repeated": 10},
    },
    "window": {"periods": 2, "losses": {}},
    "holdout": {"rule": "rows from 2025-12-01T00:00:00Z on"},
    "metrics": {"candidate": {"log_loss": 0.123456}, "linear": {"log_loss": 0.2}},
    "data": "abc",
    "code": {"commit": "def", "edited": True},
    "lifecycle": "0.3.0",
    "owners": {"data-science": ["ana"], "engineering": ["acme/bo", "cy"], "product": []},
    "calibration": {
        "error": 0.0213,
        "chance": 0.0107,
        "bins": [{"rows": 1150, "predicted": 0.04321, "observed": 0.05}],
        "thresholds": {
            "deployed in local": {"threshold": 0.25, "predicted": 1034, "precision": 0.41, "recall": 0.7, "cost": 0.5},
            "proposed": {"threshold": 0.9, "predicted": 0, "precision": None, "recall": 0.0, "cost": 0.25},
        },
    },
}
COLUMNS = (
    Column("order_id", "key", "category", max_length=9),
    Column("a|b\n<i>", "request", "number", nullable=True, unit="EUR", expected=(0.0, 0.5)),
    Column("level", "request", "category", expected=tuple(f"l{at}" for at in range(12))),
)
CONTRACT = Contract(2, Target("binary", "churned", ("no", "yes")), COLUMNS)


@pytest.mark.parametrize(
    "line",
    [
        "# churn",
        "This model predicts the probability that churned is yes.",
        "| label | churned |",
        "| task | binary no, yes |",
        "| contract | version 2 |",
        "| model | the candidate |",
        "| runtime | ONNX |",
        "- 1,400 labelled rows from labels()",
        "- 100 of 180 labelled predictions from the prediction log; "
        "not used: 20 of other columns or features, 50 too young, 10 in labels() already",
        "- evaluated: fitted to 1,050 rows, chosen with 150, held out are 300: rows from 2025-12-01T00:00:00Z on",
        "- to be deployed: fitted to 1,500 rows, the last 3 periods, which predict better",
        "| labels known at | 2026-01-01T00:00:00Z |",
        "| data | SHA-256 abc |",
        "| code | def, with edited files |",
        "| lifecycle | 0.3.0 |",
        "| owners | data science @ana; engineering @acme/bo, @cy; product not assigned |",
        "| order_id | key | category |  |  | no |",
        "| a\\|b &lt;i> | request | number | EUR | 0 … 0.5 | yes |",
        "| level | request | category |  | l0, l1, l2, l3, l4, l5, l6, l7, l8, l9 … | no |",
        "These metrics are those of the evaluated fit, which has not seen the rows held out. "
        "The deployed fit was fitted to newer rows as well, including those held out.",
        "|  | log_loss |",
        "| candidate | 0.1235 |",
        "| linear | 0.2 |",
        "The expected calibration error of this model is 0.0213; calibrated probabilities have about 0.0107 by chance.",
        "| 0.0432 | 0.0500 | 1,150 |",
        "| deployed in local | 0.25 | 1,034 | 0.410 | 0.700 | 0.5000 |",
        "| proposed | 0.9 | 0 | not defined | 0.000 | 0.2500 |",
    ],
)
def test_the_card_contains_each_fact(line: str) -> None:
    assert line in model_card(CONTRACT, FACTS, "ONNX").splitlines()


def test_the_card_names_the_linear_baseline_when_it_is_the_model() -> None:
    # Bundles before 0.3.0 record neither the version of lifecycle nor the calibration.
    older = {name: fact for name, fact in FACTS.items() if name not in ("lifecycle", "calibration")}
    facts = older | {"estimator": "linear", "code": {"commit": None, "edited": None}, "owners": {}}
    shown = model_card(CONTRACT, facts, "ONNX")
    assert "| model | the linear baseline, which the candidate did not beat |" in shown
    assert "| code | no commit |" in shown
    assert "| owners | not assigned |" in shown
    assert "| lifecycle |" not in shown
    assert "Calibration" not in shown


@pytest.mark.parametrize(
    ("target", "line"),
    [
        (Target("regression", "days", unit="days"), "This model predicts days, in days."),
        (Target("regression", "days"), "This model predicts days."),
        (
            Target("multiclass", "carrier", ("air", "sea")),
            "This model predicts the probability of each class of carrier.",
        ),
    ],
)
def test_the_card_describes_the_target(target: Target, line: str) -> None:
    assert line in model_card(Contract(1, target, COLUMNS), FACTS, "ONNX").splitlines()


def test_every_bundle_contains_its_card_and_the_hash_of_it(tmp_path: Path) -> None:
    (tmp_path / "OWNERS").write_text(owners_text(), encoding="utf-8")
    bundle = train(order_team(), settings_in(tmp_path), tmp_path, owners=approvals.roles(tmp_path))
    assert "card.md" in bundle.facts["files"]
    shown = bundle.read("card.md").decode()
    [runtime] = re.findall(r"^\| runtime \| (ONNX, equal on .*) \|$", shown, re.MULTILINE)
    assert shown == model_card(bundle.contract, bundle.facts, runtime)
    assert "| order amount € | request | number | EUR |" in shown
    assert bundle.facts["owners"] == {"data-science": ["ana"], "engineering": ["acme/eng"], "product": ["cy"]}
    assert "| owners | data science @ana; engineering @acme/eng; product @cy |" in shown
    assert bundle.version not in shown
    fits, rows = bundle.facts["fits"], bundle.facts["rows"]
    assert fits["evaluated"] < fits["deployed"] == rows["training"] + rows["holdout"]
    assert f"- evaluated: fitted to {fits['evaluated']:,} rows" in shown
    assert f"- to be deployed: fitted to {fits['deployed']:,} rows" in shown


def test_training_continues_with_an_invalid_owners_file(tmp_path: Path) -> None:
    (tmp_path / "OWNERS").write_text("a: [", encoding="utf-8")
    bundle = train(order_team(), settings_in(tmp_path), tmp_path, owners=approvals.roles(tmp_path))
    assert bundle.facts["owners"] == {}
