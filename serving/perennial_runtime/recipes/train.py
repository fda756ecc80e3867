"""The command `recipe`: the main container of a train Job that uses a recipe instead of an image of the user's.

It keeps the same file contract as any user's trainer (docs/file-contract.md): reads train.parquet and params.json, writes
model.onnx, parity.parquet, metrics.json and progress.jsonl; `reporter`, beside it, uploads them. It has no credentials.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import polars as pl
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)
from sklearn.pipeline import Pipeline

from perennial_runtime import environment, export
from perennial_runtime.answers import Refused, say
from perennial_runtime.contract import (
    ENVIRONMENT_NAME,
    METRICS_NAME,
    MODEL_NAME,
    MULTICLASS,
    OUT_PATH,
    PARAMS_FILE,
    PARITY_NAME,
    PARITY_ROWS,
    PROGRESS_NAME,
    REGRESSION,
    TRAIN_FILE,
    TrainSpec,
)
from perennial_runtime.recipes import models
from perennial_runtime.recipes.hyperparameters import resolve
from perennial_runtime.scoring import classes_of

INNER_SHARE = 0.1
"""Share of the training rows (the newest) that the recipe keeps from its first fit, to measure its own claims."""


def main(spec: TrainSpec) -> None:
    """Train by the paths of the file contract."""
    train(spec.algorithm or "", Path(PARAMS_FILE), Path(TRAIN_FILE), Path(OUT_PATH))


def train(algorithm: str, params_file: Path, train_file: Path, out: Path) -> None:
    """Fit twice: on the older rows for the claims, then on all rows for the model. Once where the older ones have one
    label, or lack a class."""
    params: dict[str, Any] = json.loads(params_file.read_text())
    chosen = resolve(algorithm, params.get("hyperparameters", {}))
    by_class = {str(name): float(value) for name, value in params.get("classWeights", {}).items()}
    models.check_factors(str(params["task"]), by_class)
    features = export.features(params)
    seed = int(params["seed"])
    frame = pl.read_parquet(train_file)
    rows = _rows(params, frame, features)
    say("training", algorithm=algorithm, rows=len(rows), features=len(features))

    inner = max(1, round(len(rows) * (1 - INNER_SHARE)))
    older = rows.part(0, inner)
    progress = Progress(out / PROGRESS_NAME, phases=2 if older.teaches else 1)
    claims = {"inner_rows": float(len(rows) - inner)}
    if older.teaches:
        first = models.fit(algorithm, features, chosen, seed=seed, data=older.by_class(by_class), report=progress.report)
        claims = measure(first, rows.part(inner))
        progress.next_phase()
    (out / METRICS_NAME).write_text(json.dumps(claims, sort_keys=True))
    final = models.fit(algorithm, features, chosen, seed=seed, data=rows.by_class(by_class), report=progress.report)

    environment.write(out / ENVIRONMENT_NAME)
    try:
        export.export_sklearn(final, features, out / MODEL_NAME, params.get("classes"))
    except export.ExportError as error:
        raise Refused("ExportFailed", str(error)) from error
    sample = export.columns(frame.head(params.get("parity", {}).get("rows", PARITY_ROWS)), features)
    export.write_parity(models.answers(final, sample, rows), out / PARITY_NAME, rows.task)
    say("trained", claims=claims)


def _rows(params: dict[str, Any], frame: pl.DataFrame, features: tuple[export.Feature, ...]) -> models.Rows:
    """What params.json says of train.parquet."""
    task = str(params["task"])
    labels, classes = _labels(params, frame[params["label"]], task)
    weights = frame[params["weight"]].cast(pl.Float64).to_numpy() if "weight" in params else None
    rows = models.Rows(export.columns(frame, features), labels, weights, task, classes)
    return rows.weighing() if weights is not None else rows


def _labels(params: dict[str, Any], cells: pl.Series, task: str) -> tuple[NDArray[Any], int]:
    """What is learnt, and how many classes there are: of several, each label is its place among them."""
    if task == REGRESSION:
        return cells.cast(pl.Float64).to_numpy(), 0
    if task != MULTICLASS:
        return cells.cast(pl.Int64).to_numpy(), 2
    classes = list(classes_of(params))
    places = cells.replace_strict(classes, range(len(classes)), return_dtype=pl.Int64)
    return places.to_numpy(), len(classes)


def measure(pipeline: Pipeline, rows: models.Rows) -> dict[str, float]:
    """The trainer's own metrics on rows that this fit did not see: claims, never judged."""
    claims = {"inner_rows": float(len(rows))}
    if not rows.varies:
        return claims
    labels, weights = rows.labels, rows.weights
    found = models.answers(pipeline, rows.columns, rows)
    if rows.task == REGRESSION:
        claims |= {
            "rmse": root_mean_squared_error(labels, found, sample_weight=weights),
            "mae": mean_absolute_error(labels, found, sample_weight=weights),
            "r2": r2_score(labels, found, sample_weight=weights),
        }
    elif rows.task == MULTICLASS:
        claims |= {
            "log_loss": log_loss(labels, found, labels=range(rows.classes), sample_weight=weights),
            "accuracy": accuracy_score(labels, found.argmax(axis=1), sample_weight=weights),
        }
    else:
        claims |= {
            "roc_auc": roc_auc_score(labels, found, sample_weight=weights),
            "log_loss": log_loss(labels, found, sample_weight=weights),
            "accuracy": accuracy_score(labels, found >= 0.5, sample_weight=weights),
        }
    return {name: float(f"{value:.7g}") if name in ("rmse", "mae") else round(float(value), 6) for name, value in claims.items()}


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
