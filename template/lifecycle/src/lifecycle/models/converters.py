"""Convert boosters and classifiers made of others to ONNX; `trees` converts trees, and skl2onnx everything else."""

import copy
import json
import sys
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from onnx import TensorProto, helper
from skl2onnx import convert_sklearn, update_registered_converter
from skl2onnx.common import shape_calculator as shapes
from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
from skl2onnx.operator_converters.voting_classifier import convert_voting_classifier
from sklearn.base import is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import VotingClassifier

from lifecycle.models import trees
from lifecycle.models.trees import NoConversion, Tree, Writer

# The ONNX operator of the link function of each objective.
LINKS = dict.fromkeys(("binary", "cross_entropy", "binary:logistic", "reg:logistic"), "Sigmoid")
LINKS |= dict.fromkeys(("multiclass", "multi:softprob", "multi:softmax"), "Softmax")
LINKS |= dict.fromkeys(("poisson", "gamma", "tweedie", "count:poisson", "reg:gamma", "reg:tweedie"), "Exp")
LINKS |= dict.fromkeys(("regression", "regression_l1", "huber", "fair", "quantile", "mape", "reg:pseudohubererror"), "")
LINKS |= dict.fromkeys(("reg:squarederror", "reg:squaredlogerror", "reg:absoluteerror", "reg:quantileerror"), "")
# LightGBM takes all numbers up to this for zeros.
ZERO = float(np.float32(1e-35))


def convert(estimator: Any, width: int, wide: bool = True) -> tuple[bytes, list[str]]:
    """Convert a fitted estimator or transformer of scikit-learn, LightGBM or XGBoost to ONNX.

    Double precision (`wide`) is that of scikit-learn; some operators only exist in float32. Returns the serialised
    graph from a float32 matrix, shape (rows, width), to float64 (probabilities of all classes, the predicted value, or
    the output of a transformer), and the warnings of the converter.
    """
    _register()
    # They may combine models of LightGBM or XGBoost, which skops cannot store.
    combined = {CalibratedClassifierCV: trees.converter(_convert_calibrated), VotingClassifier: _convert_voting}
    name, kind = ("wide", DoubleTensorType) if wide else ("rows", FloatTensorType)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = convert_sklearn(
            estimator,
            "model",  # by default a random name, with which no graph would equal another
            initial_types=[(name, kind([None, width]))],
            options={"zipmap": False} if is_classifier(estimator) else None,
            target_opset={"": 21, "ai.onnx.ml": 3},
            custom_conversion_functions=trees.CONVERTERS | combined,
            custom_shape_calculators=trees.SHAPES,
        )
    # Their order differs between processes, and equal models have equal bytes.
    model.opset_import.sort(key=lambda each: each.domain)
    graph = model.graph
    if wide:
        graph.node.insert(0, helper.make_node("Cast", ["rows"], ["wide"], to=TensorProto.DOUBLE))
        graph.input[0].CopyFrom(helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, width]))
    # A classifier's graph returns the label first, then the probabilities.
    del graph.output[:-1]
    # Some operators return float32 for any input, so the types that the converter declared may be wrong.
    del graph.value_info[:]
    graph.node.append(helper.make_node("Cast", [graph.output[0].name], ["outputs"], to=TensorProto.DOUBLE))
    shape = [each.dim_value or None for each in graph.output[0].type.tensor_type.shape.dim]
    graph.output[0].CopyFrom(helper.make_tensor_value_info("outputs", TensorProto.DOUBLE, shape or None))
    return model.SerializeToString(), sorted({f"{each.category.__name__}: {each.message}" for each in caught})


def _register() -> None:
    """Register the converters of the libraries that the team's code imported."""
    found: dict[type, Any] = {}
    if lightgbm := sys.modules.get("lightgbm"):
        found |= dict.fromkeys((lightgbm.LGBMClassifier, lightgbm.LGBMRegressor), _convert_lightgbm)
    if xgboost := sys.modules.get("xgboost"):
        kinds = (xgboost.XGBClassifier, xgboost.XGBRFClassifier, xgboost.XGBRegressor, xgboost.XGBRFRegressor)
        found |= dict.fromkeys(kinds, _convert_xgboost)
    for each, function in found.items():
        kind = "classifier" if each.__name__.endswith("Classifier") else "regressor"
        names = ("zipmap", "nocl", "raw_scores") if kind == "classifier" else ()
        options = {name: [True, False] for name in names}
        shape = getattr(shapes, f"calculate_linear_{kind}_output_shapes")
        update_registered_converter(each, each.__name__, shape, trees.converter(function), options=options)


