# mypy: disable-error-code="import-untyped, import-not-found"
"""Convert scikit-learn's trees, imputers and one-hot encoders to ONNX with splits and sums in double precision.

The converters of skl2onnx compute in float32: a rounded split sends a value to the wrong side, a sum of trees loses its
last digits, a null takes the wrong branch, and categorical splits or a logarithmic link are ignored without a warning.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

# The ONNX operator of each link function of scikit-learn's histogram gradient boosting.
LINKS = {"IdentityLink": "", "LogLink": "Exp", "LogitLink": "Sigmoid", "MultinomialLogit": "Softmax"}


class NoConversion(Exception):
    """An estimator without an equivalent graph: the bundle keeps the estimator itself."""


@dataclass(frozen=True)
class Tree:
    """Arrays over the nodes of a tree; `values` has shape (nodes, targets)."""

    leaf: npt.NDArray[np.bool_]
    feature: Any
    limit: Any
    left: Any
    right: Any
    null_goes_left: Any
    values: npt.NDArray[np.float64]
    targets: tuple[int, ...]


def converters(wide: bool) -> dict[str, dict[type, Any]]:
    """Return the arguments of `convert_sklearn` that add the converters of this module; `wide` as in `convert`."""
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes as of_classes
    from skl2onnx.common.shape_calculator import calculate_linear_regressor_output_shapes as of_value
    from skl2onnx.shape_calculators.imputer import calculate_sklearn_imputer_output_shapes as of_imputer
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
    shapes = {each: of_classes if each.__name__.endswith("Classifier") else of_value for each in functions}
    # ONNX's own operators have no double precision, or no null among the categories.
    if wide:
        shapes |= {SimpleImputer: of_imputer, OneHotEncoder: _one_hot_width}
        functions |= {SimpleImputer: _convert_imputer, OneHotEncoder: _convert_one_hot}
    return {"custom_shape_calculators": shapes, "custom_conversion_functions": functions}


class Writer:
    """Add the ONNX nodes that replace one step of the pipeline."""

    def __init__(self, scope: Any, operator: Any, container: Any) -> None:
        from onnx import TensorProto
        from skl2onnx.common.data_types import DoubleTensorType

        self.scope, self.container = scope, container
        self.input = operator.inputs[0].full_name
        self.names = [each.full_name for each in operator.outputs]
        self.single, self.double = TensorProto.FLOAT, TensorProto.DOUBLE
        self.precision = self.double if isinstance(operator.inputs[0].type, DoubleTensorType) else self.single

    def node(self, operator: str, inputs: list[str], output: str = "", version: int = 13, **attributes: Any) -> str:
        """Add a node and return the name of its output."""
        name: str = output or self.scope.get_unique_variable_name(operator.lower())
        own = self.scope.get_unique_operator_name(operator)
        self.container.add_node(operator, inputs, [name], name=own, op_version=version, **attributes)
        return name

    def cast(self, value: str, to: int, output: str = "") -> str:
        """Convert a value to another precision."""
        return self.node("Cast", [value], output, to=to)

    def vector(self, values: Any) -> str:
        """Add a constant."""
        from onnx import helper

        name: str = self.scope.get_unique_variable_name("constant")
        kind = helper.np_dtype_to_tensor_dtype(values.dtype)
        self.container.add_initializer(name, kind, [len(values)], values.tolist())
        return name

    def sum_of_trees(self, value: str, trees: list[Tree], base: list[float]) -> str:
        """Add up the trees of each target, in double precision."""
        fields = {"op_domain": "ai.onnx.ml"} | _attributes(trees, base)
        return self.cast(self.node("TreeEnsembleRegressor", [value], version=3, **fields), self.double)

    def link(self, operator: str, raw: str, slope: float = 1.0) -> str:
        """Apply a link function: "Sigmoid" (which makes both probabilities), "Softmax", "Exp", or "" for none."""
        if operator == "Sigmoid":
            raw = self.node("Mul", [raw, self.vector(np.array([-slope, slope]))], version=14)
        fields: dict[str, Any] = {"axis": 1} if operator == "Softmax" else {}
        return self.node(operator, [raw], **fields) if operator else raw

    def outputs(self, value: str) -> None:
        """Make a value the output of the step, with the predicted class where the step has that output."""
        if len(self.names) == 2:
            self.node("ArgMax", [value], self.names[0], axis=1, keepdims=0)
        self.cast(value, self.precision, self.names[-1])


def _convert_boosting(scope: Any, operator: Any, container: Any) -> None:
    model, write = operator.raw_operator, Writer(scope, operator, container)
    require_class_codes(model)
    link = type(model._loss.link).__name__
    if link not in LINKS:
        raise NoConversion(f"the link {link} has no conversion")
    if any(tree.nodes["is_categorical"].any() for iteration in model._predictors for tree in iteration):
        raise NoConversion("categorical_features have no conversion: leave codes as numbers")
    trees = [
        Tree(
            nodes["is_leaf"].astype(bool),
            nodes["feature_idx"],
            nodes["num_threshold"],
            nodes["left"],
            nodes["right"],
            nodes["missing_go_to_left"],
            nodes["value"][:, None],
            (target,),
        )
        for iteration in model._predictors
        for target, nodes in enumerate(each.nodes for each in iteration)
    ]
    raw = write.sum_of_trees(write.cast(write.input, write.double), trees, model._baseline_prediction.ravel().tolist())
    write.outputs(write.link(LINKS[link], raw))


def _convert_forest(scope: Any, operator: Any, container: Any) -> None:
    model, write = operator.raw_operator, Writer(scope, operator, container)
    require_class_codes(model)
    if model.n_outputs_ != 1:
        raise NoConversion("several labels at once have no conversion")
    grown = [each.tree_ for each in getattr(model, "estimators_", [model])]
    trees = []
    for each in grown:
        values = each.value[:, 0, :]
        values = values / values.sum(axis=1, keepdims=True) if len(write.names) == 2 else values
        left, right, targets = each.children_left, each.children_right, tuple(range(values.shape[1]))
        nulls = each.missing_go_to_left
        trees.append(Tree(left < 0, each.feature, each.threshold, left, right, nulls, values / len(grown), targets))
    # Trees of scikit-learn round their input to float32.
    narrow = write.cast(write.input, write.single)
    write.outputs(write.sum_of_trees(write.cast(narrow, write.double), trees, [0.0] * trees[0].values.shape[1]))


def require_class_codes(model: Any) -> None:
    """Raise NoConversion for a classifier whose classes are not the codes from 0 on."""
    if hasattr(model, "classes_") and list(model.classes_) != list(range(len(model.classes_))):
        raise NoConversion("the classes are not 0, 1, …")


def _attributes(trees: list[Tree], base: list[float]) -> dict[str, Any]:
    from onnx.numpy_helper import from_array

    leaf = np.concatenate([tree.leaf for tree in trees])
    tree_ids = np.repeat(np.arange(len(trees)), [len(tree.leaf) for tree in trees])
    node_ids = np.concatenate([np.arange(len(tree.leaf)) for tree in trees])
    # One entry for each leaf and target of its tree.
    copies = np.repeat([len(tree.targets) for tree in trees], [tree.leaf.sum() for tree in trees])
    targets = np.concatenate([np.tile(tree.targets, tree.leaf.sum()) for tree in trees])
    weights = np.concatenate([tree.values[tree.leaf].ravel() for tree in trees])

    def integers(values: Any) -> list[int]:
        listed: list[int] = np.asarray(values).astype(np.int64).tolist()
        return listed

    def of_splits(name: str) -> Any:
        return np.where(leaf, 0, np.concatenate([getattr(tree, name) for tree in trees]))

    def doubles(values: Any) -> Any:
        return from_array(np.ascontiguousarray(values, dtype=np.float64))

    return {
        "n_targets": len(base),
        "post_transform": "NONE",
        "base_values_as_tensor": doubles(base),
        "nodes_treeids": integers(tree_ids),
        "nodes_nodeids": integers(node_ids),
        "nodes_featureids": integers(of_splits("feature")),
        "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        "nodes_values_as_tensor": doubles(of_splits("limit")),
        "nodes_truenodeids": integers(of_splits("left")),
        "nodes_falsenodeids": integers(of_splits("right")),
        "nodes_missing_value_tracks_true": integers(of_splits("null_goes_left")),
        "target_treeids": integers(np.repeat(tree_ids[leaf], copies)),
        "target_nodeids": integers(np.repeat(node_ids[leaf], copies)),
        "target_ids": integers(targets),
        "target_weights_as_tensor": doubles(weights),
    }


def _convert_imputer(scope: Any, operator: Any, container: Any) -> None:
    model, write = operator.raw_operator, Writer(scope, operator, container)
    fill = np.asarray(model.statistics_, dtype=np.float64)
    if model.add_indicator or not np.isnan(model.missing_values) or np.isnan(fill).any():
        raise NoConversion("SimpleImputer converts without an indicator, for NaN, where no column is empty")
    null = write.node("IsNaN", [write.input], version=20)
    write.node("Where", [null, write.vector(fill), write.input], write.names[0], version=16)


def _one_hot_width(operator: Any) -> None:
    from skl2onnx.common.data_types import DoubleTensorType

    width = sum(map(len, operator.raw_operator.categories_))
    operator.outputs[0].type = DoubleTensorType([None, width])


def _convert_one_hot(scope: Any, operator: Any, container: Any) -> None:
    model, write = operator.raw_operator, Writer(scope, operator, container)
    if model.drop is not None or getattr(model, "infrequent_categories_", None) is not None:
        raise NoConversion("OneHotEncoder converts without drop and without infrequent levels")
    levels = np.concatenate([np.asarray(each, dtype=np.float64) for each in model.categories_])
    columns = np.repeat(np.arange(len(model.categories_)), [len(each) for each in model.categories_])
    values = write.node("Gather", [write.input, write.vector(columns.astype(np.int64))], axis=1)
    equal = write.node("Equal", [values, write.vector(levels)])
    if np.isnan(levels).any():
        null = write.node("And", [write.node("IsNaN", [values]), write.vector(np.isnan(levels))], version=7)
        equal = write.node("Or", [equal, null], version=7)
    write.cast(equal, write.precision, write.names[0])
