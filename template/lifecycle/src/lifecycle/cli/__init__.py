"""The command line `lifecycle COMMAND`: parse the arguments, run one command, print errors without a traceback.

There is one module for each group of commands. A command imports its package only when it runs, so that start-up stays
fast.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lifecycle
from lifecycle import settings
from lifecycle.errors import LifecycleError, NotHere
from lifecycle.settings import ENVIRONMENTS, Loaded

Command = Callable[[argparse.Namespace, Loaded], None]
AddCommand = Callable[..., argparse.ArgumentParser]
# The package that each choice of `usage` brings; a repository that was rendered without the choice lacks the package.
PACKAGES = {"online": "serving", "batch": "scoring"}
# Why a model is trained. The gate requires superiority for some of these reasons and non-inferiority for the others.
REASONS = ("manual", "schedule", "labels", "drift", "decay", "stale")
TIMESTAMP = "2026-01-31 or 2026-01-31T12:00:00Z"


def main(arguments: list[str] | None = None) -> int:
    """Run one command: `arguments`, or those of the process.

    Returns:
        0 when the command succeeded, 1 when it was refused or failed, 3 when the tables are missing, 130 when it was
        interrupted. A wrong call exits with code 2.
    """
    # The groups import the names above from this package.
    from lifecycle.cli import model, monitoring, repository

    parser = argparse.ArgumentParser(prog="lifecycle", description="Train, promote, use and monitor this model.")
    parser.add_argument("--version", action="version", version=lifecycle.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for group in (repository, model, monitoring):
        group.add_commands(partial(_add_command, commands))
    given = argparse.Namespace(environment="local")
    try:
        parser.parse_args(arguments, given)
        given.run(given, settings.load(Path.cwd(), given.environment))
    except LifecycleError as error:
        text = settings.complete_commands(str(error), given.environment, getattr(given, "reason", None))
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
    command.add_argument("--environment", choices=ENVIRONMENTS, default="local", help="default: local")
    command.set_defaults(run=partial(_refuse, usage) if missing else run)
    return command


def _refuse(usage: str, given: argparse.Namespace, loaded: Loaded) -> None:
    problem = f"{given.command} is not available: this repository was rendered without {usage} use"
    raise LifecycleError(problem, "`make update SET='usage=[online, batch]'` adds it.")


def _unexpected_errors() -> tuple[type[Exception], ...]:
    # A module that is not imported cannot have raised the error, and importing it here would slow every command down.
    return OSError, *(sys.modules[name].Error for name in ("duckdb", "sqlite3") if name in sys.modules)
