# mypy: disable-error-code="import-untyped, import-not-found"
"""Trees as a graph, with their splits and sums in double precision as scikit-learn has them.

The converter's own are in float32: a split is rounded to the wrong side of a value, a sum of trees loses its last
digits, a null takes the wrong branch, and categorical splits or a logarithmic link are not noticed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

LINKS = ("IdentityLink", "LogLink", "LogitLink", "MultinomialLogit")


class NoConversion(Exception):
    """What has no graph that answers alike: the estimator itself is kept."""


@dataclass(frozen=True)
class Tree:
    """Arrays over the nodes; `values` has a column for each of `targets`."""

    leaf: npt.NDArray[np.bool_]
    feature: Any
    limit: Any
    left: Any
    right: Any
    null_goes_left: Any
    values: npt.NDArray[np.float64]
    targets: tuple[int, ...]


def converters(wide: bool) -> dict[str, dict[type, Any]]:
    """The arguments of skl2onnx that put these conversions in the place of its own."""
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes as classes
    from skl2onnx.common.shape_calculator import calculate_linear_regressor_output_shapes as number
    from skl2onnx.shape_calculators.imputer import calculate_sklearn_imputer_output_shapes as same
    from sklearn import ensemble, tree
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import OneHotEncoder

    boosted = (ensemble.HistGradientBoostingClassifier, ensemble.HistGradientBoostingRegressor)
    grown = (
        *(ensemble.RandomForestClassifier, ensemble.RandomForestRegressor),
        *(ensemble.ExtraTreesClassifier, ensemble.ExtraTreesRegressor),
        *(tree.DecisionTreeClassifier, tree.DecisionTreeRegressor, tree.ExtraTreeClassifier, tree.ExtraTreeRegressor),
    )
    functions = dict.fromkeys(boosted, _boosting) | dict.fromkeys(grown, _forest)
    shapes = {each: classes if each.__name__.endswith("Classifier") else number for each in functions}
    # The runtime's own know no double precision, or no null among the codes.
    if wide:
        shapes |= {SimpleImputer: same, OneHotEncoder: _hot_width}
        functions |= {SimpleImputer: _imputer, OneHotEncoder: _hot}
    return {"custom_shape_calculators": shapes, "custom_conversion_functions": functions}


class Writer:
    """Adds the nodes that stand for one operator of the pipeline."""

    def __init__(self, scope: Any, operator: Any, container: Any) -> None:
        from onnx import TensorProto
        from skl2onnx.common.data_types import DoubleTensorType

        self.scope, self.container = scope, container
        self.given = operator.inputs[0].full_name
        self.made = [each.full_name for each in operator.outputs]
        self.single, self.double = TensorProto.FLOAT, TensorProto.DOUBLE
        self.kind = self.double if isinstance(operator.inputs[0].type, DoubleTensorType) else self.single

    def node(self, kind: str, given: list[str], made: str = "", version: int = 13, **attributes: Any) -> str:
        """Add one; returns the name of what it makes."""
        name: str = made or self.scope.get_unique_variable_name(kind.lower())
        own = self.scope.get_unique_operator_name(kind)
        self.container.add_node(kind, given, [name], name=own, op_version=version, **attributes)
        return name

    def cast(self, given: str, to: int, made: str = "") -> str:
        """The same in another precision."""
        return self.node("Cast", [given], made, to=to)

    def vector(self, values: Any) -> str:
        """A constant."""
        from onnx import helper

        name: str = self.scope.get_unique_variable_name("constant")
        self.container.add_initializer(
            name, helper.np_dtype_to_tensor_dtype(values.dtype), [len(values)], values.tolist()
        )
        return name

    def sums(self, given: str, trees: list[Tree], base: list[float]) -> str:
        """What the trees add up to for each target, in double precision."""
        fields = {"op_domain": "ai.onnx.ml"} | _attributes(trees, base)
        return self.cast(self.node("TreeEnsembleRegressor", [given], version=3, **fields), self.double)

    def target(self, given: str) -> None:
        """The numbers, or the probabilities and the classes they speak for."""
        if len(self.made) == 2:
            self.node("ArgMax", [given], self.made[0], axis=1, keepdims=0)
        self.cast(given, self.kind, self.made[-1])


def _boosting(scope: Any, operator: Any, container: Any) -> None:
    model, write = operator.raw_operator, Writer(scope, operator, container)
    plain(model)
    link = type(model._loss.link).__name__
    if link not in LINKS:
        raise NoConversion(f"the link {link} has no conversion")
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
        for several in model._predictors
        for target, nodes in enumerate(each.nodes for each in several)
    ]
    if any(tree.nodes["is_categorical"].any() for several in model._predictors for tree in several):
        raise NoConversion("categorical_features have no conversion: leave codes as numbers")
    raw = write.sums(write.cast(write.given, write.double), trees, model._baseline_prediction.ravel().tolist())
    if link == "LogLink":
        raw = write.node("Exp", [raw])
    elif link == "LogitLink":
        raw = write.node("Sigmoid", [write.node("Mul", [raw, write.vector(np.array([-1.0, 1.0]))], version=14)])
    elif link == "MultinomialLogit":
        raw = write.node("Softmax", [raw], axis=1)
    write.target(raw)


def _forest(scope: Any, operator: Any, container: Any) -> None:
    model, write = operator.raw_operator, Writer(scope, operator, container)
    plain(model)
    if model.n_outputs_ != 1:
        raise NoConversion("several labels at once have no conversion")
    grown = [each.tree_ for each in getattr(model, "estimators_", [model])]
    trees = []
    for each in grown:
        values = each.value[:, 0, :]
        values = values / values.sum(axis=1, keepdims=True) if len(write.made) == 2 else values
        left, right, targets = each.children_left, each.children_right, tuple(range(values.shape[1]))
        side = each.missing_go_to_left
        trees.append(Tree(left < 0, each.feature, each.threshold, left, right, side, values / len(grown), targets))
    # Trees read float32, whatever they are given.
    narrow = write.cast(write.given, write.single)
    write.target(write.sums(write.cast(narrow, write.double), trees, [0.0] * trees[0].values.shape[1]))


def plain(model: Any) -> None:
    """Refuse classes that are not codes."""
    if hasattr(model, "classes_") and list(model.classes_) != list(range(len(model.classes_))):
        raise NoConversion("the classes are not 0, 1, …")


def _attributes(trees: list[Tree], base: list[float]) -> dict[str, Any]:
    from onnx.numpy_helper import from_array

    sizes = [len(each.leaf) for each in trees]
    ids, places = np.repeat(np.arange(len(trees)), sizes), np.concatenate([np.arange(size) for size in sizes])
    leaf = np.concatenate([each.leaf for each in trees])

    def whole(values: Any) -> list[int]:
        listed: list[int] = np.asarray(values).astype(np.int64).tolist()
        return listed

    def joined(name: str) -> Any:
        return np.where(leaf, 0, np.concatenate([getattr(each, name) for each in trees]))

    def double(values: Any) -> Any:
        return from_array(np.ascontiguousarray(values, dtype=np.float64))

    def leaves() -> Iterator[tuple[int, int, int, float]]:
        for at, tree in enumerate(trees):
            for node in np.flatnonzero(tree.leaf).tolist():
                yield from ((at, node, target, tree.values[node, column]) for column, target in enumerate(tree.targets))

    tree_ids, node_ids, target_ids, weights = zip(*leaves(), strict=True)
    return {
        "n_targets": len(base),
        "post_transform": "NONE",
        "base_values_as_tensor": double(base),
        "nodes_treeids": whole(ids),
        "nodes_nodeids": whole(places),
        "nodes_featureids": whole(joined("feature")),
        "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        "nodes_values_as_tensor": double(joined("limit")),
        "nodes_truenodeids": whole(joined("left")),
        "nodes_falsenodeids": whole(joined("right")),
        "nodes_missing_value_tracks_true": whole(joined("null_goes_left")),
        "target_treeids": whole(tree_ids),
        "target_nodeids": whole(node_ids),
        "target_ids": whole(target_ids),
        "target_weights_as_tensor": double(weights),
    }


def _imputer(scope: Any, operator: Any, container: Any) -> None:
    model, write = operator.raw_operator, Writer(scope, operator, container)
    known = np.asarray(model.statistics_, dtype=np.float64)
    if model.add_indicator or not np.isnan(model.missing_values) or np.isnan(known).any():
        raise NoConversion("SimpleImputer converts without an indicator, for NaN, where no column is empty")
    null = write.node("IsNaN", [write.given], version=20)
    write.node("Where", [null, write.vector(known), write.given], write.made[0], version=16)


def _hot_width(operator: Any) -> None:
    from skl2onnx.common.data_types import DoubleTensorType

    width = sum(map(len, operator.raw_operator.categories_))
    operator.outputs[0].type = DoubleTensorType([None, width])


def _hot(scope: Any, operator: Any, container: Any) -> None:
    model, write = operator.raw_operator, Writer(scope, operator, container)
    if model.drop is not None or getattr(model, "infrequent_categories_", None) is not None:
        raise NoConversion("OneHotEncoder converts without drop and without infrequent levels")
    levels = np.concatenate([np.asarray(each, dtype=np.float64) for each in model.categories_])
    places = np.repeat(np.arange(len(model.categories_)), [len(each) for each in model.categories_])
    each = write.node("Gather", [write.given, write.vector(places.astype(np.int64))], axis=1)
    known = write.node("Equal", [each, write.vector(levels)])
    if np.isnan(levels).any():
        null = write.node("And", [write.node("IsNaN", [each]), write.vector(np.isnan(levels))], version=7)
        known = write.node("Or", [known, null], version=7)
    write.cast(known, write.kind, write.made[0])
