"""The command line `lifecycle COMMAND`: parse the arguments, run one command, print errors without a traceback."""

import argparse
import sys
from functools import partial
from pathlib import Path

import lifecycle
from lifecycle import settings
from lifecycle.cli import add_command, model, monitoring, repository
from lifecycle.errors import LifecycleError, NotHere


def main(arguments: list[str] | None = None) -> int:
    """Run one command: `arguments`, or those of the process.

    Returns:
        0 when the command succeeded, 1 when it was refused or failed, 3 when the tables are missing, 130 when it was
        interrupted. A wrong call exits with code 2.
    """
    parser = argparse.ArgumentParser(prog="lifecycle", description="Train, promote, use and monitor this model.")
    parser.add_argument("--version", action="version", version=lifecycle.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for group in (repository, model, monitoring):
        group.add_commands(partial(add_command, commands))
    try:
        given = parser.parse_args(arguments)
        given.run(given, settings.load(Path.cwd(), given.environment))
    except LifecycleError as error:
        print(f"error: {error}", file=sys.stderr)
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


def _unexpected_errors() -> tuple[type[Exception], ...]:
    # A module that is not imported cannot have raised the error, and importing it here would slow every command down.
    return OSError, *(sys.modules[name].Error for name in ("duckdb", "sqlite3") if name in sys.modules)
