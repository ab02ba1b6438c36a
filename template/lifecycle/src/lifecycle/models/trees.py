"""Convert trees, imputers and one-hot encoders to ONNX with splits and sums in double precision.

The converters of skl2onnx compute in float32, which sends values to the wrong side of a split and loses
digits of sums; nulls take the wrong branch, and categorical splits or a logarithmic link are ignored without a warning.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto
from onnx.numpy_helper import from_array
from skl2onnx._supported_operators import sklearn_operator_name_map
from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType
from sklearn import ensemble, tree
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder

# The ONNX operator of each link function of scikit-learn's boosting.
LINKS = {"IdentityLink": "", "LogLink": "Exp", "LogitLink": "Sigmoid", "MultinomialLogit": "Softmax"}
LINKS |= {"HalfLogitLink": "Sigmoid"}


class NoConversion(Exception):
    """An estimator without an equivalent graph: the bundle keeps the estimator itself."""


# Arrays over the nodes of a tree: whether it is a leaf, feature, limit, left and right node, whether a null goes left,
# and the values, shape (nodes, targets); last the number of the first target.
Tree = tuple[Any, Any, Any, Any, Any, Any, Any, int]


def set_width(operator: Any) -> None:
    """Set the shape of the output of a transformer whose converter has another shape than that of skl2onnx."""
    operator.outputs[0].type = type(operator.inputs[0].type)([None, len(operator.raw_operator.get_feature_names_out())])


class Writer:
    """Add the ONNX nodes that replace one step of the pipeline."""

    def __init__(self, scope: Any, operator: Any, container: Any) -> None:
        classes = getattr(operator.raw_operator, "classes_", [])
        if list(classes) != list(range(len(classes))):
            raise NoConversion("the classes are not 0, 1, …")
        self.scope, self.container, self.inputs = scope, container, operator.inputs
        self.input = operator.inputs[0].full_name
        # The option of skl2onnx of this name is also set where probabilities are read.
        self.is_raw = id(operator.raw_operator) in getattr(scope, "raw_models", ())
        self.names = [each.full_name for each in operator.outputs]
        self.single, self.double = TensorProto.FLOAT, TensorProto.DOUBLE
        self.precision = self.double if isinstance(operator.inputs[0].type, DoubleTensorType) else self.single

    def node(self, operator: str, inputs: list[str], output: str = "", **attributes: Any) -> str:
        """Add a node of one output, and return the name of that."""
        name: str = output or self.scope.get_unique_variable_name(operator.lower())
        own = self.scope.get_unique_operator_name(operator)
        self.container.add_node(operator, inputs, [name], name=own, **attributes)
        return name

    def vector(self, values: Any) -> str:
        """Add a constant, and return its name."""
        name: str = self.scope.get_unique_variable_name("constant")
        self.container.add_initializer(name, None, None, from_array(values))
        return name

    def scores(self, model: Any, is_raw: bool) -> str:
        """Add the steps of a classifier, and return its probabilities, or what its decision function returns."""
        if is_raw:
            last = model[-1] if hasattr(model, "steps") else model
            self.container.add_options(id(last), {"raw_scores": True})
            self.scope.add_options(id(last), {"raw_scores": True})
            self.scope.raw_models = {id(last), *getattr(self.scope, "raw_models", ())}
        step = self.scope.declare_local_operator(sklearn_operator_name_map[type(model)], model)
        step.inputs = self.inputs
        step.outputs.append(self.scope.declare_local_variable("label", Int64TensorType()))
        step.outputs.append(self.scope.declare_local_variable("scores", type(self.inputs[0].type)()))
        return str(step.outputs[1].full_name)

    def sum_of_trees(self, value: str, trees: list[Tree], base: Any, dtype: Any = np.float64) -> str:
        """Add trees that read a matrix, and return their sum with `base`, shape (targets,), computed in `dtype`.

        In float32 the sum is that of XGBoost to the last bit: `base` first, as trees of one leaf, then each tree.
        """
        if dtype is np.float32:
            at, limit = np.zeros(1, dtype=int), np.zeros(1)
            leaves = [(at == 0, at, limit, at, at, at, each.reshape(1, 1), target) for target, each in enumerate(base)]
            trees, base = [*leaves, *trees], np.zeros(len(base))
        matrix = self.node("Cast", [value], to=self.double if dtype is np.float64 else self.single)
        attributes = {"op_domain": "ai.onnx.ml"} | _attributes(trees, base, dtype)
        return self.node("Cast", [self.node("TreeEnsembleRegressor", [matrix], **attributes)], to=self.double)

    def rounding_trees(self, trees: list[Tree], base: Any, link: str = "") -> None:
        """Make the sum of trees of scikit-learn, which round their input to float32, the output of the step."""
        self.outputs(self.sum_of_trees(self.node("Cast", [self.input], to=self.single), trees, base), link)

    def outputs(self, value: str, link: str = "") -> None:
        """Make a value, after its link function, the output of the step, with the class where the step returns it."""
        if link == "Sigmoid":
            # The probabilities of both classes.
            value = self.node("Mul", [value, self.vector(np.array([-1.0, 1.0]))])
        if link and not self.is_raw:
            value = self.node(link, [value])
        if len(self.names) == 2:
            self.node("ArgMax", [value], self.names[0], axis=1, keepdims=0)
        self.node("Cast", [value], self.names[-1], to=self.precision)


def converter(convert: Callable[[Any, Writer], None]) -> Callable[[Any, Any, Any], None]:
    """Return a conversion function of skl2onnx that calls `convert` with the estimator and a writer."""
    return lambda scope, operator, container: convert(operator.raw_operator, Writer(scope, operator, container))


def _convert_boosting(model: Any, write: Writer) -> None:
    if model.init not in (None, "zero"):
        raise NoConversion("init is an estimator")
    link = type(model._loss.link).__name__
    # The probability is that of twice the output; a decision function returns the output itself.
    factor = 2.0 if link == "HalfLogitLink" and not write.is_raw else 1.0
    base = factor * model._raw_predict_init(np.zeros((1, model.n_features_in_))).ravel()
    grown = [(target, each.tree_) for row in model.estimators_ for target, each in enumerate(row)]
    rate = factor * model.learning_rate
    write.rounding_trees([_grown(each, rate * each.value[:, 0], target) for target, each in grown], base, LINKS[link])


def _convert_binned_boosting(model: Any, write: Writer) -> None:
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


def _convert_forest(model: Any, write: Writer) -> None:
    grown, trees = [each.tree_ for each in getattr(model, "estimators_", [model])], list[Tree]()
    for each in grown:
        values = each.value[:, 0, :]
        values = values / values.sum(axis=1, keepdims=True) if len(write.names) == 2 else values
        trees.append(_grown(each, values / len(grown)))
    write.rounding_trees(trees, np.zeros(values.shape[1]))


def _grown(tree: Any, values: Any, target: int = 0) -> Tree:
    left, right, nulls = tree.children_left, tree.children_right, tree.missing_go_to_left
    return left < 0, tree.feature, tree.threshold, left, right, nulls, values, target


def _attributes(trees: list[Tree], base: npt.NDArray[Any], dtype: Any) -> dict[str, Any]:
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
    floats = {"base_values_as_tensor": base, "nodes_values_as_tensor": limit}
    floats["target_weights_as_tensor"] = values[leaf].ravel()
    return {
        "n_targets": len(base),
        "post_transform": "NONE",
        "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        **{name: each.astype(np.int64).tolist() for name, each in integers.items()},
        **{name: from_array(each.astype(dtype)) for name, each in floats.items()},
    }


def _convert_imputer(model: Any, write: Writer) -> None:
    fill = np.asarray(model.statistics_, dtype=np.float64)
    if not np.isnan(model.missing_values) or np.isnan(fill).any():
        raise NoConversion("SimpleImputer converts for NaN, where no column is empty")
    null = write.node("IsNaN", [write.input])
    parts = [write.node("Where", [null, write.vector(fill), write.node("Cast", [write.input], to=write.double)])]
    if model.add_indicator:
        flags = write.node("Gather", [null, write.vector(model.indicator_.features_.astype(np.int64))], axis=1)
        parts.append(write.node("Cast", [flags], to=write.double))
    write.node("Cast", [write.node("Concat", parts, axis=1)], write.names[0], to=write.precision)


def _convert_one_hot(model: Any, write: Writer) -> None:
    if model.drop is not None or getattr(model, "infrequent_categories_", None) is not None:
        raise NoConversion("OneHotEncoder converts without drop and without infrequent levels")
    levels = np.concatenate([np.asarray(each, dtype=np.float64) for each in model.categories_])
    columns = np.repeat(np.arange(len(model.categories_)), [len(each) for each in model.categories_])
    values = write.node("Gather", [write.input, write.vector(columns)], axis=1)
    equal = write.node("Equal", [write.node("Cast", [values], to=write.double), write.vector(levels)])
    if np.isnan(levels).any():
        null = write.node("And", [write.node("IsNaN", [values]), write.vector(np.isnan(levels))])
        equal = write.node("Or", [equal, null])
    write.node("Cast", [equal], write.names[0], to=write.precision)


_BOOSTED = (ensemble.GradientBoostingClassifier, ensemble.GradientBoostingRegressor)
_BINNED = (ensemble.HistGradientBoostingClassifier, ensemble.HistGradientBoostingRegressor)
_GROWN = (
    *(ensemble.RandomForestClassifier, ensemble.RandomForestRegressor),
    *(ensemble.ExtraTreesClassifier, ensemble.ExtraTreesRegressor),
    *(tree.DecisionTreeClassifier, tree.DecisionTreeRegressor, tree.ExtraTreeClassifier, tree.ExtraTreeRegressor),
)
# ONNX's own operators of the first two have no double precision, or no null among the categories.
CONVERTERS = {SimpleImputer: converter(_convert_imputer), OneHotEncoder: converter(_convert_one_hot)}
SHAPES = dict.fromkeys(CONVERTERS, set_width)
CONVERTERS |= dict.fromkeys(_BOOSTED, converter(_convert_boosting))
CONVERTERS |= dict.fromkeys(_BINNED, converter(_convert_binned_boosting))
CONVERTERS |= dict.fromkeys(_GROWN, converter(_convert_forest))
