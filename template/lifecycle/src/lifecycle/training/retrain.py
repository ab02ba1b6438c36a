"""Rules of retraining: what demands a retrain, what forbids one now, and the record of all retrains."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from lifecycle import timestamps
from lifecycle.errors import LifecycleError
from lifecycle.reports import INCIDENT, LATEST, REQUEST
from lifecycle.settings import Retrain
from lifecycle.storage import Store, write_atomically
from lifecycle.timestamps import DAY

DONE, RUNS = "retrain_done.json", "retrains.jsonl"
# When the last version was trained (seconds), and how many labels became known since.
LastTraining = tuple[int, int]
NOT_DUE = "no retrain is due: monitoring has not requested one, and neither schedule nor new labels demand one"


@dataclass
class Run:
    """A retrain that was started; `outcome` is promoted, refused or failed, `decision` the path of the gate's page."""

    started: str
    reason: str
    by: str
    who: str = ""
    outcome: str = "failed"
    version: str | None = None
    text: str = ""
    decision: str | None = None


@dataclass(frozen=True)
class Request:
    """A request of monitoring: the reason, its explanation, and the path of the report behind it."""

    reason: str
    text: str
    evidence: str


def demand(request: Request | None, last: LastTraining | None, rules: Retrain, now: int) -> tuple[str, str] | None:
    """Return the reason for a retrain and its explanation, or None; without `last`, only a request counts."""
    if request:
        return request.reason, request.text
    created, new_labels = last or (now, 0)
    if rules.every_days and now - created >= rules.every_days * DAY:
        return "schedule", f"the last training was {(now - created) // DAY} days ago"
    if rules.new_labels and new_labels >= rules.new_labels:
        return "labels", f"{new_labels:,} labels became known since the last training"
    return None


def refusal(runs: list[Run], rules: Retrain, now: int, by_hand: bool, incident: bool = False) -> str | None:
    """Return why no retrain may start now, or None; by hand, only the weekly limit applies."""
    if not by_hand and incident:
        return "monitoring reports an incident, and no model is trained on broken data"
    if not by_hand and not rules.enabled:
        return "automatic retrains are switched off (retrain.enabled)"
    started = [timestamps.parse(run.started) for run in runs]
    ago = (now - max(started, default=0)) / DAY
    if not by_hand and started and ago < rules.cooldown_days:
        return f"the last started {ago:.1f} days ago, within {rules.cooldown_days:g} days (retrain.cooldown_days)"
    week = sum(now - each < 7 * DAY for each in started)
    if week >= rules.most_a_week:
        return f"{week} started within the last seven days (retrain.most_a_week is {rules.most_a_week})"
    return None


def requested(store: Store, environment: str) -> Request | None:
    """Return the request of monitoring, if there is one; raises LifecycleError when it is damaged."""
    path = store.reports / environment / REQUEST
    try:
        document = json.loads(path.read_bytes())
        return Request(str(document["reason"]), str(document["text"]), str(document["evidence"]))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        hint = "Remove it: `lifecycle monitor` writes it again."
        raise LifecycleError(f"{path} is not a valid request ({error})", hint) from error


def incident(store: Store, environment: str) -> bool:
    """Return whether the latest report of monitoring found broken data."""
    try:
        return bool(json.loads((store.reports / environment / LATEST).read_bytes())["verdict"] == INCIDENT)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def complete(store: Store, environment: str, request: Request) -> None:
    """Move the request next to the report behind it, so that it is not served twice."""
    folder = store.reports / environment
    dated = folder / Path(request.evidence).parent.name
    (folder / REQUEST).replace((dated if dated.is_dir() else folder) / DONE)


def runs(store: Store, environment: str) -> list[Run]:
    """Return every retrain that was started, oldest first; raises LifecycleError naming a damaged line."""
    path = store.reports / environment / RUNS
    found = []
    for number, line in enumerate(path.read_bytes().splitlines() if path.exists() else [], 1):
        try:
            found.append(Run(**json.loads(line)))
        except (ValueError, TypeError) as error:
            problem = f"{path} line {number} is not a valid record of a retrain ({error})"
            raise LifecycleError(problem, "Remove that line.") from error
    return found


def record(store: Store, environment: str, run: Run) -> None:
    """Add a retrain to the record."""
    lines = [json.dumps(asdict(each), ensure_ascii=False) + "\n" for each in (*runs(store, environment), run)]
    write_atomically(store.reports / environment / RUNS, "".join(lines).encode())
