"""Commands that follow a deployed version: collect, labels, erase, monitor, accept, retrain, history."""

import argparse
from pathlib import Path
from typing import Any

from lifecycle import registry, timestamps
from lifecycle.cli import REASONS, TIMESTAMP, AddCommand
from lifecycle.errors import LifecycleError, Refused, complete_commands
from lifecycle.registry import deployments
from lifecycle.settings import Loaded


def add_commands(add: AddCommand) -> None:
    """Add the commands."""
    add("collect", _collect, "convert the service's prediction log to Parquet, and remove what is too old")
    labels = add("labels", _coverage, "import labels, or show how many predictions have one")
    parts = labels.add_subparsers(dest="part", required=True, metavar="PART")
    new = parts.add_parser("add", help="import the labels of a CSV or Parquet file")
    new.add_argument("file", type=Path)
    new.add_argument("--seen", metavar="TIMESTAMP", type=timestamps.parse, help="when they became known; default: now")
    new.set_defaults(run=_add)
    share = parts.add_parser("coverage", help="show how many predictions have a label")
    share.add_argument("--as-of", metavar="TIMESTAMP", type=timestamps.parse, help=f"{TIMESTAMP}; default: now")
    share.set_defaults(run=_coverage)
    erase = add("erase", _erase, "erase every logged row, score and label of a key or an id, in this storage")
    what = erase.add_mutually_exclusive_group(required=True)
    what.add_argument("key", nargs="?", help="a key of several columns is written as in CSV: 12,apples")
    what.add_argument("--id", help="the identifier of a row: a column declared as Id()")
    monitor = add("monitor", _monitor, "measure drift, skew and quality of the deployed version")
    monitor.add_argument("--as-of", metavar="TIME", type=timestamps.parse, help=f"{TIMESTAMP}; default: now")
    accept = add("accept", _accept, "accept what monitoring found in a column, until another version is deployed")
    accept.add_argument("column", nargs="?", default="", help="a column that the newest report calls broken")
    accept.add_argument("--why", default="", help="reason, for the audit log and later reports")
    retrain = add("retrain", _retrain, "train again and promote if the gate passes")
    retrain.add_argument("--reason", choices=REASONS, help="default: that of monitoring's request, else manual")
    retrain.add_argument("--due", action="store_true", help="only if monitoring, the schedule or new labels demand it")
    retrain.add_argument("--force", action="store_true", help="ignore cooldown, weekly limit, off switch and incident")
    retrain.add_argument("--why", default="", help="reason, which --force needs during an incident")
    history = add("history", _history, "list which version and threshold were deployed from when to when")
    history.add_argument("--at", metavar="TIMESTAMP", type=timestamps.parse, help=TIMESTAMP)


