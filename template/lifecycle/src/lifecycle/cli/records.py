"""Verbs about what was predicted and what came true: collect the log, keep labels, forget a key."""

import argparse
from pathlib import Path

from lifecycle import timestamps
from lifecycle.cli.commands import Commands, parse_timestamp
from lifecycle.contract.schema import Contract
from lifecycle.errors import LifecycleError
from lifecycle.settings import Loaded


def add(commands: Commands) -> None:
    """Add collect, labels and erase."""
    commands.add("collect", _collect, "turn the service's log into Parquet, and remove what is too old")
    labels = commands.add("labels", _coverage, "what became known of the predictions")
    parts = labels.add_subparsers(dest="part", required=True, metavar="PART")
    new = parts.add_parser("add", help="keep the labels of a CSV or Parquet file")
    new.add_argument("file", type=Path)
    new.add_argument("--seen", metavar="MOMENT", help="when they became known; default: now")
    new.set_defaults(run=_add)
    share = parts.add_parser("coverage", help="how many predictions have a label by now")
    share.add_argument("--as-of", metavar="MOMENT", help="2026-01-31 or 2026-01-31T12:00:00Z; default: now")
    share.set_defaults(run=_coverage)
    erase = commands.add("erase", _erase, "forget a key: every logged row and label of it, in this storage")
    erase.add_argument("key")


def _collect(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.registry import predictions

    own, environment = loaded.settings, loaded.environment
    done = predictions.collect(own.store, environment)
    old = predictions.prune(own.store, environment, timestamps.now(), own.log.retention_days)
    print(f"{done.rows} rows of {done.segments} segments stand in {own.store.predictions / environment}")
    if done.half_lines:
        print(f"{done.half_lines} half lines were skipped: a service was killed, or its disk was full")
    if old:
        print(f"{len(old)} files older than {own.log.retention_days} days (log.retention_days) are gone")
    if done.waiting:
        waiting = [f"{segment} waits: {problem}" for segment, problem in done.waiting.items()]
        raise LifecycleError("\n  ".join(waiting), "All else is collected. Fix what it names, and collect again.")


def _add(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.monitoring import labels
    from lifecycle.registry import predictions

    store, now, contract = loaded.settings.store, timestamps.now(), _contract(loaded)
    count = labels.add(store, contract, given.file, now, parse_timestamp(given.seen))
    if count is None:
        print(f"{given.file} was here before; nothing changed")
        return
    print(f"{count} labels of {given.file} are kept")
    with predictions.connect() as connection:
        predictions.rows(connection, store, loaded.environment, 0, now + 1)
        strays = count - labels.met(connection, store, contract, given.file)
    if strays:
        print(f"{strays} of them belong to no answer of {loaded.environment} that is collected (`make collect`) by now")


def _coverage(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.monitoring import labels
    from lifecycle.registry import predictions

    own = loaded.settings
    as_of = timestamps.now() if given.as_of is None else parse_timestamp(given.as_of) or 0
    with predictions.connect() as connection:
        predictions.rows(connection, own.store, loaded.environment, 0, as_of + 1)
        labels.joined(connection, own.store, _contract(loaded), as_of)
        found = labels.coverage(connection, as_of, own.monitor.label_days)
    print(f"{found.predictions} predictions, {found.mature} of them older than {own.monitor.label_days} days")
    print(f"{found.labelled} of the older ones have a label ({found.share:.1%})")


def _erase(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.monitoring.erasure import erase

    done = erase(loaded.settings.store, given.key, _contract(loaded))
    if done.rows or done.labels:
        print(f"{done.rows} logged or scored rows and {done.labels} labels are gone")
    else:
        print(f"{given.key} stands in no logged or scored row and on no label")


def _contract(loaded: Loaded) -> Contract:
    """That of what answers; before anything does, the repository's."""
    from lifecycle.contract.team import load_contract
    from lifecycle.registry import deployments, predictions

    deployment = deployments.read(loaded.settings.store, loaded.environment)
    if deployment:
        return predictions.contract_of(loaded.settings.store, deployment.current.version)
    return load_contract()[0]
