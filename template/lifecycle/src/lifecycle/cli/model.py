"""Commands for versions of the model: train, promote, approve, rollback, and features for its look-ups."""

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
    for command in (
        commands.add("features", _features, "compute the features that the service looks up", "online"),
        commands.add("train", _train, "train, evaluate and write a bundle"),
    ):
        command.add_argument("--as-of", metavar="TIMESTAMP", help=TIMESTAMP)
    command.add_argument("--reason", choices=REASONS, default="manual", help="why it is trained")
    promote = commands.add("promote", _promote, "deploy a version if the gate passes")
    promote.add_argument("version", nargs="?", help="default: the newest")
    promote.add_argument("--threshold", type=float, help="probability from which the positive class is predicted")
    promote.add_argument("--why", default="", help="reason, for the audit log")
    promote.add_argument("--reason", choices=REASONS, help="why it was trained; default: the reason in its bundle")
    approve = commands.add("approve", _approve, "approve a version for production, for the roles you hold")
    approve.add_argument("version", nargs="?", help="default: the newest")
    approve.add_argument("--threshold", type=float, help="approve this threshold, too")
    approve.add_argument("--why", default="", help="reason, for the audit log")
    rollback = commands.add("rollback", _rollback, "deploy the previous version again")
    rollback.add_argument("--why", default="", help="reason, for the audit log")


def _features(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.contract.team import load_data
    from lifecycle.jobs.materialize import materialize

    written = materialize(loaded.settings, load_data(), parse_timestamp(given.as_of))
    for version, line in written.items():
        print(f"{version}: {line}")
    if not written:
        print("no deployed version looks up features")


def _train(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.contract.team import load
    from lifecycle.ownership import repository
    from lifecycle.training.train import mirror, train

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
        print("the candidate did not beat the linear baseline, which is the model of this bundle")
    if facts["kind"] == "skops":
        reason = json.loads(bundle.read("export.json"))["reason"]
        print(f"not converted to ONNX, so one prediction takes milliseconds instead of microseconds: {reason}")
        print(f"  {bundle.path / 'export.json'} lists the rows; see lifecycle/docs/export.md")
    if uri := mirror(loaded.settings, bundle):
        print(f"run mirrored at {uri}")


def _promote(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.contract.team import load_data
    from lifecycle.jobs.promote import promote
    from lifecycle.registry import deployments

    settings, environment = loaded.settings, loaded.environment
    before = deployments.read(settings.store, environment)
    done = promote(
        settings,
        load_data(),
        environment,
        given.version,
        given.threshold,
        provenance.who(),
        given.why,
        Path.cwd(),
        reason=given.reason,
        on_decision=lambda page: print(f"decision: {page}"),
    )
    if done == before:
        print(f"{_described(done)} already; nothing changed")
        return
    print(_described(done))
    print(f"{provenance.who()}: {done.why}")


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
