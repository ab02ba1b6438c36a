"""The year 2025 of the sample, played with the repository's own verbs and its running service.

A clock of its own stands for now. On the first of each month everybody is asked about by HTTP, labels arrive thirty
days later, and `lifecycle run-due` does what config schedules; in between happens what happens in a year.
"""

import json
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from looseleaf.steps import StepFailed
from looseleaf.year.repository import Question, Repository, moment_of, when

DAY = 86_400
YEAR = 2025
CUSTOMERS = 3000
WORSE, BAD = f"{YEAR}-06-15", f"{YEAR}-12-22"
LABEL_DELAY = 30 * DAY
ROWS = 20  # of a request; the last customer of a month is asked about alone
SO_LOW = "0.02"


@dataclass(frozen=True)
class Event:
    """Something that happened, when it did in the year, and the repository's own words for it."""

    date: str
    what: str
    told: str


@dataclass
class Year:
    """What has happened so far."""

    repository: Repository
    events: list[Event] = field(default_factory=list)
    predictions: int = 0
    requests: int = 0
    waiting: deque[tuple[str, int, Question]] = field(default_factory=deque)
    positives: float = 0.0

    def happened(self, date: str, what: str, told: str) -> None:
        """Note an event, and show it."""
        event = Event(date, what, " ".join(told.split()))
        self.events.append(event)
        print(f"  {event.date}  {event.what:<11} {event.told}", flush=True)


def play(repository: Repository) -> Year:
    """Play the year; raises StepFailed when the repository does not do what it promises."""
    year, first = Year(repository), f"{YEAR}-01-01"
    repository.set_clock(moment_of(first))
    repository.write_sample(CUSTOMERS)
    repository.run("train")
    told = repository.run("promote", "--why", "the first model beats its baselines")
    year.happened(first, "promoted", _last_line(told))
    repository.run("features")
    with repository.serving() as address:
        for month in range(1, 13):
            for date in (f"{YEAR}-{month:02}-01", f"{YEAR}-{month:02}-15"):
                repository.set_clock(moment_of(date))
                _hand_in_labels(year, moment_of(date))
                if date != first:
                    _run_due(year, date)
                repository.wait_for(address, "features_as_of", when(moment_of(date)))
                _ask(year, address, repository.questions(moment_of(date)))
                if date == WORSE:
                    _try_a_worse_candidate(year, date)
        _promote_badly_and_roll_back(year, address)
    repository.set_clock(moment_of(f"{YEAR}-12-31"))
    _hand_in_labels(year, moment_of(f"{YEAR}-12-31"))
    repository.run("collect")
    repository.run("monitor", may_refuse=True)
    return year


def _ask(year: Year, address: str, questions: list[Question], label: bool = True) -> None:
    """Ask about customers in requests of many rows, and about the last one alone."""
    if not questions:
        return
    parts = [questions[:-1][at : at + ROWS] for at in range(0, len(questions) - 1, ROWS)] + [questions[-1:]]
    churns = 0
    for part in parts:
        rows = [{"customer_id": each.customer, "discount": each.discount} for each in part]
        request = f"year-{year.requests}"
        answers = year.repository.ask(address, rows if len(rows) > 1 else rows[0], request)
        churns += sum(answer["prediction"] == "churns" for answer in answers)
        year.requests += 1
        year.predictions += len(rows)
        if label:
            year.waiting.extend((request, position, each) for position, each in enumerate(part))
    year.repository.wait_for_log(request)
    year.positives = churns / len(questions)


def _hand_in_labels(year: Year, now: int) -> None:
    """Hand in the labels of all who were asked about thirty days ago or earlier."""
    known = []
    while year.waiting and year.waiting[0][2].ts + LABEL_DELAY <= now:
        known.append(year.waiting.popleft())
    if known:
        lines = ["request_id,position,churned"]
        lines += [f"{request},{position},{'churns' if each.churned else 'stays'}" for request, position, each in known]
        file = year.repository.place / "labels.csv"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        year.repository.run("labels", "add", str(file), "--seen", when(now))


def _run_due(year: Year, date: str) -> None:
    """One tick of the scheduler, and what came of it."""
    repository = year.repository
    before, retrains = repository.report(), len(repository.retrains())
    repository.run("run-due", may_refuse=True)
    report = repository.report()
    if report and report != before:
        reasons = "; ".join(reason["text"] for reason in report["reasons"])
        year.happened(date, report["verdict"], reasons or "inputs and answers are as in training")
    for run in repository.retrains()[retrains:]:
        year.happened(date, run["outcome"], f"retrain for {run['reason']}: {_first_line(run['text'])}")


def _try_a_worse_candidate(year: Year, date: str) -> None:
    """Somebody trains on labels that were mixed up; the gate says no."""
    tables = year.repository.mixed_up_labels()
    year.repository.run("train", settings=tables)
    told = year.repository.run("promote", "--why", "labels of a new pipeline", may_refuse=True, settings=tables)
    if "may not answer" not in told:
        raise StepFailed("a model of mixed-up labels was promoted", "Report this: the gate did not hold.", told)
    year.happened(date, "refused", _first_line(told.partition("may not answer")[2].partition("\n")[2]))


def _promote_badly_and_roll_back(year: Year, address: str) -> None:
    """Somebody lets nearly everybody count as leaving; what answers shows it, and one command goes back."""
    repository, usual = year.repository, year.positives
    repository.set_clock(moment_of(BAD))
    version = repository.deployment()["live"]["version"]
    repository.run("promote", version, "--threshold", SO_LOW, "--why", "call more customers")
    year.happened(BAD, "promoted", f"{version} with the threshold {SO_LOW}: call more customers")
    repository.wait_for(address, "threshold", float(SO_LOW))
    still_there = [each for each in repository.questions(moment_of(f"{YEAR}-12-01")) if not each.churned]
    _ask(year, address, still_there[:200], label=False)
    why = f"{year.positives:.0%} of the customers count as leaving, usual are {usual:.0%}"
    told = repository.run("rollback", "--why", why)
    repository.wait_for(address, "threshold", repository.deployment()["live"]["threshold"])
    year.happened(BAD, "rolled back", f"{why}; {_last_line(told)}")


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0].strip()


def _last_line(text: str) -> str:
    return next(line for line in text.splitlines() if " answers in " in line)


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
    """Play the year in the repository at `root`; 0 when all of it held, 1 with a hint otherwise, 130 on Ctrl-C."""
    place, started = root / "build" / "year", time.monotonic()
    try:
        shutil.rmtree(place, ignore_errors=True)
        repository = Repository(root, place)
        # What is built belongs into no commit, whatever the team's own .gitignore says.
        (place.parent / ".gitignore").write_text("*\n", encoding="utf-8")
        say("A year of the sample, in build/year; your own storage and data are left alone:")
        year = play(repository)
        found = told(year, time.monotonic() - started)
    except StepFailed as failed:
        print(f"\n{failed.tail}\nThe year stopped: {failed}\n{failed.hint}", file=sys.stderr)
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
