"""The command `recipe`: the main container of a train Job that uses a recipe instead of an image of the user's.

It keeps the same file contract as any user's trainer (docs/file-contract.md): reads train.parquet and params.json, writes
model.onnx, parity.parquet, metrics.json and progress.jsonl; `reporter`, beside it, uploads them. It has no credentials.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.pipeline import Pipeline

from perennial_runtime import environment, export
from perennial_runtime.answers import Refused, say
from perennial_runtime.contract import (
    ENVIRONMENT_NAME,
    METRICS_NAME,
    MODEL_NAME,
    OUT_PATH,
    PARAMS_FILE,
    PARITY_NAME,
    PARITY_ROWS,
    PROGRESS_NAME,
    TRAIN_FILE,
    TrainSpec,
)
from perennial_runtime.recipes import models
from perennial_runtime.recipes.hyperparameters import resolve

INNER_SHARE = 0.1
"""Share of the training rows (the newest) that the recipe keeps from its first fit, to measure its own claims."""


def main(spec: TrainSpec) -> None:
    """Train by the paths of the file contract."""
    train(spec.algorithm or "", Path(PARAMS_FILE), Path(TRAIN_FILE), Path(OUT_PATH))


def train(algorithm: str, params_file: Path, train_file: Path, out: Path) -> None:
    """Fit twice: on the older rows for the claims, then on all rows for the model. Once where the older rows have one class."""
    params: dict[str, Any] = json.loads(params_file.read_text())
    chosen = resolve(algorithm, params.get("hyperparameters", {}))
    features = export.features(params)
    seed = int(params["seed"])
    frame = pl.read_parquet(train_file)
    columns = export.columns(frame, features)
    labels = frame[params["label"]].cast(pl.Int64).to_numpy()
    say("training", algorithm=algorithm, rows=len(labels), features=len(features))

    inner = max(1, round(len(labels) * (1 - INNER_SHARE)))
    twice = len(np.unique(labels[:inner])) > 1
    progress = Progress(out / PROGRESS_NAME, phases=2 if twice else 1)
    claims = {"inner_rows": float(len(labels) - inner)}
    if twice:
        first = models.fit(algorithm, features, chosen, seed=seed, data=(columns[:inner], labels[:inner]), report=progress.report)
        claims = measure(first, columns[inner:], labels[inner:])
        progress.next_phase()
    (out / METRICS_NAME).write_text(json.dumps(claims, sort_keys=True))
    final = models.fit(algorithm, features, chosen, seed=seed, data=(columns, labels), report=progress.report)

    environment.write(out / ENVIRONMENT_NAME)
    try:
        export.export_sklearn(final, features, out / MODEL_NAME)
    except export.ExportError as error:
        raise Refused("ExportFailed", str(error)) from error
    sample = columns[: params.get("parity", {}).get("rows", PARITY_ROWS)]
    export.write_parity(final.predict_proba(sample)[:, 1], out / PARITY_NAME)
    say("trained", claims=claims)


def measure(pipeline: Pipeline, columns: pl.DataFrame, labels: models.Labels) -> dict[str, float]:
    """The trainer's own metrics on rows that this fit did not see: claims, never judged."""
    if len(labels) == 0 or len(np.unique(labels)) < 2:
        return {"inner_rows": float(len(labels))}
    scores = pipeline.predict_proba(columns)[:, 1]
    return {
        "inner_rows": float(len(labels)),
        "roc_auc": round(float(roc_auc_score(labels, scores)), 6),
        "log_loss": round(float(log_loss(labels, scores)), 6),
        "accuracy": round(float(accuracy_score(labels, scores >= 0.5)), 6),
    }


class Progress:
    """progress.jsonl: one line {"step", "of", "loss", "seconds"} for each part of the work."""

    def __init__(self, path: Path, phases: int) -> None:
        self._path = path
        self._phases = phases
        self._phase = 0
        self._started = time.monotonic()

    def next_phase(self) -> None:
        """The fit that follows is the next one."""
        self._phase += 1

    def report(self, done: int, of: int, loss: float) -> None:
        """Append one line."""
        line = {
            "step": self._phase * of + done,
            "of": self._phases * of,
            "loss": round(loss, 6),
            "seconds": round(time.monotonic() - self._started, 1),
        }
        with self._path.open("a") as stream:
            stream.write(json.dumps(line) + "\n")
