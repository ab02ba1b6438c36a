"""A graph is verified, or the report names rows and difference; each part of the verification can fail."""

import json
import re
import resource
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, PowerTransformer, SplineTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from lifecycle import cli
from lifecycle.contract import team
from lifecycle.contract.rows import Encoder
from lifecycle.contract.schema import Column, Contract
from lifecycle.contract.team import Team
from lifecycle.errors import LifecycleError
from lifecycle.models import edge_rows as edges
from lifecycle.models import export as exporting
from lifecycle.models.bundle import verify
from lifecycle.models.converters import convert
from lifecycle.models.predictor import Predictor
from lifecycle.models.runtimes import PROBABILITY_TOLERANCE, OnnxModel, SkopsModel
from lifecycle.training.train import train
from support.exports import (
    FRESH,
    HOLDOUT,
    LEVELS,
    TARGETS,
    Entry,
    contract,
    differing_fresh_rows,
    exported,
    fitted,
    linear,
    regression,
    rows,
)
from support.teams import estimator_of, order_team, sample_team, settings_in

GRADIENT = GradientBoostingClassifier(n_estimators=20)
BAD = Entry("gradient boosting behind a power", lambda: make_pipeline(PowerTransformer(), GRADIENT))
NOTHING = edges.EdgeRows(np.ones((1, 6), dtype=np.float32), ("a plain row",))


def team_of(candidate: Any) -> Team:
    """Return a team whose candidate certainly beats its baselines."""
    estimator = estimator_of(TARGETS["binary"])
    baselines = {"trivial": DummyClassifier(), "linear": DummyClassifier()}
    estimator.candidate, estimator.baselines = lambda inputs, seed: candidate, lambda inputs, seed: baselines
    return order_team(estimator=estimator)


def test_the_default_model_is_onnx_on_the_sample(tmp_path: Path) -> None:
    bundle = train(sample_team(), settings_in(tmp_path), tmp_path)
    report = json.loads(bundle.read("export.json"))
    print(f"sample: largest difference {report['largest_difference']:.1e}")
    assert (bundle.kind, report["kind"], report["reason"]) == ("onnx", "onnx", "")
    assert report["largest_difference"] <= 1e-7
    assert set(bundle.facts["requires"]) == {"numpy", "onnxruntime"}
    assert {"model.onnx", "model.skops"} < set(bundle.facts["files"])
    assert Predictor(bundle).seconds(1) < 0.01


def test_a_fall_back_names_the_steps_and_the_row_that_differs_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        team, "load", lambda root: team_of(make_pipeline(SimpleImputer(), PowerTransformer(), GRADIENT))
    )
    for name, value in {"STORAGE": "storage", "TRACKING__ENABLED": "false"}.items():
        monkeypatch.setenv(f"LIFECYCLE_{name}", value)
    assert cli.main(["train"]) == 0
    output = capsys.readouterr().out
    [path] = tmp_path.glob("storage/bundles/*")
    bundle = verify(path)
    report = json.loads(bundle.read("export.json"))
    assert bundle.kind == report["kind"] == "skops"
    steps = "the pipeline of SimpleImputer, PowerTransformer, GradientBoostingClassifier"
    assert report["reason"].startswith(f"once converted, {steps} predicts ")
    assert re.search(rf"rows differently \(edge \d+ \(.*\): by {report['largest_difference']:.2g}\)$", report["reason"])
    assert report["largest_difference"] > 1e-3
    assert report["reason"] in bundle.read("card.md").decode()
    [line] = [line for line in output.splitlines() if "not converted to ONNX" in line]
    assert report["reason"] in line
    assert Predictor(bundle).seconds(1) == np.inf


