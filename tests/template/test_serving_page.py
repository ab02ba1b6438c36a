"""`lifecycle/docs/serving.md`: its endpoints, statuses, settings and names are those of the code."""

import re
from pathlib import Path

from lifecycle import settings
from lifecycle.serving import v2
from lifecycle.serving.app import HEADERS, SHORTEST_KEY, UNAUTHORIZED, create, errors
from lifecycle.serving.predict import EVENT_LOOP_ROWS, OPEN
from lifecycle.settings import Serve
from lifecycle.storage import Store
from support.rendering import TEMPLATE
from support.services import QUICK
from support.storages import Storage

PAGE = (TEMPLATE / "lifecycle/docs/serving.md").read_text(encoding="utf-8").partition("## Verified export\n")[0]


def test_endpoints_and_which_of_them_require_a_key_are_those_of_the_application(tmp_path: Path) -> None:
    storage = Storage(Store(tmp_path / "storage"), tmp_path / "drafts")
    storage.deploy(storage.publish())
    app = create(storage.store, "local", QUICK)
    page = dict(re.findall(r"^\| `(?:GET|POST) (\S+)` \|.*\| (yes|no) \|$", PAGE, re.MULTILINE))
    # Clients of the protocol have its own OpenAPI document.
    assert set(page) == set(app.fastapi.openapi()["paths"]) | {"/docs", *v2.OPEN}
    assert {path for path, key in page.items() if key == "no"} | {"/openapi.json"} == set(OPEN)
    assert set(re.findall("`(x-[a-z-]+)`", PAGE)) == set(HEADERS)


def test_statuses_are_those_that_are_documented() -> None:
    page = set(map(int, re.findall(r"^\| (\d{3}) \|", PAGE, re.MULTILINE)))
    assert page == {*UNAUTHORIZED, *errors(Serve())}


def test_settings_have_these_defaults_and_the_names_are_those_of_the_code() -> None:
    defaults = {name: "none" if value in ("", ()) else str(value) for name, value in Serve().model_dump().items()}
    page = re.findall(r"^\| `serve\.(\w+)` \| (\S+) \|", PAGE, re.MULTILINE)
    assert {name: value for name, value in page} == {name: defaults[name] for name, _ in page}
    assert {"max_rows", "max_bytes", "timeout_seconds", "max_in_flight", "queue_rows", "batch_rows"} <= dict(
        page
    ).keys()
    assert set(re.findall(r"`serve\.(\w+)`", PAGE)) <= set(defaults)
    assert Serve().timeout_seconds < Serve().drain_seconds
    assert f"more than {EVENT_LOOP_ROWS} rows" in PAGE
    assert f"at least {SHORTEST_KEY} characters" in PAGE
    assert settings.API_KEY in PAGE
