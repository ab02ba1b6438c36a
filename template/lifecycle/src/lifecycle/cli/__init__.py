"""The command line `lifecycle COMMAND`: parse the arguments, run one command, print errors without a traceback.

The commands about the repository are in this module; `cli.model` has those for versions of the model, and
`cli.monitoring` those for a deployed version. A command imports its package when it runs, so that the start is fast.
"""

import argparse
import contextlib
import os
import runpy
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lifecycle
from lifecycle import settings
from lifecycle.errors import LifecycleError, NotHere, complete_commands

Command = Callable[[argparse.Namespace, settings.Loaded], None]
AddCommand = Callable[..., argparse.ArgumentParser]
# The package that each choice of `usage` brings; a repository that was rendered without the choice lacks the package.
PACKAGES = {"online": "serving", "batch": "scoring"}
# Why a model is trained. The gate requires superiority for some of these reasons and non-inferiority for the others.
REASONS = ("manual", "schedule", "labels", "drift", "decay", "stale")
# Commands without the storage, and the service, which exchanges only what it needs with a bucket.
ALONE = ("check", "client", "contract", "owners", "sample", "serve", "tables")
TOOLS = Path("lifecycle/tools")
TIMESTAMP = "2026-01-31 or 2026-01-31T12:00:00Z"


