"""The sample: customers of a company that delivers meal boxes, their events, and who left.

The data are synthetic and show the whole loop before real data exist: a season, late events and labels, causes that a
linear model cannot represent, and an optional drift in the last quarter.
"""

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from lifecycle.contract.tables import Frame, connect, write_parquet
from lifecycle.timestamps import DAY

# pandas is imported where it is used: most commands import this package only as a part of `model.data`.

MONTHS = tuple(int(datetime(2024 + m // 12, m % 12 + 1, 1, tzinfo=UTC).timestamp()) for m in range(3, 25))
FIRST_LABEL = MONTHS[3]  # the months before only provide events for the features of the first labels
LAST_QUARTER = MONTHS[-4]  # start of the drift
END = MONTHS[-1]
LABEL_DELAY = 30 * DAY  # whether a customer left within 30 days is known only then

PLANS = ("basic", "family", "plus")
PRICES = np.array([24.0, 46.0, 62.0])  # of one box
REGIONS = ("north", "south", "east", "west", "coast")

Array = np.ndarray[Any, Any]


def write(folder: Path, seed: int = 0, drift: bool = False, customers: int = 2000) -> None:
    """Write the tables as Parquet, with or without a drift in the last quarter; equal arguments give equal bytes."""
    people = _people(np.random.default_rng(seed), customers, drift)
    events, labels = _history(people, seed, drift)
    tables = {"customers": people.drop(columns=["zeal", "worth"]), "events": events, "labels": labels}
    with connect() as connection:
        for name, frame in tables.items():
            connection.register("frame", frame)
            write_parquet(connection, "FROM frame", folder / f"{name}.parquet")


def _people(random: np.random.Generator, count: int, drift: bool) -> Frame:
    """Return customers with two hidden traits: how often they visit (`zeal`) and how much they order (`worth`)."""
    import pandas as pd

    old = random.random(count) < 0.25
    before = MONTHS[0] - random.exponential(400 * DAY, count).clip(max=1500 * DAY)
    joined = np.where(old, before, random.uniform(MONTHS[0], END - DAY, count)).astype(np.int64)
    draw, shifted = random.random(count), drift & (joined >= LAST_QUARTER)
    plan = np.where(shifted, np.searchsorted([0.85, 0.95], draw), np.searchsorted([0.5, 0.8], draw))
    region = random.choice(len(REGIONS), count, p=[0.28, 0.24, 0.2, 0.18, 0.1])
    return pd.DataFrame(
        {
            "customer_id": [f"c-{number:05d}" for number in range(count)],
            "plan": np.array(PLANS, dtype=object)[plan],
            "region": np.array(REGIONS, dtype=object)[region],
            "joined": joined,
            "zeal": random.lognormal(0, 0.5, count),
            "worth": random.lognormal(0, 0.25, count),
        }
    )


def _history(people: Frame, seed: int, drift: bool) -> tuple[Frame, Frame]:
    """Simulate the months: label every customer, decide who leaves, then generate the events of the others."""
    import pandas as pd

    leaves = np.full(len(people), np.iinfo(np.int64).max)
    last: dict[str, Array] = dict.fromkeys(("visit", "complaint", "spent"), np.zeros(len(people)))
    recent = [last["complaint"]] * 3
    events, labels = [], []
    for month, (start, end) in enumerate(pairwise(MONTHS), start=1):
        # Each month has its own random stream, so that the drift does not change earlier months.
        random = np.random.default_rng([seed, month])
        shifted = drift and start >= LAST_QUARTER
        discount = np.where(random.random(len(people)) < 0.5, 0.0, 5.0 * random.integers(1, 7, len(people)))
        risk = _risk(people, start, last, np.sum(recent, axis=0), discount)
        gone = (random.random(len(people)) < risk) & (start >= FIRST_LABEL)
        there = (people["joined"].to_numpy() < start) & (leaves > start)
        # Not in the first two days: they belong to the label of a short month before.
        leaving = start + random.integers(3 * DAY, LABEL_DELAY - DAY, len(people))
        leaves = np.where(there & gone, np.minimum(leaves, leaving), leaves)
        if start >= FIRST_LABEL:
            known = start + LABEL_DELAY
            label = people[["customer_id"]].assign(ts=start, discount=discount, churned=leaves <= known, seen_ts=known)
            labels.append(label[there])
        happened = _month(people, start, end, random, shifted)
        happened = happened[(happened["ts"] >= happened["joined"]) & (happened["ts"] < leaves[happened["who"]])]
        who, kind = happened["who"].to_numpy(), happened["kind"].to_numpy()
        last = {name: np.bincount(who[kind == name], minlength=len(people)) for name in ("visit", "complaint")}
        last["spent"] = np.bincount(who, weights=happened["amount"].fillna(0.0), minlength=len(people))
        recent = [*recent[1:], last["complaint"]]
        events.append(happened)
    return _events(people, pd.concat(events, ignore_index=True), leaves), pd.concat(labels, ignore_index=True)


def _risk(people: Frame, now: int, last: dict[str, Array], complaints: Array, discount: Array) -> Array:
    """Return the probability of leaving within 30 days, from thresholds and combinations instead of a weighted sum."""
    days = (now - people["joined"].to_numpy()) / DAY
    visits, spent = last["visit"], last["spent"]
    basic, plus = (people["plan"].to_numpy() == name for name in ("basic", "plus"))
    looking = (visits >= 7) & (spent < 70)  # visits without purchases
    asleep = (visits <= 2) & (days > 30)
    yearly = (days > 330) & (days < 420)  # the first price of the second year
    score = (
        -4.1
        + 3.0 * looking
        + 2.4 * asleep
        + 1.6 * yearly
        + 1.0 * (days < 60)
        + np.where(plus, 1.4, 0.5) * np.minimum(complaints, 3)
        + 0.5 * basic
        - np.where(plus, 0.01, 0.07) * discount
        + 0.3 * _season(now, peak=196)  # people leave before the summer holidays
    )
    return np.asarray(1 / (1 + np.exp(-score)))


def _season(timestamp: int, peak: int) -> float:
    """Return a yearly wave between -1 and 1 with its maximum on the day `peak` of the year."""
    return float(np.cos(2 * np.pi * (timestamp / DAY / 365.25 - peak / 365.25)))


def _month(people: Frame, start: int, end: int, random: np.random.Generator, shifted: bool) -> Frame:
    """Return the events of a month for every customer, including those who have not joined or have left."""
    import pandas as pd

    count, plan = len(people), people["plan"].map(PLANS.index).to_numpy()
    mood = random.lognormal(0, 0.5, count) * (1 + 0.25 * _season((start + end) // 2, peak=355))
    rates = {
        "visit": 6 * people["zeal"].to_numpy() * mood * (0.6 if shifted else 1.0),
        "purchase": 2.2 * people["worth"].to_numpy() * mood**0.5,
        "complaint": np.where(people["region"] == "coast", 0.45, 0.2) * (2.0 if shifted else 1.0),
    }
    parts = []
    for kind, rate in rates.items():
        who = np.repeat(np.arange(count), random.poisson(rate))
        amount = PRICES[plan[who]] * random.lognormal(0, 0.15, len(who)) * (1.25 if shifted else 1.0)
        ts = random.integers(start, end, len(who))
        late = np.where(random.random(len(who)) < 0.02, random.integers(1, 2 * DAY, len(who)), 0)
        columns = {"who": who, "ts": ts, "seen_ts": ts + late, "kind": kind, "amount": amount.round(2)}
        parts.append(pd.DataFrame(columns))
    happened = pd.concat(parts, ignore_index=True)
    happened.loc[happened["kind"] != "purchase", "amount"] = np.nan
    return happened.assign(joined=people["joined"].to_numpy()[happened["who"]])


def _events(people: Frame, happened: Frame, leaves: Array) -> Frame:
    """Return the events and cancellations that were known at the end, in the order in which they happened."""
    import pandas as pd

    who = np.flatnonzero(leaves < END)
    cancels = pd.DataFrame({"who": who, "ts": leaves[who], "seen_ts": leaves[who], "kind": "cancel", "amount": np.nan})
    rows = pd.concat([happened[cancels.columns], cancels], ignore_index=True)
    rows["customer_id"] = people["customer_id"].to_numpy()[rows["who"]]
    known = rows[rows["seen_ts"] < END].sort_values(["ts", "customer_id", "kind"], kind="stable")
    return known[["customer_id", "ts", "seen_ts", "kind", "amount"]]
