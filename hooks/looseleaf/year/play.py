"""The year 2025 of the sample, played with the repository's own commands and its running service.

The time is simulated. On the first of each month, every customer is predicted by HTTP; labels arrive thirty days later.
On the fifteenth, `collect`, `monitor` and `retrain --due` run as a scheduler would run them, and once more at the end.
"""

import json
import shutil
import sys
import textwrap
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lifecycle import sample, timestamps
from looseleaf.project import post
from looseleaf.steps import StepFailed
from looseleaf.year.repository import Question, Repository

YEAR = 2025
CUSTOMERS = 3000
WORSE, BAD, END = f"{YEAR}-06-15", f"{YEAR}-12-22", f"{YEAR}-12-31"
LABEL_DELAY = 30 * 86_400
ROWS = 20  # of a request; the last customer of a month is sent alone
LOW_THRESHOLD = "0.02"
EVENT = textwrap.TextWrapper(118, "", 26 * " ", break_long_words=False, break_on_hyphens=False)


@dataclass
class Year:
    """The events so far, and the labels that have not arrived yet."""

    repository: Repository
    events: list[dict[str, str]] = field(default_factory=list)
    predictions: int = 0
    requests: int = 0
    waiting: deque[tuple[str, int, Question]] = field(default_factory=deque)
    positives: float = 0.0

    def happened(self, date: str, what: str, text: str) -> None:
        """Add an event with the output of the repository about it, and print it."""
        self.events.append({"date": date, "what": what, "text": " ".join(text.split())})
        print(EVENT.fill(f"  {date}  {what:<11} {self.events[-1]['text']}"), flush=True)


def play(repository: Repository) -> Year:
    """Play the year; raise StepFailed when the repository does not do what it promises."""
    year, first = Year(repository), f"{YEAR}-01-01"
    sample.write(repository.all_data, drift=True, customers=CUSTOMERS)
    repository.set_clock(timestamps.parse(first))
    repository.run("train")
    why = "the first model beats its baselines"
    year.happened(first, "promoted", f"{why}: {_deployed_line(repository.run('promote', '--why', why))}")
    repository.run("features")
    with repository.serving() as address:
        for month in range(1, 13):
            for date in (f"{YEAR}-{month:02}-01", f"{YEAR}-{month:02}-15"):
                repository.set_clock(timestamps.parse(date))
                _import_labels(year, timestamps.parse(date))
                if date != first:
                    _run_jobs(year, date)
                repository.wait_for(address, "features_as_of", timestamps.format_utc(timestamps.parse(date)))
                _predict(year, address, repository.questions(timestamps.parse(date)))
                if date == WORSE:
                    _try_a_worse_candidate(year, date)
        _promote_badly_and_roll_back(year, address)
    repository.set_clock(timestamps.parse(END))
    _import_labels(year, timestamps.parse(END))
    _run_jobs(year, END)
    return year


def _predict(year: Year, address: str, questions: list[Question], label: bool = True) -> None:
    """Predict customers in requests of many rows, and the last one alone."""
    if not questions:
        return
    parts = [questions[:-1][at : at + ROWS] for at in range(0, len(questions) - 1, ROWS)] + [questions[-1:]]
    churns = 0
    for part in parts:
        rows = [{"customer_id": each.customer, "discount": each.discount} for each in part]
        request = f"year-{year.requests}"
        found = post(f"{address}/predict", rows if len(rows) > 1 else rows[0], **{"X-Request-ID": request})
        churns += sum(each["prediction"] == "churns" for each in (found if len(rows) > 1 else [found]))
        year.requests += 1
        year.predictions += len(rows)
        if label:
            year.waiting.extend((request, position, each) for position, each in enumerate(part))
    year.repository.wait_for_log(request)
    year.positives = churns / len(questions)


def _import_labels(year: Year, now: int) -> None:
    """Import the labels of all predictions of thirty days ago or earlier."""
    known = []
    while year.waiting and year.waiting[0][2].ts + LABEL_DELAY <= now:
        known.append(year.waiting.popleft())
    if known:
        lines = ["request_id,position,churned"]
        lines += [f"{request},{position},{'churns' if each.churned else 'stays'}" for request, position, each in known]
        file = year.repository.place / "labels.csv"
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        year.repository.run("labels", "add", str(file), "--seen", timestamps.format_utc(now))


