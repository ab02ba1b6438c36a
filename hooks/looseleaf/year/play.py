"""The year 2025 of the sample, played with the repository's own verbs and its running service.

A clock of its own stands for now. Each week, customers are asked about by HTTP, labels arrive thirty days late, and
`lifecycle run-due` does what config would schedule; in between happens what happens in a year.
"""

import json
import random
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from looseleaf.steps import StepFailed
from looseleaf.year.repository import Repository, when

DAY = 86_400
WEEK = 7 * DAY
START, WEEKS = "2025-01-01", 52
BAD_WEEK, WORSE_WEEK = 50, 24
REQUESTS, ROWS = 10, 21  # a week; the last customer of a request is asked about alone
LABEL_DELAY = 30 * DAY
DECIDES_SO_LOW = "0.02"


@dataclass
class Event:
    """Something that happened, when it did in the year, and the repository's own words for it."""

    moment: str
    what: str
    told: str


@dataclass(frozen=True)
class Asked:
    """One customer of a request, when it was asked, and what became of them."""

    request: str
    position: int
    ts: int
    churns: bool


@dataclass
class Year:
    """What has happened so far."""

    repository: Repository
    events: list[Event] = field(default_factory=list)
    predictions: int = 0
    requests: int = 0
    waiting: deque[Asked] = field(default_factory=deque)
    positives: list[float] = field(default_factory=list)

    def happened(self, moment: int, what: str, told: str) -> None:
        """Note an event, and show it."""
        event = Event(when(moment)[:10], what, " ".join(told.split()))
        self.events.append(event)
        print(f"  {event.moment}  {event.what:<11} {event.told}", flush=True)


def play(repository: Repository) -> Year:
    """Play the year; raises StepFailed when the repository does not do what it promises."""
    year, start = Year(repository), repository.moment(START)
    repository.set_clock(start)
    repository.run("sample", "--drift")
    repository.run("train")
    told = repository.run("promote", "--why", "the first model beats its baselines")
    year.happened(start, "promoted", told.splitlines()[-2])
    repository.run("features")
    customers = repository.customers()
    with repository.serving() as address:
        for week in range(WEEKS):
            now = start + week * WEEK
            repository.set_clock(now)
            _learn_labels(year, now)
            _run_due(year, now)
            repository.wait_for(address, "features_as_of", when(now))
            _ask(year, address, customers, now, week)
            if week == WORSE_WEEK:
                _try_a_worse_candidate(year, now)
            if week == BAD_WEEK:
                _promote_badly_and_roll_back(year, address, customers, now)
    repository.set_clock(start + WEEKS * WEEK)
    _run_due(year, start + WEEKS * WEEK)
    return year


def _ask(year: Year, address: str, customers: dict[str, tuple[int, int]], now: int, week: int) -> float:
    """A week's requests; returns the share of customers that were answered `churns`."""
    draw = random.Random(week)
    there = [name for name, (joined, gone) in customers.items() if joined < now < gone]
    churns = 0
    for at in range(REQUESTS):
        chosen = draw.sample(there, ROWS)
        for part in (chosen[:-1], chosen[-1]):
            names = part if isinstance(part, list) else [part]
            rows = [{"customer_id": name, "discount": 5 * draw.choice((0, 0, 0, 1, 2, 4))} for name in names]
            request = f"{week}-{at}-{len(rows)}"
            answers = year.repository.ask(address, rows if isinstance(part, list) else rows[0], request)
            churns += sum(answer["prediction"] == "churns" for answer in answers)
            year.waiting.extend(
                Asked(request, position, now, now < customers[name][1] <= now + LABEL_DELAY)
                for position, name in enumerate(names)
            )
            year.requests += 1
            year.predictions += len(names)
    share = churns / (REQUESTS * ROWS)
    year.positives.append(share)
    return share


