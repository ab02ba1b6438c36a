"""A row and its target. Every other list of columns (requests, matrix, logs, documentation) is derived from this file.

Limits in `Field` are hard: a row outside them is rejected. `expected` is the usual range: a row outside it is predicted
and counted. `make check` reports when `contract.json` is out of date, `make contract` rewrites it.
"""

from typing import Annotated, Literal

from pydantic import Field

from lifecycle.contract import Binary, Key, Lookup, Request, Row

VERSION = 1  # the major version: a change that breaks a caller needs a new one


class Customer(Row):
    """A customer at the time of a request: the caller sends key and request fields, features.sql computes the rest."""

    customer_id: Annotated[str, Key(), Field(max_length=16)]
    discount: Annotated[
        float,
        Request(unit="percent", expected=(0, 30)),
        Field(ge=0, le=100, description="The discount offered for the next 30 days."),
    ] = 0.0
    plan: Annotated[Literal["basic", "family", "plus"], Lookup(slice=True)]
    region: Annotated[str, Lookup(expected=("north", "south", "east", "west", "coast")), Field(max_length=16)]
    days_with_us: Annotated[float, Lookup(unit="days", expected=(0, 3650)), Field(ge=0)]
    visits_30d: Annotated[int, Lookup(unit="visits", expected=(0, 100)), Field(ge=0)]
    purchases_30d: Annotated[int, Lookup(unit="boxes", expected=(0, 30)), Field(ge=0)]
    spent_30d: Annotated[float, Lookup(unit="EUR", expected=(0, 2000)), Field(ge=0)]
    complaints_90d: Annotated[int, Lookup(unit="complaints", expected=(0, 10)), Field(ge=0)]
    days_since_visit: Annotated[
        float | None,
        Lookup(unit="days", expected=(0, 90)),
        Field(ge=0, description="Null without a visit in the last 90 days."),
    ]


ROW = Customer
TARGET = Binary(label="churned", positive="churns", negative="stays")
