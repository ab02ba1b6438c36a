"""A team whose rows have every source that a caller can send: keys of two columns, an id, dates, and logged fields."""

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field

from lifecycle.contract import Binary, Id, Key, Logged, Request, Row
from lifecycle.contract.declare import derive
from lifecycle.contract.team import Team
from lifecycle.registry import deployments
from lifecycle.registry.deployments import Deployed
from lifecycle.sample.synthetic import Table
from lifecycle.settings import Settings
from lifecycle.training.train import train
from support.teams import estimator_of, settings_in


class Sale(Row):
    """A sale of a product in a shop."""

    shop: Annotated[int, Key()]
    product: Annotated[str, Key(), Field(max_length=20)]
    sale: Annotated[str, Id(), Field(max_length=20, alias="sale id")]
    opened: Annotated[datetime | None, Request(expected=(datetime(2010, 1, 1), datetime(2024, 1, 1)))]
    amount: Annotated[float, Request(), Field(ge=0)]
    ordered: Annotated[datetime, Request()] = datetime(2024, 2, 29)
    campaign: Annotated[str | None, Logged()] = None
    clicked: Annotated[datetime | None, Logged()] = None
    cost: Annotated[float, Logged()] = 0.0


SALE = derive(Sale, Binary("returned", positive="returns", negative="keeps"), 1)
TEAM = Team("sales", SALE, None, Table.of(SALE), estimator_of(SALE.target))


def trained(folder: Path) -> Settings:
    """Train a version and deploy it in `local`, without the gate."""
    settings = settings_in(folder)
    version = Deployed(train(TEAM, settings, folder).version, 0.5)
    deployments.swap(settings.store, "local", None, version, action="promote", who="a test", why="to see")
    return settings


def as_sent(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a frame as a caller sends them, with times as ISO 8601 text."""
    sent = frame[[column.name for column in SALE.request]].replace({np.nan: None})
    rows: list[dict[str, Any]] = json.loads(
        sent.to_json(orient="records", date_format="iso", date_unit="us", double_precision=15)
    )
    return rows
