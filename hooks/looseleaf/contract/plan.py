"""What is decided about a table: the request, the columns of the contract, and what stays uncertain."""

from dataclasses import dataclass, field
from typing import Literal

from lifecycle.contract.reader import Text
from lifecycle.contract.schema import Kind, Target
from looseleaf.contract.profile import Table
from looseleaf.contract.target import Labels


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


Source = Literal["key", "id", "request", "logged"]


@dataclass(frozen=True)
class Times:
    """The column with the time of a row, how it is read, and the one with the time at which its label became known."""

    row: str | None
    how: Text | None
    seen: str | None
    label_days: int | None


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
    limit: float | None = None
    max_length: int | None = None

    @property
    def kind(self) -> Kind:
        """The kind of its values in the contract."""
        return self.how.kind

    @property
    def is_input(self) -> bool:
        """Whether the model sees it."""
        return self.source == "request"


@dataclass(frozen=True)
class Excluded:
    """A column that is not in the contract, and the reason."""

    column: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """All decisions about a table.

    `declared` maps the columns of the view `source` to how they are read: those of the contract, the label and the
    times. `time` and `seen` are columns of the view.
    """

    table: Table
    wishes: Wishes
    fields: tuple[Field, ...]
    target: Target
    labels: Labels
    declared: dict[str, Text]
    time: str | None
    seen: str | None
    label_days: int | None
    excluded: tuple[Excluded, ...]
    decided: tuple[str, ...]
    unsure: tuple[str, ...]
    holdout: str
    share: float
    min_rows: int


@dataclass
class Notes:
    """Decisions, open points and excluded columns, collected while a plan is made."""

    excluded: list[Excluded] = field(default_factory=list)
    decided: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)

    def exclude(self, column: str, reason: str) -> None:
        """Leave a column out of the contract."""
        self.excluded.append(Excluded(column, reason))