def _link(objective: str) -> str:
    if objective not in LINKS:
        raise NoConversion(f"{objective} has no conversion")
    return LINKS[objective]


class CategorySets:
    """Category sets that trees split on; each becomes an indicator column appended to a matrix of `width` columns."""

    def __init__(self, width: int) -> None:
        self.width, self.columns = width, dict[tuple[int, frozenset[int]], int]()

    def column(self, feature: int, levels: Iterable[int]) -> int:
        """Return the column that is 1 where the level of a feature is in the set, 0 for others, and null for null."""
        return self.columns.setdefault((int(feature), frozenset(levels)), self.width + len(self.columns))

    def append(self, write: Writer, value: str, raw: str) -> str:
        """Add the columns to a matrix and return its name; `raw` is the matrix with the levels. Both are of doubles."""
        if not self.columns:
            return value
        parts, order = [], list[int]()
        for feature in sorted({feature for feature, _ in self.columns}):
            sets = {each: at for (own, each), at in self.columns.items() if own == feature}
            levels = sorted(frozenset().union(*sets))
            belongs = np.array([np.isin(levels, list(each)) for each in sets], dtype=np.float32).T
            code = write.node("Gather", [raw, write.vector(np.array([feature]))], axis=1)
            equal = write.node("Equal", [code, write.vector(np.array(levels, dtype=np.float64))])
            inside = write.node("MatMul", [write.node("Cast", [equal], to=write.single), write.vector(belongs)])
            parts.append(write.node("Where", [write.node("IsNaN", [code]), write.vector(np.float32(np.nan)), inside]))
            order += sets.values()
        sorted_parts = [write.node("Concat", parts, axis=1), write.vector(np.argsort(order))]
        indicators = write.node("Cast", [write.node("Gather", sorted_parts, axis=1)], to=write.double)
        return write.node("Concat", [value, indicators], axis=1)


def _convert_lightgbm(model: Any, write: Writer) -> None:
    dump = model.booster_.dump_model()
    link, targets = _link(dump["objective"].split()[0]), dump["num_tree_per_iteration"]
    # A random forest returns the mean of its trees.
    shares = len(dump["tree_info"]) // targets if dump["average_output"] else 1
    sets = CategorySets(len(dump["feature_names"]))
    grown = enumerate(dump["tree_info"])
    trees = [_lightgbm_tree(each["tree_structure"], at % targets, shares, sets) for at, each in grown]
    value = raw = write.node("Cast", [write.input], to=write.double)
    if model.get_params().get("zero_as_missing"):
        small = write.node("LessOrEqual", [write.node("Abs", [value]), write.vector(np.float64(ZERO))])
        value = write.node("Where", [small, write.vector(np.float64(np.nan)), value])
    write.outputs(write.sum_of_trees(sets.append(write, value, raw), trees, np.zeros(targets)), link)


def _lightgbm_tree(root: dict[str, Any], target: int, shares: int, sets: CategorySets) -> Tree:
    nodes, sides = [root], []
    for node in nodes:
        sides.append((len(nodes), len(nodes) + 1) if "left_child" in node else (0, 0))
        nodes += [node[side] for side in ("left_child", "right_child") if side in node]
    left, right = np.array(sides).T
    feature = np.array([node.get("split_feature", 0) for node in nodes])
    limit = np.array([0.0 if _is_set(node) else node.get("threshold", 0.0) for node in nodes])
    limit = np.where(limit == -ZERO, np.nextafter(-ZERO, -1.0), limit)
    # Where training met no null, LightGBM takes a null for a zero.
    default = [node.get("default_left", False) for node in nodes]
    null_goes_left = np.where([node.get("missing_type", "None") != "None" for node in nodes], default, limit >= 0)
    for at, node in enumerate(nodes):
        if _is_set(node):
            feature[at], limit[at] = sets.column(feature[at], map(int, node["threshold"].split("||"))), 0.5
            # Levels of the set go left; all others and null go right, where the indicator is 0.
            left[at], right[at], null_goes_left[at] = right[at], left[at], True
    values = np.array([[node.get("leaf_value", 0.0) / shares] for node in nodes])
    return left == 0, feature, limit, left, right, null_goes_left, values, target


def _is_set(node: dict[str, Any]) -> bool:
    return bool(node.get("decision_type") == "==")


