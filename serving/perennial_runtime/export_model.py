"""What a model.onnx of the contract is made of: its features, its operator sets, its one output, and the same bytes each time.

`export` is the door to it for trainers, and `export_convert` turns scikit-learn's pipelines into it. It needs neither
scikit-learn nor skl2onnx.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from perennial_runtime.contract import PREDICTION_OUTPUT, PROBABILITIES_OUTPUT, SCORE_OUTPUT

OPSETS = {"": 17, "ai.onnx.ml": 3}
MODEL_GRAPH = "perennial"
"""Name of the graph: skl2onnx would draw one at random, and the same model would have another digest each time."""
NUMERIC = "numeric"


class ExportError(ValueError):
    """The model can't be written as the contract says; the message tells why."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One input of the model: the column's name, and numeric or categorical."""

    name: str
    kind: str


def canonical(model: onnx.ModelProto) -> bytes:
    """The same bytes for the same model: skl2onnx lists operator sets in the order of a Python set, another in each process."""
    known = sorted(model.opset_import, key=lambda entry: entry.domain)
    del model.opset_import[:]
    model.opset_import.extend(known)
    return bytes(model.SerializeToString(deterministic=True))


def keep_score(model: onnx.ModelProto) -> None:
    """Replace the outputs (label, probabilities [N, 2]) by the probability of class 1."""
    names = [output.name for output in model.graph.output]
    probabilities = names[-1]
    model.graph.initializer.append(helper.make_tensor("score_column", TensorProto.INT64, [], [1]))
    model.graph.node.append(helper.make_node("Gather", [probabilities, "score_column"], [SCORE_OUTPUT], axis=1))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(SCORE_OUTPUT, TensorProto.FLOAT, [None]))


def keep_prediction(model: onnx.ModelProto) -> None:
    """Replace the one output [N, 1] by the contract's, [N]."""
    (found,) = [output.name for output in model.graph.output]
    model.graph.initializer.append(helper.make_tensor("prediction_shape", TensorProto.INT64, [1], [-1]))
    model.graph.node.append(helper.make_node("Reshape", [found, "prediction_shape"], [PREDICTION_OUTPUT]))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(PREDICTION_OUTPUT, TensorProto.FLOAT, [None]))


def keep_probabilities(model: onnx.ModelProto) -> None:
    """Keep the probabilities of all classes, [N, K], of the outputs (label, probabilities)."""
    found = model.graph.output[-1]
    if found.name != PROBABILITIES_OUTPUT:
        model.graph.node.append(helper.make_node("Identity", [found.name], [PROBABILITIES_OUTPUT]))
    width = [None, found.type.tensor_type.shape.dim[1].dim_value or None]
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(PROBABILITIES_OUTPUT, TensorProto.FLOAT, width))
