"""`lifecycle/docs/client.md`: its code runs, and its names, numbers and statuses are those of the client."""

import inspect
import json
import re
from pathlib import Path

import pytest

from lifecycle.client import build
from lifecycle.client.package import calls, client, errors
from lifecycle.contract.schema import Contract
from looseleaf.contract import prose
from support.clients import Response, load, scripted
from support.rendering import TEMPLATE

PAGE = (TEMPLATE / "lifecycle/docs/client.md").read_text(encoding="utf-8")
README = (TEMPLATE / "README.md.jinja").read_text(encoding="utf-8")
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
    printed = build.example(SAMPLE, "churn").replace("=...", '="c-00890", discount=25')
    assert printed in README
    # `make contract DATA=…` replaces it with the row of another table.
    assert len(prose.EXAMPLE_CALL.findall(README)) == 1


def test_the_page_has_every_exception_and_status() -> None:
    named = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE))
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind) and issubclass(kind, errors.ClientError)]
    assert {*named} == {kind.__name__ for kind in kinds} - {"ClientError"}
    for name, description in named.items():
        for status in re.findall(r"\b\d{3}\b", description):
            body = json.dumps({"detail": [{"loc": ["body", "x"], "msg": "m"}]}).encode()
            assert type(calls.error_of(calls.Reply(int(status), {}, body), "")).__name__ == name
    retried = re.search(r"statuses ([\d, and]+) are retried", PAGE)
    assert retried
    assert {*map(int, re.findall(r"\d+", retried[1]))} == {*calls.BUSY, *calls.GATEWAY}


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    defaults = {name: each.default for name, each in inspect.signature(client.SyncClient).parameters.items()}
    assert f"timeout={defaults['timeout']}, retries={defaults['retries']}" in PAGE
    assert inspect.signature(client.AsyncClient).parameters.keys() == defaults.keys()
    assert f"at most {calls.MOST_ROWS} rows" in PAGE
    assert f"up to {calls.FIRST_PAUSE} seconds" in PAGE
    assert f"to at most {calls.LONGEST_PAUSE:g}" in PAGE
    public = {name for name in vars(client.SyncClient) if not name.startswith("_")} - {"close", "http_client"}
    assert public == {"predict", "predict_many", "ready"} <= set(re.findall(r"`(\w+)`", PAGE))
