"""Bentos for the serving tests: a real ONNX model with numbers, a category and nulls, built and packed as evaluate does it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from perennial_runtime.bento import Contents, build, identity_of
from perennial_runtime.contract import ServeSpec
from perennial_runtime.rows import SCHEME
from perennial_runtime.scoring import Scorer

VERSION = "delays-v2"
SCHEMA: dict[str, Any] = {
    "label": "late",
    "features": [
        {"name": "dep hour", "kind": "numeric", "nullable": False, "min": 0, "max": 23, "example": 9},
        {"name": "distance", "kind": "numeric", "nullable": True, "min": 17, "max": 4983, "example": 1400.5},
        {"name": "carrier", "kind": "categorical", "nullable": False, "categories": ["AA", "UA"], "example": "AA"},
    ],
    "time": None,
    "id": [],
}
ROW: dict[str, Any] = {"dep hour": 9, "distance": 1400.5, "carrier": "AA"}
ROWS: list[dict[str, Any]] = [
    ROW,
    {"dep hour": 0, "distance": None, "carrier": "UA"},
    {"dep hour": 23, "distance": 4983, "carrier": "never seen"},
]


def write_model(path: Path, breaks_on_unknown: bool = False) -> Path:
    """score = sigmoid(0.1 * (dep hour - 12) + distance / 10000 + a number for the carrier).

    With `breaks_on_unknown` an unknown carrier indexes past the end of a table: the model fails on that request.
    """
    unknown = 7 if breaks_on_unknown else 0
    table = np.array([0.0, 0.5, -0.5], dtype=np.float32)
    nodes = [
        helper.make_node("IsNaN", ["distance"], ["empty"]),
        helper.make_node("Where", ["empty", "zero", "distance"], ["filled"]),
        helper.make_node("Sub", ["dep hour", "noon"], ["from_noon"]),
        helper.make_node("Mul", ["from_noon", "tenth"], ["a"]),
        helper.make_node("Mul", ["filled", "small"], ["b"]),
        helper.make_node(
            "LabelEncoder",
            ["carrier"],
            ["index"],
            domain="ai.onnx.ml",
            keys_strings=["AA", "UA"],
            values_int64s=[1, 2],
            default_int64=unknown,
        ),
        helper.make_node("Gather", ["table", "index"], ["c"]),
        helper.make_node("Add", ["a", "b"], ["ab"]),
        helper.make_node("Add", ["ab", "c"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["score"]),
    ]
    constants = {"zero": 0.0, "noon": 12.0, "tenth": 0.1, "small": 0.0001}
    graph = helper.make_graph(
        nodes,
        "delays",
        [
            helper.make_tensor_value_info("dep hour", TensorProto.FLOAT, [None, 1]),
            helper.make_tensor_value_info("distance", TensorProto.FLOAT, [None, 1]),
            helper.make_tensor_value_info("carrier", TensorProto.STRING, [None, 1]),
        ],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(np.array([value], dtype=np.float32), name) for name, value in constants.items()]
        + [numpy_helper.from_array(table, "table")],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)], ir_version=9
    )
    onnx.save(model, str(path))
    return path


def write_source(directory: Path, breaks_on_unknown: bool = False, uid: str = "") -> ServeSpec:
    """A Bento's src directory without BentoML's own files, and the spec that it answers to; `uid`: of one to be signed."""
    directory.mkdir(parents=True, exist_ok=True)
    model = write_model(directory / "model.onnx", breaks_on_unknown)
    schema = directory / "schema.json"
    schema.write_text(json.dumps(SCHEMA))
    identity = identity_of(model, schema)
    (directory / "golden.json").write_text(json.dumps(golden(model)))
    who = {"version": VERSION, "identity": identity, "threshold": 0.5} | ({"uid": uid} if uid else {})
    (directory / "identity.json").write_text(json.dumps(who))
    return ServeSpec(version=VERSION, store="file:///nowhere", bento="0" * 64, identity=identity)


def golden(model: Path) -> dict[str, Any]:
    """golden.json for rows that every model here can answer."""
    rows = ROWS[:2]
    columns = {name: [row[name] for row in rows] for name in ROW}
    scores = Scorer(model, SCHEMA).score(columns).tolist()
    return {"tolerance": 1e-4, "rows": rows, "scores": scores}


def build_bento(work: Path) -> tuple[Path, str]:
    """A whole Bento built by BentoML, and its identity."""
    work.mkdir(parents=True, exist_ok=True)
    model = write_model(work / "m.onnx")
    schema = work / "s.json"
    schema.write_text(json.dumps(SCHEMA))
    rows = work / "rows.npy"
    np.save(rows, np.arange(4, dtype=np.uint64))
    identity = identity_of(model, schema)
    contents = Contents(VERSION, identity, model, schema, rows, golden(model), {}, SCHEME)
    return build(contents, work), identity
