"""`spec.rollout`: how a candidate takes over, from its shadow to the watch after its promotion."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from perennial.api.base import LIST_BY_NAME, Duration, SpecModel, cel, rules
from perennial.api.metrics import ErrorsMetric, RolloutMetric


class RolloutStep(SpecModel):
    """A share of the traffic, in per cent, and how long it lasts at least."""

    weight: Annotated[int, Field(ge=1, le=99)]
    """Per cent of the requests that the candidate answers."""
    hold: Duration
    """How long the step lasts at least."""


DEFAULT_STEPS = [
    RolloutStep(weight=5, hold="1m"),
    RolloutStep(weight=25, hold="2m"),
    RolloutStep(weight=50, hold="2m"),
]


class Watch(SpecModel):
    """After its promotion a version is still compared with the one before it, which keeps a small share of the requests."""

    for_: Duration
    """How long the promoted version is watched."""
    hold_back: Annotated[int, Field(ge=1, le=50)] = 10
    """Per cent of the requests that the version before it goes on to answer; less finds harm later."""


class Shadow(SpecModel):
    """Before its first step a candidate is sent copies of live requests; its answers are counted and thrown away."""

    percent: Annotated[int, Field(ge=1, le=100)] = 100
    """Per cent of the live requests that are mirrored; less than 100 needs a gateway that knows shares (Gateway API 1.3)."""
    hold: Duration
    """How long the shadow lasts at least."""


class Rollout(SpecModel):
    """How a candidate takes over."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            cel(
                "self.steps.map(step, step.weight).isSorted()"
                " && self.steps.all(a, self.steps.exists_one(b, b.weight == a.weight))",
                "rollout.steps must have rising weights",
                "'rollout.steps have the weights %s: each must be more than the one before it'"
                ".format([self.steps.map(step, step.weight)])",
            ),
            cel(
                "!has(self.shadow) || !has(self.metrics)"
                " || self.metrics.exists(metric, has(metric.errors) || has(metric.latency))",
                "rollout.shadow needs a metric that mirrored requests can be judged by: add {name: errors, errors: {}}",
            ),
        )
    )

    shadow: Shadow | None = None
    """Judged by errors and latency. Not given: the first requests that a candidate answers are clients'."""
    steps: Annotated[list[RolloutStep], Field(min_length=1, max_length=16)] = DEFAULT_STEPS
    """From one to the next while nothing speaks against it; after the last comes 100 %."""
    false_rollback_rate: Annotated[float, Field(ge=0.0001, le=0.2)] = 0.01
    """How often at most a candidate as good as stable may be taken back by chance, over the whole rollout."""
    minimum_requests: Annotated[int, Field(ge=1, le=10_000_000)] = 200
    """Answers of the candidate that a step, and the shadow, needs before it passes."""
    deadline: Duration | None = None
    """Per step, and of the shadow; 4 x hold when not given."""
    watch: Watch | None = None
    """Not given: the version before gets no more requests once a candidate is promoted."""
    window: Annotated[int, Field(ge=0, le=100)] = 0
    """So many of the versions that served last are gone back to without steps and without training when the spec asks for their
    inputs again (a revert in Git). What serves is one of them: 2 covers the version before it. 0: a reverted spec is trained."""
    on_breach: Literal["rollback", "pause"] = "rollback"
    """pause: weights stay as they are, a condition and an event tell it, and a person promotes or aborts."""
    on_too_little_data: Literal["wait", "promote", "abort"] = "wait"
    """What happens at a step's deadline when the candidate has not answered minimumRequests, or when a source or a Job has not
    said anything about it. promote takes the step all the same; abort ends the rollout and quarantines nothing. A step that is in
    suspicion waits, whatever stands here."""
    dispersion_guard: bool = False
    """For answers that fail in bursts: every test believes its evidence less, by as much as stable's bad answers vary more than
    independent ones. Harm is found later. Always on without serving.route."""
    metrics: Annotated[
        list[RolloutMetric],
        Field(
            min_length=1,
            max_length=8,
            json_schema_extra=LIST_BY_NAME
            | rules(
                cel(
                    "self.exists(metric, !has(metric.predictionShift))",
                    "rollout.metrics needs one that can take a candidate back, e.g. {name: errors, errors: {}}: a "
                    "predictionShift cannot",
                )
            ),
        ),
    ] = [RolloutMetric(name="errors", errors=ErrorsMetric())]
    """What is compared."""
