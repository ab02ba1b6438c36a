"""The section "Verified export" of `lifecycle/docs/serving.md`: figures, fields and commands are those of the code."""

import re
import tomllib

from lifecycle.models import bundle, runtimes
from support.exports import Entry, exported, fitted, linear
from support.rendering import TEMPLATE

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
