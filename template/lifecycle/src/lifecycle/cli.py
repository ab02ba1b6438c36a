"""The command line: `lifecycle VERB`. It reads arguments, calls one job and tells the outcome; imports wait."""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from pydantic import ValidationError

from lifecycle import moments, provenance, settings
from lifecycle.deployments import ENVIRONMENTS
from lifecycle.errors import LifecycleError, NotHere, Refused
from lifecycle.settings import Loaded
from lifecycle.store import Store

Verb = Callable[[argparse.Namespace, Loaded], None]
# What each answer to `usage` brings; a repository rendered without it lacks the file, and its verbs say so.
# Such modules are imported by name: a type checker would miss those that are not there.
USAGES = {"online": "serving/__init__.py", "batch": "pipelines/score.py"}


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; 0 when it is done, 1 when it is refused or cannot be done, 2 for a wrong call, 3 without tables."""
    given = _parser().parse_args(arguments)
    verb: Verb = given.run
    try:
        verb(given, settings.load(Path.cwd(), given.environment))
    except LifecycleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3 if isinstance(error, NotHere) else 1
    except OSError as error:
        # What no job foresaw of the disk and the network still names its place.
        print(f"error: {error.filename or given.verb}: {error.strerror or error}", file=sys.stderr)
        return 1
    except _database_errors() as error:
        print(f"error: {given.verb}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


def _database_errors() -> tuple[type[Exception], ...]:
    # A database that was not imported has raised nothing.
    return tuple(sys.modules[name].Error for name in ("duckdb", "sqlite3") if name in sys.modules)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lifecycle", description="Train, promote and use this model.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def add(name: str, run: Verb, about: str, usage: str = "") -> argparse.ArgumentParser:
        absent = usage and not (Path(__file__).parent / USAGES[usage]).exists()
        # Without a help, a verb is not listed.
        listed: dict[str, Any] = {} if absent else {"help": about}
        verb = verbs.add_parser(name, description=about, **listed)
        verb.add_argument("--environment", choices=ENVIRONMENTS, default="local")
        verb.set_defaults(run=partial(_absent, usage) if absent else run)
        return verb

    add("check", _check, "compare contract, contract.json, features.sql, config and OWNERS")
    add("contract", _contract, "write contract.json from src/model/contract.py")
    sample = add("sample", _sample, "write the sample's tables into the data folder")
    sample.add_argument("--drift", action="store_true", help="let the last quarter differ")
    for verb in (
        add("features", _features, "fill the tables that the service looks up in", "online"),
        add("train", _train, "train, measure and write a bundle"),
    ):
        told = "2026-01-31 or 2026-01-31T12:00:00Z; default: the data's latest, or now"
        verb.add_argument("--as-of", metavar="MOMENT", help=told)
    promote = add("promote", _promote, "let a version answer, if the gate agrees")
    promote.add_argument("version", nargs="?", help="default: the newest")
    promote.add_argument("--threshold", type=float, help="probability from which the positive class is answered")
    promote.add_argument("--why", default="", help="for the audit")
    approve = add("approve", _approve, "approve a version for production, for the roles you stand for")
    approve.add_argument("version", nargs="?", help="default: the newest")
    approve.add_argument("--threshold", type=float, help="approve this threshold, too")
    approve.add_argument("--why", default="", help="for the audit")
    rollback = add("rollback", _rollback, "let the previous version answer again")
    rollback.add_argument("--why", default="", help="for the audit")
    score = add("score", _score, "answer everyone as of a date, or of each date of a range", "batch")
    score.add_argument("--date", help="default: the date of the data's latest moment, or today")
    score.add_argument("--from", dest="first", metavar="DATE")
    score.add_argument("--to", dest="last", metavar="DATE")
    serve = add("serve", _serve, "answer requests until SIGTERM", "online")
    serve.add_argument("--storage", type=Path, help="default: the setting")
    serve.add_argument("--port", type=int, help="default: the setting")
    add("tables", _tables, "whether the tables can be read where this runs")
    add("config", _config, "show every setting and where its value comes from")
    _add_owners(add("owners", _owners_check, "who answers for what"))
    add("template", _template, "show the option with which `uv run` finds the template's own command, looseleaf")
    return parser


def _add_owners(owners: argparse.ArgumentParser) -> None:
    parts = owners.add_subparsers(dest="part", required=True, metavar="PART")
    parts.add_parser("check", help="refuse what is wrong in OWNERS").set_defaults(run=_owners_check)
    parts.add_parser("derive", help="write what follows from it: CODEOWNERS and more").set_defaults(run=_owners_derive)
    who = parts.add_parser("who", help="who may approve a change of a file")
    who.add_argument("path")
    who.set_defaults(run=_owners_who)
    role = parts.add_parser("role", help="who stands for a role, and what it decides")
    role.add_argument("role")
    role.set_defaults(run=_owners_role)


def _absent(usage: str, given: argparse.Namespace, loaded: Loaded) -> None:
    problem = f"there is no {given.verb} here: this repository was rendered without {usage}"
    raise LifecycleError(problem, "`make update SET='usage=[online, batch]'` adds it.")


def _check(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.pipelines.check import check, warnings
    from lifecycle.team import load_contract, load_data

    for line in check(*load_contract(), load_data(), loaded.settings, Path.cwd()):
        print(f"ok  {line}")
    for finding in warnings(loaded.settings.store):
        print(finding, file=sys.stderr)
    _owners_told(always=False)


def _owners_check(given: argparse.Namespace, loaded: Loaded) -> None:
    _owners_told(always=True)


def _owners_told(always: bool) -> None:
    from lifecycle.owners import repository

    report = repository.examine(Path.cwd(), repository.today())
    for finding in report.findings:
        print(finding, file=sys.stderr)
    if report.refused and not (always or report.held):
        print("OWNERS states no version: `version: 1` below x-ownership lets make check refuse this", file=sys.stderr)
    elif report.refused:
        raise Refused(f"OWNERS has {report.refused} to mend", "lifecycle/docs/owners.md explains the format.")
    if report.owners:
        filters, roles = len(report.owners.filters), ", ".join(report.owners.roles)
        print(f"ok  owners: {filters} filters, {roles}" + ("; production waits" if report.findings else ""))


def _owners_derive(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.owners import repository

    for line in repository.write(Path.cwd()):
        print(line)


def _owners_who(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.owners import repository

    path = Path(given.path).as_posix()
    matching = [each for each in repository.required(Path.cwd()).filters if each.pattern.matches(path)]
    if not matching:
        raise LifecycleError(f"no filter of OWNERS matches {path}", "Add one, with its approvers.")
    for each in matching:
        print(f"{', '.join(each.approvers) or 'nobody yet'}  (OWNERS:{each.line})")


def _owners_role(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.owners import repository

    owners = repository.required(Path.cwd())
    if given.role not in owners.roles:
        raise LifecycleError(f"OWNERS has no role {given.role!r}", f"There are {', '.join(owners.roles)}.")
    decides = [decision for decision, roles in owners.decisions.items() if given.role in roles]
    print(f"{', '.join(owners.roles[given.role]) or 'nobody yet'}  decides: {', '.join(decides) or 'nothing'}")
    if owners.behind(given.role) != owners.roles[given.role]:
        print(f"people: {', '.join(owners.behind(given.role)) or 'not known'}")


def _contract(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.pipelines.check import RELEASED, release
    from lifecycle.team import load_contract

    changed = release(load_contract()[0], Path.cwd())
    print(f"{RELEASED} {'is written; commit it' if changed else 'is up to date'}")


def _sample(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.sample import write

    write(loaded.settings.data, drift=given.drift)
    print(f"the sample's tables stand in {loaded.settings.data}/")


def _features(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.pipelines.materialise import materialise
    from lifecycle.team import load_data

    told = materialise(loaded.settings, load_data(), _moment(given.as_of))
    for version, line in told.items():
        print(f"{version}: {line}")
    if not told:
        print("no deployed version looks features up")


def _train(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.pipelines.tracking import mirror
    from lifecycle.pipelines.train import train
    from lifecycle.team import load

    bundle = train(load(Path.cwd()), loaded.settings, Path.cwd(), _moment(given.as_of))
    facts = bundle.facts
    print(f"{bundle.version}  {facts['kind']} bundle in {bundle.path}")
    rows = facts["rows"]
    print(f"{rows['training']} rows for training, {rows['holdout']} held out: {facts['holdout']['rule']}")
    for name, metrics in facts["metrics"].items():
        print(f"{name:>10}  " + "  ".join(f"{metric} {value:.4f}" for metric, value in metrics.items()))
    if facts["estimator"] != "candidate":
        print("the linear baseline was not beaten: it is the model of this bundle")
    if uri := mirror(loaded.settings, bundle):
        print(f"mirrored at {uri}")


def _promote(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle import deployments
    from lifecycle.pipelines.promote import promote
    from lifecycle.team import load_data

    settings, environment = loaded.settings, loaded.environment
    before = deployments.read(settings.store, environment)
    who = provenance.who()
    done = promote(settings, load_data(), environment, given.version, given.threshold, who, given.why, Path.cwd())
    if done == before:
        print(
            f"{done.live.version} answers in {environment} already (threshold {done.live.threshold}); nothing changed"
        )
        return
    print(f"{done.live.version} answers in {environment} (threshold {done.live.threshold})")
    print(f"{done.who}: {done.why}")


def _approve(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.bundle import newest, open_version
    from lifecycle.owners.approvals import approve

    store, who = loaded.settings.store, provenance.who()
    version = open_version(store, given.version or newest(store)).version
    roles = approve(Path.cwd(), store, loaded.environment, version, given.threshold, who, given.why)
    threshold = "" if given.threshold is None else f" with the threshold {given.threshold}"
    print(f"{who} approves {version}{threshold} for {loaded.environment}, as {', '.join(roles)}")


def _rollback(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.pipelines.promote import rollback
    from lifecycle.team import load_data

    done = rollback(loaded.settings, load_data(), loaded.environment, provenance.who(), given.why, Path.cwd())
    print(f"{done.live.version} answers in {done.environment} again (threshold {done.live.threshold})")


def _score(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.team import load_data

    score = resolve_name("lifecycle.pipelines.score:score")
    if (given.date and (given.first or given.last)) or bool(given.first) != bool(given.last):
        raise LifecycleError("a score is for one date or for a range", "Give --date, or --from and --to.")
    days = None
    if given.date:
        days = [moments.parse_date(given.date)]
    elif given.first:
        days = moments.days(moments.parse_date(given.first), moments.parse_date(given.last))
    data = load_data()
    for path in score(loaded.settings, data, loaded.environment, days, progress=sys.stderr.isatty()):
        print(path)


def _serve(given: argparse.Namespace, loaded: Loaded) -> None:
    run = resolve_name("lifecycle.serving.server:run")
    wanted = loaded.settings.serve
    if given.port is not None:
        try:
            wanted = settings.Serve.model_validate(wanted.model_dump() | {"port": given.port})
        except ValidationError as error:
            raise LifecycleError(f"--port {given.port}: {error.errors()[0]['msg']}", "Give another port.") from None
    run(Store(given.storage) if given.storage else loaded.settings.store, loaded.environment, wanted)


def _tables(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle import features
    from lifecycle.team import load_data

    with features.connect(load_data(), loaded.settings.data) as connection:
        for (name,) in connection.execute("SHOW TABLES").fetchall():
            print(f"ok  {name}")


def _config(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle import deployments

    print(f"environment = {loaded.environment!r}")
    for line in loaded.lines():
        print(line)
    deployment = deployments.read(loaded.settings.store, loaded.environment)
    print(f"deployed: {deployment.live.version if deployment else 'nothing yet'}")


def _template(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle import origin

    print(origin.recorded(Path.cwd()).option)


def _moment(text: str | None) -> int | None:
    return None if text is None else moments.parse(text)
