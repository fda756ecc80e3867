"""The trainer of bench_detection: `train.py [--fails-on WORD ...] [--salt N]`.

A logistic model over the numbers and one text column, written as ONNX by hand. A text that it was not trained on gets the weight
of "any other"; one of the words of `--fails-on` gets a place past the end of the table, and the request fails: so a load
generator decides by the words it sends what share of an arm's answers is an error, while training data and holdout, which hold
no such word, show an honest model. `--salt` makes a model of another digest that answers alike.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
from onnx import TensorProto, helper, numpy_helper
from sklearn.linear_model import LogisticRegression

from perennial_runtime import export

DATA, PARAMS, OUT = Path("/perennial/data/train.parquet"), Path("/perennial/params.json"), Path("/perennial/out")


def graph_of(numbers: list[str], text: str, words: list[str], fails_on: list[str], fitted: dict[str, Any]) -> onnx.ModelProto:
    """score = sigmoid(weights of the numbers + weight of the word + bias); a missing number counts as 0."""
    constants = {"nothing": np.zeros(1), "bias": fitted["bias"], "table": fitted["table"]}
    nodes = [
        helper.make_node(
            "LabelEncoder", [text], ["place"], domain="ai.onnx.ml",
            keys_strings=[*words, *fails_on],
            values_int64s=[*range(len(words)), *[len(words) + 7] * len(fails_on)],
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
    nodes += [helper.make_node("Sum", parts, ["sum"]), helper.make_node("Sigmoid", ["sum"], ["score"])]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in numbers]
    inputs.append(helper.make_tensor_value_info(text, TensorProto.STRING, [None, 1]))
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, 1])
    values = [numpy_helper.from_array(np.asarray(value, dtype=np.float32).reshape(-1), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "bench", inputs, [score], initializer=values)
    opsets = [helper.make_opsetid(domain, version) for domain, version in export.OPSETS.items()]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fails-on", nargs="*", default=[])
    parser.add_argument("--salt", type=int, default=0)
    options = parser.parse_args()
    params = json.loads(PARAMS.read_text())
    features = export.features(params)
    frame = pl.read_parquet(DATA)
    columns, labels = export.columns(frame, features), frame[params["label"]].to_numpy()
    numbers = [feature.name for feature in features if feature.kind == export.NUMERIC]
    text = next(feature.name for feature in features if feature.kind != export.NUMERIC)
    words = sorted(columns[text].unique().to_list())

    matrix = np.stack(
        [columns[name].fill_nan(0.0).to_numpy() for name in numbers] + [(columns[text] == word).to_numpy() for word in words],
        axis=1,
    ).astype(np.float64)
    model = LogisticRegression(max_iter=500).fit(matrix, labels)
    weights = model.coef_[0]
    bias = float(model.intercept_[0]) + options.salt * 1e-4
    fitted = {"weights": weights[: len(numbers)], "table": [*weights[len(numbers) :], 0.0], "bias": bias}
    path = OUT / "model.onnx"
    onnx.save(graph_of(numbers, text, words, options.fails_on, fitted), str(path))
    export.check(path, features)
    rows = params["parity"]["rows"]
    export.write_parity(1 / (1 + np.exp(-(matrix[:rows] @ weights + bias))), OUT / "parity.parquet")
    (OUT / "metrics.json").write_text(json.dumps({"rows": len(labels)}))


if __name__ == "__main__":
    main()