def _convert_xgboost(model: Any, write: Writer) -> None:
    learner = json.loads(model.get_booster().save_raw("json"))["learner"]
    link, booster = _link(learner["objective"]["name"]), learner["gradient_booster"]
    grown = booster.get("gbtree", booster).get("model")
    if grown is None:
        raise NoConversion(f"the booster {booster['name']} has no conversion")
    base = np.array(json.loads(learner["learner_model_param"]["base_score"]), dtype=np.float64).ravel()
    base = np.log(base / (1 - base)) if link == "Sigmoid" else np.log(base) if link == "Exp" else base
    base = np.resize(base, max(1, int(learner["learner_model_param"]["num_class"])))
    count = len(grown["trees"])
    if (best := model.get_booster().attr("best_iteration")) is not None:
        count = grown["iteration_indptr"][int(best) + 1]
    weights = booster.get("weight_drop", np.ones(count))
    sets = CategorySets(int(learner["learner_model_param"]["num_feature"]))
    parts = zip(grown["trees"][:count], weights, grown["tree_info"], strict=False)
    trees = [_xgboost_tree(*each, sets) for each in parts]
    # XGBoost rounds its input to float32.
    value = write.node("Cast", [write.input], to=write.single)
    if not np.isnan(model.missing):
        null = write.node("Equal", [value, write.vector(np.float32(model.missing))])
        value = write.node("Where", [null, write.vector(np.float32(np.nan)), value])
    wide = write.node("Cast", [value], to=write.double)
    write.outputs(write.sum_of_trees(sets.append(write, wide, wide), trees, base, np.float32), link)


def _xgboost_tree(tree: dict[str, Any], weight: float, target: int, sets: CategorySets) -> Tree:
    left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
    limit = np.array(tree["split_conditions"], dtype=np.float32)
    # A value below the limit goes left: for float32, up to the number before it.
    below = np.nextafter(limit, np.float32(-np.inf)).astype(np.float64)
    feature, null_goes_left = np.array(tree["split_indices"]), np.array(tree["default_left"])
    segments = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
    for at, start, size in segments:
        feature[at], below[at] = sets.column(feature[at], tree["categories"][start : start + size]), 0.5
    return left < 0, feature, below, left, right, null_goes_left, limit[:, None] * np.float32(weight), target


def _convert_voting(scope: Any, operator: Any, container: Any) -> None:
    # It refuses two values that do not concern probabilities, or that have another type.
    operator.raw_operator = model = copy.copy(operator.raw_operator)
    model.flatten_transform = False
    model.weights = None if model.weights is None else np.array(model.weights)
    convert_voting_classifier(scope, operator, container)


def _convert_calibrated(model: Any, write: Writer) -> None:
    parts = [_calibrated(write, each) for each in model.calibrated_classifiers_]
    write.outputs(write.node("Div", [write.node("Sum", parts), write.vector(np.float64(len(parts)))]))


def _calibrated(write: Writer, model: Any) -> str:
    binary, is_raw = len(model.classes) == 2, hasattr(model.estimator, "decision_function")
    scores = write.node("Cast", [write.scores(model.estimator, is_raw)], to=write.double)
    if model.method == "temperature":
        [calibrator] = model.calibrators
        if not is_raw:
            scores = write.node("Log", [write.node("Add", [scores, write.vector(np.finfo(np.float64).eps)])])
        return write.node("Softmax", [write.node("Mul", [scores, write.vector(np.float64(calibrator.beta_))])])
    parts = []
    for at, each in enumerate(model.calibrators, start=int(binary)):
        score = write.node("Gather", [scores, write.vector(np.array([at]))], axis=1)
        if model.method == "sigmoid":
            score = write.node("Add", [write.node("Mul", [score, write.vector(-each.a_)]), write.vector(-each.b_)])
            parts.append(write.node("Sigmoid", [score]))
        else:
            # A line through each two neighbouring points.
            x, y = each.X_thresholds_.astype(np.float64), each.y_thresholds_.astype(np.float64)
            width = np.diff(x)
            past = write.node("Max", [write.node("Sub", [score, write.vector(x[:-1])]), write.vector(np.zeros(1))])
            share = write.node("Div", [write.node("Min", [past, write.vector(width)]), write.vector(width)])
            rise = write.node("MatMul", [share, write.vector(np.diff(y)[:, None])])
            parts.append(write.node("Add", [rise, write.vector(y[:1])]))
    if binary:
        return write.node("Concat", [write.node("Sub", [write.vector(np.ones(1)), *parts]), *parts], axis=1)
    joined = write.node("Concat", parts, axis=1)
    total = write.node("ReduceSum", [joined, write.vector(np.array([1]))])
    none = write.node("Equal", [total, write.vector(np.zeros(1))])
    uniform = write.vector(np.full(len(parts), 1 / len(parts)))
    return write.node("Where", [none, uniform, write.node("Div", [joined, total])])
