"""The part of the graph in front of a PyTorch model: from the contract's inputs, one for each feature, to one matrix of floats.

torch.onnx exports no strings, so what happens to texts and to missing values is put before the exported model here: a number is
standardised, and 0 where it is missing; a text becomes its place in the list of known ones, and 0 where it is missing or unknown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MATRIX = "matrix"


@dataclass(frozen=True, slots=True)
class Number:
    """A numeric feature, with its mean and scale in the training rows."""

    name: str
    mean: float
    scale: float

    def encoded(self, values: Sequence[float | None]) -> np.ndarray:
        """The column as the model gets it."""
        column = np.array(values, dtype=np.float32)
        return np.where(np.isnan(column), 0.0, (column - np.float32(self.mean)) / np.float32(self.scale)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Text:
    """A categorical feature, with the texts of the training rows; the first has the place 1."""

    name: str
    known: tuple[str, ...]

    def encoded(self, values: Sequence[str | None]) -> np.ndarray:
        """The column as the model gets it."""
        places = {word: place for place, word in enumerate(self.known, start=1)}
        return np.array([places.get(value or "", 0) for value in values], dtype=np.float32)


Column = Number | Text


def matrix(columns: Sequence[Column], rows: Mapping[str, Sequence]) -> np.ndarray:
    """[N, features] in the order of `columns`: what the graph below computes, for training."""
    return np.stack([column.encoded(rows[column.name]) for column in columns], axis=1)


def in_front(columns: Sequence[Column], body: onnx.ModelProto) -> onnx.ModelProto:
    """The whole model: `body` takes `matrix` [N, features] and answers `score` [N] or [N, 1]."""
    nodes, constants, inputs = [], [], []
    for column in columns:
        kind = TensorProto.FLOAT if isinstance(column, Number) else TensorProto.STRING
        inputs.append(helper.make_tensor_value_info(column.name, kind, ["N", 1]))
        if isinstance(column, Text):
            nodes.append(_place(column))
            continue
        found, made = _standardised(column)
        nodes += found
        constants += made
    nodes.append(helper.make_node("Concat", [f"{column.name}/ready" for column in columns], [MATRIX], axis=1))
    graph = body.graph
    if [one.name for one in graph.input] != [MATRIX]:
        raise ValueError(f"export the model with input_names=[{MATRIX!r}]")
    whole = helper.make_graph([*nodes, *graph.node], "perennial", inputs, list(graph.output), [*constants, *graph.initializer])
    versions = {one.domain: one.version for one in body.opset_import} | {"ai.onnx.ml": 3}
    opsets = [helper.make_opsetid(domain, version) for domain, version in versions.items()]
    return helper.make_model(whole, opset_imports=opsets, ir_version=body.ir_version, functions=list(body.functions))


def _place(column: Text) -> onnx.NodeProto:
    return helper.make_node(
        "LabelEncoder",
        [column.name],
        [f"{column.name}/ready"],
        domain="ai.onnx.ml",
        keys_strings=list(column.known),
        values_floats=[float(place) for place in range(1, len(column.known) + 1)],
        default_float=0.0,
    )


def _standardised(column: Number) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    def name(part: str) -> str:
        return f"{column.name}/{part}"

    values = {"mean": column.mean, "scale": column.scale, "zero": 0.0}
    constants = [numpy_helper.from_array(np.float32([value]), name(part)) for part, value in values.items()]
    return [
        helper.make_node("IsNaN", [column.name], [name("missing")]),
        helper.make_node("Sub", [column.name, name("mean")], [name("centred")]),
        helper.make_node("Div", [name("centred"), name("scale")], [name("scaled")]),
        helper.make_node("Where", [name("missing"), name("zero"), name("scaled")], [name("ready")]),
    ], constants
