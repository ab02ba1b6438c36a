"""Commands for the prediction log and its labels: collect, labels, erase."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle import timestamps
from lifecycle.cli.commands import Commands, parse_timestamp
from lifecycle.errors import LifecycleError
from lifecycle.settings import Loaded

if TYPE_CHECKING:
    from lifecycle.contract.schema import Contract


def add(commands: Commands) -> None:
    """Add collect, labels and erase."""
    commands.add("collect", _collect, "convert the service's prediction log to Parquet, and remove what is too old")
    labels = commands.add("labels", _coverage, "import labels, or show how many predictions have one")
    parts = labels.add_subparsers(dest="part", required=True, metavar="PART")
    new = parts.add_parser("add", help="import the labels of a CSV or Parquet file")
    new.add_argument("file", type=Path)
    new.add_argument("--seen", metavar="TIMESTAMP", help="when they became known; default: now")
    new.set_defaults(run=_add)
    share = parts.add_parser("coverage", help="show how many predictions have a label")
    share.add_argument("--as-of", metavar="TIMESTAMP", help="2026-01-31 or 2026-01-31T12:00:00Z; default: now")
    share.set_defaults(run=_coverage)
    erase = commands.add("erase", _erase, "erase every logged row, score and label of a key, in this storage")
    erase.add_argument("key")


def _collect(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.monitoring.collect import collect, prune

    own, environment = loaded.settings, loaded.environment
    done = collect(own.store, environment)
    old = prune(own.store, environment, timestamps.now(), own.log.retention_days)
    print(f"{done.rows} rows of {done.segments} segments are in {own.store.predictions / environment}")
    if done.half_lines:
        print(f"{done.half_lines} incomplete lines were skipped: a service was killed, or its disk was full")
    if old:
        print(f"{len(old)} files older than {own.log.retention_days} days (log.retention_days) were removed")
    if done.waiting:
        waiting = [f"{segment} was not collected: {problem}" for segment, problem in done.waiting.items()]
        raise LifecycleError("\n  ".join(waiting), "Everything else is collected. Fix this, and collect again.")


def _add(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.monitoring import labels
    from lifecycle.registry import predictions

    store, now, contract = loaded.settings.store, timestamps.now(), _contract(loaded)
    count = labels.add(store, contract, given.file, now, parse_timestamp(given.seen))
    if count is None:
        print(f"{given.file} was imported before; nothing changed")
        return
    print(f"{count} labels of {given.file} were imported")
    with predictions.connect() as connection:
        predictions.load_rows(connection, store, loaded.environment, 0, now + 1)
        strays = count - labels.matched(connection, store, contract, given.file)
    if strays:
        print(f"{strays} of them belong to no collected prediction of {loaded.environment} (`make collect`)")


def _coverage(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.monitoring import labels
    from lifecycle.registry import predictions

    own, as_of = loaded.settings, parse_timestamp(given.as_of)
    as_of = timestamps.now() if as_of is None else as_of
    with predictions.connect() as connection:
        predictions.load_rows(connection, own.store, loaded.environment, 0, as_of + 1)
        labels.joined(connection, own.store, _contract(loaded), as_of)
        found = labels.coverage(connection, as_of, own.monitor.label_days)
    print(f"{found.predictions} predictions, {found.mature} of them older than {own.monitor.label_days} days")
    print(f"{found.labelled} of the older ones have a label ({found.share:.1%})")


def _erase(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.monitoring.erasure import erase

    done = erase(loaded.settings.store, given.key, _contract(loaded))
    print(f"{done.rows} logged or scored rows and {done.labels} labels of {given.key} were erased")
    if done.being_written:
        seconds = loaded.settings.log.segment_seconds
        problem = f"{done.being_written} rows are in a segment that a service is writing"
        raise LifecycleError(problem, f"Run it again after the segment is rotated (at most {seconds:g} s).")


def _contract(loaded: Loaded) -> "Contract":
    """Return the contract of the deployed version; before the first promotion, that of the repository."""
    from lifecycle.contract.team import load_contract
    from lifecycle.registry import deployments, predictions

    deployment = deployments.read(loaded.settings.store, loaded.environment)
    if deployment:
        return predictions.contract_of(loaded.settings.store, deployment.current.version)
    return load_contract()[0]
