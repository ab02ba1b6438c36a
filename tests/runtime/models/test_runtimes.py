"""Graphs load only when they are safe, in a small environment, and every model's outputs are validated."""

import functools
import json
import os
import pickle
import subprocess
import sys
import tokenize
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import skops.io
from onnx import TensorProto, helper, numpy_helper
from sklearn.preprocessing import FunctionTransformer

from lifecycle import warn_renamed
from lifecycle.contract import team
from lifecycle.contract.schema import Target
from lifecycle.errors import LifecycleError
from lifecycle.models.bundle import Bundle, BundleError, verify
from lifecycle.models.predictor import Predictor
from lifecycle.models.runtimes import OnnxModel, validate_outputs
from lifecycle.storage import hash_of
from support.storages import Storage

TWO, THREE, NUMBER = (
    Target("binary", "l", ("no", "yes")),
    Target("multiclass", "l", ("a", "b", "c")),
    Target("regression", "l"),
)
NAN, INF = float("nan"), float("inf")
ROW = {"customer_id": "ann", "discount": 1.0, "plan": "basic", "visits": 3}
SOURCES = Path(team.__file__).parents[2]


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize(
    ("target", "right", "wrong"),
    [
        (TWO, [0.0, 1.0, 0.3], [NAN, INF, -1e-9, 1 + 1e-9]),
        (NUMBER, [0.0, -1e30], [NAN, INF, -INF]),
        (THREE, [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]], [[NAN, 0.5, 0.5], [-0.1, 0.6, 0.5], [0.2, 0.3, 0.4]]),
    ],
)
def test_only_finite_numbers_and_probabilities_are_valid_outputs(
    target: Target, right: list[Any], wrong: list[Any], rows: int
) -> None:
    for value in right:
        assert validate_outputs(np.array([value] * rows, dtype=np.float32), target, rows).dtype == np.float64
    for value in wrong:
        with pytest.raises(LifecycleError, match="the model returns"):
            validate_outputs(np.array([*right[: rows - 1], value]), target, rows)
    with pytest.raises(LifecycleError, match="an array of the shape"):
        validate_outputs(np.array(right[:1]), target, 2)


def forged(bundle: Bundle, name: str, content: bytes) -> Bundle:
    """Replace the model of a bundle and its recorded hash."""
    (bundle.path / name).write_bytes(content)
    facts = bundle.facts | {"files": bundle.facts["files"] | {name: hash_of(bundle.path / name)}}
    (bundle.path / "bundle.json").write_text(json.dumps(facts))
    return verify(bundle.path)


