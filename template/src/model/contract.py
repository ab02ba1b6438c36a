"""A row and an answer. Every other list of columns (requests, matrix, logs, documentation) is derived from this file.

Limits in `Field` are what is impossible: such a row is refused. `expected` is what is usual: a row outside is
answered. `make check` says when `contract.json` is behind, `make contract` rewrites it.
"""

from typing import Annotated, Literal

from pydantic import Field

from lifecycle.declare import Entity, Key, Request, Row, TwoClasses

VERSION = 1  # the major version: a change that breaks a caller needs a new one


class Customer(Row):
    """A customer at the moment of the question: key and request come from the caller, the rest from features.sql."""

    customer_id: Annotated[str, Key(), Field(max_length=16)]
    discount: Annotated[
        float,
        Request(unit="percent", expected=(0, 30)),
        Field(ge=0, le=100, description="The discount offered for the next 30 days."),
    ] = 0.0
    plan: Annotated[Literal["basic", "family", "plus"], Entity()]
    region: Annotated[str, Entity(expected=("north", "south", "east", "west", "coast")), Field(max_length=16)]
    days_with_us: Annotated[float, Entity(unit="days", expected=(0, 3650)), Field(ge=0)]
    visits_30d: Annotated[int, Entity(unit="visits", expected=(0, 100)), Field(ge=0)]
    purchases_30d: Annotated[int, Entity(unit="boxes", expected=(0, 30)), Field(ge=0)]
    spent_30d: Annotated[float, Entity(unit="EUR", expected=(0, 2000)), Field(ge=0)]
    complaints_90d: Annotated[int, Entity(unit="complaints", expected=(0, 10)), Field(ge=0)]
    days_since_visit: Annotated[
        float | None,
        Entity(unit="days", expected=(0, 90)),
        Field(ge=0, description="Null without a visit in the last 90 days."),
    ]


ROW = Customer
ANSWER = TwoClasses(label="churned", positive="churns", negative="stays")
