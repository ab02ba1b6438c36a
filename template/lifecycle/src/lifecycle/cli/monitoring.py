"""Verbs that look at what a live version was asked and answered."""

import argparse
from pathlib import Path

from lifecycle.cli.commands import Commands, parse_timestamp
from lifecycle.errors import LifecycleError, Refused
from lifecycle.settings import Loaded

PROMETHEUS = "http://127.0.0.1:9090"


def add(commands: Commands) -> None:
    """Add monitor and dashboard."""
    verb = commands.add("monitor", _monitor, "look at inputs, answers and labels of what answers, and judge them")
    verb.add_argument("--as-of", metavar="MOMENT", help="2026-01-31 or 2026-01-31T12:00:00Z; default: now")
    dashboard = commands.add("dashboard", _dashboard, "run every panel's query and draw the page", "online")
    dashboard.add_argument("--url", default=PROMETHEUS, help=f"of a Prometheus; default: {PROMETHEUS}")
    dashboard.add_argument("--hours", type=float, default=6.0, help="how far back; default: 6")


def _monitor(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.contract.team import load_data
    from lifecycle.monitoring.monitor import PAGE, monitor

    document, dated = monitor(loaded.settings, load_data(), loaded.environment, parse_timestamp(given.as_of))
    print(f"{document['verdict']}: {document['version']} in {loaded.environment} as of {document['moment']}")
    for reason in document["reasons"]:
        print(f"  {reason['verdict']}: {reason['text']}")
    print(dated / PAGE)
    if document["verdict"] == "incident":
        raise Refused(
            "the data of the last window are broken; nothing is trained on them", "Fix what the report names."
        )


def _dashboard(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.monitoring.dashboard import draw

    if not given.url.startswith(("http://", "https://")):
        raise LifecycleError(f"{given.url} is no address", f"Write it as {PROMETHEUS}.")
    if not 0 < given.hours <= 24 * 400:
        raise LifecycleError(f"--hours {given.hours:g} is no range", "More than 0, at most 9600.")
    print(draw(Path.cwd(), given.url, given.hours))
