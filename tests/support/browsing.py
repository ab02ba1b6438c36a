"""Check a page in a headless browser: errors, requests, colours, width, and the findings of axe-core."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from support.rendering import ROOT, run

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
AXE = ROOT / "build/axe"
SERIOUS = ("serious", "critical")
WIDE, NARROW = (1280, 900), (400, 800)

IF_THERE = pytest.mark.skipif(
    not (any(map(shutil.which, BROWSERS)) and shutil.which("npm")) and not os.environ.get("LOOSELEAF_TOOLS"),
    reason="chromium or npm is not on this machine",
)
# For a module that opens pages: one browser at a time, and only where one is installed.
MARKS = [pytest.mark.slow, pytest.mark.xdist_group("browser"), IF_THERE]


@cache
def axe() -> str:
    """Return the source of axe-core, downloaded from npm once per checkout."""
    source = AXE / "node_modules/axe-core/axe.min.js"
    if not source.exists():
        AXE.mkdir(parents=True, exist_ok=True)
        (AXE / "package.json").write_text('{"name": "axe", "version": "1.0.0", "private": true}')
        done = run("npm", "install", "--no-audit", "--no-fund", "axe-core@^4.10.0", folder=AXE)
        assert done.returncode == 0, done.stdout
    return source.read_text(encoding="utf-8")


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """Run the installed Chromium."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert found, "there is no Chromium on this machine"
    # Chromium refuses to run its sandbox as root, the user of the suite in a container.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=options)
        yield opened
        opened.close()


def examine(path: Path) -> None:
    """Check a page in both colour schemes and on a narrow screen; an AssertionError lists what is wrong."""
    with browser() as opened:
        backs = {scheme: _in_scheme(opened, path, scheme) for scheme in ("light", "dark")}
        assert backs["light"] != backs["dark"], f"{path.name}: both colour schemes have the background {backs['dark']}"


def picture(path: Path, into: Path, scheme: str = "light", size: tuple[int, int] = WIDE) -> None:
    """Write a PNG of the first screen of a page."""
    with browser() as opened, _page(opened, scheme, size) as page:
        page.goto(path.as_uri())
        page.screenshot(path=into)


def _in_scheme(opened: Browser, path: Path, scheme: str) -> str:
    """Check a page in one colour scheme and return its background colour."""
    faults: list[str] = []
    with _page(opened, scheme, WIDE) as page:
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda sent: faults.append(f"a request to {sent.url}") if _is_elsewhere(sent.url) else None)
        page.goto(path.as_uri(), wait_until="load")
        for width, height in (WIDE, NARROW):
            page.set_viewport_size({"width": width, "height": height})
            needed = page.evaluate("document.documentElement.scrollWidth")
            if needed > width:
                faults.append(f"at {width} pixels it is {needed} wide")
            faults += _violations(page)
        assert faults == [], f"{path.name}, {scheme}: {faults}"
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


@contextlib.contextmanager
def _page(opened: Browser, scheme: Any, size: tuple[int, int]) -> Iterator[Page]:
    context = opened.new_context(color_scheme=scheme, viewport={"width": size[0], "height": size[1]})
    yield context.new_page()
    context.close()


def _is_elsewhere(url: str) -> bool:
    return not url.startswith(("file:", "data:", "about:"))


def _violations(page: Page) -> list[str]:
    page.evaluate(axe())
    found = page.evaluate("async () => (await axe.run(document, {resultTypes: ['violations']})).violations")
    return [
        f"{each['id']} ({each['impact']}): {each['help']}: {each['nodes'][0]['html'][:200]}"
        for each in found
        if each["impact"] in SERIOUS
    ]
