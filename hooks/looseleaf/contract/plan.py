"""What is decided about a table: the request, the columns of the contract, and what stays uncertain."""

from dataclasses import dataclass, field
from typing import Literal

from lifecycle.contract.reader import Text
from lifecycle.contract.schema import Kind, Target
from looseleaf.contract.profile import Table
from looseleaf.contract.prompts import Chooser, Wishes
from looseleaf.contract.target import Labels

Source = Literal["key", "id", "request", "logged"]


@dataclass(frozen=True)
class Field:
    """A column of the contract: its name in the file and in requests, where it comes from, and how it is read."""

    column: str
    name: str
    how: Text
    source: Source = "request"
    nullable: bool = False
    unit: str = ""
    expected: tuple[float | str, ...] = ()
    limits: tuple[int | None, int | None] = (None, None)
    max_length: int | None = None

    @property
    def kind(self) -> Kind:
        """The kind of its values in the contract."""
        return self.how.kind

    @property
    def is_input(self) -> bool:
        """Whether the model sees it."""
        return self.source == "request"


@dataclass
class Plan:
    """All decisions about a table, filled by `decide`; a `chooser` decides where several choices are plausible.

    `excluded` has the reason of each column that is left out. `declared` maps the columns of the view `source` to how
    they are read: those of the contract, the label and the times. `time` and `seen` are columns of the view.
    """

    table: Table
    wishes: Wishes
    chooser: Chooser
    labels: Labels
    excluded: dict[str, str] = field(default_factory=dict)
    decided: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)
    fields: list[Field] = field(default_factory=list)
    declared: dict[str, Text] = field(default_factory=dict)
    time: str | None = None
    seen: str | None = None
    label_days: int | None = None
    holdout: str = "a stable hash of the whole row"
    share: float = 0.0
    min_rows: int = 0

    @property
    def target(self) -> Target:
        """The target of the contract."""
        return self.labels.target

    def exclude(self, column: str, reason: str) -> None:
        """Leave a column out of the contract."""
        self.excluded[column] = reason
