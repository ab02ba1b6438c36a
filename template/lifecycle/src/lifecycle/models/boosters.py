# mypy: disable-error-code="import-untyped, import-not-found"
"""Convert the trees of LightGBM and XGBoost to ONNX from the libraries' own dumps, with the decisions of each."""

import json
import sys
from typing import Any

import numpy as np

from lifecycle.models.trees import NoConversion, Tree, Writer

# The ONNX operator of the link function of each objective.
LINKS = dict.fromkeys(("binary", "cross_entropy", "binary:logistic", "reg:logistic"), "Sigmoid")
LINKS |= dict.fromkeys(("multiclass", "multi:softprob", "multi:softmax"), "Softmax")
LINKS |= dict.fromkeys(("poisson", "gamma", "tweedie", "count:poisson", "reg:gamma", "reg:tweedie"), "Exp")
LINKS |= dict.fromkeys(("regression", "regression_l1", "huber", "fair", "quantile", "mape"), "")
LINKS |= dict.fromkeys(("reg:squarederror", "reg:squaredlogerror", "reg:absoluteerror", "reg:quantileerror"), "")
LINKS |= {"reg:pseudohubererror": "", "binary:hinge": "Hinge"}
# LightGBM takes all numbers up to this for zeros.
ZERO = float(np.float32(1e-35))


def register() -> None:
    """Register the converters of the libraries that the team's code imported."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common import shape_calculator as shapes

    found: dict[type, Any] = {}
    if lightgbm := sys.modules.get("lightgbm"):
        found |= dict.fromkeys((lightgbm.LGBMClassifier, lightgbm.LGBMRegressor), _convert_lightgbm)
    if xgboost := sys.modules.get("xgboost"):
        found |= dict.fromkeys((xgboost.XGBClassifier, xgboost.XGBRFClassifier), _convert_xgboost)
        found |= dict.fromkeys((xgboost.XGBRegressor, xgboost.XGBRFRegressor), _convert_xgboost)
    for each, converter in found.items():
        kind = "classifier" if each.__name__.endswith("Classifier") else "regressor"
        names = ("zipmap", "nocl", "raw_scores") if kind == "classifier" else ()
        options = {name: [True, False] for name in names}
        shape = getattr(shapes, f"calculate_linear_{kind}_output_shapes")
        update_registered_converter(each, each.__name__, shape, converter, options=options)


def _link(objective: str) -> str:
    if objective not in LINKS:
        raise NoConversion(f"{objective} has no conversion")
    return LINKS[objective]


def _convert_lightgbm(scope: Any, operator: Any, container: Any) -> None:
    write, dump = Writer(scope, operator, container), operator.raw_operator.booster_.dump_model()
    link, targets = _link(dump["objective"].split()[0]), dump["num_tree_per_iteration"]
    # A random forest returns the mean of its trees.
    shares = len(dump["tree_info"]) // targets if dump["average_output"] else 1
    grown = enumerate(dump["tree_info"])
    trees = [_lightgbm_tree(each["tree_structure"], at % targets, shares) for at, each in grown]
    value = write.node("Cast", [write.input], to=write.double)
    if operator.raw_operator.get_params().get("zero_as_missing"):
        small = write.node("LessOrEqual", [write.node("Abs", [value]), write.vector(np.float64(ZERO))])
        value = write.node("Where", [small, write.vector(np.float64(np.nan)), value])
    write.outputs(write.sum_of_trees(value, trees, np.zeros(targets)), link)


def _lightgbm_tree(root: dict[str, Any], target: int, shares: int) -> Tree:
    nodes, sides = [root], []
    for node in nodes:
        if node.get("decision_type", "<=") != "<=":
            raise NoConversion("categorical splits have no conversion")
        sides.append((len(nodes), len(nodes) + 1) if "left_child" in node else (0, 0))
        nodes += [node[side] for side in ("left_child", "right_child") if side in node]
    left, right = np.array(sides).T
    limit = np.array([node.get("threshold", 0.0) for node in nodes])
    limit = np.where(limit == -ZERO, np.nextafter(-ZERO, -1.0), limit)
    # Where training met no null, LightGBM takes a null for a zero.
    default = [node.get("default_left", False) for node in nodes]
    null_goes_left = np.where([node.get("missing_type", "None") != "None" for node in nodes], default, limit >= 0)
    feature = np.array([node.get("split_feature", 0) for node in nodes])
    values = np.array([[node.get("leaf_value", 0.0) / shares] for node in nodes])
    return left == 0, feature, limit, left, right, null_goes_left, values, target


def _convert_xgboost(scope: Any, operator: Any, container: Any) -> None:
    model, write = operator.raw_operator, Writer(scope, operator, container)
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
    trees = [_xgboost_tree(*each) for each in zip(grown["trees"][:count], weights, grown["tree_info"], strict=False)]
    # XGBoost rounds its input to float32.
    value = write.node("Cast", [write.input], to=write.single)
    if not np.isnan(model.missing):
        null = write.node("Equal", [value, write.vector(np.float32(model.missing))])
        value = write.node("Where", [null, write.vector(np.float32(np.nan)), value])
    write.outputs(write.sum_of_trees(value, trees, base), link)


def _xgboost_tree(tree: dict[str, Any], weight: float, target: int) -> Tree:
    if any(tree["split_type"]):
        raise NoConversion("categorical splits have no conversion")
    left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
    limit = np.array(tree["split_conditions"], dtype=np.float32)
    # A value below the limit goes left: for float32, up to the number before it.
    below = np.nextafter(limit, np.float32(-np.inf)).astype(np.float64)
    feature, null_goes_left = np.array(tree["split_indices"]), np.array(tree["default_left"])
    return left < 0, feature, below, left, right, null_goes_left, limit[:, None] * np.float32(weight), target
