"""A real browser without a window looks at a page: errors, requests, colours, width, and what axe-core says of it."""

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
# For a module that opens pages: one browser at a time, and only where there is one.
MARKS = [pytest.mark.slow, pytest.mark.xdist_group("browser"), IF_THERE]


@cache
def axe() -> str:
    """The source of axe-core, from npm, once for a checkout."""
    source = AXE / "node_modules/axe-core/axe.min.js"
    if not source.exists():
        AXE.mkdir(parents=True, exist_ok=True)
        (AXE / "package.json").write_text('{"name": "asks", "version": "1.0.0", "private": true}')
        done = run("npm", "install", "--no-audit", "--no-fund", "axe-core@^4.10.0", folder=AXE)
        assert done.returncode == 0, done.stdout
    return source.read_text(encoding="utf-8")


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """The machine's own Chromium."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert found, "there is no Chromium on this machine"
    # Chromium refuses to run its sandbox as root, which is who runs the suite in a container.
    options = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=found, args=options)
        yield opened
        opened.close()


def examine(path: Path) -> None:
    """Open a page of one file in both colour schemes and on a narrow screen; an AssertionError tells what is wrong."""
    with browser() as opened:
        backs = {scheme: _in_scheme(opened, path, scheme) for scheme in ("light", "dark")}
        assert backs["light"] != backs["dark"], f"{path.name}: both colour schemes have the background {backs['dark']}"


def picture(path: Path, into: Path, scheme: str = "light", size: tuple[int, int] = WIDE) -> None:
    """Write a PNG of a page's first screen."""
    with browser() as opened, _page(opened, scheme, size) as page:
        page.goto(path.as_uri())
        page.screenshot(path=into)


def _in_scheme(opened: Browser, path: Path, scheme: str) -> str:
    """The colour of the background, once all else is in order."""
    faults: list[str] = []
    with _page(opened, scheme, WIDE) as page:
        page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda asked: faults.append(f"it asks {asked.url}") if _is_elsewhere(asked.url) else None)
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
