"""Verbs about a version of the model: train, promote, approve, roll back, and the features it looks up."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lifecycle.cli.commands import REASONS, TIMESTAMP, Commands, parse_timestamp
from lifecycle.contract.team import Data
from lifecycle.errors import LifecycleError, NotHere
from lifecycle.registry import provenance
from lifecycle.settings import Loaded


def add(commands: Commands) -> None:
    """Add features, train, promote, approve and rollback."""
    for verb in (
        commands.add("features", _features, "fill the tables that the service looks up in", "online"),
        commands.add("train", _train, "train, measure and write a bundle"),
    ):
        verb.add_argument("--as-of", metavar="MOMENT", help=TIMESTAMP)
    verb.add_argument("--reason", choices=REASONS, default="manual", help="why it is trained")
    promote = commands.add("promote", _promote, "let a version answer, if the gate agrees")
    promote.add_argument("version", nargs="?", help="default: the newest")
    promote.add_argument("--threshold", type=float, help="probability from which the positive class is answered")
    promote.add_argument("--why", default="", help="for the audit")
    promote.add_argument("--reason", choices=REASONS, help="why it was trained; default: what its bundle says")
    approve = commands.add("approve", _approve, "approve a version for production, for the roles you stand for")
    approve.add_argument("version", nargs="?", help="default: the newest")
    approve.add_argument("--threshold", type=float, help="approve this threshold, too")
    approve.add_argument("--why", default="", help="for the audit")
    rollback = commands.add("rollback", _rollback, "let the previous version answer again")
    rollback.add_argument("--why", default="", help="for the audit")


def _features(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.contract.team import load_data
    from lifecycle.jobs.materialize import materialise

    told = materialise(loaded.settings, load_data(), parse_timestamp(given.as_of))
    for version, line in told.items():
        print(f"{version}: {line}")
    if not told:
        print("no deployed version looks features up")


def _train(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.contract.team import load
    from lifecycle.ownership import repository
    from lifecycle.training.tracking import mirror
    from lifecycle.training.train import train

    root = Path.cwd()
    bundle = train(
        load(root), loaded.settings, root, parse_timestamp(given.as_of), given.reason, repository.roles(root)
    )
    facts = bundle.facts
    print(f"{bundle.version}  {facts['kind']} bundle in {bundle.path}")
    rows = facts["rows"]
    print(f"{rows['training']} rows for training, {rows['holdout']} held out: {facts['holdout']['rule']}")
    for name, metrics in facts["metrics"].items():
        print(f"{name:>10}  " + "  ".join(f"{metric} {value:.4f}" for metric, value in metrics.items()))
    if facts["estimator"] != "candidate":
        print("the linear baseline was not beaten: it is the model of this bundle")
    if facts["kind"] == "skops":
        told = json.loads(bundle.read("export.json"))["reason"]
        print(f"no ONNX, so a row takes milliseconds instead of microseconds: {told}")
        print(f"  {bundle.path / 'export.json'} has the rows, lifecycle/docs/export.md what helps")
    if uri := mirror(loaded.settings, bundle):
        print(f"mirrored at {uri}")


def logged_skew(loaded: Loaded, data: Data) -> Mapping[str, Any] | None:
    """What recomputing the logged requests of what answers finds; None where nothing can be compared.

    Where it cannot be found, `problem` says why: the gate decides what follows from that.
    """
    from lifecycle.models.bundle import open_version
    from lifecycle.monitoring import skew
    from lifecycle.registry import deployments

    settings = loaded.settings
    live = deployments.read(settings.store, loaded.environment)
    if live is None or not settings.log.enabled:
        return None
    try:
        bundle = open_version(settings.store, live.live.version)
        found = skew.measure(settings, data, loaded.environment, bundle, settings.now())
    except NotHere:
        return None
    except LifecycleError as error:
        return {"problem": error.problem}
    return asdict(found) if found else None


def _promote(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.contract.team import load_data
    from lifecycle.jobs.promote import promote
    from lifecycle.registry import deployments

    settings, environment = loaded.settings, loaded.environment
    before = deployments.read(settings.store, environment)
    who = provenance.who()
    data = load_data()
    done = promote(
        settings,
        data,
        environment,
        given.version,
        given.threshold,
        who,
        given.why,
        Path.cwd(),
        reason=given.reason,
        skew=logged_skew(loaded, data),
        tell=lambda page: print(f"decision: {page}"),
    )
    if done == before:
        print(
            f"{done.live.version} answers in {environment} already (threshold {done.live.threshold}); nothing changed"
        )
        return
    print(f"{done.live.version} answers in {environment} (threshold {done.live.threshold})")
    print(f"{done.who}: {done.why}")


def _approve(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.models.bundle import newest, open_version
    from lifecycle.ownership.approvals import approve

    store, who = loaded.settings.store, provenance.who()
    version = open_version(store, given.version or newest(store)).version
    roles = approve(Path.cwd(), store, loaded.environment, version, given.threshold, who, given.why)
    threshold = "" if given.threshold is None else f" with the threshold {given.threshold}"
    print(f"{who} approves {version}{threshold} for {loaded.environment}, as {', '.join(roles)}")


def _rollback(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.contract.team import load_data
    from lifecycle.jobs.promote import rollback

    done = rollback(loaded.settings, load_data(), loaded.environment, provenance.who(), given.why, Path.cwd())
    print(f"{done.live.version} answers in {done.environment} again (threshold {done.live.threshold})")
