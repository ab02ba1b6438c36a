"""The password of the CI host's own registry: no other registry gets it, whatever the variable REGISTRY names."""

import re
from types import SimpleNamespace

import pytest
import yaml

from support.rendering import TEMPLATE, run

OWN, OTHER = "host.example.org/acme/churn", "elsewhere.example.org/team"
GITHUB = (TEMPLATE / ".github/workflows/lifecycle-image.yml").read_text(encoding="utf-8")
GITLAB = (TEMPLATE / "lifecycle/ci/platform.yml").read_text(encoding="utf-8")


def on_github(text: str, registry: str = "", **secrets: str) -> dict[str, str]:
    """Return the variables of the step that pushes; `&&` and `||` of an expression are Python's `and` and `or`."""
    steps = yaml.safe_load(text)["jobs"]["publish"]["steps"]
    (step,) = [step for step in steps if "PUSH=" in step.get("run", "")]
    given = dict.fromkeys(("REGISTRY_USER", "REGISTRY_PASSWORD"), "") | secrets
    names = {
        "vars": SimpleNamespace(REGISTRY=registry),
        "secrets": SimpleNamespace(**given),
        "github": SimpleNamespace(actor="octocat", token="t0ken", repository="acme/churn"),
        "format": lambda form, *values: form.format(*values),
    }
    found = {}
    for name in ("REGISTRY", "REGISTRY_USER", "REGISTRY_PASSWORD"):
        (expression,) = re.findall(r"^\$\{\{ (.*) \}\}$", step["env"][name])
        found[name] = str(eval(expression.replace("&&", "and").replace("||", "or"), names))
    return found


def on_gitlab(text: str, registry: str = OWN, **variables: str) -> dict[str, str]:
    """Return the variables after the lines before `make setup`, where REGISTRY is the host's own by default."""
    script = yaml.safe_load(text)["publish-image"]["script"]
    lines = script[: script.index("make setup")]
    own = {"CI_REGISTRY_IMAGE": OWN, "CI_REGISTRY_USER": "octocat", "CI_REGISTRY_PASSWORD": "t0ken"}
    shown = 'echo "$REGISTRY|$REGISTRY_USER|$REGISTRY_PASSWORD"'
    done = run("sh", "-c", "\n".join([*lines, shown]), folder=TEMPLATE, **own | {"REGISTRY": registry} | variables)
    return dict(zip(("REGISTRY", "REGISTRY_USER", "REGISTRY_PASSWORD"), done.stdout.strip().split("|"), strict=True))


@pytest.mark.parametrize(("host", "text"), [(on_github, GITHUB), (on_gitlab, GITLAB)])
def test_only_the_own_registry_gets_the_token_of_the_host(host: object, text: str) -> None:
    assert callable(host)
    assert (host(text)["REGISTRY_USER"], host(text)["REGISTRY_PASSWORD"]) == ("octocat", "t0ken")
    assert host(text, OTHER) == {"REGISTRY": OTHER, "REGISTRY_USER": "", "REGISTRY_PASSWORD": ""}
    given = {"REGISTRY_USER": "bot", "REGISTRY_PASSWORD": "own"}
    assert host(text, OTHER, **given) == {"REGISTRY": OTHER} | given


@pytest.mark.parametrize(
    ("host", "text", "find", "replace"),
    [
        (on_github, GITHUB, "(vars.REGISTRY == '' && github.token || '')", "github.token"),
        (on_github, GITHUB, "vars.REGISTRY == '' && github.token", "vars.REGISTRY != '' && github.token"),
        (on_gitlab, GITLAB, 'if [ "$REGISTRY" = "$CI_REGISTRY_IMAGE" ]; then', "if true; then"),
    ],
)
def test_a_token_for_every_registry_is_found(host: object, text: str, find: str, replace: str) -> None:
    assert callable(host)
    assert text.count(find) == 1
    assert host(text.replace(find, replace), OTHER)["REGISTRY_PASSWORD"] == "t0ken"
