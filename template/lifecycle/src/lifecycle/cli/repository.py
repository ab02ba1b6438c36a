"""Commands about the repository: whether it is consistent, its settings, its sample and its owners."""

import argparse
import subprocess
import sys
from pathlib import Path

from lifecycle.cli import AddCommand
from lifecycle.errors import LifecycleError, Refused
from lifecycle.settings import Loaded, complete_commands

MANIFEST_CHECK = Path("lifecycle/tools/manifest_check.py")


def add_commands(add: AddCommand) -> None:
    """Add the commands."""
    add("check", _check, "check that contract, contract.json, features.sql, config and OWNERS agree")
    add("contract", _contract, "write contract.json from src/model/contract.py")
    client = add("client", _client, "build a typed client of the service, as a wheel in dist/", "online")
    client.add_argument("--build", type=int, default=0, help="second part of the client's version; default: 0")
    sample = add("sample", _sample, "write the tables of the sample into the data folder")
    sample.add_argument("--drift", action="store_true", help="with a known drift in the last quarter")
    add("tables", _tables, "check that the tables can be read on this machine")
    add("config", _config, "show every setting, its value and where the value comes from")
    owners = add("owners", _owners, "check OWNERS and derive files from it")
    parts = owners.add_subparsers(dest="part", required=True, metavar="PART")
    parts.add_parser("check", help="check OWNERS and the files derived from it")
    parts.add_parser("derive", help="write CODEOWNERS and the other derived files")
    parts.add_parser("who", help="show who may approve a change of a file").add_argument("path")
    parts.add_parser("role", help="show who holds a role, and what the role decides").add_argument("role")


def _check(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.contract.team import load_contract, load_data
    from lifecycle.jobs.check import check, warnings

    # The commit hook of a repository runs this command only, so it includes the check of the template's files.
    if MANIFEST_CHECK.exists() and subprocess.run([sys.executable, MANIFEST_CHECK], check=False).returncode:
        raise LifecycleError("files of the template were changed", "Follow the hints above.")
    for line in check(*load_contract(), load_data(), loaded.settings, Path.cwd()):
        print(f"ok  {line}")
    for finding in warnings(loaded.settings.store):
        print(finding, file=sys.stderr)
    _report_owners(always=False)


def _report_owners(always: bool) -> None:
    from lifecycle.ownership.derived import examine

    report = examine(Path.cwd())
    for finding in report.findings:
        print(finding, file=sys.stderr)
    if report.refused and not (always or report.enforced):
        problem = "OWNERS has no version, so its errors are only warnings here"
        print(f"{problem}\n  With `version: 1` below x-ownership, make check enforces the format.", file=sys.stderr)
    elif report.refused:
        raise Refused(f"OWNERS has {report.refused} errors", "lifecycle/docs/owners.md describes the format.")
    if report.owners:
        filters, roles = len(report.owners.filters), ", ".join(report.owners.roles)
        waits = "; the warnings must be resolved before production" if report.findings else ""
        print(f"ok  owners: {filters} filters, {roles}{waits}")


def _owners(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.ownership import derived

    if given.part == "check":
        _report_owners(always=True)
    elif given.part == "derive":
        for line in derived.write(Path.cwd()):
            print(line)
    elif given.part == "who":
        path = Path(given.path).as_posix()
        matching = [each for each in derived.read(Path.cwd()).valid().filters if each.matches(path)]
        if not matching:
            raise LifecycleError(f"no filter of OWNERS matches {path}", "Add one, with its approvers.")
        for each in matching:
            print(f"{', '.join(each.approvers) or 'no owner yet'}  (OWNERS:{each.line})")
    else:
        owners, role = derived.read(Path.cwd()).valid(), given.role
        if role not in owners.roles:
            raise LifecycleError(f"OWNERS has no role {role!r}", f"The roles are {', '.join(owners.roles)}.")
        decides = [decision for decision, roles in owners.decisions.items() if role in roles]
        print(f"{', '.join(owners.roles[role]) or 'no owner yet'}  decides: {', '.join(decides) or 'nothing'}")
        if owners.behind(role) != owners.roles[role]:
            print(f"people: {', '.join(owners.behind(role)) or 'not known'}")


def _contract(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.contract.compatibility import RELEASED, release
    from lifecycle.contract.team import load_contract

    changed = release(load_contract()[0], Path.cwd())
    print(f"{RELEASED} {'is written; commit it' if changed else 'is up to date'}")


def _client(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.client import build, differs

    if given.build < 0:
        raise LifecycleError(f"--build {given.build} is not a valid part of a version", "Give 0 or a higher number.")
    path, example = build(Path.cwd(), given.build)
    if differs(Path.cwd(), loaded.settings.store, loaded.environment):
        problem = f"the version deployed in {loaded.environment} has another contract than this client"
        print(complete_commands(f"{problem}\n  Run `make train promote` first.", loaded.environment), file=sys.stderr)
    usage = f"{path.relative_to(Path.cwd())}: install it in the application that sends requests, and write"
    print(f"{usage}\n\n{example}")


def _sample(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.sample.generate import write

    write(loaded.settings.data, drift=given.drift)
    print(f"the sample's tables are in {loaded.settings.data}/")


def _tables(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.contract.team import load_data
    from lifecycle.features import point_in_time

    with point_in_time.connect(load_data(), loaded.settings.data) as connection:
        for (name,) in connection.execute("SHOW TABLES").fetchall():
            print(f"ok  {name}")


def _config(given: argparse.Namespace, loaded: Loaded) -> None:
    from lifecycle.registry import deployments

    print(f"environment = {loaded.environment!r}")
    for line in loaded.lines():
        print(line)
    deployment = deployments.read(loaded.settings.store, loaded.environment)
    print(f"deployed: {deployment.current.version if deployment else 'nothing yet'}")
