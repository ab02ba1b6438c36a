"""False alarms and detection of monitoring for every kind of column.

`PYTHONPATH=tests:. .venv/bin/python tests/support/false_alarms.py` prints a table in a few minutes. Training rows and
windows are drawn from one distribution. A window raises a false alarm for a column that is reported as drifting, as
broken or as unusual. Windows with a real shift of each column give the detection rate. Part of `make proof`.
"""

import argparse
import json
import multiprocessing
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.models.reference import Profile, build_profile
from lifecycle.monitoring.drift import SCORE, ColumnDrift
from lifecycle.settings import Settings
from support.drift import measure_in_memory

DAY = 86_400
SIZES, WINDOWS, PER_PROFILE, LIMIT = (300, 600, 1500, 5000), 200, 10, 5
TRAINING = (1000, 4000)
RULES = Settings().monitor
Random = np.random.Generator
Values = Any
Draw = Callable[[Random, int], Values]
Shift = Callable[[Random, Values], Values]


@dataclass(frozen=True)
class Kind:
    """A kind of column: how it is drawn and how it is shifted."""

    column: Column
    draw: Draw
    shift: Shift


def _levels(weights: Values) -> Draw:
    names = np.array([f"level {at}" for at in range(len(weights))], dtype=object)
    return lambda random, size: names[random.choice(len(names), size, p=weights / np.sum(weights))]


def _nulls(draw: Draw, share: float) -> Draw:
    def drawn(random: Random, size: int) -> Values:
        values = draw(random, size).astype(object)
        values[random.random(size) < share] = None
        return values

    return drawn


def _replace(value: Any, share: float) -> Shift:
    """Set a share of the values to one value."""

    def shifted(random: Random, values: Values) -> Values:
        changed = values.copy()
        changed[random.random(len(values)) < share] = value
        return changed

    return shifted


def _add(amount: float) -> Shift:
    return lambda random, values: values + amount


def _normal(random: Random, size: int) -> Values:
    return random.normal(0, 1, size)


def _zeros(share: float) -> Draw:
    return lambda random, size: np.where(random.random(size) < share, 0.0, random.gamma(2, 50, size))


def _column(name: str, kind: str, **given: Any) -> Column:
    return Column(name, "request", kind, **given)  # type: ignore[arg-type]


# Shifts of the sizes in which drift matters: 0.4 standard deviations, nulls from 1 % to 10 %, a level that takes a
# fifth of the rows, a new level in a tenth of the rows.
KINDS = (
    Kind(_column("number", "number"), _normal, _add(0.4)),
    Kind(_column("wider number", "number"), _normal, lambda random, values: values * 1.8),
    Kind(_column("skewed number", "number"), lambda random, size: random.lognormal(0, 1, size), lambda _, v: v * 1.6),
    Kind(_column("ties", "number"), lambda random, size: np.round(random.normal(0, 1, size) * 2) / 2, _add(0.5)),
    Kind(_column("zero-inflated 60 %", "number"), _zeros(0.6), _replace(80.0, 0.2)),
    Kind(_column("zero-inflated 95 %", "number"), _zeros(0.95), _replace(80.0, 0.2)),
    Kind(_column("constant", "number"), lambda random, size: np.full(size, 7.0), _replace(8.0, 0.2)),
    Kind(
        _column("almost constant", "number"),
        lambda r, size: np.where(r.random(size) < 0.002, 1.0, 0.0),
        _replace(1.0, 0.2),
    ),
    Kind(
        _column("few integers", "integer"),
        lambda random, size: random.poisson(0.5, size),
        lambda r, v: v + r.poisson(0.4, len(v)),
    ),
    Kind(_column("integers", "integer"), lambda random, size: random.poisson(20, size), _add(2)),
    Kind(_column("outside expected 4 %", "number", expected=(-2.06, 2.06)), _normal, _add(0.5)),
    Kind(_column("boolean", "boolean"), lambda r, size: r.random(size) < 0.1, _replace(True, 0.2)),
    Kind(
        _column("boolean with nulls", "boolean", nullable=True),
        _nulls(lambda r, size: r.random(size) < 0.5, 0.2),
        _replace(True, 0.3),
    ),
    Kind(_column("number, 1 % null", "number", nullable=True), _nulls(_normal, 0.01), _replace(None, 0.09)),
    Kind(_column("number, 50 % null", "number", nullable=True), _nulls(_normal, 0.5), _replace(None, 0.4)),
    Kind(_column("number, 99.7 % null", "number", nullable=True), _nulls(_normal, 0.997), _replace(0.5, 0.1)),
    Kind(_column("3 levels", "category"), _levels([5, 3, 2]), _replace("level 2", 0.2)),
    Kind(_column("50 levels", "category"), _levels(np.ones(50)), _replace("level 9", 0.2)),
    Kind(_column("50 levels, uneven", "category"), _levels(1 / np.arange(1, 51)), _replace("level 9", 0.2)),
    Kind(_column("500 levels", "category"), _levels(np.ones(500)), _replace("level 9", 0.2)),
    Kind(_column("500 levels, uneven", "category"), _levels(1 / np.arange(1, 501)), _replace("a new level", 0.15)),
    Kind(_column("rare levels", "category"), _levels([50, 30, 18, *[0.05] * 40]), _replace("a new level", 0.1)),
    Kind(_column("text, 800 levels", "category"), _levels(np.exp(np.linspace(0, 4, 800))), _replace("level 799", 0.2)),
    Kind(_column("text, 20,000 levels", "category"), _levels(np.ones(20_000)), _replace("level 9", 0.2)),
    Kind(
        _column("text with nulls", "category", nullable=True), _nulls(_levels(np.ones(300)), 0.1), _replace(None, 0.2)
    ),
)
CONTRACT = Contract(1, Target("binary", "left", ("stays", "leaves")), tuple(kind.column for kind in KINDS))


