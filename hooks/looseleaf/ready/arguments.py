"""The options of `looseleaf ready`. Without other imports, because other commands run without the packages of it."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `ready`."""
    environments = ("local", "staging", "production")
    parser.add_argument("--environment", choices=environments, default="local", help="default: local")
    parser.add_argument("--annex", action="store_true", help="also write a skeleton of Annex IV of the EU AI Act")
    parser.add_argument("--dry-run", action="store_true", help="run no drill: count only what is recorded")


def run(given: argparse.Namespace) -> int:
    """Compute the score; returns 0 when it reaches the limit, 3 when it does not, and 1 for an error."""
    from looseleaf.ready.command import run as run_ready

    return run_ready(given.environment, given.dry_run, given.annex)
