"""`python -m benchmarks.data_steps FOLDER ANSWER prepare|train|evaluate`: a step on the files in FOLDER/source.

The model is not trained but made: an ONNX graph that knows the law of the rows, scores as `model` says.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import polars as pl
from onnx import TensorProto, helper

from benchmarks.data_table import FEATURES, NUMBERS
from perennial_runtime.contract import PARITY_ROWS, Column, EvaluateSpec, GateSpec, PrepareResult, PrepareSpec
from perennial_runtime.evaluate import evaluate
from perennial_runtime.prepare import prepare
from perennial_runtime.store import Store

UID, VERSION = "bench", "large-v1"
HOLDOUT = 0.2


def model() -> onnx.ModelProto:
    """score = sigmoid(x00 + x01 / 2 - 1 / 2), a missing number counted as 0; all other features are read and not used."""
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT if name in NUMBERS else TensorProto.STRING, ["N", 1])
        for name in FEATURES
    ]
    nodes = [
        node
        for name in ("x00", "x01")
        for node in (
            helper.make_node("IsNaN", [name], [f"{name}_missing"]),
            helper.make_node("Where", [f"{name}_missing", "zero", name], [f"{name}_known"]),
        )
    ]
    nodes += [
        helper.make_node("Mul", ["x01_known", "half"], ["x01_half"]),
        helper.make_node("Add", ["x00_known", "x01_half"], ["sum"]),
        helper.make_node("Sub", ["sum", "half"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["score"]),
    ]
    constants = [helper.make_tensor(name, TensorProto.FLOAT, [1], [value]) for name, value in (("zero", 0.0), ("half", 0.5))]
    output = [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N", 1])]
    graph = helper.make_graph(nodes, "large", inputs, output, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def prepared(folder: Path) -> PrepareResult:
    """prepare, as its Job would run it on a claim."""
    columns = [Column(name, "feature") for name in FEATURES]
    columns += [Column("flight", "id"), Column("at", "time"), Column("late", "label")]
    spec = PrepareSpec(VERSION, UID, _store(folder), f"file://{folder}/source/", tuple(columns), HOLDOUT, 1000)
    (folder / "work").mkdir(exist_ok=True)
    return prepare(spec, Store(spec.store), folder / "work", folder / "no-secret", datetime.now(UTC))


def trained(folder: Path, found: PrepareResult) -> tuple[str, str]:
    """What a trainer leaves in the store: the model, and its own scores of the first rows."""
    store = Store(_store(folder))
    train = store.get_file(found.train, folder / "work" / "train.parquet")
    first = pl.scan_parquet(train).select("x00", "x01").head(PARITY_ROWS).fill_null(0.0).collect()
    train.unlink()
    score = 1 / (1 + np.exp(-(first["x00"].to_numpy() + 0.5 * first["x01"].to_numpy() - 0.5)))
    parity = folder / "work" / "parity.parquet"
    pl.DataFrame({"row": np.arange(len(score)), "score": score}).write_parquet(parity)
    return store.put_bytes(model().SerializeToString()), store.put_file(parity)


def evaluated(folder: Path, found: PrepareResult, made: tuple[str, str]) -> float:
    """evaluate, as its Job would run it; the AUC that it measures."""
    spec = EvaluateSpec(
        VERSION, UID, _store(folder), *made, found.train, found.holdout, found.schema, 1e-4, (GateSpec("roc_auc", 0.5),), 1
    )
    return evaluate(spec, Store(spec.store), folder / "work").gates[0].estimate


def _store(folder: Path) -> str:
    return f"file://{folder}/store"


def main(folder: Path, answer: Path, step: str) -> None:
    """Carries the step out and leaves what came of it in a file."""
    told, made = folder / "prepared.json", folder / "trained.json"
    if step == "prepare":
        result = prepared(folder)
        told.write_text(json.dumps(asdict(result)))
        answer.write_text(json.dumps({"files": len(list((folder / "source").iterdir())), "rows": result.rows}))
        return
    found = PrepareResult(**json.loads(told.read_text()))
    if step == "train":
        made.write_text(json.dumps(trained(folder, found)))
        answer.write_text("{}")
    else:
        answer.write_text(json.dumps({"auc": evaluated(folder, found, tuple(json.loads(made.read_text())))}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
