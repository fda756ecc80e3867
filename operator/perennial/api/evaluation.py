"""`spec.evaluation`: what a model must prove before it is served."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from perennial.api.base import SpecModel, cel, rules

Metric = Literal["roc_auc", "average_precision", "accuracy"]


class Gate(SpecModel):
    """What a model must prove on the holdout: `minimum`, or `notWorseThanServingBy`."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "[has(self.minimum), has(self.notWorseThanServingBy)].exists_one(given, given)",
                "a gate needs exactly one of minimum and notWorseThanServingBy",
                "'gate %s has %s minimum and notWorseThanServingBy: keep exactly one; write two gates for both'"
                ".format([self.metric, has(self.minimum) ? 'both' : 'neither'])",
            )
        )
    )

    metric: Metric
    """What is measured on the holdout."""
    minimum: Annotated[float, Field(ge=0, le=1)] | None = None
    """The metric's one-sided 95 % lower bound must reach this."""
    not_worse_than_serving_by: Annotated[float, Field(ge=0, le=1)] | None = None
    """With 95 % confidence, not worse than the serving version by more than this; both judged on the same rows."""
    on_undecided: Literal["refuse", "pass"] = "refuse"
    """What happens when the holdout is too small to tell; refuse when not given."""


class Parity(SpecModel):
    """How far the ONNX scores may be from the trainer's own."""

    max_abs_difference: Annotated[float, Field(ge=1e-9, le=1)] = 1e-4
    """Largest difference of a score."""


class Evaluation(SpecModel):
    """How a model is judged."""

    gates: Annotated[list[Gate], Field(max_length=5)] = []
    """All must pass; none: every model that works is rolled out."""
    parity: Parity = Parity()
