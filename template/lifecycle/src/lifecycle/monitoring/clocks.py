"""Find wrong clocks and settings of time, which would make a report blame the data."""

from typing import TYPE_CHECKING

from lifecycle import timestamps
from lifecycle.errors import LifecycleError
from lifecycle.registry import predictions
from lifecycle.timestamps import DAY, format_utc

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection as Connection


# A day, because the midnight after the last event is a usual definition of the latest time.
def check(times: dict[str, int | None], tolerance: int = DAY) -> None:
    """Raise LifecycleError, which names the time, where one of `times` (seconds, by name) is later than the clock."""
    now = timestamps.now()
    for name, time in times.items():
        if time is not None and time > now + tolerance:
            problem = f"{name} is {format_utc(time)}, and the clock of this machine shows {format_utc(now)}"
            hint = "Set the clock, or correct the time that is in the future. No report was written."
            raise LifecycleError(problem, hint)


def features_lag(connection: "Connection", newest: int | None) -> int | None:
    """Return how many seconds the looked-up features of the newest logged prediction were behind the data of its time.

    `newest` is the latest time in the tables, None where they have none. Raises LifecycleError where the features are
    from the future of the prediction.
    """
    lag = f"SELECT ts, as_of, least(ts, CAST(? AS BIGINT)) - as_of FROM {predictions.LOGGED} WHERE as_of IS NOT NULL"
    found = connection.execute(f"{lag} ORDER BY ts DESC LIMIT 1", [newest]).fetchone()
    if found is None:
        return None
    ts, as_of, seconds = found
    if as_of > ts + DAY:
        problem = (
            f"the newest prediction is from {format_utc(ts)}, and its features are as of {format_utc(as_of)}, later"
        )
        hint = "Set the clock of the service, or correct latest() of src/model/data.py. No report was written."
        raise LifecycleError(problem, hint)
    return int(seconds)
