"""Commands for versions of the model: features, train, promote, approve, rollback, bundle, score, serve."""

import argparse
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lifecycle import registry, timestamps
from lifecycle.cli import REASONS, TIMESTAMP, AddCommand
from lifecycle.errors import LifecycleError, complete_commands
from lifecycle.registry import deployments
from lifecycle.settings import SIGNING_KEY, Loaded, Serve


def add_commands(add: AddCommand) -> None:
    """Add the commands."""
    features = add("features", _features, "compute the features that the service looks up", "online")
    train = add("train", _train, "train, evaluate and write a bundle")
    for command in (features, train):
        about = f"{TIMESTAMP}; default: the latest time in the data, or now"
        command.add_argument("--as-of", metavar="TIMESTAMP", type=timestamps.parse, help=about)
    train.add_argument("--reason", choices=REASONS, default="manual", help="why it is trained")
    train.add_argument("--force", action="store_true", help="train even during an incident; requires --why")
    train.add_argument("--why", default="", help="the reason for training during an incident")
    promote = add("promote", _promote, "deploy a version if the gate passes")
    approve = add("approve", _approve, "approve a version for production, for the roles you hold")
    rollback = add("rollback", _rollback, "deploy the previous version again")
    for command in (promote, approve):
        command.add_argument("version", nargs="?", help="default: the newest")
    promote.add_argument("--threshold", type=float, help="probability from which the positive class is predicted")
    approve.add_argument("--threshold", type=float, help="approve this threshold, too")
    for command in (promote, approve, rollback):
        command.add_argument("--why", default="", help="reason, for the audit log")
    about = "deploy it although checks did not pass, for this reason; it replaces no approval"
    promote.add_argument("--override", metavar="REASON", default="", help=about)
    promote.add_argument("--reason", choices=REASONS, help="why it was trained; default: the reason in its bundle")
    bundle = add("bundle", _bundle, "carry a version from one storage to another as one file, or sign it")
    parts = bundle.add_subparsers(dest="part", required=True, metavar="PART")
    export = parts.add_parser("export", help="write a version to a ZIP file")
    signs = parts.add_parser("sign", help=f"sign a version with the private key in {SIGNING_KEY}")
    export.add_argument("version", nargs="?", help="default: the newest")
    # No default: it could be a version that an attacker has written.
    signs.add_argument("version")
    bring = parts.add_parser("import", help="add the version in a ZIP file to the storage")
    for part in (export, bring):
        part.add_argument("--file", type=Path, required=True)
    score = add("score", _score, "predict for everyone on a date or on each date of a range", "batch")
    date: dict[str, Any] = {"metavar": "DATE", "type": timestamps.parse_date}
    score.add_argument("--date", help="2026-01-31; default: the date of the latest time in the data, or today", **date)
    score.add_argument("--from", dest="first", help="first date of a range", **date)
    score.add_argument("--to", dest="last", help="last date of a range", **date)
    score.add_argument("--input", type=Path, metavar="FILE", help="predict for the rows of this Parquet or CSV file")
    score.add_argument("--output", type=Path, metavar="FILE", help="where to write their predictions, as Parquet")
    serve = add("serve", _serve, "respond to prediction requests until SIGTERM", "online")
    serve.add_argument("--storage", type=Path, help="default: the setting `storage`")
    serve.add_argument("--port", type=int, help="default: the setting `serve.port`")
    serve.add_argument("--workers", type=int, metavar="N", help="processes; default: the setting `serve.workers`")


