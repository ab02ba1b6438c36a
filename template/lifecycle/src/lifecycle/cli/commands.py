"""What a verb is, and how one is added; imports of its job wait until it runs."""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import lifecycle
from lifecycle import timestamps
from lifecycle.errors import LifecycleError
from lifecycle.settings import ENVIRONMENTS, Loaded

Verb = Callable[[argparse.Namespace, Loaded], None]
# What each answer to `usage` brings; a repository rendered without it lacks the file, and its verbs say so.
# Such modules are imported by name: a type checker would miss those that are not there.
USAGES = {"online": "serving/__init__.py", "batch": "pipelines/score.py"}
# Why a model is trained. Which of them ask for a better model and which for one that is not worse, the gate says.
REASONS = ("manual", "schedule", "labels", "drift", "decay", "stale")
MOMENT = "2026-01-31 or 2026-01-31T12:00:00Z; default: the data's latest, or now"


class Verbs:
    """The verbs of one parser."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    @property
    def names(self) -> list[str]:
        """Of all verbs."""
        return list(self._verbs.choices)

    def add(self, name: str, run: Verb, about: str, usage: str = "") -> argparse.ArgumentParser:
        """The parser of a new verb, for its options; `usage` is the answer that brings it."""
        absent = usage and not (Path(lifecycle.__file__).parent / USAGES[usage]).exists()
        # Without a help, a verb is not listed.
        listed: dict[str, Any] = {} if absent else {"help": about}
        verb = self._verbs.add_parser(name, description=about, **listed)
        verb.add_argument("--environment", choices=ENVIRONMENTS, default="local")
        verb.set_defaults(run=partial(_absent, usage) if absent else run)
        return verb


def _absent(usage: str, given: argparse.Namespace, loaded: Loaded) -> None:
    problem = f"there is no {given.verb} here: this repository was rendered without {usage}"
    raise LifecycleError(problem, "`make update SET='usage=[online, batch]'` adds it.")


def moment(text: str | None) -> int | None:
    """A moment as a person wrote it, in seconds; None where none is given."""
    return None if text is None else timestamps.parse(text)
