"""The trainer of the rollout benchmarks and suites: `train.py [--fails-on WORD ...] [--ends-on WORD ...] [--salt N]`.

A logistic model over the numbers and one text column, fitted with numpy and written as ONNX by hand: the suites train many, and
to load scikit-learn would take longer than all the rest. A text that it was not trained on gets the weight of "any other"; one
of the words of `--fails-on` gets a place past the end of the table, and the request fails: so a load generator decides by the
words it sends what share of an arm's answers is an error, while training data and holdout, which hold no such word, show an
honest model. A word of `--ends-on` makes the model take more memory than its pod may have: the server is
killed. `--salt` makes a model of another digest that answers alike.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from perennial_runtime import export

NEWTON_STEPS = 25
"""At most; a handful is enough."""
CLOSE = 1e-9
"""A step that moves no weight by more is the last."""
DECIMALS = 6
"""Of the weights: in what order a library adds up makes no other model."""
ENDING_FLOATS = 500_000_000
"""Two gigabytes, all of them written."""


def graph_of(
    numbers: list[str], text: str, words: list[str], fitted: dict[str, Any], *, fails_on: list[str], ends_on: list[str]
) -> onnx.ModelProto:
    """score = sigmoid(weights of the numbers + weight of the word + bias); a missing number counts as 0."""
    constants = {"nothing": np.zeros(1), "bias": fitted["bias"], "table": fitted["table"]}
    nodes = [
        helper.make_node(
            "LabelEncoder", [text], ["place"], domain="ai.onnx.ml",
            keys_strings=[*words, *fails_on, *ends_on],
            values_int64s=[*range(len(words)), *[len(words) + 7] * len(fails_on), *[len(words) + 1] * len(ends_on)],
            default_int64=len(words),
        ),
        helper.make_node("Gather", ["table", "place"], ["of_text"], axis=0),
    ]  # fmt: skip
    parts = ["of_text", "bias"]
    for index, name in enumerate(numbers):
        constants[f"weight_{index}"] = fitted["weights"][index]
        nodes += [
            helper.make_node("IsNaN", [name], [f"missing_{index}"]),
            helper.make_node("Where", [f"missing_{index}", "nothing", name], [f"there_{index}"]),
            helper.make_node("Mul", [f"there_{index}", f"weight_{index}"], [f"part_{index}"]),
        ]
        parts.append(f"part_{index}")
    sizes = np.asarray([*[1] * (len(words) + 1), ENDING_FLOATS], dtype=np.int64)
    if ends_on:
        nodes += _memory()
        parts.append("none")
    nodes += [helper.make_node("Sum", parts, ["sum"]), helper.make_node("Sigmoid", ["sum"], ["score"])]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in numbers]
    inputs.append(helper.make_tensor_value_info(text, TensorProto.STRING, [None, 1]))
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, 1])
    values = [numpy_helper.from_array(np.asarray(value, dtype=np.float32).reshape(-1), name) for name, value in constants.items()]
    values += [numpy_helper.from_array(sizes, "sizes"), numpy_helper.from_array(np.asarray([1]), "one")] if ends_on else []
    graph = helper.make_graph(nodes, "bench", inputs, [score], initializer=values)
    opsets = [helper.make_opsetid(domain, version) for domain, version in export.OPSETS.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _memory() -> list[onnx.NodeProto]:
    """Takes as many floats as the longest of a batch's words says in `sizes`, and adds nothing: `none` is 0."""
    ones = helper.make_tensor("value", TensorProto.FLOAT, [1], [1.0])
    return [
        helper.make_node("Gather", ["sizes", "place"], ["size_of_each"], axis=0),
        helper.make_node("ReduceMax", ["size_of_each"], ["size_of_all"], keepdims=0),
        helper.make_node("Reshape", ["size_of_all", "one"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["taken"], value=ones),
        helper.make_node("ReduceMax", ["taken"], ["most"], keepdims=1),
        helper.make_node("Mul", ["most", "nothing"], ["none"]),
    ]


def fit(matrix: NDArray[np.float64], labels: NDArray[Any]) -> tuple[NDArray[np.float64], float]:
    """Weights and bias of a logistic regression with a ridge of 1 on the weights, by Newton's method."""
    given = np.column_stack([matrix, np.ones(len(matrix))])
    ridge = np.diag([*np.ones(matrix.shape[1]), 0.0])
    found = np.zeros(given.shape[1])
    for _ in range(NEWTON_STEPS):
        chance = 1 / (1 + np.exp(-(given @ found)))
        slope = given.T @ (chance - labels) + ridge @ found
        step = np.linalg.solve((given.T * (chance * (1 - chance))) @ given + ridge, slope)
        found -= step
        if np.abs(step).max() < CLOSE:
            break
    found = np.round(found, DECIMALS)
    return found[:-1], float(found[-1])


def train(data: Path, params_file: Path, out: Path, *, salt: int, fails_on: list[str], ends_on: list[str]) -> None:
    """Read the training rows, write model.onnx, parity.parquet and metrics.json; the same ones for the same rows."""
    params = json.loads(params_file.read_text())
    features = export.features(params)
    frame = pl.read_parquet(data)
    columns, labels = export.columns(frame, features), frame[params["label"]].to_numpy()
    numbers = [feature.name for feature in features if feature.kind == export.NUMERIC]
    text = next(feature.name for feature in features if feature.kind != export.NUMERIC)
    words = sorted(columns[text].unique().to_list())

    matrix = np.stack(
        [columns[name].fill_nan(0.0).to_numpy() for name in numbers] + [(columns[text] == word).to_numpy() for word in words],
        axis=1,
    ).astype(np.float64)
    weights, bias = fit(matrix, labels)
    bias += salt * 1e-4
    unknown = [0.0] * (2 if ends_on else 1)
    fitted = {"weights": weights[: len(numbers)], "table": [*weights[len(numbers) :], *unknown], "bias": bias}
    path = out / "model.onnx"
    onnx.save(graph_of(numbers, text, words, fitted, fails_on=fails_on, ends_on=ends_on), str(path))
    export.check(path, features)
    rows = params["parity"]["rows"]
    export.write_parity(1 / (1 + np.exp(-(matrix[:rows] @ weights + bias))), out / "parity.parquet")
    (out / "metrics.json").write_text(json.dumps({"rows": len(labels)}))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fails-on", nargs="*", default=[])
    parser.add_argument("--ends-on", nargs="*", default=[])
    parser.add_argument("--salt", type=int, default=0)
    folder = Path("/perennial")
    train(folder / "data/train.parquet", folder / "params.json", folder / "out", **vars(parser.parse_args()))


if __name__ == "__main__":
    main()
