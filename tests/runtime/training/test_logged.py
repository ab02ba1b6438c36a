"""Logged predictions whose label has arrived are training rows, in addition to those of `labels()`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from lifecycle.contract.schema import Column
from lifecycle.contract.tables import literal
from lifecycle.contract.team import Team
from lifecycle.features import point_in_time
from lifecycle.settings import Settings
from lifecycle.training.dataset import Dataset, load_dataset
from lifecycle.training.logged import Logged
from lifecycle.training.train import train
from support.gate import own
from support.jobs import with_queries
from support.monitored import NOW, SPAN, TRAINED, Sample, label, log, train_sample
from support.teams import sample_team

# Its model is trained once.
pytestmark = pytest.mark.xdist_group("logged")
MATURE = NOW - 2 * SPAN


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    return train_sample(tmp_path_factory.mktemp("sample"))


@pytest.fixture
def settings(sample: Sample, tmp_path: Path) -> Settings:
    return own(sample.settings, tmp_path)


def logged(sample: Sample, settings: Settings, rows: int, name: str, last: int, seen: int, **changes: Any) -> Any:
    """Log and label rows of other people in the four weeks before `last`, and return them."""
    drawn = sample.predict(sample.draw(rows, seed=len(name)))
    drawn["customer_id"] = [f"{name}-{number}" for number in range(rows)]
    drawn = drawn.assign(**changes)
    log(settings.store, sample.bundle, drawn, last - SPAN, last, name)
    label(settings.store, drawn, name, seen)
    return drawn


def loaded(settings: Settings, as_of: int = NOW, change: Callable[[Any], Any] = lambda team: team) -> Dataset:
    team = change(sample_team())
    connection = point_in_time.connect(team.data, settings.data)
    return load_dataset(connection, team, as_of, settings, "local", 0.2)


def test_labelled_predictions_join_the_rows_of_the_team(sample: Sample, settings: Settings) -> None:
    before = loaded(settings)
    assert before.logged == Logged()
    rows = logged(sample, settings, 300, "new", MATURE, NOW)
    found = loaded(settings)
    assert found.logged == Logged(labelled=300, joined=300)
    assert found.from_labels == before.from_labels
    added = found.rows.frame.iloc[found.from_labels :].set_index("customer_id")
    assert len(added) == 300
    expected = rows.set_index("customer_id").loc[added.index]
    pd.testing.assert_series_equal(added["discount"], expected["discount"])
    np.testing.assert_array_equal(found.rows.label[found.from_labels :], expected["churned"].to_numpy())
    assert (added["seen_ts"] == NOW).all()


def test_a_label_that_is_not_known_yet_is_not_used(sample: Sample, settings: Settings) -> None:
    logged(sample, settings, 300, "new", MATURE, NOW)
    assert loaded(settings, as_of=NOW - 1).logged == Logged()


def test_young_predictions_wait_because_early_labels_are_no_random_sample(sample: Sample, settings: Settings) -> None:
    logged(sample, settings, 300, "young", NOW, NOW)
    assert loaded(settings).logged == Logged(labelled=300, immature=300)


def test_a_prediction_for_a_key_and_date_that_the_team_has_is_not_added(sample: Sample, settings: Settings) -> None:
    """Two predictions for one key on one date are one row, too."""
    known = loaded(settings).rows.frame
    last = known[known.ts == known.ts.max()].head(40)
    rows = sample.predict(sample.draw(40)).assign(customer_id=last["customer_id"].to_numpy())
    log(settings.store, sample.bundle, rows, int(known.ts.max()), int(known.ts.max()) + 3600, "again")
    label(settings.store, rows, "again", NOW)
    assert loaded(settings).logged == Logged(labelled=40, repeated=40)
    twice = logged(sample, settings, 10, "twice", MATURE, NOW, customer_id="one-customer")
    assert len(twice) == 10
    found = loaded(settings).logged
    assert found.joined == len(
        {ts // 86_400 for ts in MATURE - SPAN + np.linspace(0, SPAN - 1, 10) // (7 * 86_400) * 7 * 86_400}
    )
    assert found.joined + found.repeated == 50


def test_rows_of_other_columns_or_features_are_counted_and_not_used(sample: Sample, settings: Settings) -> None:
    logged(sample, settings, 300, "new", MATURE, NOW)
    other = loaded(settings, change=lambda team: replace(team, features_sql=team.features_sql + "\n-- changed"))
    assert other.logged == Logged(labelled=300, other=300)


def test_rows_without_a_label_are_not_read_into_memory(sample: Sample, settings: Settings) -> None:
    logged(sample, settings, 300, "new", MATURE, NOW)
    one = next(settings.store.predictions.rglob("new.parquet"))
    copies = f"SELECT * REPLACE (i || '-unlabelled' AS lifecycle_request) FROM '{one}', range(15000) r (i)"
    duckdb.execute(f"COPY ({copies}) TO '{one.with_name('large.parquet')}' (FORMAT parquet)")
    team = sample_team()
    connection = point_in_time.connect(team.data, settings.data, memory_limit="150MB", temp_directory="")
    assert load_dataset(connection, team, NOW, settings, "local", 0.2).logged == Logged(labelled=300, joined=300)


@pytest.mark.parametrize(
    ("column", "counts"),
    [
        (Column("tier", "request", "category", nullable=True, required=False), Logged(labelled=300, joined=300)),
        (Column("tier", "request", "category", nullable=True, required=False, default="a"), Logged(300, other=300)),
        (Column("tier", "request", "number", required=False, default=0.0), Logged(300, other=300)),
    ],
)
def test_rows_from_before_an_optional_column_was_added_are_used_with_null(
    sample: Sample, settings: Settings, column: Column, counts: Logged
) -> None:
    logged(sample, settings, 300, "new", MATURE, NOW)
    contract = sample.bundle.contract
    wider = replace(contract, columns=(*contract.columns, column))

    def change(team: Team) -> Team:
        team = replace(team, contract=wider)
        if column.default is None:
            return team
        # No other default stands in for a column that labels() lacks.
        return with_queries(team, labels=lambda sql: f"SELECT *, {literal(column.default)} AS tier FROM ({sql})")

    found = loaded(settings, change=change)
    assert found.logged == counts
    added = found.rows.frame.iloc[found.from_labels :]
    assert len(added) == counts.joined
    assert added["tier"].isna().all()


def test_training_reports_how_many_rows_come_from_where(sample: Sample, settings: Settings, tmp_path: Path) -> None:
    logged(sample, settings, 300, "new", MATURE, NOW)
    logged(sample, settings, 100, "young", NOW, NOW)
    bundle = train(sample_team(), settings, tmp_path, NOW)
    sources = bundle.facts["sources"]
    assert sources["logged"] == {"labelled": 400, "joined": 300, "other": 0, "immature": 100, "repeated": 0}
    assert bundle.facts["fits"]["deployed"] == sources["labels"] + 300
    card = bundle.read("card.md").decode()
    assert "- 300 of 400 labelled predictions from the prediction log; not used: 0 of other columns" in card
    assert "features, 100 too young, 0 in labels() already\n" in card


def test_training_is_as_of_the_newest_label(
    sample: Sample, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lifecycle.timestamps.clock", lambda: float(NOW))
    logged(sample, settings, 300, "new", MATURE, NOW)
    assert train(sample_team(), settings, tmp_path).facts["as_of"] == "2026-01-15T00:00:00Z"
    assert TRAINED < NOW
