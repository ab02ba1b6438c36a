"""Texts: those of texts.toml, templates of generated files, and escaping."""

import importlib.resources
import re
import textwrap
import tomllib
from pathlib import Path
from typing import Any

import jinja2

from lifecycle.errors import LifecycleError

INLINE_FIELDS = 40
WIDTH = 120
REQUEST = "docs/example-request.json"
OWN = importlib.resources.files("looseleaf.contract") / "own"
TEXTS: dict[str, Any] = tomllib.loads(Path(__file__).with_name("texts.toml").read_text(encoding="utf-8"))
WORDS: dict[str, list[str]] = TEXTS["words"]


def note(name: str, /, **facts: object) -> str:
    """Return a note for the report."""
    return str(TEXTS["notes"][name].format(**facts))


def refused(name: str, /, **facts: object) -> LifecycleError:
    """Return an error with what is wrong and what to do."""
    problem, hint = (text.format(**facts) for text in TEXTS["errors"][name])
    return LifecycleError(problem, hint)


def rendered(name: str, **facts: Any) -> str:
    """Return the text that a template of `own/texts` makes of these facts."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"printable": printable, "wrapped": wrapped, "repr": repr}
    return environment.from_string((OWN / f"texts/{name}.j2").read_text(encoding="utf-8")).render(facts)


def printable(value: str) -> str:
    """Return a text that is safe in prose, docstrings and Markdown: one line without quotes, bars and backslashes."""
    return re.sub(r"[\\\"`|*{}<>\x00-\x1f\x7f-\x9f\u2028\u2029]+", "_", value)


def wrapped(paragraph: str) -> str:
    """Return a paragraph wrapped as on the repository's pages."""
    return textwrap.fill(" ".join(paragraph.split()), WIDTH, break_long_words=False, break_on_hyphens=False)
