"""The registry of commands. A command imports its package only when it runs, so that start-up stays fast."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lifecycle
from lifecycle import timestamps
from lifecycle.errors import LifecycleError
from lifecycle.settings import ENVIRONMENTS, Loaded

Command = Callable[[argparse.Namespace, Loaded], None]
# The package that each choice of `usage` brings; a repository that was rendered without the choice lacks the package.
PACKAGES = {"online": "serving", "batch": "scoring"}
# Why a model is trained. The gate requires superiority for some of these reasons and non-inferiority for the others.
REASONS = ("manual", "schedule", "labels", "drift", "decay", "stale")
TIMESTAMP = "2026-01-31 or 2026-01-31T12:00:00Z; default: the latest time in the data, or now"


class Commands:
    """The commands of one argument parser."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(self, name: str, run: Command, about: str, usage: str = "") -> argparse.ArgumentParser:
        """Add a command and return its parser.

        Args:
            name: the name of the command.
            run: the function that runs it.
            about: one line for `--help`.
            usage: the choice of `usage` that the command needs ("online" or "batch"); empty for none.
        """
        missing = usage and not (Path(lifecycle.__file__).parent / PACKAGES[usage] / "__init__.py").exists()
        # argparse does not list a command that has no `help`.
        listed: dict[str, Any] = {} if missing else {"help": about}
        command = self._parsers.add_parser(name, description=about, **listed)
        command.add_argument("--environment", choices=ENVIRONMENTS, default="local", help="default: local")
        command.set_defaults(run=partial(_refuse, usage) if missing else run)
        return command


def _refuse(usage: str, given: argparse.Namespace, loaded: Loaded) -> None:
    problem = f"{given.command} is not available: this repository was rendered without {usage} use"
    raise LifecycleError(problem, "`make update SET='usage=[online, batch]'` adds it.")


def parse_timestamp(text: str | None) -> int | None:
    """Return the timestamp that an option holds, or None where the option is not given."""
    return None if text is None else timestamps.parse(text)
