"""Verbs that show what Prometheus has seen of the service."""

import argparse
from pathlib import Path
from pkgutil import resolve_name

from lifecycle.commands.verbs import Verbs
from lifecycle.errors import LifecycleError
from lifecycle.settings import Loaded

URL = "http://127.0.0.1:9090"


def add(verbs: Verbs) -> None:
    """Add dashboard."""
    dashboard = verbs.add("dashboard", _dashboard, "run every panel's query and draw the page", "online")
    dashboard.add_argument("--url", default=URL, help=f"of a Prometheus; default: {URL}")
    dashboard.add_argument("--hours", type=float, default=6.0, help="how far back; default: 6")


def _dashboard(given: argparse.Namespace, loaded: Loaded) -> None:
    draw = resolve_name("lifecycle.monitoring.dashboard:draw")
    if not given.url.startswith(("http://", "https://")):
        raise LifecycleError(f"{given.url} is no address", f"Write it as {URL}.")
    if not 0 < given.hours <= 24 * 400:
        raise LifecycleError(f"--hours {given.hours:g} is no range", "More than 0, at most 9600.")
    print(draw(Path.cwd(), given.url, given.hours))
