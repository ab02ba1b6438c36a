"""Timestamps as whole seconds since 1970 UTC, and their ISO 8601 form for people and files."""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from lifecycle import warn_renamed
from lifecycle.errors import LifecycleError

DAY = 86_400
# Training holds out rows of the newest period, which lasts longer in a small table: few rows cannot choose a model.
PERIOD, MIN_PERIOD_ROWS = 28 * DAY, 1000
# Replaced where a test or a simulated year sets another time; everything else calls it through this module.
clock: Callable[[], float] = time.time


def now() -> int:
    """Return the current time in whole seconds since 1970 UTC."""
    return int(clock())


def parse(text: str) -> int:
    """Return the timestamp of an ISO 8601 date or time, by default in UTC; LifecycleError for another text."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise LifecycleError(f"{text!r} is not a date", "Write it as 2026-01-31 or 2026-01-31T12:00:00Z.") from None
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp())


def format_utc(timestamp: int) -> str:
    """Return a timestamp in ISO 8601, such as 2026-01-31T12:00:00Z."""
    return datetime.fromtimestamp(timestamp, UTC).isoformat().replace("+00:00", "Z")


def parse_date(text: str) -> date:
    """Return the date that an ISO 8601 text names; raise LifecycleError for another text."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise LifecycleError(f"{text!r} is not a date", "Write it as 2026-01-31.") from None


def midnight(day: date) -> int:
    """Return the timestamp of 00:00 UTC of a date."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def days(first: date, last: date) -> list[date]:
    """Return every date from `first` to `last`, both included; raise LifecycleError where `last` is before `first`."""
    if last < first:
        raise LifecycleError(f"the range ends ({last}) before it begins ({first})", "Give the earlier date as FROM.")
    return [first + timedelta(days=each) for each in range((last - first).days + 1)]


def date_of(timestamp: int) -> date:
    """Return the UTC date of a timestamp."""
    return datetime.fromtimestamp(timestamp, UTC).date()


def newest_period(seconds: Any, share: float) -> tuple[int, int]:
    """Return the start and the length in seconds of the newest period, with at most about `share` of the rows.

    `seconds` is an array of times, shape (rows,). The period is 28 days, or a multiple with MIN_PERIOD_ROWS rows.
    """
    import numpy as np

    times, counts = np.unique(seconds, return_counts=True)
    after = counts[::-1].cumsum()[::-1]
    # Rows of one time stay together: the first time with no more than this share of the rows at or after it.
    within = times[after <= share * len(seconds)]
    first, length = int(within[0] if len(within) else times[-1]), PERIOD
    while times[-1] - length >= first and (seconds > times[-1] - length).sum() < MIN_PERIOD_ROWS:
        length += PERIOD
    return max(first, int(times[times > times[-1] - length][0])), length


def __getattr__(name: str) -> Any:
    if name == "told":
        warn_renamed("lifecycle.timestamps.told", "format_utc")  # codespell:ignore told
        return format_utc
    raise AttributeError(name)
