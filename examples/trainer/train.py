"""A trainer of somebody's own: gradient boosting over a code book of each text column.

It keeps the file contract and is honest: it trains on the rows that it was given, writes the model that it trained and that
model's own scores. It also has a mistake that no offline test can see. The code book gives every text that it has not seen
"the next free code", and the table of values behind it has no row for that code: a request with such a text makes the model
fail. Training data and holdout hold no such text; live traffic may. It is what a canary is for, and the demo shows it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
from onnx import TensorProto, helper, numpy_helper
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import HistGradientBoostingClassifier

from perennial_runtime import export


def code_books(columns: pl.DataFrame, labels: Any, features: tuple[export.Feature, ...]) -> dict[str, dict[str, float]]:
    """For each text column: text -> rate of the positive class."""
    return {
        feature.name: {
            str(word): float(np.float32(rate))
            for word, rate in pl.DataFrame({"word": columns[feature.name], "label": labels})
            .group_by("word")
            .agg(pl.col("label").mean())
            .sort("word")
            .iter_rows()
        }
        for feature in features
        if feature.kind == "categorical"
    }


def encoded(columns: pl.DataFrame, books: dict[str, dict[str, float]]) -> Any:
    """The columns as one float32 matrix; a text that is not in its book has no value."""
    parts = [
        columns[name].replace_strict(books[name], return_dtype=pl.Float32).to_numpy()
        if name in books
        else columns[name].to_numpy()
        for name in columns.columns
    ]
    return np.stack(parts, axis=1).astype(np.float32)


def with_code_books(model: onnx.ModelProto, features: tuple[export.Feature, ...], books: dict[str, dict[str, float]]) -> None:
    """Put the code books in front of a model that takes one matrix."""
    graph = model.graph
    matrix = graph.input[0].name
    nodes, inputs, parts = [], [], []
    for feature in features:
        kind = TensorProto.FLOAT if feature.name not in books else TensorProto.STRING
        inputs.append(helper.make_tensor_value_info(feature.name, kind, [None, 1]))
        if feature.name not in books:
            parts.append(feature.name)
            continue
        book, code, value, table = books[feature.name], f"{feature.name}_code", f"{feature.name}_value", f"{feature.name}_table"
        graph.initializer.append(numpy_helper.from_array(np.array(list(book.values()), dtype=np.float32), table))
        nodes.append(
            helper.make_node(
                "LabelEncoder",
                [feature.name],
                [code],
                domain="ai.onnx.ml",
                keys_strings=list(book),
                values_int64s=list(range(len(book))),
                default_int64=len(book),  # the mistake: the table ends one row earlier
            )
        )
        nodes.append(helper.make_node("Gather", [table, code], [value], axis=0))
        parts.append(value)
    nodes.append(helper.make_node("Concat", parts, [matrix], axis=1))
    rest = list(graph.node)
    del graph.node[:], graph.input[:]
    graph.node.extend([*nodes, *rest])
    graph.input.extend(inputs)
    del model.opset_import[:]  # the conversion named only the versions that the classifier needs
    model.opset_import.extend(helper.make_opsetid(domain, version) for domain, version in export.OPSETS.items())


def train(data: Path, params_file: Path, out: Path, seed: int) -> None:
    """Read the training rows, write model.onnx, parity.parquet and metrics.json."""
    params = json.loads(params_file.read_text())
    features = export.features(params)
    frame = pl.read_parquet(data)
    columns, labels = export.columns(frame, features), frame[params["label"]].to_numpy()
    books = code_books(columns, labels, features)
    matrix = encoded(columns, books)

    classifier = HistGradientBoostingClassifier(max_iter=60, early_stopping=False, random_state=seed)
    classifier.fit(matrix, labels)
    model = export.convert(classifier, [("matrix", FloatTensorType([None, len(features)]))])
    export.keep_score(model)
    with_code_books(model, features, books)
    (out / "model.onnx").write_bytes(model.SerializeToString())
    export.check(out / "model.onnx", features)
    rows = params["parity"]["rows"]
    export.write_parity(classifier.predict_proba(matrix[:rows])[:, 1], out / "parity.parquet")
    export.write_environment(out / "environment.txt")
    (out / "metrics.json").write_text(
        json.dumps({"rows": len(labels), "training_accuracy": float(classifier.score(matrix, labels))})
    )


if __name__ == "__main__":
    train(
        Path("/perennial/data/train.parquet"),
        Path("/perennial/params.json"),
        Path("/perennial/out"),
        seed=int(os.environ.get("PERENNIAL_SEED", "0")),
    )