def test_without_the_edge_rows_a_wrong_graph_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted(BAD)
    assert exported(model, BAD.nulls).graph is None
    monkeypatch.setattr(exporting, "edge_rows", lambda *given: NOTHING)
    found = exported(model, BAD.nulls)
    assert found.graph is not None
    # The contract allows these rows, so any request may contain them.
    held, _ = rows(HOLDOUT, 4, False)
    sent = edges.edge_rows(model, held, 1).matrix
    given = OnnxModel(found.graph, model.encoder, model.target).predict_matrix(sent)
    assert np.abs(given - model.predict_matrix(sent)).max() > 1e-3


def test_without_the_comparison_a_wrong_graph_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    # The leaves of these trees hold linear models, which the converter does not read.
    entry = Entry("linear trees", lambda: quiet(linear_tree=True))
    model = fitted(entry)
    assert exported(model, False).graph is None
    with monkeypatch.context() as blind:
        blind.setattr(exporting, "differences", lambda expected, outputs, target: np.zeros(len(expected)))
        blind.setattr(exporting, "decisions", lambda outputs, target: np.zeros(len(outputs)))
        found = exported(model, False)
    assert found.graph is not None
    assert differing_fresh_rows(model, found.graph, False) > FRESH / 2


@pytest.mark.parametrize("make", [linear, lambda: DecisionTreeClassifier(max_depth=6)])
def test_a_row_is_predicted_alone_as_among_others(make: Any) -> None:
    model = fitted(Entry("any", make))
    found = exported(model, False)
    assert found.graph is not None
    graph = OnnxModel(found.graph, model.encoder, model.target)
    many, _ = rows(HOLDOUT, 3, False)
    alone = np.concatenate([graph.predict_matrix(many[at : at + 1]) for at in range(HOLDOUT)])
    assert np.abs(alone - graph.predict_matrix(many)).max() <= PROBABILITY_TOLERANCE / 10


def test_the_report_says_that_the_estimator_fails_on_its_edge_rows() -> None:
    # Null is allowed, and a linear model without an imputer refuses it.
    model = fitted(Entry("linear", linear))
    model.encoder.columns = contract("binary", nulls=True).inputs
    found = exported(model, False)
    assert found.graph is None
    assert "fails on its edge rows (ValueError: Input X contains NaN" in found.report["reason"]


def test_edge_rows_satisfy_the_contract_and_are_reproducible() -> None:
    model, (held, _) = fitted(Entry("linear", linear)), rows(HOLDOUT, 2, False)
    found = edges.edge_rows(model, held, 0)
    assert (found.matrix == edges.edge_rows(model, held, 0).matrix).all()
    assert len(found.names) == len(found.matrix) < 5000
    assert np.isfinite(found.matrix).all()
    assert np.abs(found.matrix[:, :3]).max() == 1e6
    for at, (low, high) in {3: (0, 1000), 4: (-1, 4), 5: (0, 2)}.items():
        values = found.matrix[:, at]
        assert (values == np.round(values)).all()
        assert (values.min(), values.max()) == (low, high)
    assert {"unseen level of city", "lowest of amount", "highest of visits"} <= set(found.names)
    assert "unseen level of plan" not in found.names


def test_the_search_for_jumps_finds_a_split_behind_a_scaler_to_the_last_bit() -> None:
    many, _ = rows(800, 1, False)
    wide = many.astype(np.float64)
    stump = make_pipeline(StandardScaler(), DecisionTreeClassifier(max_depth=1)).fit(wide, many[:, 0] > 77.7)
    model = SkopsModel(stump, fitted(Entry("linear", linear)).encoder, TARGETS["binary"])
    found = edges.edge_rows(model, many, 0)
    jumps = np.unique(found.matrix[np.array(found.names) == "jump in amount", 0])
    outputs = model.predict_matrix(np.column_stack([jumps, np.zeros((len(jumps), 5))]).astype(np.float32))
    [at] = np.flatnonzero(np.diff(outputs))
    assert np.nextafter(jumps[at], np.float32(np.inf)) == jumps[at + 1]


def quiet(**given: Any) -> Any:
    return lightgbm.LGBMClassifier(n_estimators=20, verbose=-1, n_jobs=1, **given)


