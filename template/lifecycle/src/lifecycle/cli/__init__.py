"""The command line: one module for each group of commands.

A command imports its package only when it runs, so that start-up stays fast.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lifecycle
from lifecycle.errors import LifecycleError
from lifecycle.settings import ENVIRONMENTS, Loaded

Command = Callable[[argparse.Namespace, Loaded], None]
AddCommand = Callable[..., argparse.ArgumentParser]
# The package that each choice of `usage` brings; a repository that was rendered without the choice lacks the package.
PACKAGES = {"online": "serving", "batch": "scoring"}
# Why a model is trained. The gate requires superiority for some of these reasons and non-inferiority for the others.
REASONS = ("manual", "schedule", "labels", "drift", "decay", "stale")
TIMESTAMP = "2026-01-31 or 2026-01-31T12:00:00Z"


def add_command(parsers: Any, name: str, run: Command, about: str, usage: str = "") -> argparse.ArgumentParser:
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


def main(arguments: list[str] | None = None) -> int:
    """Run one command: the entry point of releases before 0.3.0."""
    from lifecycle.cli import entry

    return entry.main(arguments)
