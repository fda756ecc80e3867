"""Metrics of the user's own: what evaluate is told of them, how their gates are judged, and how their program may end."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from perennial.core.actions import CreateJob
from perennial.core.inputs import inputs_digest
from perennial.core.observed import ContainerState, Job, JobPod
from perennial_runtime.contract import (
    Answer,
    Champion,
    EvaluateResult,
    EvaluateSpec,
    GateMeasurement,
    OwnMetric,
    OwnMetrics,
    Refusal,
)
from unit.core.test_pause_and_retry import request
from unit.core.world import START, World, evaluated, failed, served, spec

METRICS: dict[str, Any] = {
    "image": "registry/cost@sha256:1",
    "command": ["cost"],
    "columns": ["hour"],
    "values": [{"name": "cost", "better": "less"}, {"name": "gain", "better": "more"}],
    "timeout": "2m",
}
GATES = [
    {"metric": "cost", "maximum": 2.5},
    {"metric": "cost", "notWorseThanServingBy": 0.5},
    {"metric": "gain", "minimum": 1500000},
]
WISH = spec(evaluation={"gates": GATES, "metrics": METRICS})


def measured(number: int, champion: str | None, cost: float = 2.0, saved: float = 0.1) -> EvaluateResult:
    """What evaluate says of a version: its cost, what it saves against the champion, and its gain; bounds a tenth apart."""
    beside = GateMeasurement("cost", "notWorseThanServingBy", -0.5, saved, saved - 0.1, saved + 0.1, 0)
    gates = (
        GateMeasurement("cost", "maximum", 2.5, cost, cost - 0.1, cost + 0.1, 0),
        *((beside,) if champion else ()),
        GateMeasurement("gain", "minimum", 1_500_000.0, 1_600_000.5, 1_550_000.25, 1_650_000.75, 0),
    )
    return replace(evaluated(number, champion), gates=gates)


def world(*, cost: float = 2.0, saved: float = 0.1, seen: list[EvaluateSpec] | None = None) -> World:
    def answer(step: str, number: int, action: CreateJob) -> Answer | None:
        if not isinstance(action.input, EvaluateSpec):
            return None
        if seen is not None:
            seen.append(action.input)
        champion = action.input.champion
        return measured(number, champion.identity if champion else None, cost, saved)

    return World(wish=WISH, answer=answer)


def ends(world: World, state: str) -> World:
    return world.until(lambda w: 1 in w.versions and w.versions[1].status.state == state, limit=400)


def test_evaluate_is_told_what_the_program_measures() -> None:
    seen: list[EvaluateSpec] = []
    made = served(world(seen=seen))
    assert seen[0].own == OwnMetrics((OwnMetric("cost", less_is_better=True), OwnMetric("gain", less_is_better=False)), ("hour",))
    assert not seen[0].own_compared, "nothing serves"
    assert replace(seen[0], champion=Champion("v1", "i", "b")).own_compared
    assert [one.verdict for one in made.versions[1].status.gates] == ["Passed", "Passed"]


def test_the_model_card_names_the_program() -> None:
    seen: list[EvaluateSpec] = []
    served(world(seen=seen))
    assert dict(seen[0].record)["Program of its metrics"] == "registry/cost@sha256:1: cost"


def test_the_verdict_tells_the_amounts_with_their_bounds() -> None:
    said = ends(world(cost=3.0), "Rejected").versions[1].status
    assert said.message == "cost 3.0000 (from 2.9000 to 3.1000, one-sided 95 % bounds) is over the maximum 2.5"
    assert "reaches the minimum 1,500,000" in said.gates[1].message


def test_a_version_that_costs_more_than_the_one_that_serves_is_refused_with_both() -> None:
    first = served(world())

    def worse(step: str, number: int, action: CreateJob) -> Answer | None:
        found = action.input.champion if isinstance(action.input, EvaluateSpec) else None
        return measured(number, found.identity, 2.2, -0.8) if found else None

    first.answer = worse
    first.annotations["perennial.dev/retrain"] = "words"
    first.until(lambda w: 2 in w.versions and w.versions[2].status.state == "Rejected", rate=100)
    assert "cost against the version that serves: worse by 0.8000" in first.versions[2].status.message
    assert first.status.stable == 1


def test_versions_without_such_metrics_have_the_digest_that_they_had() -> None:
    assert inputs_digest(spec()) == inputs_digest(spec(evaluation={"gates": [{"metric": "roc_auc", "minimum": 0.7}]}))
    other = spec(evaluation={"gates": GATES, "metrics": {**METRICS, "command": ["cost", "--all"]}})
    assert inputs_digest(other) != inputs_digest(WISH), "another program is another version"


# ---- the program's end -------------------------------------------------------------------------------------------------------


def when_evaluated(job: Job) -> World:
    def answer(step: str, number: int, action: CreateJob) -> Job | None:
        return job if step == "evaluate" else None

    return World(wish=WISH, answer=answer)


def running(started: datetime) -> Job:
    program = ContainerState("metrics", "running", started_at=started)
    pod = JobPod("pod-x", "pu", "Pending", START, containers=(ContainerState("score", "terminated", exit_code=0), program))
    return Job("", "u", 1, "evaluate", 1, START, pods=(pod,))


def test_a_program_that_takes_too_long_is_ended_and_says_which_field_to_change() -> None:
    made = when_evaluated(running(START + timedelta(seconds=100)))
    made.live(215)
    assert made.versions[1].status.state == "Evaluating"
    said = ends(made, "Failed").versions[1].status
    assert (made.now - START).total_seconds() <= 250
    assert said.message.startswith("evaluate: MetricsTimedOut: the program of evaluation.metrics in pod pod-x ran longer than 2m")
    assert "raise evaluation.metrics.timeout" in said.message
    assert "delays-v1-evaluate-1" in made.deleted
    assert len([one for one in said.steps if one.step == "evaluate"]) == 1, "it would take as long again"


def test_a_program_that_fails_is_tried_again_and_then_fails_the_version_without_a_verdict_on_the_model() -> None:
    program = ContainerState("metrics", "terminated", "Error", "KeyError: 'amount'", 1)
    made = ends(when_evaluated(failed(START, ContainerState("score", "terminated", exit_code=0), program)), "Failed")
    said = made.versions[1].status
    assert said.message.startswith("evaluate: MetricsFailed: the program of evaluation.metrics failed: container metrics ended")
    assert "it says: KeyError: 'amount'" in said.message
    assert len([one for one in said.steps if one.step == "evaluate"]) == 3
    assert said.gates == []


@pytest.mark.parametrize("reason", ["MetricValuesBroken", "MetricValuesMissing"])
def test_numbers_that_are_none_fail_the_version_at_once_and_a_person_can_have_it_tried_again(reason: str) -> None:
    said = Refusal(reason, "challenger.parquet of the program in evaluation.metrics: it has 4 rows for 5 rows that were given")
    answers: dict[str, Answer] = {"evaluate": said}
    made = World(wish=WISH, answer=lambda step, number, action: answers.get(step))
    ends(made, "Failed")
    assert len([one for one in made.versions[1].status.steps if one.step == "evaluate"]) == 1
    assert "4 rows for 5 rows" in made.versions[1].status.message
    answers["evaluate"] = measured(1, None)
    request(made, "retry", "")
    made.until(lambda w: w.status.stable == 1, rate=100)
