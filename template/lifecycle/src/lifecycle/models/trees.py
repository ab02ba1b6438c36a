# mypy: disable-error-code="import-untyped, import-not-found"
"""Convert trees, imputers and one-hot encoders to ONNX with splits and sums in double precision.

The converters of skl2onnx and onnxmltools compute in float32, which sends values to the wrong side of a split and loses
digits of sums; nulls take the wrong branch, and categorical splits or a logarithmic link are ignored without a warning.
"""

import importlib.util
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

# The ONNX operator of each link function of scikit-learn's boosting, and of each objective of LightGBM.
LINKS = {"IdentityLink": "", "LogLink": "Exp", "LogitLink": "Sigmoid", "MultinomialLogit": "Softmax"}
LINKS |= {"binary": "Sigmoid", "multiclass": "Softmax"} | dict.fromkeys(("poisson", "gamma", "tweedie"), "Exp")
LINKS |= dict.fromkeys(("regression", "regression_l1", "huber", "fair", "quantile", "mape"), "")


class NoConversion(Exception):
    """An estimator without an equivalent graph: the bundle keeps the estimator itself."""


# Arrays over the nodes of a tree: whether it is a leaf, feature, limit, left and right node, whether a null goes left,
# and the values, shape (nodes, targets); last the number of the first target.
Tree = tuple[Any, Any, Any, Any, Any, Any, Any, int]


def converters(wide: bool) -> dict[str, dict[type, Any]]:
    """Return the arguments of `convert_sklearn` that add the converters of this module; `wide` as in `convert`."""
    from sklearn import ensemble, tree
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import OneHotEncoder

    boosted = (ensemble.HistGradientBoostingClassifier, ensemble.HistGradientBoostingRegressor)
    grown = (
        *(ensemble.RandomForestClassifier, ensemble.RandomForestRegressor),
        *(ensemble.ExtraTreesClassifier, ensemble.ExtraTreesRegressor),
        *(tree.DecisionTreeClassifier, tree.DecisionTreeRegressor, tree.ExtraTreeClassifier, tree.ExtraTreeRegressor),
    )
    functions = dict.fromkeys(boosted, _convert_boosting) | dict.fromkeys(grown, _convert_forest)
    # ONNX's own operators have no double precision, or no null among the categories.
    if wide:
        functions |= {SimpleImputer: _convert_imputer, OneHotEncoder: _convert_one_hot}
    shapes = {OneHotEncoder: _one_hot_width} if wide else {}
    return {"custom_shape_calculators": shapes, "custom_conversion_functions": functions}


def register_boosters() -> None:
    """Register the converters of LightGBM and XGBoost where the team's code imported them."""
    from skl2onnx import update_registered_converter
    from skl2onnx.common import shape_calculator as shapes

    found: dict[type, Any] = {}
    if "lightgbm" in sys.modules:
        from lightgbm import LGBMClassifier, LGBMRegressor

        found |= dict.fromkeys((LGBMClassifier, LGBMRegressor), _convert_lightgbm)
    # Without the extra, XGBoost does not convert, and the report says so.
    if "xgboost" in sys.modules and importlib.util.find_spec("onnxmltools"):
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
        from xgboost import XGBClassifier, XGBRegressor

        found |= dict.fromkeys((XGBClassifier, XGBRegressor), convert_xgboost)
    for each, converter in found.items():
        kind = "classifier" if each.__name__.endswith("Classifier") else "regressor"
        options = {"zipmap": [True, False], "nocl": [True, False]} if kind == "classifier" else None
        shape = getattr(shapes, f"calculate_linear_{kind}_output_shapes")
        update_registered_converter(each, each.__name__, shape, converter, options=options)