def _features(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.contract.team import load_data
    from lifecycle.jobs import materialize

    written = materialize(loaded.settings, load_data(), given.as_of)
    for version, line in written.items():
        print(f"{version}: {line}")
    if not written:
        print("no deployed version looks up features")


def _train(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.contract.team import load
    from lifecycle.jobs import retrain
    from lifecycle.ownership import approvals
    from lifecycle.training.train import mirror, train

    root, store, environment = Path.cwd(), loaded.settings.store, loaded.environment
    broken = retrain.incident(store, environment, "train")
    if broken and not (given.force and given.why.strip()):
        raise broken
    bundle = train(load(root), loaded.settings, root, given.as_of, given.reason, approvals.roles(root), environment)
    facts = bundle.facts
    if broken:
        run = retrain.Run(facts["created"], given.reason, "hand", registry.who().name, why=given.why.strip())
        run.outcome, run.version, run.text = retrain.TRAINED, bundle.version, "trained by hand during an incident"
        retrain.record(store, environment, run)
    print(f"{bundle.version}  {facts['kind']} bundle in {bundle.path}")
    card = bundle.read("card.md").decode()
    print(card[card.index("## Rows") :])
    if facts["estimator"] != "candidate":
        print("the candidate did not beat the linear baseline, which is the model of this bundle")
    if facts["kind"] == "skops":
        reason = json.loads(bundle.read("export.json"))["reason"]
        print(f"not converted to ONNX, so one prediction takes milliseconds instead of microseconds: {reason}")
        print("  lifecycle/docs/serving.md says what usually helps")
    if uri := mirror(loaded.settings, bundle):
        print(f"run mirrored at {uri}")


def _promote(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.contract.team import load_data
    from lifecycle.jobs.promote import promote

    settings, environment, who = loaded.settings, loaded.environment, registry.who()
    before = deployments.read(settings.store, environment)
    options = given.version, given.threshold, who, given.why, Path.cwd(), given.reason
    show = partial(print, "decision:")
    done = promote(settings, load_data(), environment, *options, on_decision=show, override=given.override)
    if done == before:
        print(f"{_described(done)} already; nothing changed")
    else:
        print(f"{_described(done)}\n{who}: {done.why}")


def _approve(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.models.bundle import newest, open_version
    from lifecycle.ownership.approvals import approve

    store, who = loaded.settings.store, registry.who()
    version = open_version(store, given.version or newest(store)).version
    roles = approve(Path.cwd(), store, loaded.environment, version, given.threshold, who, given.why)
    threshold = "" if given.threshold is None else f" with the threshold {given.threshold}"
    print(f"{who} approves {version}{threshold} for {loaded.environment}, as {', '.join(roles)}")


def _rollback(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.contract.team import load_data
    from lifecycle.jobs.promote import rollback

    done = rollback(loaded.settings, load_data(), loaded.environment, registry.who(), given.why, Path.cwd())
    print(f"{_described(done)} again")


def _bundle(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle import jobs
    from lifecycle.models import sign
    from lifecycle.models.bundle import newest, open_version

    store = loaded.settings.store
    version = jobs.bring(store, given.file) if given.part == "import" else given.version or newest(store)
    if given.part == "import":
        text = f"{version} is in {store.bundles}: `make promote VERSION={version}` deploys it"
    elif given.part == "export":
        jobs.export(store, version, given.file)
        print(f"{version} is in {given.file}: `make bundle IMPORT={given.file} ENVIRONMENT=…` adds it elsewhere")
        return
    elif sign(open_version(replace(store, trusted_keys=()), version).path):
        text = f"{open_version(store, version).version} is signed"
    else:
        raise LifecycleError(f"the variable {SIGNING_KEY} is not set", "Set it to the private key.")
    print(complete_commands(text, loaded.environment))


def _score(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.contract.team import load_data
    from lifecycle.scoring import score, score_file

    own, environment, progress = loaded.settings, loaded.environment, sys.stderr.isatty()
    dates = (given.date, given.first, given.last)
    if given.input or given.output:
        if not (given.input and given.output) or any(dates):
            problem = "scoring a file takes an input file, an output file and no date"
            raise LifecycleError(problem, "Give INPUT=table.csv OUTPUT=predictions.parquet only.")
        table = getattr(load_data(), "TABLE", None)
        rows, ignored = score_file(own, environment, given.input, given.output, progress, table)
        if ignored:
            print(f"ignored columns of {given.input}: {', '.join(ignored)}", file=sys.stderr)
        print(f"{given.output}: {rows} rows")
        return
    if (given.date and any(dates[1:])) or bool(given.first) != bool(given.last):
        raise LifecycleError("scoring takes one date or a range", "Give --date, or --from and --to.")
    days = timestamps.days(given.first, given.last) if given.first else [given.date] if given.date else None
    for path, rows in score(own, load_data(), environment, days, progress=progress).items():
        day = path.parent.name.removeprefix("date=")
        if not rows:
            print(f"warning: population() of src/model/data.py returns no rows as of {day}", file=sys.stderr)
        # Scripts read the path from a line of its own.
        print(f"{rows} rows as of {day}:", path, sep="\n")


def _serve(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle import serving

    own, options = loaded.settings, {"port": given.port, "workers": given.workers}
    stated = {name: value for name, value in options.items() if value is not None}
    try:
        serve = Serve.model_validate(own.serve.model_dump() | stated)
    except ValidationError as error:
        fault = error.errors()[0]
        option = f"--{fault['loc'][0]}"
        raise LifecycleError(f"{option} {fault['input']}: {fault['msg']}", f"Give {option} another value.") from None
    other = {"storage": given.storage, "bucket": ""} if given.storage else {}
    serving.run(own.model_copy(update={"serve": serve} | other), loaded.environment)


def _described(done: deployments.Deployment) -> str:
    threshold = "" if done.current.threshold is None else f" with the threshold {done.current.threshold}"
    return f"{done.current.version} is deployed in {done.environment}{threshold}"
