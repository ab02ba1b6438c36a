"""Simulate years in which the world changes, and compare what the repository learns with an oracle.

`python tests/support/loop.py [SEEDS]` runs every kind of change with seeds 0, 1, …, prints one line a year, and exits
with 1 unless nine in ten years of each kind are within the limit. The repository's own commands train, score, import
labels, monitor and retrain; the clock is simulated. Two processes play the years, because each year changes the
environment and the working directory.

A month has four weeks and 1,500 rows, and their labels arrive a month later. The first year is history, in the tables
of the team; labels of the second year reach training only through the prediction log.
"""

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import patch

# On a busy machine, small models are fitted faster by one thread than by several. It is read when scikit-learn starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import duckdb
import numpy as np
import pandas as pd
from sklearn.metrics import log_loss

ROWS, MONTHS, CHANGE = 1500, 24, 16
FEATURES = [f"x{number}" for number in range(6)]
KINDS = ("concept", "covariate", "none")
LIMIT, SHARE = 1.05, 0.9
SETTINGS = {
    "TRACKING__ENABLED": "false",
    "MONITOR__WINDOW_DAYS": "28",
    "MONITOR__LABEL_DAYS": "28",
    "MONITOR__STALE_DAYS": "800",
    "GATE__RESAMPLES": "200",
}
FILES = {
    "pyproject.toml": '[project]\nname = "loop-model"\nversion = "0"\n',
    "src/model/__init__.py": "",
    "src/model/contract.py": """
from typing import Annotated

from pydantic import Field

from lifecycle.contract import Binary, Key, Request, Row


class Person(Row):
    person: Annotated[str, Key(), Field(max_length=24)]
    x0: Annotated[float, Request(), Field(ge=-20, le=20)]
    x1: Annotated[float, Request(), Field(ge=-20, le=20)]
    x2: Annotated[float, Request(), Field(ge=-20, le=20)]
    x3: Annotated[float, Request(), Field(ge=-20, le=20)]
    x4: Annotated[float, Request(), Field(ge=-20, le=20)]
    x5: Annotated[float, Request(), Field(ge=-20, le=20)]


ROW, TARGET, VERSION = Person, Binary("bought", positive="yes", negative="no"), 1
""",
    "src/model/data.py": """
def tables(connection, folder):
    for name in ("history", "people"):
        connection.read_parquet(f"{folder}/{name}.parquet").create_view(name, replace=True)


def labels(connection):
    return "SELECT * FROM history"


def population(connection):
    return "SELECT p.* EXCLUDE (ts) FROM people p, as_of a WHERE p.ts = a.ts"
""",
    "src/model/estimator.py": """
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression


def candidate(inputs, seed):
    return HistGradientBoostingClassifier(max_iter=60, early_stopping=False, random_state=seed)


def baselines(inputs, seed):
    return {"trivial": DummyClassifier(strategy="prior"), "linear": LogisticRegression()}
""",
}


def first_of(month: int) -> int:
    """Return the first second of a month of four weeks, counted from 1 January 2024."""
    return 1_704_067_200 + month * 28 * 86_400


def world(kind: str, seed: int) -> pd.DataFrame:
    """Return the rows of two years with their labels (0 or 1) and the month; the change is in month CHANGE."""
    random = np.random.default_rng(seed)
    month = np.repeat(np.arange(MONTHS), ROWS)
    x = random.normal(size=(len(month), len(FEATURES)))
    later = month >= CHANGE
    x[:, 0] += 2.0 * (later & (kind == "covariate"))
    reversed_ = np.where(later & (kind == "concept"), -1.0, 1.0)
    logit = 1.8 * reversed_ * x[:, 0] + np.abs(x[:, 1]) - 1.2 * x[:, 2] * (x[:, 1] > 0)
    logit += 1.5 * x[:, 3] * (later & (kind == "concept"))
    label = (random.random(len(month)) < 1 / (1 + np.exp(-logit))).astype(int)
    frame = pd.DataFrame(x, columns=FEATURES).assign(label=label, month=month)
    frame.insert(0, "person", [f"p-{number}" for number in range(len(frame))])
    return frame.assign(ts=[first_of(each) for each in month])


