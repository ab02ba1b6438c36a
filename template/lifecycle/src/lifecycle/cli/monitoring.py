"""The command that monitors a deployed version."""

import argparse

from lifecycle.cli.commands import Commands, parse_timestamp
from lifecycle.errors import Refused
from lifecycle.settings import Loaded


def add(commands: Commands) -> None:
    """Add `monitor`."""
    command = commands.add("monitor", _monitor, "measure drift, skew and quality of the deployed version")
    command.add_argument("--as-of", metavar="TIME", help="2026-01-31 or 2026-01-31T12:00:00Z; default: now")


def _monitor(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.contract.team import load_data
    from lifecycle.monitoring.monitor import PAGE, monitor

    document, folder = monitor(loaded.settings, load_data(), loaded.environment, parse_timestamp(given.as_of))
    print(f"{document['verdict']}: {document['version']} in {loaded.environment} as of {document['as_of']}")
    for reason in document["reasons"]:
        print(f"  {reason['verdict']}: {reason['text']}")
    print(folder / PAGE)
    if document["verdict"] == "incident":
        problem = "the data of the last window are broken; no model is trained on them"
        raise Refused(problem, "Fix the data that the report names, then run `make monitor` again.")
