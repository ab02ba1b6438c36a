"""Figures of monitoring: how often it cries for nothing, and what it finds.

On the sample with people whom the model never saw, and on real hours of bike rentals under LOOSELEAF_DATA, where a
season is a change that is watched and breaks nothing.
"""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lifecycle import timestamps
from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.models import reference
from lifecycle.monitoring import drift, quality
from lifecycle.monitoring.verdict import Findings, Window, decide
from lifecycle.monitoring.labels import LABEL
from lifecycle.reports.verdicts import INCIDENT, OK, RETRAIN, WATCH
from lifecycle.settings import Settings
from support.monitored import Watched, labelled_rows, watched

WINDOWS, ROWS, SEEDS = 200, 1000, 20
SHIFT = 0.4
DATA = os.environ.get("LOOSELEAF_DATA")
BIKES = Contract(
    1,
    Target("regression", "cnt"),
    (
        Column("season", "request", "integer", low=1, high=4),
        Column("hr", "request", "integer", low=0, high=23),
        Column("workingday", "request", "boolean"),
        Column("weathersit", "request", "category", max_length=8),
        Column("temp", "request", "number", low=0, high=1),
        Column("hum", "request", "number", low=0, high=1),
        Column("windspeed", "request", "number", low=0, high=1),
    ),
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    return watched(tmp_path_factory.mktemp("watched"))


@pytest.fixture(scope="module")
def hours() -> pd.DataFrame:
    if DATA is None:
        pytest.skip("LOOSELEAF_DATA is not set")
    frame = pd.read_csv(Path(DATA) / "bike-sharing-hour.csv", parse_dates=["dteday"])
    return frame.assign(
        workingday=frame["workingday"].astype(bool),
        weathersit=frame["weathersit"].map("w{}".format),
        prediction=frame["cnt"].astype(float),
        ts=frame["dteday"].astype("datetime64[s]").astype("int64"),
        month=frame["dteday"].dt.to_period("M").astype(str),
    )


def window(made: Watched, rows: pd.DataFrame) -> Window:
    shape = reference.read(made.bundle)
    assert shape is not None
    levels, rules = made.bundle.facts["levels"], made.settings.monitor
    return Window(0, 1, len(rows), drift.measure(made.bundle.contract, shape, levels, rows, rules))


def findings(made: Watched, *windows: pd.DataFrame) -> Findings:
    """Windows and, of all their rows, the labels."""
    labelled = pd.concat(windows, ignore_index=True)
    labelled[LABEL] = np.where(labelled["churned"], "churns", "stays")
    newest = drift.scores_of(made.bundle.contract.target, windows[-1]).to_numpy()
    size = len(labelled)
    contract, facts = made.bundle.contract, made.bundle.facts
    # Slices are told and decide nothing: without them the same figures take a quarter of the time.
    settings = made.settings.model_copy(update={"gate": made.settings.gate.model_copy(update={"min_slice_rows": size})})
    measured = quality.measure(contract, facts, settings, labelled, size, size, newest)
    return Findings(0, [window(made, rows) for rows in windows], measured)


def test_windows_without_change_ask_for_nothing(made: Watched) -> None:
    answered = made.answer(made.rows)
    verdicts: Counter[str] = Counter()
    drawn = np.random.default_rng(0)
    for _ in range(WINDOWS):
        rows = answered.iloc[drawn.choice(len(answered), 3 * ROWS, replace=False)]
        found = findings(made, *(rows.iloc[at * ROWS : (at + 1) * ROWS] for at in range(3)))
        verdicts[judge(found, made.settings)[0]] += 1
    print(f"{WINDOWS} unchanged windows of {ROWS} rows: {dict(verdicts)}")
    assert verdicts[RETRAIN] + verdicts[INCIDENT] <= 2, verdicts
    assert verdicts[OK] >= WINDOWS * 0.95, verdicts


@pytest.mark.parametrize("column", ["days_with_us", "spent_30d", "days_since_visit", "visits_30d"])
def test_a_shift_of_four_tenths_of_a_standard_deviation_is_found(column: str, made: Watched) -> None:
    found = 0
    for seed in range(SEEDS):
        rows = made.draw(ROWS, seed).assign(prediction="stays", probability=0.1)
        by = SHIFT * float(made.rows[column].std())
        if column == "visits_30d":
            # A whole number moves by whole steps, of that mean.
            by = np.floor(by + np.random.default_rng(seed).random(ROWS))
        found += window(made, rows.assign(**{column: rows[column] + by})).columns[column].drifted
    print(f"{column} + {SHIFT} standard deviations at {ROWS} rows: found in {found} of {SEEDS}")
    assert found >= 19


def test_a_model_that_has_decayed_is_found(made: Watched) -> None:
    """A third of the labels drawn anew costs about ten points."""
    found = 0
    for seed in range(SEEDS):
        rows = made.answer(made.draw(3 * ROWS, seed))
        random = np.random.default_rng(seed)
        anew = random.random(len(rows)) < 0.4
        labels = rows["churned"].to_numpy().copy()
        labels[anew] = random.permutation(labels[anew])
        verdict, reasons = judge(findings(made, rows.assign(churned=labels)), made.settings)
        found += verdict == RETRAIN and reasons[0].kind == "decay"
    print(f"labels of which 40 % are drawn anew: {found} of {SEEDS} say decay")
    assert found >= 19


@pytest.mark.parametrize("drift", [False, True])
def test_the_seasons_of_the_sample_are_quiet_and_its_shift_is_learned(
    drift: bool, made: Watched, tmp_path: Path
) -> None:
    """The last six months, of the people of the training rows; the fifth looks back on the first that is shifted."""
    rows = labelled_rows(tmp_path, timestamps.parse("2026-03-01"), customers=2000, drift=drift)
    rows = rows.assign(month=pd.to_datetime(rows["ts"], unit="s").dt.to_period("M").astype(str))
    *_, last = months = sorted(rows["month"].unique())
    told = {}
    for at in range(len(months) - 6, len(months)):
        windows = [made.answer(rows[rows["month"] == month]) for month in months[at - 2 : at + 1]]
        told[months[at]] = judge(findings(made, *windows), made.settings)[0]
    print(f"sample with{'' if drift else 'out'} shift: {told}")
    assert INCIDENT not in told.values()
    assert [month for month, verdict in told.items() if verdict == RETRAIN] == ([last] if drift else [])


def bikes(reference: pd.DataFrame, *windows: pd.DataFrame) -> str:
    settings = Settings()
    shape = reference.measure(BIKES, reference, reference, reference["prediction"].to_numpy())
    levels = {"weathersit": sorted(reference["weathersit"].unique())}
    looked = [Window(0, 1, len(each), drift.measure(BIKES, shape, levels, each, settings.monitor)) for each in windows]
    return judge(Findings(0, looked), settings)[0]


def test_seasons_are_watched_and_break_nothing(hours: pd.DataFrame) -> None:
    """A model of 2011 through the months of 2012, a year that is also busier."""
    first, later = (
        hours[hours["dteday"].dt.year == 2011],
        sorted(hours.loc[hours["dteday"].dt.year == 2012, "month"].unique()),
    )
    verdicts: Counter[str] = Counter()
    for at in range(2, 12):
        verdicts[bikes(first, *(hours[hours["month"] == month] for month in later[at - 2 : at + 1]))] += 1
    print(f"10 months of 2012 against 2011: {dict(verdicts)}")
    assert verdicts[RETRAIN] + verdicts[INCIDENT] == 0, verdicts


def test_quiet_months_of_bikes_ask_for_nothing(hours: pd.DataFrame) -> None:
    """Re-draws within a month: a half of its hours is the reference, windows are drawn from the other."""
    verdicts: Counter[str] = Counter()
    months = sorted(hours["month"].unique())
    for seed in range(WINDOWS):
        random = np.random.default_rng(seed)
        month = hours[hours["month"] == months[seed % len(months)]]
        order = random.permutation(len(month))
        half = len(month) // 2
        reference, pool = month.iloc[order[:half]], month.iloc[order[half:]]
        verdicts[bikes(reference, *(pool.sample(300, random_state=seed * 3 + at) for at in range(3)))] += 1
    print(f"{WINDOWS} re-draws within a month: {dict(verdicts)}")
    assert verdicts[RETRAIN] + verdicts[INCIDENT] <= 2, verdicts
    assert verdicts[WATCH] <= WINDOWS * 0.1, verdicts
