"""The section "Verified export" of `lifecycle/docs/serving.md`: figures, fields and commands are those of the code."""

import re
import tomllib
from pathlib import Path

import pytest

from lifecycle.models import bundle, runtimes
from support.exports import Entry, exported, fitted, linear
from support.pages import blocks
from support.rendering import ROOT, TEMPLATE, run, tool

SERVING = (TEMPLATE / "lifecycle/docs/serving.md").read_text(encoding="utf-8")
PAGE = SERVING.partition("## Verified export\n")[2].partition("\n## ")[0]


def test_the_commands_are_those_in_the_message_of_a_refused_bundle() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `[\w./]+` \| `(.*?)` \|", PAGE, re.MULTILINE)
    assert dict(rows) == bundle.INSTALL


def test_the_tolerances_and_the_size_limit_are_those_of_the_code() -> None:
    assert f"{runtimes.PROBABILITY_TOLERANCE / 2:.0e}".replace("e-0", "e-") == "5e-7"
    assert f"{runtimes.VALUE_TOLERANCE / 2:.0e}".replace("e-0", "e-") == "5e-6"
    for figure in ("5e-7", "5e-6", "(1e-6 and 1e-5)", f"{runtimes.LARGEST_GRAPH >> 20} MiB"):
        assert figure in PAGE


def test_every_field_of_the_report_is_described() -> None:
    model = fitted(Entry("linear", linear))
    fields = set(exported(model, nulls=False).report)
    assert fields <= set(re.findall(r"`(\w+)`", PAGE.split("### `export.json`")[1].split("### ")[0]))


def test_the_extras_exist() -> None:
    extras = tomllib.loads((TEMPLATE / "lifecycle/pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"lightgbm", "xgboost"} <= set(extras["optional-dependencies"])
    assert 'uv add --group lifecycle "looseleaf-lifecycle[lightgbm]"' in PAGE
    group = tomllib.loads(
        (TEMPLATE / "pyproject.toml.jinja").read_text(encoding="utf-8").replace("{{", "").replace("}}", "")
    )
    assert group["dependency-groups"]["lifecycle"] == ["looseleaf-lifecycle[default]"]


@pytest.mark.slow
def test_the_code_of_samplers_and_steps_passes_the_type_check_of_a_repository(tmp_path: Path) -> None:
    sampler, clipped = blocks(PAGE, "Samplers, and steps of your own")
    imports = "from sklearn.base import BaseEstimator\nfrom sklearn.ensemble import HistGradientBoostingClassifier\n"
    (tmp_path / "sampled.py").write_text(f"{imports}from lifecycle.contract import Inputs\n{sampler}", encoding="utf-8")
    (tmp_path / "clipped.py").write_text(clipped, encoding="utf-8")
    done = run(tool("mypy"), "--config-file", str(ROOT / "pyproject.toml"), *map(str, tmp_path.iterdir()), folder=ROOT)
    assert done.returncode == 0, done.stdout
