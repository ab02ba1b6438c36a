"""How a column is read, and the words and formats of words.toml by which that is recognised."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lifecycle.contract.readings import Text
from lifecycle.contract.schema import Kind

WORDS: dict[str, list[str]] = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))
# The number of rows of each value.
Counts = Mapping[str, int]


@dataclass(frozen=True)
class Reading:
    """How a column is read, and notes for the report.

    `how` is the declaration in the team's data.py, and `blank` lists the words in the file that mean null.
    """

    how: Text
    unit: str = ""
    blank: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unsure: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """The kind that the column is read as."""
        return self.how.kind