@dataclass
class Played:
    """A simulated year: by month, the losses of repository and oracle, the verdict, and the retrains."""

    losses: dict[int, tuple[float, float]] = field(default_factory=dict)
    verdicts: dict[int, str] = field(default_factory=dict)
    retrains: dict[int, str] = field(default_factory=dict)
    output: list[str] = field(default_factory=list)

    @property
    def learned(self) -> int | None:
        """The month of the second retrain after the first labels of changed rows are known."""
        after = [month for month in self.retrains if month > CHANGE]
        return after[1] if len(after) > 1 else None

    @property
    def ratio(self) -> float:
        """The loss from `learned` on, as a share of the oracle's."""
        months = [month for month in self.losses if self.learned is not None and month >= self.learned]
        ours, oracle = (sum(self.losses[month][at] for month in months) for at in (0, 1))
        return ours / oracle if months else float("inf")

    @property
    def alarms(self) -> list[int]:
        """The months with a request for a retrain, or an incident, after the second retrain."""
        return [m for m, each in self.verdicts.items() if each in ("retrain", "incident") and m > (self.learned or 99)]


class Repository:
    """A small repository at a simulated time."""

    def __init__(self, root: Path, frame: pd.DataFrame) -> None:
        self.root, self.frame, self.data = root, frame, root / "data"
        self.data.mkdir()
        history = frame[frame.month < 12].assign(seen_ts=[first_of(each + 1) for each in frame.month[frame.month < 12]])
        columns = ["person", *FEATURES, "ts", "seen_ts"]
        history[columns].assign(bought=history.label == 1).to_parquet(self.data / "history.parquet")
        frame[["person", *FEATURES, "ts"]].to_parquet(self.data / "people.parquet")
        own = {"STORAGE": root / "storage", "DATA": self.data} | SETTINGS
        self.environment = {f"LIFECYCLE_{name}": str(value) for name, value in own.items()}

    def run(self, month: int, *words: str) -> tuple[int, str]:
        """Run a command on the first day of a month, and return its exit code and output."""
        from lifecycle import cli, timestamps

        output = io.StringIO()
        with (
            patch.dict(os.environ, self.environment),
            patch.object(timestamps, "clock", lambda: float(first_of(month))),
            contextlib.chdir(self.root),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
        ):
            return cli.main(list(words)), output.getvalue()

    def import_labels(self, month: int) -> None:
        """Import the labels of the month before."""
        rows = self.frame[self.frame.month == month - 1]
        file = self.root / "labels.csv"
        labels = rows[["person", "ts"]].assign(bought=np.where(rows.label == 1, "yes", "no"))
        labels.to_csv(file, index=False)
        self.run(month, "labels", "add", str(file))

    def predicted(self, month: int) -> np.ndarray:
        """Score everyone of a month, and return the probabilities in the order of the frame."""
        day = datetime.fromtimestamp(first_of(month), UTC).date().isoformat()
        code, output = self.run(month, "score", "--date", day)
        assert code == 0, output
        scores = duckdb.sql(f"FROM read_parquet('{output.split()[-1]}')").df().set_index("person")
        return scores.loc[self.frame.person[self.frame.month == month], "probability"].to_numpy()


def oracle(kind: str, frame: pd.DataFrame, month: int) -> np.ndarray:
    """Return the probabilities for a month by a model fitted to the right rows: after a changed concept, only those."""
    from model.estimator import candidate

    first = CHANGE if kind == "concept" and month - 1 >= CHANGE else 0
    known = frame[(frame.month < month) & (frame.month >= first)]
    model = candidate(None, 0).fit(known[FEATURES].to_numpy(), known.label)
    return np.asarray(model.predict_proba(frame.loc[frame.month == month, FEATURES].to_numpy())[:, 1])


