"""Properties of the plan: it never raises, whatever the cluster holds, and left alone it comes to rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perennial.api.metrics import ErrorsMetric, JobMetric, RolloutMetric
from perennial.api.rollout import Shadow
from perennial.core.observed import ContainerState
from perennial.core.plan import plan
from perennial.core.requests import VERBS
from unit.core.world import World, came_to, evaluated, failed, spec

ACTS = st.one_of(
    st.tuples(st.just("live"), st.integers(1, 15)),
    st.tuples(st.just("annotate"), st.sampled_from(VERBS), st.sampled_from(["", "1", "2", "v1", "x;id=7"])),
    st.tuples(st.just("pin"), st.sampled_from([None, 1, 2, 9])),
    st.tuples(st.just("paused"), st.booleans()),
    st.tuples(st.just("inputs"), st.integers(1, 3)),
    st.tuples(st.just("unreachable"), st.booleans()),
    st.tuples(st.just("shadow"), st.sampled_from([None, 10, 100])),
    st.tuples(st.just("mirror_problem"), st.sampled_from(["", "no mirrors"])),
    st.tuples(st.just("refuses_mirrors"), st.booleans()),
    st.tuples(st.just("never_ready"), st.integers(1, 3)),
    st.tuples(st.just("lose_workload"), st.integers(1, 3)),
    st.tuples(st.just("lose_version"), st.integers(1, 3)),
    st.tuples(st.just("lose_jobs"), st.none()),
    st.tuples(st.just("lose_route"), st.none()),
    st.tuples(st.just("trainer"), st.sampled_from(["good", "fails", "worse"])),
    st.tuples(st.just("measured"), st.sampled_from(["not", "good", "bad", "for ever"])),
)
MEASURED = RolloutMetric(name="acceptance", job=JobMetric(image="checks"))


def act(world: World, name: str, *arguments: Any) -> None:  # noqa: C901 - one case for each act
    value = arguments[0]
    match name:
        case "live":
            world.live(value, rate=100, bad={2: 0.3})
        case "annotate":
            world.annotations[f"perennial.dev/{value}"] = arguments[1]
        case "pin" | "paused":
            world.wish = world.wish.model_copy(update={name: value})
        case "inputs":
            world.wish = world.wish.model_copy(update={"data": spec().data.model_copy(update={"minimum_rows": value})})
        case "unreachable" | "mirror_problem" | "refuses_mirrors":
            setattr(world, name, value)
        case "shadow":
            set_shadow(world, value)
        case "measured":
            set_measured(world, value)
        case "never_ready":
            world.never_ready.add(value)
        case "trainer":
            set_trainer(world, value)
        case _:
            lose(world, name, value)


def set_shadow(world: World, percent: int | None) -> None:
    shadow = Shadow(percent=percent, hold="10s") if percent else None
    world.wish = world.wish.model_copy(update={"rollout": world.wish.rollout.model_copy(update={"shadow": shadow})})


def set_measured(world: World, kind: str) -> None:
    """A Job measures beside errors, or not; one that is broken is tried again for ever, and never at rest."""
    metrics = [RolloutMetric(name="errors", errors=ErrorsMetric()), *([MEASURED] if kind != "not" else [])]
    world.wish = world.wish.model_copy(update={"rollout": world.wish.rollout.model_copy(update={"metrics": metrics})})
    ends = {"good": came_to(0), "bad": came_to(1, "worse")}
    world.measure = (lambda action, now: ends[kind]) if kind in ends else None


def set_trainer(world: World, kind: str) -> None:
    bad = ContainerState("train", "terminated", "Error", "", 3)
    answers = {
        "good": None,
        "fails": lambda step, number, action: failed(world.now, bad) if step == "train" else None,
        "worse": lambda step, number, action: evaluated(number, None, 0.5) if step == "evaluate" else None,
    }
    world.answer = answers[kind]


def lose(world: World, name: str, number: int | None) -> None:
    match name:
        case "lose_workload" if number is not None:
            world.workloads.pop(number, None)
        case "lose_version" if number is not None:
            world.versions.pop(number, None)
        case "lose_jobs":
            world.jobs.clear()
        case _:
            world.route = None


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTS, min_size=1, max_size=12))
def test_no_sequence_of_events_makes_the_plan_raise_and_it_comes_to_rest(sequence: list[tuple[Any, ...]]) -> None:
    world = World()
    for name, *arguments in sequence:
        act(world, name, *arguments)
        world.live(2, rate=50)
    world.sleep(700)
    status = world.status
    world.live(3)
    assert world.status == status


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTS, min_size=1, max_size=8))
def test_weights_always_sum_to_a_hundred_and_rest_on_known_versions(sequence: list[tuple[Any, ...]]) -> None:
    world = World()
    for name, *arguments in sequence:
        act(world, name, *arguments)
        world.run()
        for weights in world.route_writes:
            assert sum(weight for _, weight in weights) == 100
            assert all(weight >= 0 for _, weight in weights)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTS, min_size=1, max_size=8))
def test_mirror_is_there_in_a_shadow_alone_and_no_client_meets_its_candidate(sequence: list[tuple[Any, ...]]) -> None:
    world = World()
    act(world, "shadow", 100)
    for name, *arguments in sequence:
        act(world, name, *arguments)
        world.live(3, rate=50)
        current = world.status.rollout
        if world.route is not None and world.route.mirror is not None:
            assert current is not None
            assert (current.phase, current.candidate) == ("Shadow", world.route.mirror.version)
        if world.route is not None and current is not None and current.phase == "Shadow":
            assert dict(world.route.weights).get(current.candidate, 0) == 0


def test_pass_over_an_object_that_is_not_readable_says_so_and_leaves_everything() -> None:
    world = World()
    decided = plan(replace(world.observed(), invalid="spec.data: field required"))
    assert decided.before == decided.after == ()
    assert decided.status.conditions[0].reason == "SpecUnreadable"
