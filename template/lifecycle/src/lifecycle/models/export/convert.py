# mypy: disable-error-code="import-untyped, import-not-found"
"""From a fitted estimator to an ONNX graph over the matrix; whether it answers alike is for `export` to prove."""

import warnings
from typing import Any

from lifecycle.models.export import boosters, trees

OPSETS = {"": 21, "ai.onnx.ml": 3}


def convert(estimator: Any, width: int, wide: bool = True) -> tuple[bytes, list[str]]:
    """A graph from the matrix to what the estimator answers, and what the converter warned of.

    The answer is the probabilities of all classes, the number, or what a transformer makes. `wide` computes in double
    precision, as scikit-learn does; not every operator can. Raises whatever the converter does.
    """
    from onnx import TensorProto, helper
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType
    from sklearn.base import is_classifier

    boosters.register()
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
    # The label comes first where there are probabilities.
    del graph.output[:-1]
    # Some operators answer in float32 whatever they are given: what the runtime finds out by itself is not declared.
    del graph.value_info[:]
    graph.node.append(helper.make_node("Cast", [graph.output[0].name], ["answers"], to=TensorProto.DOUBLE))
    shape = [each.dim_value or None for each in graph.output[0].type.tensor_type.shape.dim]
    graph.output[0].CopyFrom(helper.make_tensor_value_info("answers", TensorProto.DOUBLE, shape or None))
    return model.SerializeToString(), sorted({f"{each.category.__name__}: {each.message}" for each in caught})
