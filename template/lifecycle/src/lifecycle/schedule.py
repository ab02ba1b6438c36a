"""What `schedule` in config says is due, and when each of it last ran."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lifecycle import timestamps
from lifecycle.errors import LifecycleError
from lifecycle.storage import Store, write_atomically

FORMAT = 1
# By itself a retrain begins only when something asks for it.
WORDS = {"retrain": ("--due",)}
SLACK = 300
NEVER = ("run-due", "serve")


def due(store: Store, environment: str, schedule: dict[str, int], now: int) -> list[str]:
    """The verbs whose time has come at `now`, in the order of config; intervals in seconds.

    A verb that failed waits for its next turn, as one that ran. Raises LifecycleError for one that cannot be scheduled.
    """
    for verb in schedule:
        if verb in NEVER:
            raise LifecycleError(f"schedule names {verb}, which cannot be scheduled", "Remove it from config/.")
    last = read(store, environment)
    return [verb for verb, every in schedule.items() if verb not in last or _passed(now - last[verb]["started"], every)]


def _passed(seconds: int, every: int) -> bool:
    """Whether an interval has passed, or nearly: cron does not start to the second."""
    return seconds >= every - min(every // 10, SLACK)


def read(store: Store, environment: str) -> dict[str, dict[str, Any]]:
    """By verb, when it last started (seconds) and with which exit code it ended; raises LifecycleError."""
    path = _place(store, environment)
    try:
        found = json.loads(path.read_bytes())["verbs"]
        return {verb: run | {"started": timestamps.parse(run["started"])} for verb, run in found.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LifecycleError(f"{path} does not say when jobs ran ({error})", "Remove it: all is due then.") from error


def record(store: Store, environment: str, verb: str, started: int, code: int) -> None:
    """Note that a verb started and how it ended."""
    verbs = {
        name: run | {"started": timestamps.format_utc(run["started"])} for name, run in read(store, environment).items()
    }
    ended = datetime.now(UTC).isoformat(timespec="seconds")
    verbs[verb] = {"started": timestamps.format_utc(started), "ended": ended, "code": code}
    content = json.dumps({"format": FORMAT, "environment": environment, "verbs": verbs}, indent=2)
    write_atomically(_place(store, environment), f"{content}\n".encode())


def _place(store: Store, environment: str) -> Path:
    return store.runs / f"{environment}.json"
