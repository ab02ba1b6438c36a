"""The command line: one module for each group of commands."""

from lifecycle.cli.entry import main

__all__ = ["main"]
