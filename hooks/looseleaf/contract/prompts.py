"""What the user wants: the options of the command, and the choices where several are plausible."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lifecycle.errors import LifecycleError

TASKS = {"number": "regression", "classes": "classification"}  # names that releases before 0.3.0 used


@dataclass(frozen=True)
class Wishes:
    """What the user specified; None or empty where it is to be inferred.

    `key` names the columns that identify the entity, `id` the one that identifies a row, `time` the time of a row and
    `seen` when its label became known. `keep` names suspected leaks to keep, `drop` columns to leave out, and
    `log_only` those that are logged and no model inputs.
    """

    label: str
    key: tuple[str, ...] = ()
    id: str | None = None
    time: str | None = None
    seen: str | None = None
    task: Literal["regression", "classification"] | None = None
    positive: str | None = None
    encoding: str | None = None
    keep: frozenset[str] = frozenset()
    drop: frozenset[str] = frozenset()
    log_only: frozenset[str] = frozenset()

    @classmethod
    def of(cls, given: Namespace, label: str) -> "Wishes":
        """Return what the options of the command specify; a column with a comma in its name cannot be listed."""
        one: Any = {name: getattr(given, name) or None for name in ("id", "time", "seen", "positive", "encoding")}
        sets: Any = {name: frozenset(_names(getattr(given, name))) for name in ("keep", "drop", "log_only")}
        return cls(label, _names(given.key), task=TASKS.get(given.task, given.task) or None, **one, **sets)

    @property
    def columns(self) -> dict[str, list[str]]:
        """The columns that each variable of `make contract` names."""
        named: dict[str, Sequence[str | None]] = {"LABEL": [self.label], "KEY": self.key, "ID": [self.id]}
        named |= {"TIME": [self.time], "SEEN": [self.seen], "KEEP": sorted(self.keep)}
        named |= {"DROP": sorted(self.drop), "LOG_ONLY": sorted(self.log_only)}
        return {variable: [name for name in names if name] for variable, names in named.items()}


def _names(given: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in given.split(",") if name.strip())


class Chooser:
    """The default of every choice: for pipes, CI and `YES=1`."""

    def choose(self, question: str, options: dict[str, str], default: str) -> str:
        """Return the name of one option; the values of `options` describe them."""
        return default


class Terminal(Chooser):
    """A user at a terminal."""

    def choose(self, question: str, options: dict[str, str], default: str) -> str:
        """Return the option selected from a list; raises KeyboardInterrupt on Ctrl-C."""
        import questionary

        choices = [questionary.Choice(description, value) for value, description in options.items()]
        start = next(choice for choice in choices if choice.value == default)
        return str(questionary.select(question, choices, default=start).unsafe_ask())  # codespell:ignore


def chooser(yes: bool) -> Chooser:
    """Return the terminal's user, unless they accepted all defaults or there is no terminal."""
    at_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    return Terminal() if at_terminal and not yes else Chooser()


def choose_label(columns: list[str], at_terminal: bool) -> str:
    """Return the label column where none was named; raises LifecycleError without a terminal."""
    if not at_terminal:
        hint = f"Set LABEL to one of {', '.join(columns[:20])}."
        raise LifecycleError("LABEL is missing: name the column to predict", hint)
    return Terminal().choose("Which column is to be predicted?", {name: name for name in columns}, columns[-1])
