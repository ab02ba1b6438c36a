"""Training chooses its history and the estimator on rows of the newest period, and deploys a fit that has seen it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from lifecycle.contract.team import Team
from lifecycle.features import point_in_time
from lifecycle.models.predictor import Predictor
from lifecycle.training import evidence
from lifecycle.training.dataset import Dataset, load_dataset
from lifecycle.training.fit import Fits, fit
from lifecycle.training.train import train
from support.teams import TARGETS, data_of, order_team, orders, settings_in

PERIOD, MONTH = 28 * 86_400, 1500


def history(months: int = 12, changed: int = 0, shifted: int = 0) -> pd.DataFrame:
    """Return orders of as many months; the label is reversed in the last `changed`, and items are many in `shifted`."""
    frame = orders(3 * months * MONTH)
    many = frame[frame["items"] >= 15].tail(shifted * MONTH)
    frame = pd.concat([frame.head((months - shifted) * MONTH), many], ignore_index=True)
    age = months - 1 - np.arange(len(frame)) // MONTH
    frame["returned"] = np.where(age < changed, ~frame.returned, frame.returned)
    # Spread over the month; the newest row closes the newest period.
    return frame.assign(ts=1_767_225_600 - (len(frame) - 1 - np.arange(len(frame))) * (PERIOD // MONTH))


def team_of(frame: pd.DataFrame) -> Team:
    data = data_of(frame, TARGETS["binary"].label)
    select = data.labels(None).replace("SELECT ", "SELECT ts, ")
    return order_team(data=SimpleNamespace(**vars(data) | {"labels": lambda connection: select}))


def fitted(frame: pd.DataFrame, folder: Path, windows: int = 6, team: Team | None = None) -> tuple[Dataset, Fits]:
    team = team or team_of(frame)
    connection = point_in_time.connect(team.data, folder)
    dataset = load_dataset(connection, team, 1_767_225_600, settings_in(folder), "local", 0.2)
    return dataset, fit(team, dataset, windows, 0)


@pytest.mark.parametrize(
    ("frame", "periods"),
    [
        (history(), None),
        (history(shifted=3), None),
        (history(changed=3), 2),
    ],
    ids=["no change", "shifted inputs", "a changed relation"],
)
def test_a_shorter_history_is_chosen_only_after_the_relation_has_changed(
    tmp_path: Path, frame: pd.DataFrame, periods: int | None
) -> None:
    dataset, fits = fitted(frame, tmp_path)
    assert fits.periods == periods
    assert set(fits.losses) == {"all", "1", "2", "3", "4", "5", "6"}
    expected = len(frame) if periods is None else (periods + 1) * MONTH
    assert fits.rows.sum() == pytest.approx(expected, abs=MONTH // 20)
    assert (fits.rows & dataset.split.holdout).sum() == dataset.split.holdout.sum()


def test_without_windows_the_whole_history_is_fitted(tmp_path: Path) -> None:
    _, fits = fitted(history(months=4, changed=3), tmp_path, windows=0)
    assert (fits.periods, set(fits.losses)) == (None, {"all"})


def test_the_linear_model_is_chosen_on_rows_that_are_not_held_out(tmp_path: Path) -> None:
    team = team_of(history(months=4))
    random = SimpleNamespace(
        candidate=lambda inputs, seed: HistGradientBoostingClassifier(max_iter=1, max_depth=1, random_state=seed),
        baselines=team.estimator.baselines,
    )
    dataset, fits = fitted(history(months=4), tmp_path, team=replace(team, estimator=random))
    assert fits.chosen == "linear"
    assert not (dataset.split.selection & dataset.split.holdout).any()
    assert isinstance(getattr(fits.deployed, "estimator")[-1], LogisticRegression)  # noqa: B009


def test_a_team_may_return_one_object_from_all_calls(tmp_path: Path) -> None:
    team, one = team_of(history(months=4)), HistGradientBoostingClassifier(max_iter=20, random_state=0)
    own = SimpleNamespace(candidate=lambda inputs, seed: one, baselines=team.estimator.baselines)
    dataset, fits = fitted(history(months=4), tmp_path, team=replace(team, estimator=own))
    rows = dataset.holdout.frame
    assert not np.array_equal(fits.evaluated["candidate"].predict_frame(rows), fits.deployed.predict_frame(rows))


def test_the_deployed_fit_has_seen_the_newest_rows_and_metrics_are_those_of_the_evaluated_one(tmp_path: Path) -> None:
    frame = history(months=6, changed=1)
    bundle = train(team_of(frame), settings_in(tmp_path, train={"windows": 0}), tmp_path)
    found, rows = evidence.read(bundle), bundle.facts["rows"] | bundle.facts["fits"]
    assert rows["deployed"] == rows["training"] + rows["holdout"] == len(frame)
    assert rows["evaluated"] + rows["selection"] + rows["holdout"] == len(frame)
    # The newest rows contradict all earlier ones, which only the deployed fit has learned in part.
    candidate, refit = (found.predictions[name] for name in ("candidate", "refit"))
    assert np.abs(found.label - refit).mean() < np.abs(found.label - candidate).mean()
    assert bundle.facts["metrics"]["candidate"]["roc_auc"] < 0.5
    assert "- to be deployed: fitted to 9,000 rows, the whole history\n" in bundle.read("card.md").decode()
    deployed = Predictor(bundle).predict_raw(frame.assign(**{"class": frame["class"]}).tail(50))
    assert np.isfinite(deployed).all()


def test_a_version_is_compared_on_rows_that_it_has_not_seen(tmp_path: Path) -> None:
    """The champion was trained a period earlier: it has not seen the newest one."""
    settings, frame = settings_in(tmp_path), history(months=6)
    first = train(team_of(frame[frame.ts <= frame.ts.max() - PERIOD]), settings, tmp_path)
    second = train(team_of(frame), settings, tmp_path)
    team = team_of(frame)
    dataset = load_dataset(
        point_in_time.connect(team.data, tmp_path), team, 1_767_225_600, settings, "local", settings.train.holdout
    )
    found = evidence.with_version(settings, evidence.read(second), dataset, first.version)
    assert found.basis == {}
    assert len(found.rows[first.version]) == second.facts["rows"]["holdout"]
    # Compared with itself, a version has seen every row: the fits that were evaluated are compared.
    again: Any = evidence.with_version(settings, evidence.read(second), dataset, second.version)
    assert again.basis == {second.version: "fits"}
    assert again.same == [second.version]
    np.testing.assert_array_equal(again.predictions[second.version], again.predictions["candidate"])
