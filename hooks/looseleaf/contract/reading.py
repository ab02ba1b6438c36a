"""How a column is read."""

from collections.abc import Mapping
from dataclasses import dataclass

from lifecycle.contract.readings import Text
from lifecycle.contract.schema import Kind

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
