"""Who is asked where the answer matters: a person at a terminal, or nobody."""

import sys

from lifecycle.errors import LifecycleError


class Defaults:
    """Nobody: in a pipe, or where the person said yes to everything."""

    def choose(self, question: str, options: dict[str, str], default: str) -> str:
        """The default."""
        return default


class Person:
    """Whoever sits at the terminal."""

    def choose(self, question: str, options: dict[str, str], default: str) -> str:
        """What was picked from a list; raises KeyboardInterrupt on Ctrl-C."""
        import questionary

        choices = [questionary.Choice(told, value) for value, told in options.items()]
        start = next(choice for choice in choices if choice.value == default)
        return str(questionary.select(question, choices, default=start).unsafe_ask())


def somebody(yes: bool) -> Defaults | Person:
    """The person, unless they said yes to everything or there is no terminal."""
    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    return Person() if at_terminal and not yes else Defaults()


def label(columns: list[str], at_terminal: bool) -> str:
    """Which column is the label, where none was named."""
    if not at_terminal:
        raise LifecycleError("LABEL is missing: which column is to be predicted?", f"One of {', '.join(columns[:20])}.")
    return Person().choose("Which column is to be predicted?", {name: name for name in columns}, columns[-1])