def graph(nodes: list[Any], weights: Any, inputs: int = 3, domain: str = "", given: int = TensorProto.FLOAT) -> bytes:
    """Return a graph with the shape of the bundle's contract."""
    rows = helper.make_tensor_value_info("rows", given, [None, inputs])
    outputs = helper.make_tensor_value_info("outputs", TensorProto.DOUBLE, [None, 2])
    made = helper.make_graph(nodes, "forged", [rows], [outputs], [weights] if weights is not None else [])
    opsets = [helper.make_opsetid("", 21)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    content: bytes = helper.make_model(made, opset_imports=opsets, ir_version=10).SerializeToString()
    return content


def outside(location: str) -> Any:
    """Return a tensor whose values are in another file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3, 2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


INSIDE = numpy_helper.from_array(np.full((3, 2), 0.1, dtype=np.float32), "w")
SUM = [
    helper.make_node("MatMul", ["rows", "w"], ["sum"]),
    helper.make_node("Cast", ["sum"], ["outputs"], to=TensorProto.DOUBLE),
]
FUSED = [helper.make_node("FusedMatMul", ["rows", "w"], ["sum"], domain="com.microsoft"), SUM[1]]
OWN = helper.make_node("Run", ["rows"], ["outputs"], domain="own")
GOOD = graph(SUM, INSIDE)
FORGERIES = {
    "numbers in another file": (graph(SUM, outside("weights.bin")), "a tensor in another file"),
    "numbers anywhere": (graph(SUM, outside("/etc/hostname")), "a tensor in another file"),
    "numbers above": (graph(SUM, outside("../weights.bin")), "a tensor in another file"),
    "an operator of Microsoft": (graph(FUSED, INSIDE, domain="com.microsoft"), "outside the standard"),
    "a custom operator": (
        graph([helper.make_node("Run", ["rows"], ["outputs"], domain="own")], None, domain="own"),
        "",
    ),
    "an unknown operator": (graph([helper.make_node("Run", ["rows"], ["outputs"])], None), "No Op registered"),
    "another width": (graph(SUM, numpy_helper.from_array(np.ones((4, 2), np.float32), "w"), inputs=4), r"\[4\]"),
    "another precision": (graph(SUM[1:], None, given=TensorProto.DOUBLE).replace(b"sum", b"rows"), ""),
    "half a file": (GOOD[:-20], "protobuf"),
    "nothing": (b"", ""),
    "a pickle": (pickle.dumps({"a": 1}), "protobuf"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_graph_that_is_not_safe_or_does_not_fit_is_refused(
    name: str, storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.bin").write_bytes(np.ones((3, 2), dtype=np.float32).tobytes())
    content, message = FORGERIES[name]
    bundle = storage.publish(kind="onnx")
    with pytest.raises(BundleError, match=rf"model\.onnx does not load .*{message}"):
        Predictor(forged(bundle, "model.onnx", content))


def test_another_graph_of_the_right_shape_fails_on_the_golden_rows(storage: Storage) -> None:
    with pytest.raises(BundleError, match="golden row"):
        Predictor(forged(storage.publish(kind="onnx"), "model.onnx", GOOD))


def test_a_graph_that_is_too_large_is_refused(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = storage.publish(kind="onnx")
    monkeypatch.setattr("lifecycle.models.runtimes.LARGEST_GRAPH", 100)
    with pytest.raises(BundleError, match=r"the graph has .* bytes"):
        Predictor(bundle)


@pytest.mark.parametrize(("kind", "name"), [("onnx", "model.onnx"), ("skops", "model.skops")])
def test_a_pickle_in_place_of_a_model_is_refused_and_does_not_run(kind: str, name: str, storage: Storage) -> None:
    ran = storage.drafts / "ran"
    bundle = storage.publish(kind=kind)
    with pytest.raises(BundleError, match=f"{name} does not load"):
        Predictor(forged(bundle, name, pickle.dumps(Running(str(ran)))))
    assert not ran.exists()
    pickle.loads(pickle.dumps(Running(str(ran))))
    assert ran.exists()


def test_a_partial_of_an_untrusted_function_is_refused(storage: Storage) -> None:
    ran = storage.drafts / "ran"
    content = skops.io.dumps(FunctionTransformer(functools.partial(os.makedirs, str(ran))))
    with pytest.raises(BundleError, match=r"holds os\.makedirs, which is not trusted"):
        Predictor(forged(storage.publish(), "model.skops", content))
    assert not ran.exists()


class Running:
    """An object that creates a folder when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.makedirs, (self.path,)


def test_the_runtime_uses_no_serialisation_that_runs_code() -> None:
    forbidden = {"pickle", "cPickle", "joblib", "marshal", "shelve", "dill", "cloudpickle"}
    found = []
    for path in sorted(SOURCES.rglob("*.py")):
        with tokenize.open(path) as file:
            names = {token.string for token in tokenize.generate_tokens(file.readline) if token.type == tokenize.NAME}
        found += [f"{path.name}: {name}" for name in names & forbidden]
    assert len(list(SOURCES.rglob("*.py"))) > 60
    assert found == []


def test_serving_a_graph_imports_no_training_libraries(storage: Storage) -> None:
    bundle = storage.publish(kind="onnx")
    code = (
        "import sys, pathlib, lifecycle.serving.app; from lifecycle.models.bundle import verify\n"
        "from lifecycle.models.predictor import Predictor\n"
        f"print(Predictor(verify(pathlib.Path({str(bundle.path)!r}))).predict([{ROW!r}], 0.5))\n"
        "heavy = {'pandas', 'sklearn', 'pyarrow', 'onnx', 'skl2onnx', 'skops', 'scipy', 'lightgbm', 'xgboost'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    response, heavy = done.stdout.splitlines()
    assert "probability" in response
    assert heavy == "[]"


def test_batches_and_frames_are_predicted_like_rows(storage: Storage) -> None:
    import pandas as pd
    import pyarrow as pa

    predictor = Predictor(storage.publish(kind="onnx"))
    rows = [ROW, ROW | {"plan": "plus", "visits": 7}]
    expected = [each["probability"] for each in predictor.predict(rows, 0.5)]
    frame = pd.DataFrame(rows)
    np.testing.assert_allclose(predictor.predict_raw(frame), expected, atol=1e-12)
    np.testing.assert_allclose(predictor.predict_batch(pa.RecordBatch.from_pandas(frame)), expected, atol=1e-12)


def test_the_methods_of_releases_before_0_3_0_return_the_same_and_warn(storage: Storage) -> None:
    import pandas as pd

    predictor = Predictor(storage.publish(kind="onnx"))
    warn_renamed.cache_clear()
    with pytest.warns(FutureWarning, match=r"Predictor\.answers is now Predictor\.predict;"):
        assert predictor.answers([ROW], 0.3) == predictor.predict([ROW], 0.3)
    with pytest.warns(FutureWarning, match=r"Predictor\.frame_answers is now Predictor\.predict_frame;"):
        assert predictor.frame_answers(pd.DataFrame([ROW])) == predictor.predict_frame(pd.DataFrame([ROW]))


def test_one_graph_predicts_in_many_threads(storage: Storage) -> None:
    from concurrent.futures import ThreadPoolExecutor

    model = Predictor(storage.publish(kind="onnx"))._model
    assert isinstance(model, OnnxModel)
    many = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    expected = model.predict_matrix(many)
    with ThreadPoolExecutor(8) as pool:
        outputs = list(pool.map(lambda at: model.predict_matrix(many[at : at + 1])[0], range(500)))
    np.testing.assert_allclose(outputs, expected, atol=1e-12)


def test_written_graphs_pass_the_checker_of_onnx(storage: Storage) -> None:
    onnx.checker.check_model(onnx.load_from_string(storage.publish(kind="onnx").read("model.onnx")), full_check=True)