def _learn_labels(year: Year, now: int) -> None:
    """Hand in the labels of all who were asked about thirty days ago or earlier."""
    known = []
    while year.waiting and year.waiting[0].ts + LABEL_DELAY <= now:
        known.append(year.waiting.popleft())
    if known:
        lines = ["request_id,position,churned"]
        lines += [f"{each.request},{each.position},{'churns' if each.churns else 'stays'}" for each in known]
        file = year.repository.place / "labels.csv"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        year.repository.run("labels", "add", str(file), "--seen", when(now))


def _run_due(year: Year, now: int) -> None:
    """One tick of the scheduler, and what came of it."""
    repository = year.repository
    before, retrains = repository.report(), len(repository.retrains())
    repository.run("run-due", may_refuse=True)
    report = repository.report()
    if report and report != before:
        reasons = "; ".join(reason["text"] for reason in report["reasons"])
        year.happened(now, report["verdict"], reasons or "inputs and answers are as in training")
    for run in repository.retrains()[retrains:]:
        year.happened(now, run["outcome"], f"retrain for {run['reason']}: {_first_line(run['text'])}")


def _try_a_worse_candidate(year: Year, now: int) -> None:
    """Somebody trains on labels that were mixed up; the gate says no."""
    tables = year.repository.mixed_up_labels()
    year.repository.run("train", settings=tables)
    told = year.repository.run("promote", "--why", "labels of a new pipeline", may_refuse=True, settings=tables)
    if "may not answer" not in told:
        raise StepFailed("a model of mixed-up labels was promoted", "Report this: the gate did not hold.", told)
    year.happened(now, "rejected", _first_line(told.partition("may not answer")[2].partition("\n")[2]))


def _promote_badly_and_roll_back(year: Year, address: str, customers: dict[str, tuple[int, int]], now: int) -> None:
    """Somebody lets nearly everybody count as leaving; what answers shows it, and one command goes back."""
    usual = year.positives[-1]
    version = year.repository.deployment()["live"]["version"]
    year.repository.run("promote", version, "--threshold", DECIDES_SO_LOW, "--why", "call more customers")
    year.repository.wait_for(address, "threshold", float(DECIDES_SO_LOW))
    odd = _ask(year, address, customers, now + DAY, WEEKS)
    year.happened(now, "promoted", f"{version} with the threshold {DECIDES_SO_LOW}: call more customers")
    why = f"{odd:.0%} of the customers count as leaving, usual are {usual:.0%}"
    told = year.repository.run("rollback", "--why", why)
    year.repository.wait_for(address, "threshold", year.repository.deployment()["live"]["threshold"])
    year.happened(now + DAY, "rolled back", f"{why}; {_first_line(told)}")


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].strip()


def told(year: Year, seconds: float) -> dict[str, Any]:
    """What build/year.json holds."""
    return {
        "seconds": round(seconds, 1),
        "requests": year.requests,
        "predictions": year.predictions,
        "timeline": [vars(event) for event in year.events],
        "history": year.repository.run("history").splitlines(),
        "report": year.repository.newest_page(),
    }


def run(root: Path, say: Callable[[str], object] = print) -> int:
    """Play the year in the repository at `root`; 0 when all of it held, 1 with a mend otherwise, 130 on Ctrl-C."""
    place, started = root / "build" / "year", time.monotonic()
    try:
        shutil.rmtree(place, ignore_errors=True)
        repository = Repository(root, place)
        say("A year of the sample, in build/year; your own storage and data are left alone:")
        year = play(repository)
        found = told(year, time.monotonic() - started)
    except StepFailed as failed:
        print(f"\n{failed.tail}\nThe year stopped: {failed}\n{failed.mend}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nThe year was stopped; nothing of it runs any more.", file=sys.stderr)
        return 130
    (place.parent / "year.json").write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    say(
        f"\n{found['predictions']:,} predictions in {found['requests']:,} requests, {found['seconds']:.0f} seconds. "
        "What answered when:\n\n"
        + "\n".join(f"  {line}" for line in found["history"])
        + f"\n\nThe last report: {found['report']}\nAll of it: {place.parent / 'year.json'}"
    )
    return 0
