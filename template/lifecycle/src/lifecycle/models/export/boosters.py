# mypy: disable-error-code="import-untyped, import-not-found"
"""Lets the converter know LightGBM and XGBoost, where their extras are installed."""

import sys
from typing import Any

import numpy as np

from lifecycle.models.export.trees import NoConversion, Tree, Writer, plain

# What LightGBM makes of a sum of trees, by the name of its objective.
LINKS = {"binary": "Sigmoid", "multiclass": "Softmax"} | dict.fromkeys(("poisson", "gamma", "tweedie"), "Exp")
LINKS |= dict.fromkeys(("regression", "regression_l1", "huber", "fair", "quantile", "mape"), "")


def register() -> None:
    """Teach skl2onnx the estimators of the libraries that the team imported; a library that it did not stays out.

    Without the extra nothing is taught: the estimator then does not convert, and the report says so.
    """
    try:
        if "lightgbm" in sys.modules:
            _lightgbm()
        if "xgboost" in sys.modules:
            _xgboost()
    except ImportError:
        return


def _lightgbm() -> None:
    from lightgbm import LGBMClassifier, LGBMRegressor
    from skl2onnx import update_registered_converter as register
    from skl2onnx.common import shape_calculator as shapes

    options = {"zipmap": [True, False], "nocl": [True, False]}
    classes, number = shapes.calculate_linear_classifier_output_shapes, shapes.calculate_linear_regressor_output_shapes
    register(LGBMClassifier, "LifecycleLightGbmClasses", classes, _grown, options=options)
    register(LGBMRegressor, "LifecycleLightGbmNumber", number, _grown)


def _grown(scope: Any, operator: Any, container: Any) -> None:
    # The converter of onnxmltools rounds splits to float32, to the wrong side of a value.
    model, write = operator.raw_operator, Writer(scope, operator, container)
    plain(model)
    dumped = model.booster_.dump_model()
    word, *details = dumped["objective"].split()
    given = dict(detail.split(":") for detail in details if ":" in detail)
    if word not in LINKS or "sqrt" in details or dumped["average_output"]:
        raise NoConversion(f"{dumped['objective']} has no conversion")
    targets = dumped["num_tree_per_iteration"]
    trees = [_tree(each["tree_structure"], at % targets) for at, each in enumerate(dumped["tree_info"])]
    raw = write.sums(write.cast(write.given, write.double), trees, [0.0] * targets)
    if LINKS[word] == "Sigmoid":
        steep = float(given["sigmoid"])
        raw = write.node("Sigmoid", [write.node("Mul", [raw, write.vector(np.array([-steep, steep]))], version=14)])
    elif LINKS[word] == "Softmax":
        raw = write.node("Softmax", [raw], axis=1)
    elif LINKS[word]:
        raw = write.node("Exp", [raw])
    write.target(raw)


def _tree(root: dict[str, Any], target: int) -> Tree:
    nodes, sides = [root], []
    for node in nodes:
        if node.get("decision_type", "<=") != "<=" or node.get("missing_type") == "Zero" or "leaf_coeff" in node:
            raise NoConversion("categorical splits, zeros as nulls and linear trees have no conversion")
        sides.append((len(nodes), len(nodes) + 1) if "left_child" in node else (0, 0))
        nodes += [node[side] for side in ("left_child", "right_child") if side in node]
    left, right = np.array(sides).T
    leaf = left == 0
    limit = np.array([node.get("threshold", 0.0) for node in nodes])
    # Where training met no null, it is taken for a zero.
    default = [node.get("default_left", False) for node in nodes]
    null = np.where([node.get("missing_type") == "NaN" for node in nodes], default, limit >= 0)
    feature = np.array([node.get("split_feature", 0) for node in nodes])
    values = np.array([[node.get("leaf_value", 0.0)] for node in nodes])
    return Tree(leaf, feature, limit, left, right, null, values, (target,))


def _xgboost() -> None:
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost as convert
    from skl2onnx import update_registered_converter as register
    from skl2onnx.common import shape_calculator as shapes
    from xgboost import XGBClassifier, XGBRegressor

    options = {"zipmap": [True, False], "nocl": [True, False]}
    classes, number = shapes.calculate_linear_classifier_output_shapes, shapes.calculate_linear_regressor_output_shapes
    register(XGBClassifier, "XGBoostXGBClassifier", classes, convert, options=options)
    register(XGBRegressor, "XGBoostXGBRegressor", number, convert)
