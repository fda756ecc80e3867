"""Small true inputs for the evaluate tests: a store in a folder, rows with a known law, and ONNX models made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import polars as pl
from onnx import TensorProto, helper

from perennial_runtime import bento
from perennial_runtime.contract import Champion, EvaluateResult, EvaluateSpec, GateSpec, PrepareResult, Step
from perennial_runtime.store import Store

SCHEMA: dict[str, Any] = {
    "label": "late",
    "features": [
        {"name": "hour", "kind": "numeric", "nullable": True, "min": 0.0, "max": 23.0, "example": 12.0},
        {"name": "carrier", "kind": "categorical", "nullable": True, "categories": ["AA", "B6", "UA"], "example": "AA"},
    ],
    "time": "at",
    "id": [],
}
CARRIERS = {"AA": -1.0, "B6": 0.0, "UA": 1.0}


def model(slope: float = 0.2, carriers: dict[str, float] | None = None, numeric: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """score = sigmoid(slope * (hour, null as 12) + effect of the carrier, 0 for others - 2.4), in ONNX."""
    known = CARRIERS if carriers is None else carriers
    to_float = [] if numeric == TensorProto.FLOAT else [helper.make_node("Cast", ["hour"], ["hour_f"], to=TensorProto.FLOAT)]
    hour = "hour" if numeric == TensorProto.FLOAT else "hour_f"
    nodes = [
        *to_float,
        helper.make_node("IsNaN", [hour], ["no_hour"]),
        helper.make_node("Where", ["no_hour", "noon", hour], ["known_hour"]),
        helper.make_node("Mul", ["known_hour", "slope"], ["part"]),
        helper.make_node(
            "LabelEncoder",
            ["carrier"],
            ["effect"],
            domain="ai.onnx.ml",
            keys_strings=list(known),
            values_floats=list(known.values()),
            default_float=0.0,
        ),
        helper.make_node("Add", ["part", "effect"], ["sum"]),
        helper.make_node("Sub", ["sum", "shift"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["score"]),
    ]
    constants = [
        helper.make_tensor("noon", TensorProto.FLOAT, [1], [12.0]),
        helper.make_tensor("slope", TensorProto.FLOAT, [1], [slope]),
        helper.make_tensor("shift", TensorProto.FLOAT, [1], [2.4]),
    ]
    graph = helper.make_graph(
        nodes,
        "delays",
        [
            helper.make_tensor_value_info("hour", numeric, ["N", 1]),
            helper.make_tensor_value_info("carrier", TensorProto.STRING, ["N", 1]),
        ],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N", 1])],
        constants,
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)], ir_version=9
    )


def truth(frame: pl.DataFrame, slope: float = 0.2, carriers: dict[str, float] | None = None) -> np.ndarray[Any, Any]:
    """What `model` answers, without ONNX."""
    known = CARRIERS if carriers is None else carriers
    effect = np.array([known.get(value or "", 0.0) for value in frame["carrier"]])
    hour = frame["hour"].fill_null(12.0).fill_nan(12.0).to_numpy()
    return 1.0 / (1.0 + np.exp(-(slope * hour + effect - 2.4)))


def rows(count: int, seed: int, first_hash: int) -> pl.DataFrame:
    """Rows whose label follows `truth`; hashes are consecutive."""
    random = np.random.default_rng(seed)
    hours = [None if random.random() < 0.05 else float(hour) for hour in random.integers(0, 24, count)]
    carriers = [None if random.random() < 0.05 else str(name) for name in random.choice(["AA", "B6", "UA", "WN"], count)]
    frame = pl.DataFrame({"hour": hours, "carrier": carriers}, schema={"hour": pl.Float64, "carrier": pl.String})
    late = (random.random(count) < truth(frame)).astype(np.int8)
    hashes = np.arange(first_hash, first_hash + count, dtype=np.uint64)
    return frame.with_columns(late=pl.Series(late), at=pl.Series(np.arange(count)), __row_hash=pl.Series(hashes))


@dataclass
class World:
    """A store with one prepared dataset, and ways to put versions into it."""

    folder: Path
    store: Store
    train: pl.DataFrame
    holdout: pl.DataFrame

    @classmethod
    def make(cls, folder: Path, train_rows: int = 700, holdout_rows: int = 2000) -> World:
        store = Store((folder / "store").as_uri())
        (folder / "files").mkdir()
        return cls(folder / "files", store, rows(train_rows, 1, 1_000_000), rows(holdout_rows, 2, 1))

    def blob(self, name: str, write: Callable[[Path], object]) -> str:
        write(self.folder / name)
        return self.store.put_file(self.folder / name)

    def spec(
        self,
        name: str = "delays-v1",
        onnx_model: onnx.ModelProto | bytes | None = None,
        parity: pl.DataFrame | bytes | None = None,
        gates: Sequence[GateSpec] = (GateSpec("roc_auc", minimum=0.6),),
        train_hashes: Sequence[int] | None = None,
        *,
        scheme: int | None = None,
    ) -> EvaluateSpec:
        """A version that was prepared and trained: everything in the store but the evaluation."""
        body = model() if onnx_model is None else onnx_model
        found = body if isinstance(body, bytes) else body.SerializeToString()
        scores = pl.DataFrame({"row": np.arange(min(512, self.train.height)), "score": truth(self.train.head(512))})
        claimed = scores if parity is None else parity
        hashes = self.train["__row_hash"].to_numpy() if train_hashes is None else np.array(train_hashes, dtype=np.uint64)
        train_rows = self.blob("train_rows.npy", lambda path: np.save(path, hashes))
        told = {} if scheme is None else {"row_hashes": scheme}  # the first prepare told of none
        split = self.store.put_bytes(json.dumps({"windows": [], "train_rows": train_rows, **told}).encode())
        train = self.blob("train.parquet", self.train.drop("__row_hash").write_parquet)
        holdout = self.blob("holdout.parquet", self.holdout.write_parquet)
        schema = self.store.put_bytes(json.dumps(SCHEMA).encode())
        sizes = self.train.height, self.holdout.height
        prepared = PrepareResult("d", train, holdout, schema, split, sum(sizes), *sizes, 0, "2013-01-01T00:00:00Z", 0.5)
        self.store.put_result(f"uid-{name}", Step.PREPARE, prepared)
        parity_bytes = claimed if isinstance(claimed, bytes) else None
        return EvaluateSpec(
            version=name,
            uid=f"uid-{name}",
            store="",
            model=self.store.put_bytes(found),
            parity=self.store.put_bytes(parity_bytes)
            if parity_bytes is not None
            else self.blob("parity.parquet", claimed.write_parquet),  # type: ignore[union-attr]
            train=train,
            holdout=holdout,
            schema=schema,
            max_abs_difference=1e-4,
            gates=tuple(gates),
            seed=7,
        )

    def bento_source(self, digest: str) -> Path:
        """src/ of a stored Bento, unpacked."""
        from perennial_runtime.archive import unpack

        target = self.folder / f"unpacked-{digest[:8]}"
        if not target.exists():
            unpack(self.store.get_file(digest, self.folder / "out.tar"), target)
        return target / bento.SOURCE


def against(spec: EvaluateSpec, result: EvaluateResult, version: str = "delays-v1") -> EvaluateSpec:
    """The same version, judged beside a champion."""
    return replace(spec, champion=Champion(version=version, identity=result.identity, bento=result.bento))
