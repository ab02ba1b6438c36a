"""An export is proved, or the report names rows, step and difference; each proof is shown to be able to fail."""

import json
import resource
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, SplineTransformer, StandardScaler
from sklearn.tree import DecisionTreeClassifier

from lifecycle.cli import entry
from lifecycle.contract import team
from lifecycle.contract.matrix import Encoder
from lifecycle.contract.team import Team
from lifecycle.errors import LifecycleError
from lifecycle.models.bundle import verify
from lifecycle.models.export import edges
from lifecycle.models.export import verify as exporting
from lifecycle.models.export.convert import convert
from lifecycle.models.predictor import Predictor
from lifecycle.models.runtimes import PROBABILITY_TOLERANCE, OnnxModel, SkopsModel
from lifecycle.training.train import train
from support.exports import (
    ANSWERS,
    FRESH,
    HELD,
    LEVELS,
    Entry,
    contract,
    exported,
    fitted,
    linear,
    number,
    rows,
    wrong_on_fresh_rows,
)
from support.teams import estimator_of, order_team, sample_team, settings_in

GRADIENT = GradientBoostingClassifier(n_estimators=20)
BAD = Entry("gradient boosting behind a scaler", lambda: make_pipeline(StandardScaler(), GRADIENT))
NOTHING = edges.EdgeRows(np.ones((1, 6), dtype=np.float32), ("a plain row",))


def team_of(candidate: Any) -> Team:
    """A team whose candidate is sure to be chosen."""
    estimator = estimator_of(ANSWERS["two"])
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
    assert Predictor(bundle).is_fast


def test_what_falls_back_says_which_rows_and_which_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(team, "load", lambda root: team_of(make_pipeline(SimpleImputer(), StandardScaler(), GRADIENT)))
    for name, value in {"STORAGE": "storage", "TRACKING__ENABLED": "false"}.items():
        monkeypatch.setenv(f"LIFECYCLE_{name}", value)
    assert entry.main(["train"]) == 0
    said = capsys.readouterr().out
    [path] = tmp_path.glob("storage/bundles/*")
    bundle = verify(path)
    report = json.loads(bundle.read("export.json"))
    assert bundle.kind == report["kind"] == "skops"
    assert report["step"] == "gradientboostingclassifier: GradientBoostingClassifier"
    assert report["differing"][0]["row"].startswith("edge ")
    assert report["largest_difference"] == report["differing"][0]["difference"] > 1e-3
    assert report["reason"] in bundle.read("card.md").decode()
    [line] = [line for line in said.splitlines() if "no ONNX" in line]
    assert report["reason"] in line
    assert not Predictor(bundle).is_fast


