"""Training warns of a column that alone makes the model as good as it is, and of no other."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lifecycle.training.train import train
from support.teams import TARGETS, data_of, estimator_of, order_team, orders, settings_in

AMOUNT = "order amount €"


def leaking(task: str) -> pd.DataFrame:
    """Orders whose amount was recorded after the label."""
    frame, random = orders(), np.random.default_rng(0)
    label = frame[TARGETS[task].label]
    codes = label.astype(float) if task == "regression" else pd.factorize(label, sort=True)[0]
    return frame.assign(**{AMOUNT: 100 + 10 * codes + random.normal(0, 0.5, len(frame))})


@pytest.mark.parametrize("task", TARGETS)
def test_a_column_that_reveals_the_label_is_named(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    team = order_team(task, data=data_of(leaking(task), TARGETS[task].label))
    bundle = train(team, settings_in(tmp_path), tmp_path)
    assert bundle.facts["dominant"].startswith(f"`{AMOUNT}` alone gives ")
    assert f"warning: {bundle.facts['dominant']}" in capsys.readouterr().err
    assert bundle.facts["dominant"] in bundle.read("card.md").decode()


@pytest.mark.parametrize("task", TARGETS)
def test_a_model_of_several_columns_gives_no_warning(
    task: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    team = order_team(task, estimator=estimator_of(TARGETS[task], iterations=60))
    bundle = train(team, settings_in(tmp_path), tmp_path)
    assert bundle.facts["dominant"] == ""
    assert "warning" not in capsys.readouterr().err
    assert "alone gives" not in bundle.read("card.md").decode()
