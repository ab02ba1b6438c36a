"""Whether a retrain may begin, and the record of those that did; pure, but for the files that it names."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lifecycle import timestamps
from lifecycle.errors import LifecycleError
from lifecycle.reports.verdicts import INCIDENT, LATEST, REQUEST
from lifecycle.settings import Retrain
from lifecycle.storage import Store, write_atomically
from lifecycle.timestamps import DAY

WEEK = 7 * DAY
DONE = "retrain_done.json"
NOTHING = "nothing asks for a retrain: no request, no schedule that is due and no labels enough"


@dataclass(frozen=True)
class Run:
    """A retrain that was begun: `outcome` is promoted, refused or failed; `decision` is the page of the gate's."""

    moment: str
    reason: str
    by: str
    who: str
    outcome: str
    version: str | None
    text: str
    decision: str | None


@dataclass(frozen=True)
class Request:
    """What monitoring asked for: a reason, in words, and the report that it follows from."""

    reason: str
    text: str
    evidence: str


@dataclass(frozen=True)
class Trained:
    """What answers now: the moment that it was made at (seconds), and how many labels became known since."""

    created: int
    new_labels: int


def wanted(request: Request | None, trained: Trained | None, settings: Retrain, now: int) -> tuple[str, str] | None:
    """The reason for a retrain and its words; None where nothing asks for one."""
    if request:
        return request.reason, request.text
    if trained and settings.every_days and now - trained.created >= settings.every_days * DAY:
        return "schedule", f"the last was made {(now - trained.created) // DAY} days ago"
    if trained and settings.new_labels and trained.new_labels >= settings.new_labels:
        return "labels", f"{trained.new_labels:,} labels became known since the last"
    return None


def refusal(runs: list[Run], settings: Retrain, now: int, by_hand: bool, incident: bool = False) -> str | None:
    """Why no retrain may begin now, in words; None where one may. By hand, only the cap of a week is asked."""
    if not by_hand and incident:
        return "monitoring found an incident: nothing is learned from broken data"
    if not by_hand and not settings.enabled:
        return "it is switched off (retrain.enabled)"
    begun = [timestamps.parse(run.moment) for run in runs]
    ago = now - max(begun, default=0)
    if not by_hand and begun and ago < settings.cooldown_days * DAY:
        told = f"the last began {ago / DAY:.1f} days ago"
        return f"{told}, and {settings.cooldown_days:g} days have to pass (retrain.cooldown_days)"
    week = sum(now - each < WEEK for each in begun)
    if week >= settings.most_a_week:
        return f"{week} began within the last seven days (retrain.most_a_week is {settings.most_a_week})"
    return None


def requested(store: Store, environment: str) -> Request | None:
    """What monitoring asks for; raises LifecycleError where that cannot be read."""
    path = store.reports / environment / REQUEST
    try:
        found = json.loads(path.read_bytes())
        return Request(str(found["reason"]), str(found["text"]), str(found["evidence"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise LifecycleError(f"{path} is no request ({error})", "Remove it: `lifecycle monitor` asks again.") from error


def incident(store: Store, environment: str) -> bool:
    """Whether the latest monitoring found broken data."""
    try:
        return bool(json.loads((store.reports / environment / LATEST).read_bytes())["verdict"] == INCIDENT)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def done(store: Store, environment: str, request: Request, now: int) -> None:
    """Move the request beside the report that it follows from."""
    folder = store.reports / environment
    beside = folder / Path(request.evidence).parent.name
    if not beside.is_dir() or not request.evidence:
        beside = folder / f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}"
        beside.mkdir(parents=True, exist_ok=True)
    (folder / REQUEST).replace(beside / DONE)


def runs(store: Store, environment: str) -> list[Run]:
    """Every retrain that was begun, oldest first; raises LifecycleError naming a line that is none."""
    path = _record(store, environment)
    lines = path.read_bytes().splitlines() if path.exists() else []
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(Run(**json.loads(line)))
        except (ValueError, TypeError) as error:
            hint = "Remove that line: it says when a retrain began."
            raise LifecycleError(f"{path} line {number} is no retrain ({error})", hint) from error
    return found


def record(store: Store, environment: str, run: Run) -> None:
    """Add a retrain to those that were begun."""
    told: list[dict[str, Any]] = [asdict(each) for each in (*runs(store, environment), run)]
    content = "".join(json.dumps(each, ensure_ascii=False) + "\n" for each in told)
    write_atomically(_record(store, environment), content.encode())


def _record(store: Store, environment: str) -> Path:
    return store.reports / environment / "retrains.jsonl"