def play(kind: str, seed: int, root: Path) -> Played:
    """Play a year in which month CHANGE brings a change of a kind."""
    frame, played = world(kind, seed), Played()
    repository = Repository(root, frame)
    for command in (("train",), ("promote", "--why", "the first model")):
        code, output = repository.run(13, *command)
        played.output.append(output)
        assert code == 0, output
    for month in range(13, MONTHS):
        if month > 13:
            repository.import_labels(month)
            _, text = repository.run(month, "monitor")
            report = json.loads((root / "storage/reports/local/monitoring.json").read_bytes())
            played.verdicts[month] = report["verdict"]
            _, retrain = repository.run(month, "retrain", "--due")
            played.output += [f"--- month {month}: {report['verdict']}", text, retrain]
            runs = root / "storage/reports/local/retrains.jsonl"
            done = [json.loads(line) for line in runs.read_text().splitlines()] if runs.exists() else []
            if len(done) > len(played.retrains):
                played.retrains[month] = f"{done[-1]['reason']}: {done[-1]['outcome']}"
        label = frame.label[frame.month == month].to_numpy()
        played.losses[month] = tuple(
            log_loss(label, each) for each in (repository.predicted(month), oracle(kind, frame, month))
        )
    return played


def prepare(folder: Path) -> None:
    """Write the files of the repository, and make its package `model` importable."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    sys.path.insert(0, str(folder / "src"))


def play_in(base: Path, kind: str, seed: int) -> Played:
    """Play a year in a new folder below `base`."""
    from lifecycle import reports
    from lifecycle.models import export

    root = base / f"{kind}-{seed}"
    root.mkdir()
    prepare(root)
    # Converting in this process spares the start of another one for each training; no test reads the charts.
    with (
        patch.object(export, "limited", lambda limits, function, *arguments: function(*arguments)),
        patch.object(reports, "_svg", lambda title, labels, draw, text: text),
    ):
        return play(kind, seed, root)


def within(kind: str, played: Played) -> bool:
    """Return whether a year is as it should be: without a change no retrain, else learned with at most one alarm."""
    return played.ratio <= LIMIT and len(played.alarms) <= 1 if kind != "none" else not played.retrains


def summary(kind: str, seed: int, played: Played) -> str:
    """Return the line of a year."""
    months = " ".join(f"{ours / other:.2f}" for ours, other in played.losses.values())
    return (
        f"{kind} seed {seed}: {'within' if within(kind, played) else 'OUTSIDE'}, loss {played.ratio:.3f} x the "
        f"oracle's from month {played.learned}; by month {months}; retrains {played.retrains}; "
        f"later alarms {played.alarms}"
    )


def main() -> int:
    """Play all years, and print a line for each; writes build/loop.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", nargs="?", type=int, default=20)
    parser.add_argument("kinds", nargs="?", default=",".join(KINDS))
    parser.add_argument("--verbose", action="store_true", help="print what the commands print")
    given = parser.parse_args()
    good, lines = True, list[str]()
    with (
        tempfile.TemporaryDirectory(prefix="loop-") as base,
        ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool,
    ):
        kinds = given.kinds.split(",")
        years = {kind: [pool.submit(play_in, Path(base), kind, seed) for seed in range(given.seeds)] for kind in kinds}
        for kind, futures in years.items():
            count = 0
            for seed, future in enumerate(futures):
                played = future.result()
                count += within(kind, played)
                lines.append(summary(kind, seed, played))
                print(lines[-1], flush=True)
                if given.verbose:
                    print("\n".join(played.output))
            bound = "have no retrain" if kind == "none" else f"are within {LIMIT} x the oracle's loss"
            lines.append(f"{kind}: {count} of {given.seeds} years {bound}")
            print(lines[-1], flush=True)
            good &= count >= SHARE * given.seeds
    build = Path(__file__).resolve().parents[2] / "build"
    build.mkdir(exist_ok=True)
    (build / "loop.json").write_text(json.dumps(lines, indent=2) + "\n", encoding="utf-8")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
