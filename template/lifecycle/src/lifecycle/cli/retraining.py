"""Commands of the loop: retrain, and the history of deployments."""

import argparse
from pathlib import Path

from lifecycle import timestamps
from lifecycle.cli.commands import REASONS, TIMESTAMP, Commands, parse_timestamp
from lifecycle.settings import Loaded


def add(commands: Commands) -> None:
    """Add retrain and history."""
    retrain = commands.add("retrain", _retrain, "train again and promote if the gate passes")
    retrain.add_argument("--reason", choices=REASONS, help="default: that of monitoring's request, else manual")
    retrain.add_argument("--due", action="store_true", help="only if monitoring, the schedule or new labels demand it")
    retrain.add_argument("--force", action="store_true", help="ignore cooldown, weekly limit and off switch")
    history = commands.add("history", _history, "list which version and threshold were deployed from when to when")
    history.add_argument("--at", metavar="TIMESTAMP", help=TIMESTAMP.partition(";")[0])


def _retrain(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.jobs.retrain import retrain

    run = retrain(loaded.settings, loaded.environment, Path.cwd(), given.reason, given.due, given.force)
    if run:
        print(f"{run.outcome}: {run.text}")


def _history(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.registry import audit

    store, as_of = loaded.settings.store, parse_timestamp(given.at)
    periods = audit.periods(store, loaded.environment)
    for period in periods if as_of is None else [audit.period_at(periods, as_of)]:
        last = timestamps.format_utc(period.last) if period.last is not None else "now"
        threshold = "" if period.threshold is None else f"  threshold {period.threshold:g}"
        print(f"{timestamps.format_utc(period.first)} to {last}  {period.version}{threshold}")
        entry = period.entry
        print(f"    {entry['action']} by {entry['who']} (recorded, not verified): {entry['why'] or 'no reason given'}")
        if decision := entry.get("evidence", {}).get("decision"):
            print(f"    decision: {store.root / decision}")
    if not periods:
        print(f"nothing has been deployed in {loaded.environment} yet")
