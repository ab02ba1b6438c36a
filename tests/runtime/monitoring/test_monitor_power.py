"""Monitoring raises few false alarms and detects changes of a stated size.

Measured on the sample with people that training did not contain, and on the hourly bike rentals below LOOSELEAF_DATA,
where seasonal changes are watched and nothing more.
"""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lifecycle import timestamps
from lifecycle.contract.schema import Column, Contract, Target
from lifecycle.models.reference import build_profile, read_profile
from lifecycle.monitoring.quality import measure_quality
from lifecycle.monitoring.verdict import Findings, Window, decide
from lifecycle.registry.labels import LABEL
from lifecycle.reports import INCIDENT, OK, RETRAIN, WATCH
from lifecycle.settings import Settings
from support.drift import measure_in_memory
from support.monitored import Sample, labelled_rows

WINDOWS, ROWS, SEEDS = 100, 1000, 20
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


def window(sample: Sample, rows: pd.DataFrame) -> Window:
    profile = read_profile(sample.bundle)
    assert profile is not None
    levels, rules = sample.bundle.facts["levels"], sample.settings.monitor
    return Window(0, 1, len(rows), measure_in_memory(sample.bundle.contract, profile, levels, rows, rules))


def findings(sample: Sample, *windows: pd.DataFrame) -> Findings:
    """Return findings about windows, all of whose rows have labels."""
    labelled = pd.concat(windows, ignore_index=True)
    labelled[LABEL] = np.where(labelled["churned"], "churns", "stays")
    size = len(labelled)
    contract, facts = sample.bundle.contract, sample.bundle.facts
    # No decision depends on slices; without them the test takes a quarter of the time.
    settings = sample.settings.model_copy(
        update={"gate": sample.settings.gate.model_copy(update={"min_slice_rows": size})}
    )
    measured = measure_quality(contract, facts, settings, labelled, size, size, size)
    return Findings(0, [window(sample, rows) for rows in windows], measured)


def test_unchanged_windows_request_nothing(sample: Sample) -> None:
    predicted = sample.predict(sample.rows)
    verdicts: Counter[str] = Counter()
    drawn = np.random.default_rng(0)
    for _ in range(WINDOWS):
        rows = predicted.iloc[drawn.choice(len(predicted), 3 * ROWS, replace=False)]
        found = findings(sample, *(rows.iloc[at * ROWS : (at + 1) * ROWS] for at in range(3)))
        verdicts[decide(found, sample.settings)[0]] += 1
    print(f"{WINDOWS} unchanged windows of {ROWS} rows: {dict(verdicts)}")
    assert verdicts[RETRAIN] + verdicts[INCIDENT] <= 1, verdicts
    assert verdicts[OK] >= WINDOWS * 0.95, verdicts


@pytest.mark.parametrize("column", ["days_with_us", "spent_30d", "days_since_visit", "visits_30d"])
def test_a_shift_of_four_tenths_of_a_standard_deviation_is_detected(column: str, sample: Sample) -> None:
    found = 0
    for seed in range(SEEDS):
        rows = sample.draw(ROWS, seed).assign(prediction="stays", probability=0.1)
        by = SHIFT * float(sample.rows[column].std())
        if column == "visits_30d":
            # An integer moves by whole steps with that mean.
            by = np.floor(by + np.random.default_rng(seed).random(ROWS))
        found += window(sample, rows.assign(**{column: rows[column] + by})).columns[column].drifted
    print(f"{column} + {SHIFT} standard deviations at {ROWS} rows: found in {found} of {SEEDS}")
    assert found >= 19


def test_a_decayed_model_is_detected(sample: Sample) -> None:
    """Redrawing 40 % of the labels costs about ten points of ROC AUC."""
    found = 0
    for seed in range(SEEDS):
        rows = sample.predict(sample.draw(3 * ROWS, seed))
        random = np.random.default_rng(seed)
        redrawn = random.random(len(rows)) < 0.4
        labels = rows["churned"].to_numpy().copy()
        labels[redrawn] = random.permutation(labels[redrawn])
        verdict, reasons = decide(findings(sample, rows.assign(churned=labels)), sample.settings)
        found += verdict == RETRAIN and reasons[0].kind == "decay"
    print(f"40 % of the labels redrawn: decay in {found} of {SEEDS}")
    assert found >= 19


@pytest.mark.parametrize("drift", [False, True])
def test_the_seasons_of_the_sample_request_nothing_and_its_shift_a_retrain(
    drift: bool, sample: Sample, tmp_path: Path
) -> None:
    """Six months of the people of the training rows; the shift begins in the fifth and has lasted in the sixth."""
    rows = labelled_rows(tmp_path, timestamps.parse("2026-03-01"), customers=2000, drift=drift)
    rows = rows.assign(month=pd.to_datetime(rows["ts"], unit="s").dt.to_period("M").astype(str))
    *_, last = months = sorted(rows["month"].unique())
    verdicts = {}
    for at in range(len(months) - 6, len(months)):
        windows = [sample.predict(rows[rows["month"] == month]) for month in months[at - 2 : at + 1]]
        verdicts[months[at]] = decide(findings(sample, *windows), sample.settings)[0]
    print(f"sample with{'' if drift else 'out'} shift: {verdicts}")
    assert INCIDENT not in verdicts.values()
    assert [month for month, verdict in verdicts.items() if verdict == RETRAIN] == ([last] if drift else [])


def bikes(training: pd.DataFrame, *windows: pd.DataFrame) -> str:
    settings = Settings()
    profile = build_profile(BIKES, training, training, training["prediction"].to_numpy())
    levels = {"weathersit": sorted(training["weathersit"].unique())}
    measured = [
        Window(0, 1, len(each), measure_in_memory(BIKES, profile, levels, each, settings.monitor)) for each in windows
    ]
    return decide(Findings(0, measured), settings)[0]


def test_seasons_of_bikes_are_watched_and_not_broken(hours: pd.DataFrame) -> None:
    """A model of 2011 is monitored through 2012, a busier year."""
    first, later = (
        hours[hours["dteday"].dt.year == 2011],
        sorted(hours.loc[hours["dteday"].dt.year == 2012, "month"].unique()),
    )
    verdicts: Counter[str] = Counter()
    for at in range(2, 12):
        verdicts[bikes(first, *(hours[hours["month"] == month] for month in later[at - 2 : at + 1]))] += 1
    print(f"10 months of 2012 against 2011: {dict(verdicts)}")
    assert verdicts[RETRAIN] + verdicts[INCIDENT] == 0, verdicts


def test_resampled_months_of_bikes_request_nothing(hours: pd.DataFrame) -> None:
    """Half of a month's hours are the reference; windows are drawn from the other half."""
    verdicts: Counter[str] = Counter()
    months = sorted(hours["month"].unique())
    for seed in range(WINDOWS):
        random = np.random.default_rng(seed)
        month = hours[hours["month"] == months[seed % len(months)]]
        order = random.permutation(len(month))
        half = len(month) // 2
        reference, pool = month.iloc[order[:half]], month.iloc[order[half:]]
        verdicts[bikes(reference, *(pool.sample(300, random_state=seed * 3 + at) for at in range(3)))] += 1
    print(f"{WINDOWS} samples within a month: {dict(verdicts)}")
    assert verdicts[RETRAIN] + verdicts[INCIDENT] <= 1, verdicts
    assert verdicts[WATCH] <= WINDOWS * 0.1, verdicts
