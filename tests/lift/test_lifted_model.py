"""The lifted notebook fits and predicts as a model class of a repository, from what it wrote to disk."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lifecycle.contract import RowError
from looseleaf.lift.repository import model_files
from support.notebooks import FIT, MEAN, PREDICT, READ, SEX, SPLIT, passengers

USED = ["age", "fare", "sex"]


@pytest.fixture
def model(lift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Yield the module of the model class of a lifted notebook."""
    (tmp_path / "repository/src/model").mkdir(parents=True)
    (tmp_path / "repository/src/model/__init__.py").touch()
    result = lift(READ, MEAN, SEX, 'df = df[df["fare"] < 60]', SPLIT, FIT, PREDICT)
    assert result.is_verified, result.checks
    plan: Any = SimpleNamespace(fields=[], target=SimpleNamespace(classes=("0", "1")))
    for name, content in model_files(result, plan).items():
        (tmp_path / "repository" / name).write_bytes(content)
    before = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "model"}
    monkeypatch.syspath_prepend(tmp_path / "repository/src")
    yield importlib.import_module("model.lifted_model")
    for name in [name for name in sys.modules if name.partition(".")[0] == "model"]:
        del sys.modules[name]
    sys.modules.update(before)


def test_the_model_class_predicts_as_the_notebook_and_survives_the_disk(model: Any, tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    table = pd.read_csv(tmp_path / "work/passengers.csv")
    fitted = model.LiftedModel()
    fitted.fit(table[USED], table["survived"].to_numpy("float64"))
    table["age"] = table["age"].fillna(table["age"].mean())
    table = table[table["fare"] < 60]
    inputs = table[USED].assign(sex=(table["sex"] == "female").astype(int))
    train, _, labels, _ = train_test_split(inputs, table["survived"], test_size=0.3, random_state=0)
    expected = LogisticRegression().fit(train, labels).predict_proba(inputs)[:, 1]
    (tmp_path / "bundle").mkdir()
    fitted.save(tmp_path / "bundle")
    assert {path.suffix for path in (tmp_path / "bundle").iterdir()} == {".json", ".skops"}
    loaded = model.LiftedModel.load(tmp_path / "bundle")
    np.testing.assert_allclose(loaded.predict(table[USED]), expected, rtol=1e-12)
    np.testing.assert_allclose(loaded.predict(table[USED].iloc[[7]]), expected[[7]], rtol=1e-12)


def test_a_row_that_the_notebook_removes_is_refused_with_the_condition(model: Any) -> None:
    table = passengers()
    fitted = model.LiftedModel()
    fitted.fit(table[USED], table["survived"].to_numpy("float64"))
    reason = "The notebook does not predict this row: df[df['fare'] < 60]"
    with pytest.raises(RowError) as refused:
        fitted.predict(table[USED].iloc[:2].assign(fare=[10.0, 99.0]))
    assert refused.value.faults == [{"type": "refused", "loc": ["body", 1], "msg": reason}]


def test_a_row_that_the_lines_cannot_compute_is_refused_and_logged_without_its_value(
    model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    table = passengers()
    fitted = model.LiftedModel()
    fitted.fit(table[USED], table["survived"].to_numpy("float64"))
    rows = table[USED].assign(fare=["secret" if at == 150 else 10.0 for at in table.index])
    for some, place in ((rows.iloc[149:152].reset_index(drop=True), 1), (rows, 150)):
        with pytest.raises(RowError) as refused:
            fitted.predict(some)
        assert [fault["loc"] for fault in refused.value.faults] == [["body", place]]
        assert "its lines raise ValueError" in refused.value.faults[0]["msg"]
    assert len(caplog.records) == 2
    assert "learned.py" in caplog.text
    assert "secret" not in f"{refused.value}{caplog.text}"


def test_a_defect_that_no_value_causes_is_raised(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ImportError("no module")

    monkeypatch.setattr(model, "features", broken)
    with pytest.raises(ImportError):
        model.LiftedModel({}).predict(passengers()[USED].iloc[:1])


@pytest.mark.parametrize("calibrated", [False, True])
def test_histogram_gradient_boosting_survives_the_disk(model: Any, tmp_path: Path, calibrated: bool) -> None:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.ensemble import HistGradientBoostingClassifier

    table = passengers()
    trees: Any = HistGradientBoostingClassifier(max_iter=2)
    fitted = (CalibratedClassifierCV(trees, cv=2) if calibrated else trees).fit(table[["fare"]], table["survived"])
    model.LiftedModel({"model": fitted}).save(tmp_path)
    loaded = model.LiftedModel.load(tmp_path).values["model"]
    np.testing.assert_array_equal(loaded.predict_proba(table[["fare"]]), fitted.predict_proba(table[["fare"]]))


def test_every_kind_of_value_survives_the_disk(model: Any, tmp_path: Path) -> None:
    values = {
        "number": np.float64(1.5),
        "pair": (1, "a"),
        "levels": {"C", "Q"},
        "by number": {1: 2.0, 2: float("nan")},
        "array": np.array([[1.0, 2.0]]),
        "index": pd.Index(["a", "b"], name="port"),
        "time": pd.Timestamp("2026-01-01"),
    }
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]}, index=pd.Index(["p", "q"], name="port"))
    model.LiftedModel({**values, "series": frame["a"], "frame": frame}).save(tmp_path)
    loaded = model.LiftedModel.load(tmp_path).values
    assert repr({name: loaded[name] for name in values}) == repr({**values, "number": 1.5})
    pd.testing.assert_series_equal(loaded["series"], frame["a"])
    pd.testing.assert_frame_equal(loaded["frame"], frame)


def test_searches_and_boosters_survive_the_disk(model: Any, tmp_path: Path) -> None:
    from lightgbm import LGBMClassifier
    from scipy.stats import randint
    from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, StratifiedKFold
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.tree import DecisionTreeClassifier
    from xgboost import XGBClassifier

    table = passengers().dropna()
    X, y = table[["age", "fare"]], table["survived"]
    tree = DecisionTreeClassifier(random_state=0)
    fitted = {
        "nearest": GridSearchCV(KNeighborsClassifier(), {"n_neighbors": [3, 5]}, cv=StratifiedKFold(2), scoring="f1"),
        "random": RandomizedSearchCV(tree, {"max_depth": randint(1, 4)}, n_iter=2, random_state=0),
        "xgboost": make_pipeline(StandardScaler(), XGBClassifier(n_estimators=3)),
        "lightgbm": LGBMClassifier(n_estimators=3, verbose=-1),
    }
    for each in fitted.values():
        each.fit(X, y)
    model.LiftedModel(fitted).save(tmp_path)
    loaded = model.LiftedModel.load(tmp_path).values
    for name, each in fitted.items():
        np.testing.assert_allclose(loaded[name].predict_proba(X), each.predict_proba(X), rtol=1e-12)
    # The object in memory is as it was.
    assert fitted["nearest"].cv is not None
