"""The caller sends all twelve columns."""

from typing import Annotated, Literal

from pydantic import Field

from lifecycle.contract import Binary, Request, Row

VERSION = 1


class Customer(Row):
    """Eight numbers and four categories: two closed sets, two open ones."""

    age: Annotated[float, Request(expected=(18, 90)), Field(ge=0, le=150)]
    tenure: Annotated[float, Request(expected=(0, 120)), Field(ge=0)]
    visits: Annotated[float, Request(expected=(0, 60)), Field(ge=0)]
    purchases: Annotated[float, Request(expected=(0, 30)), Field(ge=0)]
    spent: Annotated[float, Request(expected=(0, 2000)), Field(ge=0)]
    discount: Annotated[float, Request(expected=(0, 30)), Field(ge=0, le=100)]
    distance: Annotated[float, Request(expected=(0, 100)), Field(ge=0)]
    rating: Annotated[float, Request(expected=(1, 5)), Field(ge=0, le=10)]
    plan: Annotated[Literal["basic", "family", "plus"], Request()]
    channel: Annotated[Literal["app", "phone", "shop", "web"], Request()]
    region: Annotated[str, Request(expected=("coast", "east", "north", "south", "west")), Field(max_length=16)]
    device: Annotated[str, Request(expected=("android", "ios", "linux", "mac", "windows")), Field(max_length=16)]


ROW = Customer
TARGET = Binary(label="churned", positive="churns", negative="stays")
