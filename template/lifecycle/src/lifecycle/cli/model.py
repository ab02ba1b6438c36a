"""Verbs about a version of the model: train, promote, approve, roll back, and the features it looks up."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from lifecycle.cli.commands import REASONS, TIMESTAMP, Commands, parse_timestamp
from lifecycle.registry import provenance
from lifecycle.settings import Loaded

if TYPE_CHECKING:
    from lifecycle.registry.deployments import Deployment


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
    approve = commands.add("approve", _approve, "approve a version for production, for the roles you hold")
    approve.add_argument("version", nargs="?", help="default: the newest")
    approve.add_argument("--threshold", type=float, help="approve this threshold, too")
    approve.add_argument("--why", default="", help="for the audit")
    rollback = commands.add("rollback", _rollback, "let the previous version answer again")
    rollback.add_argument("--why", default="", help="for the audit")


def _features(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.contract.team import load_data
    from lifecycle.jobs.materialize import materialize

    told = materialize(loaded.settings, load_data(), parse_timestamp(given.as_of))
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


def _promote(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.contract.team import load_data
    from lifecycle.jobs.promote import logged_skew, promote
    from lifecycle.registry import deployments

    settings, environment, data = loaded.settings, loaded.environment, load_data()
    before = deployments.read(settings.store, environment)
    done = promote(
        settings,
        data,
        environment,
        given.version,
        given.threshold,
        provenance.who(),
        given.why,
        Path.cwd(),
        reason=given.reason,
        skew=logged_skew(settings, data, environment),
        on_decision=lambda page: print(f"decision: {page}"),
    )
    if done == before:
        print(f"{_described(done)} already; nothing changed")
        return
    print(_described(done))
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
    print(f"{_described(done)} again")


def _described(done: "Deployment") -> str:
    threshold = "" if done.current.threshold is None else f" with the threshold {done.current.threshold}"
    return f"{done.current.version} is deployed in {done.environment}{threshold}"
