"""A version made from end to end without a cluster: prepare, fetch, a recipe, evaluate, and the Bento's src as a pod has it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import polars as pl
from threadpoolctl import threadpool_limits

from perennial_runtime import bento
from perennial_runtime.archive import unpack
from perennial_runtime.contract import (
    Champion,
    Column,
    EvaluateResult,
    EvaluateSpec,
    GateMeasurement,
    GateSpec,
    PrepareResult,
    ServeSpec,
    TrainSpec,
    unpacked,
)
from perennial_runtime.evaluate import evaluate
from perennial_runtime.fetch import fetch
from perennial_runtime.recipes.train import train
from runtime.steps_world import World, frame

FEATURES = (Column("delay", "feature"), Column("carrier", "feature"))
NUMBERS = (*FEATURES, Column("at", "time"), Column("arrival", "label"), Column("flight", "id"))

KINDS = (*FEATURES, Column("at", "time"), Column("kind", "label"), Column("flight", "id"))


def kinds(rows: int = 1500, seed: int = 1, start: int = 0, most: int = 3) -> pl.DataFrame:
    """`steps_world` rows with a class: by delay and carrier early, late or on time; or one of `most`, kind-0 and so on."""
    known = arrivals(rows, seed, start)["arrival"]
    names = ["early", "on time", "late"] if most == 3 else [f"kind-{place}" for place in range(most)]
    edges = known.quantile(0.2), known.quantile(0.9)
    ends = np.linspace(edges[0] or 0.0, edges[1] or 0.0, most - 1)
    return frame(rows, seed, start).with_columns(kind=pl.Series([names[place] for place in np.searchsorted(ends, known)]))


def arrivals(rows: int = 1500, seed: int = 1, start: int = 0) -> pl.DataFrame:
    """`steps_world` rows with a number to predict: minutes, from the delay and the carrier, with an error of about 8."""
    known = frame(rows, seed, start)
    noise = np.random.default_rng(seed + 1).normal(0, 8, rows)
    late = pl.col("delay").fill_null(10.0) + pl.when(pl.col("carrier") == "AA").then(12.0).otherwise(0.0)
    return known.with_columns(arrival=(late + pl.Series(noise)).round(1))


@dataclass(frozen=True)
class Made:
    """A version with all that was found of it."""

    world: World
    prepared: PrepareResult
    spec: EvaluateSpec
    result: EvaluateResult
    out: Path
    params: dict[str, Any]

    @property
    def gates(self) -> dict[tuple[str, str], GateMeasurement]:
        return {(gate.metric, gate.kind): gate for gate in unpacked(self.result, self.spec.gates).gates}

    @property
    def evidence(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Every number, as it lies in the store."""
        assert self.result.evidence is not None
        document = json.loads(self.world.store.get_bytes(self.result.evidence))
        return {(gate["metric"], gate["kind"]): gate for gate in document["gates"]}

    @property
    def holdout(self) -> pl.DataFrame:
        return self.world.table(self.prepared.holdout)

    @property
    def train(self) -> pl.DataFrame:
        return self.world.table(self.prepared.train)

    @property
    def card(self) -> dict[str, str]:
        assert self.result.card is not None
        found: dict[str, str] = json.loads(self.world.store.get_bytes(self.result.card))
        return found

    def answers(self, rows: pl.DataFrame, output: str) -> np.ndarray[Any, Any]:
        """The model's own, by onnxruntime alone."""
        session = onnxruntime.InferenceSession(str(self.out / "model.onnx"), providers=["CPUExecutionProvider"])
        feeds = {
            "delay": rows["delay"].fill_null(float("nan")).to_numpy().astype(np.float32).reshape(-1, 1),
            "carrier": rows["carrier"].fill_null("").to_numpy().astype(object).reshape(-1, 1),
        }
        found: np.ndarray[Any, Any] = session.run([output], feeds)[0]
        return found.astype(np.float64)

    def source(self) -> tuple[Path, ServeSpec]:
        """src/ of the stored Bento, and what a pod is told to serve."""
        target = self.world.root / f"bento-{self.spec.version}"
        if not target.exists():
            unpack(self.world.store.get_file(self.result.bento, self.world.root / f"{self.spec.version}.tar"), target)
        return target / bento.SOURCE, ServeSpec(self.spec.version, self.spec.store, self.result.bento, self.result.identity)

    def champion(self) -> Champion:
        return Champion(self.spec.version, self.result.identity, self.result.bento)


def made(
    world: World,
    uid: str = "uid-1",
    *,
    gates: Sequence[GateSpec],
    task: str,
    columns: tuple[Column, ...],
    champion: Champion | None = None,
    hyperparameters: dict[str, float] | None = None,
) -> Made:
    """Everything that the Jobs of a version do, one after the other."""
    prepared = world.prepare(uid, task=task, columns=columns)
    name = f"delays-v{uid.rpartition('-')[2]}"
    room = world.root / f"train-{uid}"
    out = room / "out"
    out.mkdir(parents=True)
    wish = TrainSpec(name, uid, 1, f"file://{world.root / 'store'}", prepared.train, prepared.schema, 7, task=task)
    wish = replace(wish, hyperparameters=hyperparameters or {"max_iter": 30})
    fetch(wish, world.store, room / "train.parquet", room / "params.json", out)
    with threadpool_limits(1):
        train("gradient-boosting", room / "params.json", room / "train.parquet", out)
    spec = EvaluateSpec(
        version=name,
        uid=uid,
        store=f"file://{world.root / 'store'}",
        model=world.store.put_file(out / "model.onnx"),
        parity=world.store.put_file(out / "parity.parquet"),
        train=prepared.train,
        holdout=prepared.holdout,
        schema=prepared.schema,
        max_abs_difference=1e-4,
        gates=tuple(gates),
        seed=7,
        champion=champion,
    )
    result = evaluate(spec, world.store, world.root / "work")
    return Made(world, prepared, spec, result, out, json.loads((room / "params.json").read_text()))


def weighed(rows: int = 1500, seed: int = 1, start: int = 0) -> pl.DataFrame:
    """`arrivals` with weights that go with the carrier, a tenth of them 0."""
    known = arrivals(rows, seed, start)
    chance = np.random.default_rng(seed + 2)
    weights = chance.gamma(2.0, 1.0, rows) * np.where((known["carrier"] == "AA").fill_null(value=False).to_numpy(), 4.0, 1.0)
    return known.with_columns(pays=pl.Series(np.where(chance.random(rows) < 0.1, 0.0, weights)))