def main(arguments: list[str] | None = None) -> int:
    """Run one command: `arguments`, or those of the process.

    Returns:
        0 when the command succeeded, 1 when it was refused or failed, 3 when the tables are missing, 130 when it was
        interrupted. A wrong call exits with code 2.
    """
    # While threads of scikit-learn wait for each other, other processes can use the cores. Read before its import.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # The groups import the names above from this package.
    from lifecycle.cli import model, monitoring

    parser = argparse.ArgumentParser(prog="lifecycle", description="Train, promote, use and monitor this model.")
    parser.add_argument("--version", action="version", version=lifecycle.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add_commands in (_add_own_commands, model.add_commands, monitoring.add_commands):
        add_commands(partial(_add_command, commands))
    given = argparse.Namespace(environment="local")
    try:
        parser.parse_args(arguments, given)
        loaded = settings.load(Path.cwd(), given.environment)
        with contextlib.nullcontext() if given.command in ALONE else loaded.settings.store.synchronised():
            given.run(given, loaded)
    except LifecycleError as error:
        text = complete_commands(str(error), given.environment, getattr(given, "reason", None))
        print(f"error: {text}", file=sys.stderr)
        return 3 if isinstance(error, NotHere) else 1
    except _unexpected_errors() as error:
        # An error that no job expects still names its path or the command.
        place, problem = (getattr(error, name, None) for name in ("filename", "strerror"))
        print(f"error: {place or given.command}: {problem or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


def _add_command(parsers: Any, name: str, run: Command, about: str, usage: str = "") -> argparse.ArgumentParser:
    """Add a command to subparsers of argparse and return its parser; `usage` is the choice that it needs, if any."""
    missing = usage and not (Path(lifecycle.__file__).parent / PACKAGES[usage] / "__init__.py").exists()
    # argparse does not list a command that has no `help`.
    listed: dict[str, Any] = {} if missing else {"help": about}
    command: argparse.ArgumentParser = parsers.add_parser(name, description=about, **listed)
    command.add_argument("--environment", choices=settings.ENVIRONMENTS, default="local", help="default: local")
    command.set_defaults(run=partial(_refuse, usage) if missing else run)
    return command


def _refuse(usage: str, given: argparse.Namespace, loaded: settings.Loaded) -> None:
    problem = f"{given.command} is not available: this repository was rendered without {usage} use"
    raise LifecycleError(problem, "`make update SET='usage=[online, batch]'` adds it.")


def _unexpected_errors() -> tuple[type[Exception], ...]:
    # A module that is not imported cannot have raised the error, and importing it here would slow every command down.
    return OSError, *(sys.modules[name].Error for name in ("duckdb", "sqlite3") if name in sys.modules)


def _add_own_commands(add: AddCommand) -> None:
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


def _check(given: argparse.Namespace, loaded: settings.Loaded) -> None:
    from lifecycle import spark
    from lifecycle.contract.compatibility import RELEASED, compare
    from lifecycle.contract.team import load_contract, load_data
    from lifecycle.features import point_in_time

    # The commit hook of a repository runs this command only, so it includes the check of the template's files.
    manifest_check = TOOLS / "manifest_check.py"
    if manifest_check.exists() and subprocess.run([sys.executable, manifest_check], check=False).returncode:
        raise LifecycleError("files of the template were changed", "Follow the hints above.")
    (contract, features_sql), data = load_contract(), load_data()
    every = [settings.load(Path.cwd(), environment).settings for environment in settings.ENVIRONMENTS]
    compare(contract, Path.cwd())
    print(f"ok  config: {', '.join(settings.ENVIRONMENTS)}")
    print(f"ok  contract: version {contract.version}, {len(contract.columns)} columns, as in {RELEASED}")
    if features_sql is not None:
        with point_in_time.connect(data, loaded.settings.data) as connection:
            point_in_time.check_sql(connection, contract, features_sql)
            if on_spark := next((each for each in every if each.engine.kind == "spark"), None):
                spark.check(on_spark, features_sql, connection)
        print(f"ok  features.sql: {len(contract.lookups)} looked-up columns, as in the contract")
    if (TOOLS / "slo.py").exists():
        _tool("slo.py")["check"](Path.cwd())
    _tool("owners.py")["report"](Path.cwd(), always=False)
    print(_tool("interop/card.py")["check"](Path.cwd()), end="")


def _owners(given: argparse.Namespace, loaded: settings.Loaded) -> None:
    _tool("owners.py")["run"](given)


def _tool(name: str) -> dict[str, Any]:
    """Run a module of TOOLS, which only checks or makes files of the repository, and return its names."""
    return runpy.run_path(str(TOOLS / name))


def _contract(given: argparse.Namespace, loaded: settings.Loaded) -> None:
    from lifecycle.contract.compatibility import RELEASED, release
    from lifecycle.contract.team import load_contract

    changed = release(load_contract()[0], Path.cwd())
    print(f"{RELEASED} {'is written; commit it' if changed else 'is up to date'}")


def _client(given: argparse.Namespace, loaded: settings.Loaded) -> None:
    if given.build < 0:
        raise LifecycleError(f"--build {given.build} is not a valid part of a version", "Give 0 or a higher number.")
    path, example = _tool("client/__init__.py")["build"](Path.cwd(), given.build)
    usage = f"{path.relative_to(Path.cwd())}: install it in the application that sends requests, and write"
    print(f"{usage}\n\n{example}")


def _sample(given: argparse.Namespace, loaded: settings.Loaded) -> None:
    from lifecycle.sample import write
    from lifecycle.storage import refuse_link

    folder = loaded.settings.data
    refuse_link(folder)
    write(folder, drift=given.drift)
    print(f"the sample's tables are in {folder}/")


def _tables(given: argparse.Namespace, loaded: settings.Loaded) -> None:
    from lifecycle.contract.team import load_data
    from lifecycle.features import point_in_time

    with point_in_time.connect(load_data(), loaded.settings.data) as connection:
        for (name,) in connection.execute("SHOW TABLES").fetchall():
            print(f"ok  {name}")


def _config(given: argparse.Namespace, loaded: settings.Loaded) -> None:
    from lifecycle.registry import deployments

    print(f"environment = {loaded.environment!r}")
    for line in loaded.lines():
        print(line)
    deployment = deployments.read(loaded.settings.store, loaded.environment)
    print(f"deployed: {deployment.current.version if deployment else 'nothing yet'}")