def _run_jobs(year: Year, date: str) -> None:
    """Run the scheduled jobs of a date, and add the report of monitoring and the retrains to the events."""
    repository = year.repository
    repository.run("features")
    if date.endswith("-01"):
        return
    retrains = len(repository.retrains())
    repository.run("collect")
    repository.run("monitor", may_refuse=True)
    repository.run("retrain", "--due")
    _report(year, date)
    for run in repository.retrains()[retrains:]:
        year.happened(date, run["outcome"], f"trained because of {run['reason']}: {run['text'].splitlines()[0]}")


def _report(year: Year, date: str) -> None:
    """Add the verdict of the newest report, its reasons and the size of the last window to the events."""
    report = year.repository.report()
    reasons = "; ".join(reason["text"] for reason in report["reasons"]) or "inputs and scores are as in training"
    year.happened(date, report["verdict"], f"{report['windows'][-1]['rows']:,} predictions in 31 days: {reasons}")


def _try_a_worse_candidate(year: Year, date: str) -> None:
    """Train on labels that were mixed up; the gate refuses the model."""
    tables = year.repository.mixed_up_labels()
    year.repository.run("train", settings=tables)
    output = year.repository.run("promote", "--why", "labels of a new pipeline", may_refuse=True, settings=tables)
    if "is not promoted" not in output:
        raise StepFailed("a model of mixed-up labels was promoted", "Report this: the gate did not refuse it.", output)
    why = output.partition("is not promoted")[2].splitlines()[1]
    year.happened(date, "refused", f"a model of labels that were mixed up on purpose: {why}")


def _promote_badly_and_roll_back(year: Year, address: str) -> None:
    """Promote a threshold at which nearly every customer counts as leaving, notice it, and roll back."""
    repository, usual = year.repository, year.positives
    repository.set_clock(timestamps.parse(BAD))
    repository.run("features")
    repository.run("promote", repository.deployed()["version"], "--threshold", LOW_THRESHOLD, "--why", "more calls")
    year.happened(BAD, "promoted", f"a mistake on purpose: a probability of {LOW_THRESHOLD} counts as leaving")
    repository.wait_for(address, "threshold", float(LOW_THRESHOLD))
    repository.wait_for(address, "features_as_of", timestamps.format_utc(timestamps.parse(BAD)))
    # Without the new customers, the age of the customers would drift.
    customers = repository.questions(timestamps.parse(f"{YEAR}-12-01"), new_until=timestamps.parse(BAD))
    still_there = [each for each in customers if not each.churned]
    _predict(year, address, still_there[:200], label=False)
    repository.set_clock(timestamps.parse(BAD) + 3600, new_data=False)
    why = f"{year.positives:.0%} of the customers count as leaving, usual are {usual:.0%}"
    output = repository.run("rollback", "--why", why)
    repository.wait_for(address, "threshold", repository.deployed()["threshold"])
    year.happened(BAD, "rolled back", f"{why}: {_deployed_line(output)}")
    _predict(year, address, still_there[200:], label=False)


def _deployed_line(text: str) -> str:
    return next(line for line in text.splitlines() if " is deployed in " in line)


def run(root: Path, report: Callable[[str], object] = print) -> int:
    """Play the year in the repository at `root`; return the exit code (130 after Ctrl-C)."""
    place, started = root / "build" / "year", time.monotonic()
    try:
        shutil.rmtree(place, ignore_errors=True)
        repository = Repository(root, place)
        (place.parent / ".gitignore").write_text("*\n", encoding="utf-8")
        report(Path(__file__).with_name("introduction.txt").read_text(encoding="utf-8"))
        year = play(repository)
        found: dict[str, Any] = {
            "seconds": round(time.monotonic() - started, 1),
            "requests": year.requests,
            "predictions": year.predictions,
            "timeline": year.events,
            "history": repository.run("history").splitlines(),
            "report": str(max((repository.storage / "reports/local").glob("*/monitoring.html"))),
        }
    except StepFailed as failed:
        print(f"\n{failed.tail}\nThe year stopped: {failed}\n{failed.hint}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nThe year was stopped; its service has ended.", file=sys.stderr)
        return 130
    (place.parent / "year.json").write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    report(
        f"\n{found['predictions']:,} predictions in {found['requests']:,} requests, {found['seconds']:.0f} seconds. "
        "What was deployed when (make history):\n\n"
        + "\n".join(f"  {line}" for line in found["history"])
        + f"\n\nThe last report: {found['report']}\nAll events: {place.parent / 'year.json'}"
    )
    return 0
