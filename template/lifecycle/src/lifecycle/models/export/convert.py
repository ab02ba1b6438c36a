# mypy: disable-error-code="import-untyped, import-not-found"
"""Convert a fitted estimator to an ONNX graph over the matrix, with LightGBM and XGBoost where they are installed."""

import sys
import warnings
from typing import Any

import numpy as np

from lifecycle.models.export import trees
from lifecycle.models.export.trees import NoConversion, Tree, Writer, require_class_codes

OPSETS = {"": 21, "ai.onnx.ml": 3}
# The function that LightGBM applies to a sum of trees, by the name of its objective.
LINKS = {"binary": "Sigmoid", "multiclass": "Softmax"} | dict.fromkeys(("poisson", "gamma", "tweedie"), "Exp")
LINKS |= dict.fromkeys(("regression", "regression_l1", "huber", "fair", "quantile", "mape"), "")


def convert(estimator: Any, width: int, wide: bool = True) -> tuple[bytes, list[str]]:
    """Convert a fitted estimator or transformer to ONNX.

    Args:
        estimator: a fitted scikit-learn, LightGBM or XGBoost object.
        width: how many inputs the matrix has.
        wide: compute in double precision, as scikit-learn does; some operators only exist in float32.

    Returns:
        The serialised graph from a float32 matrix, shape (rows, width), to float64 (probabilities of all classes, the
        predicted value, or the output of a transformer), and the warnings of the converter.
    """
    from onnx import TensorProto, helper
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
    from sklearn.base import is_classifier

    _register_boosters()
    kind = DoubleTensorType if wide else FloatTensorType
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = convert_sklearn(
            estimator,
            initial_types=[("wide" if wide else "rows", kind([None, width]))],
            options={"zipmap": False} if is_classifier(estimator) else None,
            target_opset=OPSETS,
            **trees.converters(wide),
        )
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


def _register_boosters() -> None:
    from skl2onnx import update_registered_converter as register
    from skl2onnx.common import shape_calculator as shapes

    of_classes = shapes.calculate_linear_classifier_output_shapes
    of_value = shapes.calculate_linear_regressor_output_shapes
    options = {"zipmap": [True, False], "nocl": [True, False]}
    # Only a library that the team's code imported can have made the estimator.
    if "lightgbm" in sys.modules:
        from lightgbm import LGBMClassifier, LGBMRegressor

        register(LGBMClassifier, "LifecycleLightGbmClassifier", of_classes, _convert_lightgbm, options=options)
        register(LGBMRegressor, "LifecycleLightGbmRegressor", of_value, _convert_lightgbm)
    if "xgboost" in sys.modules:
        from xgboost import XGBClassifier, XGBRegressor

        try:
            from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
        # Without the extra the estimator does not convert, and the report says so.
        except ImportError:
            return
        register(XGBClassifier, "XGBoostXGBClassifier", of_classes, convert_xgboost, options=options)
        register(XGBRegressor, "XGBoostXGBRegressor", of_value, convert_xgboost)


def _convert_lightgbm(scope: Any, operator: Any, container: Any) -> None:
    # The converter of onnxmltools rounds splits to float32, so that a value can fall on the wrong side.
    model, write = operator.raw_operator, Writer(scope, operator, container)
    require_class_codes(model)
    dump = model.booster_.dump_model()
    objective, *details = dump["objective"].split()
    parameters = dict(detail.split(":") for detail in details if ":" in detail)
    if objective not in LINKS or "sqrt" in details or dump["average_output"]:
        raise NoConversion(f"{dump['objective']} has no conversion")
    targets = dump["num_tree_per_iteration"]
    grown = [_lightgbm_tree(each["tree_structure"], at % targets) for at, each in enumerate(dump["tree_info"])]
    raw = write.sum_of_trees(write.cast(write.input, write.double), grown, [0.0] * targets)
    slope = float(parameters["sigmoid"]) if LINKS[objective] == "Sigmoid" else 1.0
    write.outputs(write.link(LINKS[objective], raw, slope))


def _lightgbm_tree(root: dict[str, Any], target: int) -> Tree:
    nodes, sides = [root], []
    for node in nodes:
        if node.get("decision_type", "<=") != "<=" or node.get("missing_type") == "Zero" or "leaf_coeff" in node:
            raise NoConversion("categorical splits, zeros as nulls and linear trees have no conversion")
        sides.append((len(nodes), len(nodes) + 1) if "left_child" in node else (0, 0))
        nodes += [node[side] for side in ("left_child", "right_child") if side in node]
    left, right = np.array(sides).T
    limit = np.array([node.get("threshold", 0.0) for node in nodes])
    # Where training met no null, LightGBM takes a null for a zero.
    default = [node.get("default_left", False) for node in nodes]
    null_goes_left = np.where([node.get("missing_type") == "NaN" for node in nodes], default, limit >= 0)
    feature = np.array([node.get("split_feature", 0) for node in nodes])
    values = np.array([[node.get("leaf_value", 0.0)] for node in nodes])
    return Tree(left == 0, feature, limit, left, right, null_goes_left, values, (target,))