def _collect(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.monitoring.collect import collect, prune

    own, environment = loaded.settings, loaded.environment
    done = collect(own.store, environment)
    old = prune(own.store, environment, timestamps.now(), own.log.retention_days)
    if not done.segments and not done.waiting:
        print(f"no service has logged a prediction in {environment} since the last run")
    print(f"{done.rows} rows of {done.segments} segments are in {own.store.predictions / environment}")
    if done.half_lines:
        print(f"{done.half_lines} incomplete lines were skipped: a service was killed, or its disk was full")
    if old:
        print(f"{len(old)} files older than {own.log.retention_days} days (log.retention_days) were removed")
    if done.waiting:
        waiting = [f"{segment} was not collected: {problem}" for segment, problem in done.waiting.items()]
        raise LifecycleError("\n  ".join(waiting), "Everything else is collected. Fix this, and collect again.")


def _add(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.contract.tables import bounded, connect
    from lifecycle.contract.team import load_data
    from lifecycle.registry import labels, predictions

    store, now, contract = loaded.settings.store, timestamps.now(), _contract(loaded)
    count = labels.add(store, contract, given.file, now, given.seen, getattr(load_data(), "TABLE", None))
    if count is None:
        print(f"{given.file} was imported before; nothing changed")
        return
    print(f"{count} labels of {given.file} were imported")
    folder, megabytes = store.reports / loaded.environment, loaded.settings.score.memory_mb
    with bounded(store, folder, megabytes) as limits, connect(**limits) as connection:
        predictions.load_rows(connection, store, loaded.environment, 0, now + 1)
        strays = count - labels.matched(connection, store, contract, given.file)
    if strays:
        text = f"{strays} of them belong to no collected prediction of {loaded.environment} (`make collect`)"
        print(complete_commands(text, loaded.environment))


def _coverage(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.contract.tables import bounded, connect
    from lifecycle.registry import labels, predictions

    own, as_of = loaded.settings, timestamps.now() if given.as_of is None else given.as_of
    folder = own.store.reports / loaded.environment
    with bounded(own.store, folder, own.score.memory_mb) as limits, connect(**limits) as connection:
        predictions.load_rows(connection, own.store, loaded.environment, 0, as_of + 1)
        labels.joined(connection, own.store, _contract(loaded), as_of)
        found = labels.coverage(connection, as_of, own.monitor.label_days)
    print(f"{found.predictions} predictions, {found.mature} of them older than {own.monitor.label_days} days")
    print(f"{found.labelled} of the older ones have a label ({found.share:.1%})")


def _erase(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.monitoring.erasure import erase

    value, by_id = (given.key, False) if given.id is None else (given.id, True)
    done = erase(loaded.settings.store, value, _contract(loaded), by_id)
    print(f"{done.rows} logged or scored rows and {done.labels} labels of {value} were erased")
    print(f"Remove them from your tables ({loaded.settings.data}/), too: the next `make score` would log them again.")
    if done.being_written:
        seconds = loaded.settings.log.segment_seconds
        problem = f"{done.being_written} rows are in a segment that a service is writing"
        raise LifecycleError(problem, f"Run it again after the segment is rotated (at most {seconds:g} s).")


def _monitor(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.contract.team import load_data
    from lifecycle.monitoring import monitor
    from lifecycle.monitoring.report import PAGE, summary

    document, folder = monitor(loaded.settings, load_data(), loaded.environment, given.as_of)
    print(f"{document['verdict']}: {document['version']} in {loaded.environment} as of {document['as_of']}")
    for reason in document["reasons"]:
        print(f"  {reason['verdict']}: {reason['text']}")
    for line in summary(document):
        print(f"  {line}")
    print(folder / PAGE)
    if document["verdict"] == "incident":
        problem = "the data of the last window are broken; no model is trained on them"
        raise Refused(problem, "Fix or accept what the report names, then run `make monitor` again.")


def _accept(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.monitoring.report import accept

    who, environment = registry.who(), loaded.environment
    finding = accept(loaded.settings.store, environment, given.column, who, given.why)
    print(f"{given.column}: {finding}; accepted by {who} until another version is deployed in {environment}")
    print(complete_commands("`make monitor` reports it as drift from now on", environment))


def _retrain(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.jobs.retrain import retrain

    run = retrain(loaded.settings, loaded.environment, Path.cwd(), given.reason, given.due, given.force, why=given.why)
    if run:
        print(f"{run.outcome}: {run.text}")


def _history(given: argparse.Namespace, loaded: Loaded) -> None:
    store = loaded.settings.store
    periods = deployments.periods(store, loaded.environment)
    for period in periods if given.at is None else [deployments.period_at(periods, given.at)]:
        last = timestamps.format_utc(period.last) if period.last is not None else "now"
        threshold = "" if period.threshold is None else f"  threshold {period.threshold:g}"
        print(f"{timestamps.format_utc(period.first)} to {last}  {period.version}{threshold}")
        entry = period.entry
        why = entry["why"] or "no reason given"
        print(f"    {entry['action']} by {entry['who']} (name recorded, not verified): {why}")
        if override := entry.get("evidence", {}).get("override"):
            print(f"    {override['verdict']}, overridden ({', '.join(override['checks'])}): {override['reason']}")
        if decision := entry.get("evidence", {}).get("decision"):
            print(f"    decision: {store.root / decision}")
    if not periods:
        print(f"nothing has been deployed in {loaded.environment} yet")


def _contract(loaded: Loaded) -> Any:
    """Return the contract of the deployed version; before the first promotion, that of the repository."""
    from lifecycle.contract.team import load_contract
    from lifecycle.registry import predictions

    if deployment := deployments.read(loaded.settings.store, loaded.environment):
        return predictions.contract_of(loaded.settings.store, deployment.current.version)
    return load_contract()[0]
