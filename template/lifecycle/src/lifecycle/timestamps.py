"""Moments as whole seconds since 1970 UTC, and as people write them."""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from lifecycle.errors import LifecycleError

DAY = 86_400


# `lifecycle.sample.clock` replaces it to simulate another time; everything else calls it through this module.
clock: Callable[[], float] = time.time


def now() -> int:
    """Return the current time in whole seconds since 1970 UTC."""
    return int(clock())


def parse(text: str) -> int:
    """A date (00:00 UTC) or a moment in ISO 8601 (UTC unless it says otherwise); raises LifecycleError."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise LifecycleError(f"{text!r} is not a date", "Write it as 2026-01-31 or 2026-01-31T12:00:00Z.") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def told(moment: int) -> str:
    """A moment in ISO 8601."""
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")


def parse_date(text: str) -> date:
    """A calendar date; raises LifecycleError."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise LifecycleError(f"{text!r} is not a date", "Write it as 2026-01-31.") from None


def midnight(day: date) -> int:
    """00:00 UTC of a date."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def days(first: date, last: date) -> list[date]:
    """Every date from `first` to `last`, both included; raises LifecycleError when they stand in the wrong order."""
    if last < first:
        raise LifecycleError(f"the range ends ({last}) before it begins ({first})", "Give the earlier date as FROM.")
    return [first + timedelta(days=each) for each in range((last - first).days + 1)]


def date_of(moment: int) -> date:
    """The UTC date of a moment."""
    return datetime.fromtimestamp(moment, UTC).date()
