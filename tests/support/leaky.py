"""Tables with planted leaks of many kinds, among honest columns, and what contract inference says about them."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import sklearn.datasets

from support.inference import infer

Columns = dict[str, Any]
Random = np.random.Generator
START = pd.Timestamp("2022-01-01")


def only_where(mask: Any, values: Any, other: Any = None) -> Any:
    """Return the values as objects, and another one where the mask is false."""
    return np.where(mask, np.asarray(values, dtype=object), other)


def days(numbers: Any) -> Any:
    """Return dates so many days after START."""
    return (START + pd.to_timedelta(np.round(numbers), unit="D")).strftime("%Y-%m-%d").to_numpy()


def part(mask: Any, share: float, random: Random) -> Any:
    """Return a random share of a mask."""
    return mask & (random.random(len(mask)) < share)


def status_level(hit: Any, random: Random) -> Columns:
    return {"leak": np.where(part(hit, 0.3, random), "C", random.choice(["A", "B"], len(hit)))}


def fee(hit: Any, random: Random) -> Columns:
    return {"leak": np.where(part(hit, 0.4, random), random.gamma(2, 20, len(hit)).round(2), 0.0)}


def ranked(hit: Any, random: Random) -> Columns:
    return {"leak": (hit + random.normal(0, 0.257, len(hit))).round(4)}


def noised_flag(hit: Any, random: Random) -> Columns:
    return {"leak": (1000 + 250 * hit + random.normal(0, 70, len(hit))).round(1)}


def flipped_flag(hit: Any, random: Random) -> Columns:
    return {"leak": np.where(hit ^ (random.random(len(hit)) < 0.02), "T", "F")}


def agents(hit: Any, random: Random) -> Columns:
    # Each of 300 codes belongs to one outcome.
    codes = random.permutation(300)
    first = max(20, int(300 * hit.mean()))
    own = np.where(hit, random.integers(0, first, len(hit)), random.integers(first, 300, len(hit)))
    return {"leak": [f"A{codes[each]:03d}" for each in own]}


def closing_date(hit: Any, random: Random) -> Columns:
    return {"leak": only_where(part(hit, 0.6, random), days(random.integers(100, 900, len(hit))))}


def partly_filled(hit: Any, random: Random) -> Columns:
    return {"leak": only_where(part(hit, 0.35, random), random.integers(1, 50, len(hit)))}


def marker(hit: Any, random: Random) -> Columns:
    return {"leak": hit.astype(int)}


def counted(hit: Any, random: Random) -> Columns:
    return {"leak": np.where(hit, random.poisson(0.8, len(hit)), 0)}


def reason_code(hit: Any, random: Random) -> Columns:
    reasons = random.choice(["R12 price", "R31 moved", "R44 no need"], len(hit))
    return {"leak": np.where(part(hit, 0.5, random), reasons, random.choice(["S01 none", "S02 open"], len(hit)))}


def threshold(hit: Any, random: Random) -> Columns:
    usual = random.normal(50, 10, len(hit))
    usual = np.where(usual > 65, 100 - usual, usual)
    return {"leak": np.where(part(hit, 0.3, random), 66 + random.gamma(2, 8, len(hit)), usual).round(2)}


def missing(hit: Any, random: Random) -> Columns:
    known = ~part(hit, 0.7, random) & ~part(~hit, 0.01, random)
    return {"leak": only_where(known, random.normal(30, 5, len(hit)).round(2))}


def decided_by_difference(hit: Any, random: Random) -> Columns:
    due = random.gamma(4, 50, len(hit)).round(2)
    gap = random.gamma(2, 15, len(hit)).round(2) + 0.01
    return {"leak": due + np.where(hit, -gap, gap), "leak_due": due}


def noisy_number(label: Any, random: Random) -> Columns:
    return {"leak": label + random.normal(0, 0.1 * label.std(), len(label))}


def log_number(label: Any, random: Random) -> Columns:
    return {"leak": np.log1p(label - label.min())}


def rank_number(label: Any, random: Random) -> Columns:
    return {"leak": pd.Series(label).rank().to_numpy()}


def named_bins(label: Any, random: Random) -> Columns:
    return {"leak": pd.qcut(label, 4, labels=["low", "mid", "high", "top"]).astype(str)}


def numbered_bins(label: Any, random: Random) -> Columns:
    codes = random.permutation(10)
    bins = pd.qcut(label, 10, labels=False, duplicates="drop")
    return {"leak": codes[bins]}


def partial_copy(label: Any, random: Random) -> Columns:
    return {"leak": only_where(random.random(len(label)) < 0.4, label)}


def share_of_number(label: Any, random: Random) -> Columns:
    return {"leak": np.where(random.random(len(label)) < 0.3, label * 0.19, 0)}


def filled_above(label: Any, random: Random) -> Columns:
    return {"leak": only_where(label > np.quantile(label, 0.85), random.integers(1, 9, len(label)))}


def agents_of_number(label: Any, random: Random) -> Columns:
    codes = random.permutation(300)
    return {"leak": [f"A{codes[int(each)]:03d}" for each in pd.Series(label).rank(pct=True) * 299]}


def summands(label: Any, random: Random) -> Columns:
    first = label * random.uniform(0.2, 0.8, len(label))
    known = random.random(len(label)) > 0.15
    return {"leak": first, "leak_rest": only_where(known, label - first)}


def difference(label: Any, random: Random) -> Columns:
    other = random.gamma(2, label.std(), len(label)) * (random.random(len(label)) > 0.4)
    return {"leak": label + other, "leak_less": other}


def factors(label: Any, random: Random) -> Columns:
    first = np.exp(random.normal(0, 0.7, len(label)))
    # The factor is zero where the label is, and null in some rows.
    known = random.random(len(label)) > 0.2
    return {"leak": first, "leak_factor": only_where(known, label / first)}


def quotient(label: Any, random: Random) -> Columns:
    lower = random.gamma(3, 2, len(label)).round(1) * (random.random(len(label)) > 0.1)
    return {"leak": label * lower, "leak_lower": lower}


OF_CLASS: tuple[Callable[[Any, Random], Columns], ...] = (
    *(status_level, fee, ranked, noised_flag, flipped_flag, agents, closing_date, partly_filled, marker, counted),
    *(reason_code, threshold, missing, decided_by_difference),
)
OF_NUMBER: tuple[Callable[[Any, Random], Columns], ...] = (
    *(noisy_number, log_number, rank_number, named_bins, numbered_bins, partial_copy, share_of_number, filled_above),
    *(agents_of_number, summands, difference, factors, quotient),
)


def generated(task: str, rows: int, seed: int) -> pd.DataFrame:
    """Return a table of honest columns that are easily mistaken for leaks, with a label `outcome` and a row time."""
    random = np.random.default_rng(seed)
    signal, income = random.normal(size=(2, rows))
    total = 1.2 * signal + 0.8 * income + random.normal(0, 0.7, rows)
    opened = random.integers(0, 700, rows)
    shops = random.normal(0, 0.5, 300)
    shop = random.integers(0, 300, rows)
    total += shops[shop]
    outcome: Any = {
        "binary": np.where(total > 0.9, "yes", "no"),
        "multiclass": np.select([total > 1.5, total > 0, total > -1], ["gold", "silver", "bronze"], "none"),
        "regression": (np.maximum(0, 40 + 25 * total)).round(2),
    }[task]
    return pd.DataFrame(
        {
            "opened": days(opened),
            "due": days(opened + random.choice([14, 30, 60], rows)),
            "signal": signal.round(3),
            "income": np.exp(8 + 0.5 * income).round(0),
            "strong": (total + random.normal(0, 0.6, rows)).round(3),
            "visits": random.poisson(np.exp(0.3 * signal), rows),
            "savings": np.where(random.random(rows) < 0.7, 0, random.gamma(2, 100, rows)).round(1),
            "comment_length": only_where(random.random(rows) < 0.4 + 0.1 * (signal > 0), random.poisson(80, rows)),
            "shop": [f"S{each:03d}" for each in shop],
            "region": random.choice(["north", "south", "east", "west"], rows),
            "outcome": outcome,
        }
    )


@dataclass(frozen=True)
class Table:
    """A table of honest columns; a leak concerns the class `hit`, or the number if it is None."""

    frame: pd.DataFrame
    label: str
    hit: Any = None


def learned(name: str, hit: Any) -> Table:
    """Return a table of scikit-learn."""
    return Table(getattr(sklearn.datasets, f"load_{name}")(as_frame=True).frame, "target", hit)


def real(name: str, label: str, hit: Any = None) -> Table:
    """Return a table of LOOSELEAF_DATA."""
    frame = pd.read_csv(Path(os.environ["LOOSELEAF_DATA"]) / f"{name}.csv")
    # The two parts of the number of bikes are leaks themselves.
    return Table(frame.drop(columns=["casual", "registered"], errors="ignore"), label, hit)


TABLES: dict[str, Callable[[], Table]] = {
    "binary": lambda: Table(generated("binary", 3000, 1), "outcome", "yes"),
    "frequent class": lambda: Table(generated("binary", 1500, 18), "outcome", "no"),
    "multiclass": lambda: Table(generated("multiclass", 3000, 2), "outcome", "silver"),
    "regression": lambda: Table(generated("regression", 3000, 3), "outcome"),
    "wine": lambda: learned("wine", 1),
    "breast_cancer": lambda: learned("breast_cancer", 0),
    "iris": lambda: learned("iris", 2),
    "diabetes": lambda: learned("diabetes", None),
    "digits": lambda: learned("digits", 7),
    "telco-churn": lambda: real("telco-churn", "Churn", "Yes"),
    "california-housing": lambda: real("california-housing", "median_house_value"),
    "bike-sharing-hour": lambda: real("bike-sharing-hour", "cnt"),
}


def planted(table: Table, seed: int) -> Iterator[tuple[str, Columns]]:
    """Yield leaks of every kind for a table: the kind, and the leaking columns."""
    random, label = np.random.default_rng(seed), table.frame[table.label].to_numpy()
    for plant in OF_NUMBER if table.hit is None else OF_CLASS:
        hit = label.astype(float) if table.hit is None else label == table.hit
        yield plant.__name__, plant(hit, random)


@dataclass(frozen=True)
class Verdict:
    """Kinds of planted leaks that were neither left out nor named, and honest columns that were one of them."""

    kinds: int
    missed: set[str]
    dropped: list[str]
    named: list[str]


def judge(table: Table, folder: Path, seed: int = 0) -> Verdict:
    """Infer a contract from a table with one leak of each kind, all at once."""
    frame, owners = table.frame.copy(), dict[str, str]()
    for kind, columns in planted(table, seed):
        frame = frame.assign(**{f"{kind}_{name}": values for name, values in columns.items()})
        owners |= {f"{kind}_{name}": kind for name in columns}
    path = folder / "table.csv"
    frame.to_csv(path, index=False)
    plan = infer(path, table.label).plan
    left_out = plan.excluded
    notes = [note.split(":")[0].split(" and ") for note in plan.unsure if "known before the label?" in note]
    named = {column for columns in notes for column in columns}
    honest = [name for name in table.frame if name != table.label]
    return Verdict(
        len({*owners.values()}),
        {kind for column, kind in owners.items() if column not in left_out and column not in named},
        [name for name in honest if "leak" in left_out.get(name, "")],
        [name for name in honest if name in named],
    )
