"""A regression of a quantile: the loss of the target judges training, gate and monitoring."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from lightgbm import LGBMRegressor
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor
from sklearn.linear_model import LinearRegression, QuantileRegressor, Ridge
from sklearn.metrics import mean_pinball_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from xgboost import XGBRegressor

from lifecycle.contract.compatibility import breaking_changes
from lifecycle.contract.declare import Regression, derive
from lifecycle.contract.schema import Contract, Target
from lifecycle.contract.team import Team, verify_loss
from lifecycle.errors import LifecycleError, Refused
from lifecycle.jobs.promote import promote
from lifecycle.models import metrics
from lifecycle.models.bundle import Bundle
from lifecycle.models.predictor import Predictor
from lifecycle.monitoring.quality import measure_quality
from lifecycle.monitoring.report import summary
from lifecycle.registry.labels import LABEL
from lifecycle.settings import Settings
from lifecycle.training import evidence
from lifecycle.training.train import train
from support.gate import ANA
from support.teams import Order, order_team, orders, settings_in

UPPER = Regression("days", unit="days", quantile=0.9)


def upper(quantile: float | None = 0.9, **estimator: Any) -> Team:
    """Return a team with a target and a candidate of a quantile; its baselines are those of a mean."""
    team = order_team("regression", rows=3000)
    stated: dict[str, Any] = {"loss": "quantile", "quantile": quantile} if quantile else {}
    own = SimpleNamespace(
        candidate=lambda inputs, seed: HistGradientBoostingRegressor(**{"max_iter": 60, **stated, **estimator}),
        baselines=team.estimator.baselines,
    )
    return replace(team, contract=derive(Order, replace(UPPER, quantile=quantile), 1), estimator=own)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Bundle]:
    folder = tmp_path_factory.mktemp("quantile")
    settings = settings_in(folder)
    return settings, train(upper(), settings, folder)


def test_training_reports_the_pinball_loss_and_the_baselines_are_quantiles(trained: tuple[Settings, Bundle]) -> None:
    _, bundle = trained
    found, label = evidence.read(bundle), evidence.read(bundle).label
    for name, values in bundle.facts["metrics"].items():
        assert values["pinball_loss"] == pytest.approx(
            mean_pinball_loss(label, found.predictions[name], alpha=0.9), rel=1e-6
        )
        assert values["coverage"] == pytest.approx((label <= found.predictions[name]).mean())
        assert 0.86 < values["coverage"] < 0.94
    [constant] = {*found.predictions["trivial"]}
    assert constant == pytest.approx(np.quantile(orders(3000)["days"], 0.9), abs=0.3)
    assert bundle.facts["metrics"]["candidate"]["pinball_loss"] < bundle.facts["metrics"]["linear"]["pinball_loss"]
    assert bundle.kind == "onnx"


def test_the_card_and_the_openapi_description_name_the_quantile(trained: tuple[Settings, Bundle]) -> None:
    _, bundle = trained
    assert "This model predicts the 0.9 quantile of days, in days." in bundle.read("card.md").decode()
    properties = bundle.contract.target.to_schema()["properties"]
    assert properties["prediction"]["description"] == "The 0.9 quantile of 'days'."


def test_the_gate_judges_by_the_pinball_loss(trained: tuple[Settings, Bundle], tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    train(upper(max_iter=2), settings, tmp_path)
    promote(settings, upper().data, "local", None, None, ANA, "", tmp_path, override="the first one")
    train(upper(), settings, tmp_path)
    done = promote(settings, upper().data, "local", None, None, ANA, "", tmp_path)
    assert "mean pinball loss" in done.why
    assert "it is surely better: D² +0." in done.why
    worse = train(upper(max_iter=2), settings, tmp_path)
    with pytest.raises(Refused, match="its pinball loss is surely worse"):
        promote(settings, upper().data, "local", worse.version, None, ANA, "", tmp_path)


def test_a_version_of_another_quantile_is_not_compared(trained: tuple[Settings, Bundle], tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    train(upper(0.5), settings, tmp_path)
    promote(settings, upper().data, "local", None, None, ANA, "", tmp_path)
    train(upper(), settings, tmp_path)
    with pytest.raises(Refused, match=r"not compared: .*has another target"):
        promote(settings, upper().data, "local", None, None, ANA, "", tmp_path)


def test_monitoring_measures_the_loss_and_the_coverage(trained: tuple[Settings, Bundle]) -> None:
    settings, bundle = trained
    rows = orders(1500, seed=1)
    predicted = Predictor(bundle).predict_raw(rows)
    labelled = rows.assign(prediction=predicted).rename(columns={"days": LABEL})
    quality = measure_quality(bundle.contract, bundle.facts, settings, labelled, 1500, 1500, 1500)
    assert quality.metric == "d2_pinball"
    assert quality.expected == bundle.facts["metrics"]["candidate"]["d2_pinball"]
    assert quality.overall
    assert quality.overall.value == pytest.approx(quality.expected, abs=0.1)
    assert quality.coverage == (rows["days"] <= predicted).mean()
    shown = {"metric": "d2_pinball", "overall": None, "coverage": 0.853}
    assert "85.3% of the labels do not exceed the predicted quantile" in summary(
        {"windows": [], "quality": shown, "left_out": []}
    )
    worse = measure_quality(
        bundle.contract, bundle.facts, settings, labelled.assign(prediction=predicted - 3), 1500, 1500, 1500
    )
    assert worse.decayed


def test_the_half_quantile_has_half_of_the_absolute_error() -> None:
    actual, outputs = np.array([1.0, 2.0, 5.0]), np.array([2.0, 2.0, 1.0])
    loss = metrics.losses(Regression("days", quantile=0.5), actual, outputs)
    np.testing.assert_allclose(loss, abs(actual - outputs) / 2)


def test_d2_is_the_share_of_the_loss_of_the_best_constant_that_is_gone() -> None:
    random = np.random.default_rng(0)
    actual, weights = random.gamma(2, 3, 501), random.integers(0, 4, 501).astype(float)
    outputs = actual + random.normal(0, 1, 501)
    drawn = np.repeat(actual, weights.astype(int)), np.repeat(outputs, weights.astype(int))
    best = min(mean_pinball_loss(drawn[0], np.full(len(drawn[0]), each), alpha=0.9) for each in actual)
    expected = 1 - mean_pinball_loss(*drawn, alpha=0.9) / best
    assert metrics.weighted_measure(UPPER, actual, outputs)(weights) == pytest.approx(expected)


QUANTILES = [
    HistGradientBoostingRegressor(loss="quantile", quantile=0.9),
    GradientBoostingRegressor(loss="quantile", alpha=0.9),
    QuantileRegressor(quantile=0.9),
    LGBMRegressor(objective="quantile", alpha=0.9),
    XGBRegressor(objective="reg:quantileerror", quantile_alpha=0.9),
    make_pipeline(StandardScaler(), make_pipeline(StandardScaler(), QuantileRegressor(quantile=0.9))),
    TransformedTargetRegressor(QuantileRegressor(quantile=0.9)),
    GridSearchCV(GradientBoostingRegressor(loss="quantile", alpha=0.9), {"max_depth": [1, 2]}),
]
MEANS = [HistGradientBoostingRegressor(), GradientBoostingRegressor(), XGBRegressor(objective="reg:squarederror")]
OTHERS = [LinearRegression(), DummyRegressor(strategy="median"), LGBMRegressor(), SimpleNamespace()]


@pytest.mark.parametrize("estimator", QUANTILES, ids=lambda each: type(each).__name__)
def test_an_estimator_of_a_quantile_needs_a_target_of_that_quantile(estimator: Any) -> None:
    verify_loss("candidate", estimator, UPPER)
    with pytest.raises(LifecycleError, match=r"predicts the 0\.9 quantile, and TARGET is the mean") as caught:
        verify_loss("candidate", estimator, Regression("days"))
    assert "needs TARGET = Regression(label='days', quantile=0.9) in src/model/contract.py" in str(caught.value)
    with pytest.raises(LifecycleError, match=r"predicts the 0\.9 quantile, and TARGET is the 0\.5 quantile"):
        verify_loss("candidate", estimator, Regression("days", quantile=0.5))


@pytest.mark.parametrize("estimator", MEANS, ids=lambda each: type(each).__name__)
def test_an_estimator_of_the_mean_is_refused_for_a_quantile(estimator: Any) -> None:
    verify_loss("candidate", estimator, Regression("days"))
    with pytest.raises(LifecycleError, match=r"predicts the mean, and TARGET is the 0\.9 quantile"):
        verify_loss("candidate", estimator, UPPER)


@pytest.mark.parametrize("estimator", OTHERS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("target", [UPPER, Regression("days")], ids=["quantile", "mean"])
def test_the_gate_decides_about_an_estimator_whose_loss_is_not_stated(estimator: Any, target: Target) -> None:
    verify_loss("candidate", estimator, target)


def test_training_refuses_a_candidate_of_a_quantile_without_a_target_of_one(tmp_path: Path) -> None:
    team = replace(upper(), contract=derive(Order, Regression("days"), 1))
    with pytest.raises(LifecycleError, match=r"the candidate estimator predicts the 0\.9 quantile"):
        train(team, settings_in(tmp_path), tmp_path)


def test_a_quantile_is_in_contract_json_and_a_contract_without_one_is_as_before() -> None:
    assert Contract.from_json(derive(Order, UPPER, 1).to_json()).target == UPPER
    assert "quantile" not in derive(Order, Regression("days"), 1).to_json()
    assert Contract.from_json(derive(Order, Regression("days"), 1).to_json()).target.quantile is None


def test_another_quantile_breaks_callers() -> None:
    old, new = derive(Order, Regression("days"), 1), derive(Order, replace(UPPER, unit=""), 1)
    assert breaking_changes(old, new) == ["the prediction was regression and is regression of the 0.9 quantile"]
    assert breaking_changes(new, new) == []


@pytest.mark.parametrize("quantile", [0.0, 1.0, 90, "0.9", float("nan")])
def test_a_quantile_lies_between_0_and_1(quantile: Any) -> None:
    with pytest.raises(LifecycleError, match="TARGET has the quantile"):
        derive(Order, Regression("days", quantile=quantile), 1)


def test_a_linear_model_of_the_mean_becomes_one_of_the_quantile() -> None:
    from lifecycle.contract.rows import Encoder
    from lifecycle.models.runtimes import SkopsModel

    random = np.random.default_rng(0)
    matrix = random.normal(size=(2000, 2))
    label = matrix @ [2.0, -1.0] + random.exponential(size=2000)
    encoder = Encoder(Contract(1, UPPER), {})
    exact = QuantileRegressor(quantile=0.9, alpha=0).fit(matrix, label)
    for estimator in (make_pipeline(StandardScaler(), Ridge()), QuantileRegressor(quantile=0.9, alpha=0)):
        model = SkopsModel(estimator.fit(matrix, label), encoder, UPPER)
        model.move_to_quantile(matrix, label, 0.9)
        loss = mean_pinball_loss(label, model.estimator.predict(matrix), alpha=0.9)
        assert loss == pytest.approx(mean_pinball_loss(label, exact.predict(matrix), alpha=0.9), rel=0.01)
