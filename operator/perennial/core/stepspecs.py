"""What each step of a version is given: data, training and evaluation of its spec, and what the steps before it answered.

A spec is the same for every attempt but for its number, so that a step whose result is in the store already ends at once. Used by
`perennial.core.training`, and by `perennial.core.reproducing` for a training that is made again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from perennial.api.data import Task
from perennial.api.evaluation import MOST
from perennial.api.task import task_of
from perennial.api.training import Recipe
from perennial.core import gates, lineage, smoke
from perennial.core.answers import answer_of
from perennial.core.inputs import source_address, store_owner
from perennial.core.observed import Version
from perennial_runtime.contract import (
    BALANCED,
    Champion,
    Column,
    EvaluateSpec,
    GateSpec,
    ModelSource,
    OwnMetric,
    OwnMetrics,
    PrepareResult,
    PrepareSpec,
    SliceSpec,
    TrainResult,
    TrainSpec,
)

SHOWN: Mapping[Task, GateSpec] = {
    "classification": GateSpec("roc_auc", 0.0, None),
    "multiclass": GateSpec("accuracy", 0.0, None),
    "regression": GateSpec("rmse", maximum=MOST),
}
"""Measured where no gate is asked for: a person still wants to see what the holdout says."""


def prepare(version: Version, attempt: int, champion: Champion | None = None) -> PrepareSpec:
    """What prepare is given; the champion where a gate will compare with it."""
    data, model = version.spec.data, version.spec.model
    return PrepareSpec(
        version=version.meta.name,
        uid=version.meta.uid,
        store=version.spec.store.uri,
        source=source_address(data.source),
        columns=tuple(Column(column.name, column.role, column.allow_leakage is not None) for column in data.columns),
        slices=tuple(part.column for part in version.spec.evaluation.slices),
        holdout_fraction=data.holdout.fraction,
        minimum_rows=data.minimum_rows,
        parent_uid=version.spec.parent.uid if version.spec.parent else None,
        attempt=attempt,
        model=ModelSource(model.uri, model.sha256) if model else None,
        duplicates_by=data.duplicates.by,
        task=task_of(data, version.spec.training),
        holdout_by=data.holdout.by,
        salt="" if data.holdout.by == "time" else store_owner(version.spec.store.uri),
        champion=champion,
    )


def train(version: Version, attempt: int, *, uid: str = "", scratch: bool = False) -> TrainSpec:
    """What a training of this version is given; `uid`: other than its own, `scratch`: it leaves nothing in the store."""
    prepared = cast(PrepareResult, answer_of(version.status, "prepare"))
    recipe = version.spec.training.recipe
    return TrainSpec(
        version=version.meta.name,
        uid=uid or version.meta.uid,
        attempt=attempt,
        store=version.spec.store.uri,
        train=prepared.train,
        schema=prepared.schema,
        scratch=scratch,
        seed=version.spec.training.seed,
        task=task_of(version.spec.data, version.spec.training),
        algorithm=recipe.algorithm if recipe else None,
        hyperparameters=smoke.hyperparameters(version.spec),
        class_weights=_class_weights(recipe),
    )


def _class_weights(recipe: Recipe | None) -> dict[str, float]:
    wish = recipe.class_weights if recipe else None
    return {} if wish is None else dict(wish.weights or {BALANCED: 1.0})


def compares(version: Version) -> bool:
    """Whether a gate compares the version with the one that serves."""
    return any(gate.not_worse_than_serving_by is not None for gate in version.spec.evaluation.gates)


def asked(version: Version) -> tuple[GateSpec, ...]:
    """The gates that evaluate measures."""
    given = tuple(gates.spec_of(gate) for gate in version.spec.evaluation.gates)
    return given or (SHOWN[task_of(version.spec.data, version.spec.training)],)


def evaluate(version: Version, attempt: int, champion: Champion | None) -> EvaluateSpec:
    """What evaluate is given, once prepare and train have answered."""
    prepared = cast(PrepareResult, answer_of(version.status, "prepare"))
    trained = _trained(version)
    return EvaluateSpec(
        version=version.meta.name,
        uid=version.meta.uid,
        store=version.spec.store.uri,
        model=trained.model or "",
        parity=trained.parity or "",
        train=prepared.train,
        holdout=prepared.holdout,
        schema=prepared.schema,
        max_abs_difference=version.spec.evaluation.parity.max_abs_difference,
        gates=asked(version),
        slices=tuple(SliceSpec(part.column, part.minimum_rows) for part in version.spec.evaluation.slices),
        seed=version.spec.training.seed,
        champion=champion,
        attempt=attempt,
        record=tuple(lineage.words(version.spec, version.status)),
        parent_uid=version.spec.parent.uid if version.spec.parent else None,
        signed=version.spec.signing is not None,
        environment=trained.environment,
        image=lineage.of(version.status).image,
        own=_own(version),
    )


def _own(version: Version) -> OwnMetrics | None:
    """What the user's program measures."""
    own = version.spec.evaluation.metrics
    if own is None:
        return None
    return OwnMetrics(tuple(OwnMetric(one.name, one.better == "less") for one in own.values), tuple(own.columns))


def _trained(version: Version) -> TrainResult:
    """What training answered; of a model that was there already, that it is that one, and that no trainer told its scores."""
    model = version.spec.model
    if model is not None:
        return TrainResult(model=model.sha256, parity=None)
    return cast(TrainResult, answer_of(version.status, "train"))
