"""The command line `lifecycle COMMAND`: parse the arguments, run one command, print errors without a traceback."""

import argparse
import sys
from pathlib import Path

import lifecycle
from lifecycle import settings
from lifecycle.cli import model, monitoring, records, repository, retraining, use
from lifecycle.cli.commands import Command, Commands
from lifecycle.errors import LifecycleError, NotHere

GROUPS = (repository, model, use, records, monitoring, retraining)


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: the words after `lifecycle`; None for those of the process.

    Returns:
        0 when the command succeeded, 1 when it was refused or failed, 3 when the tables are missing, 130 when it was
        interrupted. A wrong call exits with code 2.
    """
    given = _parser().parse_args(arguments)
    command: Command = given.run
    try:
        command(given, settings.load(Path.cwd(), given.environment))
    except LifecycleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3 if isinstance(error, NotHere) else 1
    except OSError as error:
        # An error of the disk or the network that no job expects still names its path.
        print(f"error: {error.filename or given.command}: {error.strerror or error}", file=sys.stderr)
        return 1
    except _database_errors() as error:
        print(f"error: {given.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


def _database_errors() -> tuple[type[Exception], ...]:
    # A module that is not imported cannot have raised the error, and importing it here would slow every command down.
    return tuple(sys.modules[name].Error for name in ("duckdb", "sqlite3") if name in sys.modules)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lifecycle", description="Train, promote, use and monitor this model.")
    parser.add_argument("--version", action="version", version=lifecycle.__version__)
    commands = Commands(parser)
    for group in GROUPS:
        group.add(commands)
    return parser
