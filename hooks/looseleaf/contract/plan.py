"""What is decided about a table: the request, the columns of the contract, and what stays uncertain."""

from dataclasses import dataclass, field
from typing import Literal

from lifecycle.contract.schema import Kind, Target
from looseleaf.contract.profile import Table
from looseleaf.contract.target import Labels


@dataclass(frozen=True)
class Wishes:
    """What the user specified; None where it is to be inferred. `keep` names suspected leaks to keep."""

    label: str
    key: str | None = None
    time: str | None = None
    task: Literal["regression", "classification"] | None = None
    keep: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Field:
    """A column of the contract, and the SQL that computes its value from the file."""

    column: str
    name: str
    kind: Kind
    sql: str
    is_key: bool = False
    nullable: bool = False
    unit: str = ""
    expected: tuple[float | str, ...] = ()
    limit: float | None = None
    max_length: int | None = None


@dataclass(frozen=True)
class Excluded:
    """A column that is not in the contract, and the reason."""

    column: str
    reason: str


@dataclass(frozen=True)
class Plan:
    """All decisions about a table. `time_sql` gives whole seconds since 1970 UTC."""

    table: Table
    wishes: Wishes
    fields: tuple[Field, ...]
    target: Target
    labels: Labels
    time: str | None
    time_sql: str
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