class _Writer:
    """Add the ONNX nodes that replace one step of the pipeline."""

    def __init__(self, scope: Any, operator: Any, container: Any) -> None:
        from onnx import TensorProto
        from skl2onnx.common.data_types import DoubleTensorType

        classes = getattr(operator.raw_operator, "classes_", [])
        if list(classes) != list(range(len(classes))):
            raise NoConversion("the classes are not 0, 1, …")
        self.scope, self.container = scope, container
        self.input = operator.inputs[0].full_name
        self.names = [each.full_name for each in operator.outputs]
        self.single, self.double = TensorProto.FLOAT, TensorProto.DOUBLE
        self.precision = self.double if isinstance(operator.inputs[0].type, DoubleTensorType) else self.single

    def node(self, operator: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        name: str = output or self.scope.get_unique_variable_name(operator.lower())
        own = self.scope.get_unique_operator_name(operator)
        self.container.add_node(operator, inputs, [name], name=own, **attributes)
        return name

    def vector(self, values: Any) -> str:
        from onnx.numpy_helper import from_array

        name: str = self.scope.get_unique_variable_name("constant")
        self.container.add_initializer(name, None, None, from_array(values))
        return name

    def sum_of_trees(self, value: str, trees: list[Tree], base: Any) -> str:
        wide = self.node("Cast", [value], to=self.double)
        attributes = {"op_domain": "ai.onnx.ml"} | _attributes(trees, base)
        return self.node("Cast", [self.node("TreeEnsembleRegressor", [wide], **attributes)], to=self.double)

    def outputs(self, value: str, link: str = "") -> None:
        """Make a value, after its link function, the output of the step, with the class where the step returns it."""
        if link == "Sigmoid":
            # The probabilities of both classes.
            value = self.node("Mul", [value, self.vector(np.array([-1.0, 1.0]))])
        value = self.node(link, [value]) if link else value
        if len(self.names) == 2:
            self.node("ArgMax", [value], self.names[0], axis=1, keepdims=0)
        self.node("Cast", [value], self.names[-1], to=self.precision)


def _convert_boosting(scope: Any, operator: Any, container: Any) -> None:
    model, write = operator.raw_operator, _Writer(scope, operator, container)
    link = LINKS[type(model._loss.link).__name__]
    grown = [(target, each.nodes) for iteration in model._predictors for target, each in enumerate(iteration)]
    if any(nodes["is_categorical"].any() for _, nodes in grown):
        raise NoConversion("categorical_features have no conversion: leave codes as numbers")
    trees = []
    for target, nodes in grown:
        left, right, nulls = nodes["left"], nodes["right"], nodes["missing_go_to_left"]
        leaf, feature, limit = nodes["is_leaf"].astype(bool), nodes["feature_idx"], nodes["num_threshold"]
        trees.append((leaf, feature, limit, left, right, nulls, nodes["value"][:, None], target))
    write.outputs(write.sum_of_trees(write.input, trees, model._baseline_prediction.ravel()), link)


def _convert_forest(scope: Any, operator: Any, container: Any) -> None:
    model, write = operator.raw_operator, _Writer(scope, operator, container)
    grown, trees = [each.tree_ for each in getattr(model, "estimators_", [model])], list[Tree]()
    for each in grown:
        values = each.value[:, 0, :]
        values = values / values.sum(axis=1, keepdims=True) if len(write.names) == 2 else values
        left, right, nulls = each.children_left, each.children_right, each.missing_go_to_left
        trees.append((left < 0, each.feature, each.threshold, left, right, nulls, values / len(grown), 0))
    # Trees of scikit-learn round their input to float32.
    narrow = write.node("Cast", [write.input], to=write.single)
    write.outputs(write.sum_of_trees(narrow, trees, np.zeros(values.shape[1])))


def _convert_lightgbm(scope: Any, operator: Any, container: Any) -> None:
    write, dump = _Writer(scope, operator, container), operator.raw_operator.booster_.dump_model()
    objective, targets = dump["objective"].split()[0], dump["num_tree_per_iteration"]
    if objective not in LINKS:
        raise NoConversion(f"{objective} has no conversion")
    trees = [_lightgbm_tree(each["tree_structure"], at % targets) for at, each in enumerate(dump["tree_info"])]
    write.outputs(write.sum_of_trees(write.input, trees, np.zeros(targets)), LINKS[objective])


def _lightgbm_tree(root: dict[str, Any], target: int) -> Tree:
    nodes, sides = [root], []
    for node in nodes:
        if node.get("decision_type", "<=") != "<=" or node.get("missing_type") == "Zero":
            raise NoConversion("categorical splits and zeros as nulls have no conversion")
        sides.append((len(nodes), len(nodes) + 1) if "left_child" in node else (0, 0))
        nodes += [node[side] for side in ("left_child", "right_child") if side in node]
    left, right = np.array(sides).T
    limit = np.array([node.get("threshold", 0.0) for node in nodes])
    # Where training met no null, LightGBM takes a null for a zero.
    default = [node.get("default_left", False) for node in nodes]
    null_goes_left = np.where([node.get("missing_type") == "NaN" for node in nodes], default, limit >= 0)
    feature = np.array([node.get("split_feature", 0) for node in nodes])
    values = np.array([[node.get("leaf_value", 0.0)] for node in nodes])
    return left == 0, feature, limit, left, right, null_goes_left, values, target


def _attributes(trees: list[Tree], base: npt.NDArray[np.float64]) -> dict[str, Any]:
    from onnx.numpy_helper import from_array

    *arrays, targets = zip(*trees, strict=True)
    leaf, *splits, values = map(np.concatenate, arrays)
    feature, limit, left, right, null_goes_left = (np.where(leaf, 0, each) for each in splits)
    sizes, width = [len(each) for each in arrays[0]], values.shape[1]
    tree_ids, node_ids = np.repeat(np.arange(len(trees)), sizes), np.concatenate([*map(np.arange, sizes)])
    # One entry for each leaf and target of its tree; all trees have as many targets.
    integers = {
        "nodes_treeids": tree_ids,
        "nodes_nodeids": node_ids,
        "nodes_featureids": feature,
        "nodes_truenodeids": left,
        "nodes_falsenodeids": right,
        "nodes_missing_value_tracks_true": null_goes_left,
        "target_treeids": np.repeat(tree_ids[leaf], width),
        "target_nodeids": np.repeat(node_ids[leaf], width),
        "target_ids": np.add.outer(np.repeat(targets, sizes)[leaf], np.arange(width)).ravel(),
    }
    doubles = {"base_values_as_tensor": base, "nodes_values_as_tensor": limit}
    doubles["target_weights_as_tensor"] = values[leaf].ravel()
    return {
        "n_targets": len(base),
        "post_transform": "NONE",
        "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        **{name: each.astype(np.int64).tolist() for name, each in integers.items()},
        **{name: from_array(each.astype(np.float64)) for name, each in doubles.items()},
    }


def _convert_imputer(scope: Any, operator: Any, container: Any) -> None:
    model, write = operator.raw_operator, _Writer(scope, operator, container)
    fill = np.asarray(model.statistics_, dtype=np.float64)
    if model.add_indicator or not np.isnan(model.missing_values) or np.isnan(fill).any():
        raise NoConversion("SimpleImputer converts without an indicator, for NaN, where no column is empty")
    null = write.node("IsNaN", [write.input])
    write.node("Where", [null, write.vector(fill), write.input], write.names[0])


def _one_hot_width(operator: Any) -> None:
    from skl2onnx.common.data_types import DoubleTensorType

    operator.outputs[0].type = DoubleTensorType([None, sum(map(len, operator.raw_operator.categories_))])


def _convert_one_hot(scope: Any, operator: Any, container: Any) -> None:
    model, write = operator.raw_operator, _Writer(scope, operator, container)
    if model.drop is not None or getattr(model, "infrequent_categories_", None) is not None:
        raise NoConversion("OneHotEncoder converts without drop and without infrequent levels")
    levels = np.concatenate([np.asarray(each, dtype=np.float64) for each in model.categories_])
    columns = np.repeat(np.arange(len(model.categories_)), [len(each) for each in model.categories_])
    values = write.node("Gather", [write.input, write.vector(columns)], axis=1)
    equal = write.node("Equal", [values, write.vector(levels)])
    if np.isnan(levels).any():
        null = write.node("And", [write.node("IsNaN", [values]), write.vector(np.isnan(levels))])
        equal = write.node("Or", [equal, null])
    write.node("Cast", [equal], write.names[0], to=write.precision)
