"""`lifecycle/docs/export.md`: its figures, fields and commands are those of the code."""

import re
import tomllib

from lifecycle.models import bundle, runtimes
from lifecycle.models.export.verify import Export
from support.rendering import TEMPLATE

PAGE = (TEMPLATE / "lifecycle/docs/export.md").read_text(encoding="utf-8")


def test_the_commands_are_those_that_a_refused_bundle_names() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `[\w./]+` \| `(.*?)` \|", PAGE, re.MULTILINE)
    assert dict(rows) == bundle.INSTALL


def test_the_tolerances_and_the_limit_are_the_codes() -> None:
    assert f"{runtimes.PROBABILITY_TOLERANCE / 2:.0e}".replace("e-0", "e-") == "5e-7"
    assert f"{runtimes.VALUE_TOLERANCE / 2:.0e}".replace("e-0", "e-") == "5e-6"
    for figure in ("5e-7", "5e-6", "(1e-6 and 1e-5)", f"{runtimes.LARGEST_GRAPH >> 20} MiB"):
        assert figure in PAGE


def test_every_field_of_the_report_is_told() -> None:
    fields = {"kind", "reason", "rows", "largest_difference", "differing", "step", "warnings"}
    assert fields <= set(re.findall(r"`(\w+)`", PAGE.split("## `export.json`")[1].split("## ")[0]))
    assert "told" in dir(Export)


def test_the_extras_exist() -> None:
    extras = tomllib.loads((TEMPLATE / "lifecycle/pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"lightgbm", "xgboost"} <= set(extras["optional-dependencies"])
    assert 'uv add --group lifecycle "looseleaf-lifecycle[lightgbm]"' in PAGE
    group = tomllib.loads(
        (TEMPLATE / "pyproject.toml.jinja").read_text(encoding="utf-8").replace("{{", "").replace("}}", "")
    )
    assert group["dependency-groups"]["lifecycle"] == ["looseleaf-lifecycle[default]"]