def rows(random: Random, size: int, shifted: bool = False) -> pd.DataFrame:
    """Draw rows of every kind over half a year, each column shifted where `shifted`, with the model's score."""
    columns = {}
    for kind in KINDS:
        values = kind.draw(random, size)
        values = kind.shift(random, values) if shifted else values
        numeric = kind.column.kind in ("number", "integer")
        columns[kind.column.name] = pd.Series(values, dtype="float64" if numeric else "object")
    score = random.beta(1, 4, size)
    times = 1_750_000_000 + np.sort(random.integers(0, 183 * DAY, size))
    return pd.DataFrame(columns | {"ts": times, "probability": score**0.7 if shifted else score})


def reference(seed: int, size: int) -> tuple[Profile, dict[str, list[str]]]:
    """Return a profile of `size` rows, the latest fifth held out, and the levels that the training rows contain."""
    frame = rows(np.random.default_rng([seed, 0]), size)
    training, holdout = frame.iloc[: size * 4 // 5], frame.iloc[size * 4 // 5 :]
    categories = [kind.column.name for kind in KINDS if kind.column.kind == "category"]
    levels = {name: sorted(training[name].dropna().unique()) for name in categories}
    return build_profile(CONTRACT, training, holdout, holdout["probability"].to_numpy()), levels


def windows(profiles: int, each: int, training: int, size: int, shifted: bool) -> Iterator[dict[str, ColumnDrift]]:
    """Yield the measured columns of each window; the seed of a window is (profile, window)."""
    for seed in range(profiles):
        profile, levels = reference(seed, training)
        for number in range(each):
            now = rows(np.random.default_rng([seed, number + 1]), size, shifted)
            yield measure_in_memory(CONTRACT, profile, levels, now, RULES)


def alarms(profiles: int, each: int, training: int, size: int, shifted: bool = False) -> dict[str, int]:
    """Return how many of `profiles` times `each` windows report each kind of column."""
    counts = dict.fromkeys([kind.column.name for kind in KINDS] + [SCORE], 0)
    for measured in windows(profiles, each, training, size, shifted):
        for name, column in measured.items():
            counts[name] += reported(column)
    return counts


def reported(column: ColumnDrift) -> bool:
    """Return whether a report names a column."""
    return column.drifted or column.broken is not None or column.unusual


def table(training: int, windows: int, found: dict[int, tuple[dict[str, int], dict[str, int]]]) -> list[str]:
    """Return the lines of a table: by kind of column and size of window, false alarms and found shifts."""
    shifted = max(windows // PER_PROFILE // 4, 1) * PER_PROFILE
    lines = [f"{training:,} labelled rows, a fifth of them held out"]
    lines.append(f"{'window of':<24}" + "".join(f"{size:>14,}" for size in found))
    for name in [kind.column.name for kind in KINDS] + [SCORE]:
        cells = [
            f"{quiet[name]:>7}{'!' if too_many(quiet[name], windows) else ' '}{100 * loud[name] // shifted:>5}%"
            for quiet, loud in found.values()
        ]
        lines.append(f"{name:<24}" + "".join(cells))
    return lines


def too_many(alarms: int, windows: int) -> bool:
    """Return whether a kind of column has more false alarms than LIMIT allows."""
    return alarms > LIMIT * windows / WINDOWS


def main() -> int:
    """Print the tables, and return 1 where a kind has too many false alarms; writes build/false_alarms.json."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--windows", type=int, default=WINDOWS)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--training", type=int, nargs="+", default=TRAINING)
    given = parser.parse_args()
    profiles = given.windows // PER_PROFILE
    lines = [f"False alarms of {given.windows} windows, and found shifts in %: seeds 0 to {profiles - 1} of training"]
    cases = [(training, size) for training in given.training for size in given.sizes]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        tasks = {
            case: (
                pool.submit(alarms, profiles, PER_PROFILE, *case),
                pool.submit(alarms, max(profiles // 4, 1), PER_PROFILE, *case, shifted=True),
            )
            for case in cases
        }
        counts = {case: (quiet.result(), loud.result()) for case, (quiet, loud) in tasks.items()}
    for training in given.training:
        found = {size: counts[training, size] for size in given.sizes}
        lines += ["", *table(training, given.windows, found)]
    print("\n".join(lines))
    build = Path(__file__).resolve().parents[2] / "build"
    build.mkdir(exist_ok=True)
    (build / "false_alarms.json").write_text(json.dumps(lines, indent=2) + "\n", encoding="utf-8")
    return int(any(too_many(count, given.windows) for quiet, _ in counts.values() for count in quiet.values()))


if __name__ == "__main__":
    sys.exit(main())
