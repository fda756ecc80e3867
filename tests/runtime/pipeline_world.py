"""From prepared data to a judged model, by the steps themselves: fetch, the recipe, evaluate. In folders of a test's own."""

from __future__ import annotations

from pathlib import Path

from threadpoolctl import threadpool_limits

from perennial_runtime.contract import Champion, EvaluateResult, EvaluateSpec, GateSpec, PrepareResult, TrainSpec
from perennial_runtime.evaluate import evaluate
from perennial_runtime.fetch import fetch
from perennial_runtime.recipes.train import train
from runtime.steps_world import World


def judged(
    world: World, uid: str, prepared: PrepareResult, *gates: GateSpec, champion: Champion | None = None, seed: int = 7
) -> EvaluateResult:
    """What evaluate says of a logistic regression on these rows. What the steps write lies below the world's root."""
    given, out = (world.root / f"{uid}-{name}" for name in ("given", "out"))
    given.mkdir()
    out.mkdir()
    name = f"delays-{uid}"
    spec = TrainSpec(
        version=name, uid=uid, attempt=1, store=world.spec().store, train=prepared.train, schema=prepared.schema, seed=seed,
        task="classification", algorithm="logistic-regression", hyperparameters={},
    )  # fmt: skip
    fetch(spec, world.store, given / "train.parquet", given / "params.json", out)
    with threadpool_limits(1):
        train("logistic-regression", given / "params.json", given / "train.parquet", out)
    model, parity = (world.store.put_file(out / file) for file in ("model.onnx", "parity.parquet"))
    asked = EvaluateSpec(
        version=name, uid=uid, store="", model=model, parity=parity, train=prepared.train, holdout=prepared.holdout,
        schema=prepared.schema, max_abs_difference=1e-4, gates=gates, seed=seed, champion=champion,
    )  # fmt: skip
    return evaluate(asked, world.store, Path(world.root / "judging"))
