"""The power and the false alarms of the gate, counted for equal, worse and better models of real and synthetic tables.

A champion and a candidate of the same recipe learn from two draws of 95 % of the same rows, as two retrains a month
apart do. They predict 2,000 labelled rows that neither has seen, drawn anew for each trial.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle import sample
from lifecycle.contract.declare import derive
from lifecycle.contract.rows import Encoder, learn_levels
from lifecycle.contract.schema import Contract
from lifecycle.contract.team import Team
from lifecycle.features import point_in_time
from lifecycle.models import metrics
from lifecycle.models.metrics import Floats
from lifecycle.settings import Gate
from lifecycle.training.comparison import compare_slices
from lifecycle.training.dataset import load_dataset
from lifecycle.training.evidence import Evidence
from lifecycle.training.gate import Case, decide
from support.gate import faults
from support.tables import DATA, TABLES, data_of, estimator_of
from support.teams import sample_team, settings_in

LABELS, SHARE, MODELS, POINTS = 2000, 0.95, 20, 0.03


@dataclass(frozen=True)
class Table:
    """Rows that no model has seen, the predictions of MODELS equal models, and of as many that are worse by POINTS."""

    contract: Contract
    frame: pd.DataFrame
    label: Floats
    equal: list[Floats]
    worse: list[Floats]

    def agreed(self, candidate: Floats, champion: Floats, reason: str, seed: int) -> bool:
        """Return whether the gate accepts the candidate instead of the champion, on a draw of LABELS rows."""
        drawn = np.random.default_rng(seed).choice(len(self.label), LABELS, replace=False)
        frame, label = self.frame.iloc[drawn], self.label[drawn]
        own, other, trivial = candidate[drawn], champion[drawn], np.full(LABELS, self.label.mean())
        slices = {"champion": compare_slices(self.contract, frame, label, own, other)}
        given = {"candidate": own, "refit": own, "champion": other, "trivial": trivial, "linear": trivial}
        found = Evidence(label, np.arange(LABELS, dtype=np.uint64), given, slices=slices)
        case = Case(self.bundle("new"), found, self.bundle("champion"), reason)
        return not faults(decide(case, Gate(resamples=300)))

    def bundle(self, version: str) -> Any:
        facts: dict[str, Any] = {"files": {}}
        return SimpleNamespace(
            version=version, contract=self.contract, features_sql=None, path=Path("none"), facts=facts
        )


def of(team: Team, folder: Path, training: int, recipe: Callable[[Any, int], Any]) -> Table:
    """Fit the models on draws of `training` rows; all other rows are unseen."""
    connection = point_in_time.connect(team.data, folder)
    rows = load_dataset(
        connection, team, point_in_time.latest(connection, team.data), settings_in(folder), "local", 0.2
    ).rows
    encoder = Encoder(team.contract, learn_levels(team.contract, rows.frame))
    matrix = encoder.frame(rows.frame).astype(np.float64)
    order = np.random.default_rng(0).permutation(len(rows.label))
    known, unseen = order[:training], order[training:]
    label, equal = rows.label[unseen], []
    for seed in range(MODELS):
        drawn = np.random.default_rng(seed).choice(known, int(SHARE * training), replace=False)
        fitted = recipe(encoder.inputs, seed).fit(matrix[drawn], rows.label[drawn].astype(int))
        equal.append(fitted.predict_proba(matrix[unseen])[:, 1])
    worse = [worsened(team.contract, label, each, seed) for seed, each in enumerate(equal)]
    return Table(team.contract, rows.frame.iloc[unseen], label, equal, worse)


def worsened(contract: Contract, label: Floats, given: Floats, seed: int) -> Floats:
    """Return the predictions with as much noise in their logits as costs POINTS of ROC AUC."""
    noise, logit = np.random.default_rng(seed).normal(size=len(given)), np.log(given / (1 - given))

    def auc(outputs: Floats) -> float:
        return metrics.weighted_measure(contract.target, label, outputs)(np.ones(len(label)))

    wanted, low, high = auc(given) - POINTS, 0.0, 4.0
    for _ in range(20):
        middle = (low + high) / 2
        noisy = 1 / (1 + np.exp(-(logit + middle * noise)))
        low, high = (middle, high) if auc(noisy) > wanted else (low, middle)
    return noisy


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("sample", marks=pytest.mark.xdist_group("power sample")),
        pytest.param(
            "telco",
            marks=[
                pytest.mark.slow,
                pytest.mark.xdist_group("power telco"),
                pytest.mark.skipif(not DATA, reason="LOOSELEAF_DATA is not set"),
            ],
        ),
    ],
)
def table(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Table:
    """The sample with more customers; Telco churn, where a linear model is what the gate would choose."""
    folder = tmp_path_factory.mktemp("power")
    if request.param == "sample":
        settings, team = settings_in(folder), sample_team()
        sample.write(settings.data, customers=8000)
        return of(team, settings.data, 7500, team.estimator.candidate)
    given = TABLES["telco"]
    estimator = estimator_of(given.target)
    team = Team("telco", derive(given.row, given.target, 1), None, data_of(given), estimator)
    return of(team, folder, 3000, lambda inputs, seed: estimator.baselines(inputs, seed)["linear"])


def pairs(count: int) -> list[tuple[int, int]]:
    """Different pairs of models, by number."""
    return [(at % MODELS, (at % MODELS + 1 + at // MODELS) % MODELS) for at in range(count)]


def test_of_fifty_equal_models_at_most_five_replace_the_champion(table: Table) -> None:
    promoted = sum(
        table.agreed(table.equal[own], table.equal[other], "manual", seed)
        for seed, (own, other) in enumerate(pairs(50))
    )
    print(f"{promoted} of 50 equal models promoted")
    assert promoted <= 5


@pytest.mark.parametrize("reason", ["manual", "drift"])
def test_of_twenty_models_that_are_worse_by_three_points_nineteen_are_refused(table: Table, reason: str) -> None:
    refused = sum(
        not table.agreed(table.worse[own], table.equal[other], reason, seed)
        for seed, (own, other) in enumerate(pairs(20))
    )
    print(f"{refused} of 20 worse models refused ({reason})")
    assert refused >= 19


def test_of_twenty_models_that_are_better_by_three_points_eighteen_replace_the_champion(table: Table) -> None:
    promoted = sum(table.agreed(table.equal[at], table.worse[at], "manual", at) for at in range(20))
    print(f"{promoted} of 20 better models promoted")
    assert promoted >= 18


def test_of_twenty_equal_models_after_drift_sixteen_replace_the_champion(table: Table) -> None:
    promoted = sum(
        table.agreed(table.equal[own], table.equal[other], "drift", seed) for seed, (own, other) in enumerate(pairs(20))
    )
    print(f"{promoted} of 20 equal models promoted after drift")
    assert promoted >= 16
