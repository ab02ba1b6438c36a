"""Questions to the user where a choice matters; defaults where input is not a terminal."""

import sys
from typing import Protocol

from lifecycle.errors import LifecycleError


class Chooser(Protocol):
    """A source of choices: a user at a terminal, or the defaults."""

    def choose(self, question: str, options: dict[str, str], default: str) -> str:
        """Return the name of one option; the values of `options` describe them."""


class Defaults:
    """The default of every choice: for pipes, CI and `YES=1`."""

    def choose(self, question: str, options: dict[str, str], default: str) -> str:
        """Return the default."""
        return default


class Terminal:
    """A user at a terminal."""

    def choose(self, question: str, options: dict[str, str], default: str) -> str:
        """Return the option selected from a list; raises KeyboardInterrupt on Ctrl-C."""
        import questionary

        choices = [questionary.Choice(description, value) for value, description in options.items()]
        start = next(choice for choice in choices if choice.value == default)
        return str(questionary.select(question, choices, default=start).unsafe_ask())  # codespell:ignore


def chooser(yes: bool) -> Defaults | Terminal:
    """Return the terminal's user, unless they accepted all defaults or there is no terminal."""
    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    return Terminal() if at_terminal and not yes else Defaults()


def choose_label(columns: list[str], at_terminal: bool) -> str:
    """Return the label column where none was named; raises LifecycleError without a terminal."""
    if not at_terminal:
        hint = f"Set LABEL to one of {', '.join(columns[:20])}."
        raise LifecycleError("LABEL is missing: name the column to predict", hint)
    return Terminal().choose("Which column is to be predicted?", {name: name for name in columns}, columns[-1])
