"""The command line: `lifecycle VERB`. It runs one verb and tells what a person is meant to read when that fails."""

import argparse
import sys
from pathlib import Path

from lifecycle import settings
from lifecycle.cli import model, monitoring, records, repository, retraining, use
from lifecycle.cli.commands import Verb, Verbs
from lifecycle.errors import LifecycleError, NotHere

COMMANDS = (repository, model, use, records, monitoring, retraining)


def main(arguments: list[str] | None = None) -> int:
    """Run one verb; 0 when it is done, 1 when it is refused or cannot be done, 2 for a wrong call, 3 without tables."""
    given = _parser()[0].parse_args(arguments)
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


def verbs() -> list[str]:
    """The names of all verbs."""
    return _parser()[1].names


def _parser() -> tuple[argparse.ArgumentParser, Verbs]:
    parser = argparse.ArgumentParser(prog="lifecycle", description="Train, promote and use this model.")
    added = Verbs(parser)
    for commands in COMMANDS:
        commands.add(added)
    return parser, added