BOOSTED = [
    Entry("lightgbm", quiet, nulls=True),
    Entry("lightgbm, multiclass", quiet, task="multiclass", nulls=True),
    regression(
        "lightgbm regression", lambda: lightgbm.LGBMRegressor(n_estimators=20, verbose=-1, n_jobs=1), nulls=True
    ),
    Entry("xgboost", lambda: xgboost.XGBClassifier(n_estimators=20), nulls=True),
    Entry("xgboost, multiclass", lambda: xgboost.XGBClassifier(n_estimators=20), task="multiclass", nulls=True),
    regression("xgboost regression", lambda: xgboost.XGBRegressor(n_estimators=20), nulls=True),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("entry", BOOSTED, ids=lambda entry: entry.name)
def test_lightgbm_and_xgboost_become_graphs(entry: Entry) -> None:
    model = fitted(entry)
    found = exported(model, entry.nulls)
    assert found.graph is not None, found.summary
    assert differing_fresh_rows(model, found.graph, entry.nulls) == 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", [quiet(), xgboost.XGBClassifier(n_estimators=20)], ids=["lightgbm", "xgboost"])
def test_training_stops_with_reason_and_hint_when_skops_cannot_store_the_estimator(
    estimator: Any, tmp_path: Path
) -> None:
    candidate = make_pipeline(SimpleImputer(), SplineTransformer(), estimator)
    with pytest.raises(LifecycleError, match=r"to ONNX \(the pipeline of SimpleImputer, SplineTransformer,") as caught:
        train(team_of(candidate), settings_in(tmp_path), tmp_path)
    assert "Booster, " in caught.value.problem
    assert "python" in caught.value.hint


def test_categorical_splits_fall_back_to_a_working_skops_bundle(tmp_path: Path) -> None:
    candidate = HistGradientBoostingClassifier(max_iter=20, categorical_features=[4])
    bundle = train(team_of(candidate), settings_in(tmp_path), tmp_path)
    assert (bundle.kind, bundle.facts["estimator"]) == ("skops", "candidate")
    assert "categorical_features have no conversion" in json.loads(bundle.read("export.json"))["reason"]
    assert Predictor(bundle).seconds(1) == np.inf


def test_many_rows_of_a_wide_encoding_are_predicted_in_bounded_memory() -> None:
    wide = make_pipeline(OneHotEncoder(handle_unknown="ignore"), linear())
    codes = np.random.default_rng(0).integers(0, 500, (40_000, 6)).astype(np.float64)
    content, _ = convert(wide.fit(codes[:2000], codes[:2000, 0] > 250), 6)
    graph = OnnxModel(content, Encoder(contract("binary", nulls=False), LEVELS), TARGETS["binary"])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    many = graph.raw_outputs(codes.astype(np.float32))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000
    np.testing.assert_allclose(many[-5:], graph.raw_outputs(codes[-5:].astype(np.float32)), atol=1e-12)


def test_a_graph_that_is_verified_in_double_precision_is_converted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []
    monkeypatch.setattr(exporting, "convert", lambda *given: attempts.append(given[2]) or convert(*given))
    assert exported(fitted(Entry("plain", linear)), nulls=False).graph is not None
    assert attempts == [True]


def test_a_wide_matrix_has_a_limited_number_of_edge_rows() -> None:
    wide = Contract(1, TARGETS["binary"], tuple(Column(f"x{at}", "request", "number") for at in range(600)))
    holdout = np.random.default_rng(0).normal(size=(300, 600)).astype(np.float32)
    estimator = LogisticRegression().fit(holdout, holdout[:, 0] > 0)
    found = edges.edge_rows(SkopsModel(estimator, Encoder(wide, {}), TARGETS["binary"]), holdout, seed=0)
    assert len({name for name in found.names if name.startswith("edge of")}) == 100
    assert len(found.matrix) < 30_000
