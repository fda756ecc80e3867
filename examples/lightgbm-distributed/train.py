"""A trainer of several workers: LightGBM, each on its share of the rows, one model between them (docs/training.md).

Every worker gets the whole train.parquet and takes each WORLD_SIZE-th row. What is learnt of texts is learnt from all rows, so
that it is the same everywhere; the trees are grown together (tree_learner=data). The first worker writes the outputs, tells the
progress and keeps checkpoints as LightGBM's own text, from which an evicted or failed attempt goes on. With one worker it is an
ordinary trainer.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import polars as pl
from lightgbm import LGBMClassifier
from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm
from skl2onnx import update_registered_converter
from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline

from perennial_runtime import export
from perennial_runtime.cpus import cpu_limit
from perennial_runtime.recipes.encoders import RateEncoder

ROUNDS = 60
CHECKPOINT_ROUNDS = 10
CHECKPOINT = "checkpoint/model.txt"
PATIENCE_SECONDS = 300.0
"""How long the others may take to start: a node has to be found, and the image pulled."""


def machines(named: str, patience: float = PATIENCE_SECONDS) -> str:
    """PERENNIAL_MACHINES with addresses for names: LightGBM finds itself in the list by its own address.

    A worker's name is known as soon as its pod has an address.
    """
    until = time.monotonic() + patience
    found: list[str] = []
    for entry in named.split(","):
        name, _, port = entry.rpartition(":")
        while True:
            try:
                found.append(f"{socket.gethostbyname(name)}:{port}")
                break
            except OSError:
                if time.monotonic() > until:
                    raise SystemExit(f"worker {name} has no address after {patience:.0f} s") from None
                time.sleep(1.0)
    return ",".join(found)


def together(workers: int, named: str, rank: int) -> dict[str, Any]:
    """LightGBM's parameters for several workers."""
    if workers == 1:
        return {}
    where = machines(named)
    return {
        "tree_learner": "data",
        "pre_partition": True,
        "num_machines": workers,
        "machines": where,
        "local_listen_port": int(where.split(",")[rank].rpartition(":")[2]),
        "time_out": 5,  # minutes until a worker that does not come is an error
    }


def telling(out: Path, done: int, rounds: int) -> Callable[[Any], None]:
    """A callback that writes progress.jsonl and, now and then, a checkpoint: whole, or not at all."""
    (out / CHECKPOINT).parent.mkdir(exist_ok=True)

    def tell(seen: Any) -> None:
        step = done + seen.iteration + 1 - seen.begin_iteration
        with (out / "progress.jsonl").open("a") as stream:
            stream.write(json.dumps({"step": step, "of": rounds}) + "\n")
        if step % CHECKPOINT_ROUNDS == 0:
            seen.model.save_model(str(out / "model.txt"))
            (out / "model.txt").rename(out / CHECKPOINT)

    return tell


def train(data: Path, params_file: Path, out: Path, *, rank: int, workers: int, named: str, rounds: int = ROUNDS) -> None:
    """Train with the others; the first worker writes the outputs."""
    params = json.loads(params_file.read_text())
    features = export.features(params)
    frame = pl.read_parquet(data)
    columns, labels = export.columns(frame, features), frame[params["label"]].to_numpy()

    numbers = [feature.name for feature in features if feature.kind == "numeric"]
    texts = [feature.name for feature in features if feature.kind != "numeric"]
    parts = [("numeric", "passthrough", numbers), ("categorical", RateEncoder(), texts)]
    encode = ColumnTransformer([part for part in parts if part[2]])
    matrix = np.asarray(encode.fit_transform(columns, labels), dtype=np.float32)

    resumed = lightgbm.Booster(model_file=str(out / CHECKPOINT)) if (out / CHECKPOINT).exists() else None
    done = resumed.current_iteration() if resumed else 0
    model = LGBMClassifier(
        n_estimators=max(1, rounds - done),
        random_state=params["seed"],
        deterministic=True,
        force_row_wise=True,
        n_jobs=cpu_limit(),
        verbose=-1,
        **together(workers, named, rank),
    )
    tell = [telling(out, done, rounds)] if rank == 0 else []
    model.fit(matrix[rank::workers], labels[rank::workers], init_model=resumed, callbacks=tell)
    print(f"worker {rank} of {workers}: {model.booster_.num_trees()} trees from {len(labels[rank::workers])} rows")
    if rank == 0:
        update_registered_converter(
            LGBMClassifier,
            "LightGbmLGBMClassifier",
            calculate_linear_classifier_output_shapes,
            convert_lightgbm,
            options={"zipmap": [True, False, "columns"], "nocl": [True, False]},
        )
        export.export_sklearn(Pipeline([("columns", encode), ("model", model)]), features, out / "model.onnx")
        export.write_parity(model.predict_proba(matrix[: params["parity"]["rows"]])[:, 1], out / "parity.parquet")


if __name__ == "__main__":
    train(
        Path("/perennial/data/train.parquet"),
        Path("/perennial/params.json"),
        Path("/perennial/out"),
        rank=int(os.environ.get("RANK", "0")),
        workers=int(os.environ.get("WORLD_SIZE", "1")),
        named=os.environ.get("PERENNIAL_MACHINES", ""),
    )
