"""Evaluate the rows: the points of each, the sum of each section, and the score, which is the lowest sum."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from lifecycle.timestamps import DAY, format_utc
from looseleaf.ready.evidence import TRAIN, Evidence
from looseleaf.ready.found import HALF, Found, Lost

ROWS = Path(__file__).with_name("rows.toml")


@dataclass(frozen=True)
class Row:
    """One test of the ML Test Score with its points; `command` is what earns the missing ones, empty for a whole point.

    `source` is the decisive evidence with the day of the oldest. `role` is the responsible role, and `age` in days the
    largest age of the evidence.
    """

    id: str
    section: str
    title: str
    points: float
    text: str
    command: str
    source: str
    role: str
    age: int


@dataclass(frozen=True)
class Score:
    """All rows, and the titles of the sections in order."""

    rows: tuple[Row, ...]
    sections: dict[str, str]

    def sum_of(self, section: str) -> float:
        """Return the sum of the points of a section, of at most seven."""
        return sum(row.points for row in self.rows if row.section == section)

    @property
    def score(self) -> float:
        """The ML Test Score: the lowest sum of the sections (Breck et al. 2017, §II)."""
        return min(map(self.sum_of, self.sections))


def evaluate(evidence: Evidence) -> Score:
    """Return the points of every row on this evidence."""
    document = tomllib.loads(ROWS.read_text(encoding="utf-8"))
    return Score(tuple(_rows(evidence, document["rows"])), document["sections"])


def _rows(evidence: Evidence, rows: list[dict[str, Any]]) -> Iterator[Row]:
    for row in rows:
        found = _found(evidence, row)
        section = row["id"].rpartition("-")[0]
        command = "" if found.points == 1 else TRAIN if evidence.problem else row["command"]
        days = [format_utc(each.at)[:10] for each in found.items]
        source = f"{found.items[0].path} ({min(days)})" if days else ""
        about = (found.points, found.text, command, source, row["role"], row["age"])
        yield Row(row["id"], section, row["title"], *about)


def _found(evidence: Evidence, row: dict[str, Any]) -> Found:
    if evidence.problem:
        return Found(0, evidence.problem)
    module, _, name = row["check"].partition(".")
    try:
        found: Found = getattr(import_module(f"looseleaf.ready.{module}"), name)(evidence)
    except Lost as lost:
        return Found(0, str(lost))
    except (KeyError, TypeError, AttributeError) as error:
        return Found(0, f"the evidence is not readable ({type(error).__name__}: {error})")
    for item in found.items:
        if evidence.now - item.at > row["age"] * DAY:
            old = f"the evidence of {format_utc(item.at)[:10]} is older than {row['age']} days ({item.path})"
            return Found(0, old, found.items)
    if row.get("history") and evidence.is_simulated:
        return Found(min(found.points, HALF), f"in a simulated year: {found.text}", found.items)
    return found
