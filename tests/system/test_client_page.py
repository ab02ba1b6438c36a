"""The client in `lifecycle/docs/serving.md`: its code runs; names, numbers and statuses are those of the client."""

import importlib
import inspect
import json
import re
from pathlib import Path
from types import ModuleType

import pytest
from client import files

from lifecycle.contract.schema import Contract
from looseleaf.contract import prose
from support.clients import Response, load, scripted
from support.rendering import TEMPLATE

PAGE = (TEMPLATE / "lifecycle/docs/serving.md").read_text(encoding="utf-8").partition("## The client\n")[2]
README = (TEMPLATE / "README.md.jinja").read_text(encoding="utf-8")
README = README.replace("{{ model_name | replace('-', '_') }}", "churn")
SAMPLE = Contract.from_json((TEMPLATE / "contract.json").read_bytes())
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE + README, re.DOTALL)


def test_the_code_of_the_pages_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(SAMPLE, "churn", tmp_path)
    body = json.dumps({"prediction": "stays", "probability": 0.25}).encode()
    with scripted(Response(200, body, {"x-model-version": "v7"})) as service:
        for block in BLOCKS:
            exec(block.replace("http://127.0.0.1:8000", service.url), {})
    assert capsys.readouterr().out == "stays 0.25 v7\n0.25\n"
    assert len(BLOCKS) == 3
    assert service.requests[0][0]["x-request-id"] == "order-17"


def test_the_lines_of_the_readme_are_those_that_the_command_prints() -> None:
    # `make client` prints the code block in the README of the client.
    (printed,) = re.findall(r"```python\n(.*?)```", files(SAMPLE, "churn", "1.0.0")["pyproject.toml"], re.DOTALL)
    assert printed.replace("=...", '="c-00890", discount=25') in README
    # `make contract DATA=…` replaces it with the row of another table.
    assert len(prose.EXAMPLE_CALL.findall(README)) == 1


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    return load(SAMPLE, "page", tmp_path_factory.mktemp("client"))


def outcome(package: ModuleType, status: int, retries: int) -> tuple[str, int]:
    """Return the exception that a response with this status raises, and how many requests were sent."""
    body = json.dumps({"detail": [{"loc": ["body", "x"], "msg": "m"}]}).encode()
    with scripted(Response(status, body)) as service, package.Client(service.url, retries=retries) as client:
        with pytest.raises(package.ClientError) as raised:
            client.predict(package.Row(customer_id="c-1"))
        return raised.type.__name__, len(service.requests)


def test_the_page_has_every_exception_and_status(package: ModuleType) -> None:
    named = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE))
    kinds = {
        name for name in package.__all__ if inspect.isclass(kind := vars(package)[name]) and issubclass(kind, Exception)
    }
    assert {*named} == kinds - {"ClientError"}
    statuses = {(int(status), name) for name, text in named.items() for status in re.findall(r"\b\d{3}\b", text)}
    assert len(statuses) == 9
    for status, name in statuses:
        assert outcome(package, status, retries=0)[0] == name, status


def test_the_client_retries_the_statuses_of_the_page(package: ModuleType) -> None:
    found = re.search(r"statuses ([\d, and]+) are retried", PAGE)
    assert found
    tried = {401, 404, 408, 413, 422, 429, 500, 501, 502, 503, 504}
    assert {*map(int, re.findall(r"\d+", found[1]))} == {
        status for status in tried if outcome(package, status, retries=1)[1] == 2
    }


def test_the_numbers_of_the_page_are_those_of_the_code(package: ModuleType) -> None:
    defaults = {name: each.default for name, each in inspect.signature(package.Client).parameters.items()}
    assert f"timeout={defaults['timeout']}, retries={defaults['retries']}" in PAGE
    assert inspect.signature(package.AsyncClient).parameters.keys() == defaults.keys()
    core = importlib.import_module(f"{package.__name__}.core")
    assert f"at most {core.MOST_ROWS} rows" in PAGE
    assert f"up to {core.FIRST_PAUSE} seconds" in PAGE
    assert f"to at most {core.LONGEST_PAUSE:g}" in PAGE
    public = {name for name in vars(package.Client) if not name.startswith("_")} - {"close"}
    assert public == {"predict", "predict_many", "ready"} <= set(re.findall(r"`(\w+)`", PAGE))