def test_without_the_edge_rows_a_wrong_graph_slips_through(monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted(BAD)
    assert exported(model, BAD.nulls).graph is None
    monkeypatch.setattr(exporting, "edge_rows", lambda *given: NOTHING)
    monkeypatch.setattr(exporting, "split_rows", lambda *given: NOTHING)
    found = exported(model, BAD.nulls)
    assert found.graph is not None
    # Rows that the contract allows and that anybody may send.
    held, _ = rows(HELD, 4, False)
    sent = edges.edge_rows(model, held, 1).matrix
    given = OnnxModel(found.graph, model.encoder, model.target).predict_matrix(sent)
    assert np.abs(given - model.predict_matrix(sent)).max() > 1e-3


def test_without_the_comparison_a_wrong_graph_slips_through(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = Entry("linear discriminant", LinearDiscriminantAnalysis)
    model = fitted(entry)
    assert exported(model, False).graph is None
    with monkeypatch.context() as blind:
        blind.setattr(exporting, "differences", lambda wanted, given, answer: np.zeros(len(wanted)))
        blind.setattr(exporting, "decisions", lambda answers, answer: np.zeros(len(answers)))
        found = exported(model, False)
    assert found.graph is not None
    assert wrong_on_fresh_rows(model, found.graph, False) > FRESH / 2


@pytest.mark.parametrize("make", [linear, lambda: DecisionTreeClassifier(max_depth=6)])
def test_a_row_alone_gets_the_answer_that_it_gets_among_others(make: Any) -> None:
    model = fitted(Entry("any", make))
    found = exported(model, False)
    assert found.graph is not None
    graph = OnnxModel(found.graph, model.encoder, model.target)
    many, _ = rows(HELD, 3, False)
    alone = np.concatenate([graph.predict_matrix(many[at : at + 1]) for at in range(HELD)])
    assert np.abs(alone - graph.predict_matrix(many)).max() <= PROBABILITY_TOLERANCE / 10


def test_what_the_estimator_itself_does_not_answer_is_told() -> None:
    # Null is allowed, and a linear model without an imputer refuses it.
    model = fitted(Entry("linear", linear))
    model.encoder.columns = contract("two", nulls=True).inputs
    found = exported(model, False)
    assert found.graph is None
    assert "fails on its edge rows (ValueError: Input X contains NaN" in found.report["reason"]


def test_edge_rows_keep_the_contract_and_are_the_same_every_time() -> None:
    model, (held, _) = fitted(Entry("linear", linear)), rows(HELD, 2, False)
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


def test_jumps_find_a_split_behind_a_scaler_to_the_last_bit() -> None:
    many, _ = rows(800, 1, False)
    wide = many.astype(np.float64)
    stump = make_pipeline(StandardScaler(), DecisionTreeClassifier(max_depth=1)).fit(wide, many[:, 0] > 77.7)
    model = SkopsModel(stump, fitted(Entry("linear", linear)).encoder, ANSWERS["two"])
    found = edges.edge_rows(model, many, 0)
    jumps = np.unique(found.matrix[np.array(found.names) == "jump in amount", 0])
    answers = model.predict_matrix(np.column_stack([jumps, np.zeros((len(jumps), 5))]).astype(np.float32))
    [at] = np.flatnonzero(np.diff(answers))
    assert np.nextafter(jumps[at], np.float32(np.inf)) == jumps[at + 1]


def quiet(**given: Any) -> Any:
    return lightgbm.LGBMClassifier(n_estimators=20, verbose=-1, **given)


BOOSTED = [
    Entry("lightgbm", quiet, nulls=True),
    Entry("lightgbm, three classes", quiet, task="three", nulls=True),
    number("lightgbm number", lambda: lightgbm.LGBMRegressor(n_estimators=20, verbose=-1), nulls=True),
    Entry("xgboost", lambda: xgboost.XGBClassifier(n_estimators=20), nulls=True),
    Entry("xgboost, three classes", lambda: xgboost.XGBClassifier(n_estimators=20), task="three", nulls=True),
    number("xgboost number", lambda: xgboost.XGBRegressor(n_estimators=20), nulls=True),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("entry", BOOSTED, ids=lambda entry: entry.name)
def test_other_libraries_become_graphs_too(entry: Entry) -> None:
    model = fitted(entry)
    found = exported(model, entry.nulls)
    assert found.graph is not None, found.summary
    assert wrong_on_fresh_rows(model, found.graph, entry.nulls) == 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", [quiet(), xgboost.XGBClassifier(n_estimators=20)], ids=["lightgbm", "xgboost"])
def test_what_skops_cannot_hold_is_refused_with_the_reason_and_a_way_out(estimator: Any, tmp_path: Path) -> None:
    candidate = make_pipeline(SimpleImputer(), SplineTransformer(), estimator)
    with pytest.raises(LifecycleError, match="no ONNX: splinetransformer: SplineTransformer") as caught:
        train(team_of(candidate), settings_in(tmp_path), tmp_path)
    assert "Booster, " in caught.value.problem
    assert "python" in caught.value.hint


def test_categorical_splits_fall_back_to_a_bundle_that_answers(tmp_path: Path) -> None:
    candidate = HistGradientBoostingClassifier(max_iter=20, categorical_features=[4])
    bundle = train(team_of(candidate), settings_in(tmp_path), tmp_path)
    assert (bundle.kind, bundle.facts["estimator"]) == ("skops", "candidate")
    assert "categorical_features have no conversion" in json.loads(bundle.read("export.json"))["reason"]
    assert not Predictor(bundle).is_fast


def test_many_rows_of_a_wide_encoding_take_no_more_memory_than_some() -> None:
    wide = make_pipeline(OneHotEncoder(handle_unknown="ignore"), linear())
    codes = np.random.default_rng(0).integers(0, 500, (40_000, 6)).astype(np.float64)
    content, _ = convert(wide.fit(codes[:2000], codes[:2000, 0] > 250), 6)
    graph = OnnxModel(content, Encoder(contract("two", nulls=False), LEVELS), ANSWERS["two"])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    many = graph.raw_outputs(codes.astype(np.float32))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000
    np.testing.assert_allclose(many[-5:], graph.raw_outputs(codes[-5:].astype(np.float32)), atol=1e-12)


def test_what_is_proved_at_once_is_converted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    monkeypatch.setattr(exporting, "convert", lambda *given: tried.append(given[2]) or convert(*given))
    assert exported(fitted(Entry("plain", linear)), nulls=False).graph is not None
    assert tried == [True]
