"""Properties of how versions come to be: whatever begins, holds, evicts or asks, and wherever the operator is killed, the plan
does not raise, no Job is left behind, and left alone it comes to rest."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from perennial.core.actions import CreateJob
from perennial.core.inputs import job_name
from perennial.core.observed import ContainerState, Job, JobPod
from perennial.core.plan import plan
from unit.core.test_reproducing import EQUAL, answers, failing
from unit.core.world import World, failed, spec

BUSY = {"image": "r/trainer", "retries": 1, "workers": 2, "accelerator": {"fallbackToCPU": {"after": "5s"}}}
SCHEDULE = {"schedule": {"cron": "*/10 * * * *"}}
PARTS: dict[str, list[dict[str, Any]]] = {
    "triggers": [{}, SCHEDULE, {**SCHEDULE, "newData": {"interval": "10s"}}],
    "limits": [{}, {"stopAfterFailures": 1}, {"cooldown": "5m", "runsPerDay": 1}],
    "training": [{"recipe": {}}, BUSY],
}
TRAINERS = ("good", "fails", "busy", "suspended", "evicted")
ACTS = st.one_of(
    st.tuples(st.just("live"), st.integers(1, 40)),
    st.tuples(st.just("killed"), st.integers(0, 8)),
    st.tuples(st.just("triggers"), st.integers(0, 2)),
    st.tuples(st.just("limits"), st.integers(0, 2)),
    st.tuples(st.just("training"), st.integers(0, 1)),
    st.tuples(st.just("approval"), st.booleans()),
    st.tuples(st.just("pin"), st.sampled_from([None, 1, 2])),
    st.tuples(st.just("paused"), st.booleans()),
    st.tuples(st.just("listing"), st.sampled_from(["l1", "l2", "l3"])),
    st.tuples(st.just("rows"), st.sampled_from(["a", "b", None])),
    st.tuples(st.just("trainer"), st.sampled_from(TRAINERS)),
    st.tuples(st.just("reproduces"), st.sampled_from(["equal", "fails", "for ever"])),
    st.tuples(st.just("annotate"), st.sampled_from(["approve", "retry", "retrain", "reproduce", "abort", "resume"])),
    st.tuples(st.just("lost_jobs"), st.none()),
    st.tuples(st.just("lost_version"), st.integers(1, 3)),
)


def trained(world: World, how: str, action: CreateJob) -> Job:
    """A train Job that does not end well."""
    made = Job("", f"u-{action.version}-{action.attempt}", action.version, "train", action.attempt, world.now)
    waits = JobPod("p", f"p-{action.attempt}", "Pending", world.now, unschedulable="0/2 nodes are available")
    gone = JobPod("e", f"e-{action.version}-{action.attempt}", "Failed", world.now, disrupted=True, index=0)
    bad = ContainerState("train", "terminated", "Error", "", 3)
    match how:
        case "busy":
            return replace(made, pods=(waits,))
        case "suspended":
            return replace(made, suspended=True, queue="team")
        case "evicted":
            return replace(failed(world.now, bad), pods=(gone, *failed(world.now, bad).pods))
        case _:
            return failed(world.now, bad)


def act(world: World, name: str, value: Any) -> None:  # noqa: C901 - one case for each act
    match name:
        case "live":
            world.live(value, rate=50)
        case "killed":
            killed(world, value)
        case "triggers" | "limits" | "training":
            part = getattr(spec(**{name: PARTS[name][value]}), name)
            world.wish = world.wish.model_copy(update={name: part})
        case "approval":
            world.wish = world.wish.model_copy(update={"approval": spec(approval={}).approval if value else None})
        case "pin" | "paused":
            world.wish = world.wish.model_copy(update={name: value})
        case "listing" | "rows":
            setattr(world, name, value)
        case "trainer":
            world.answer = (
                None if value == "good" else lambda step, number, job: trained(world, value, job) if step == "train" else None
            )
        case "reproduces":
            world.reproduce = {"equal": answers(EQUAL), "fails": failing}.get(value)
        case "annotate":
            world.annotations[f"perennial.dev/{value}"] = "1" if value == "reproduce" else ""
        case "lost_jobs":
            world.jobs.clear()
        case _:
            world.versions.pop(value, None)


def killed(world: World, writes: int) -> None:
    """A pass that is killed after so many writes, the status being one of them."""
    decided = plan(world.observed())
    for action in decided.before[:writes]:
        world.apply(action)
    left = writes - len(decided.before)
    if left > 0:
        world.write(decided)
        for action in decided.after[: left - 1]:
            world.apply(action)


def is_sound(world: World) -> None:
    """No Job was made twice but those that were lost; of an attempt that ended none goes on when the next pass is over."""
    for version in world.versions.values():
        running = Counter(one.step for one in version.status.steps if one.state == "Running")
        assert all(count == 1 for count in running.values()), "two attempts at once"
    lonely = lonely_jobs(world)
    if lonely and not (world.wish.paused or world.status.paused):
        world.live(1, rate=50)
        assert not lonely & lonely_jobs(world), "a Job that nobody waits for"


def lonely_jobs(world: World) -> set[str]:
    """Jobs that go on, of attempts that have ended."""
    names = {
        job_name("delays", number, one.step, one.attempt)
        for number, version in world.versions.items()
        for one in version.status.steps
        if one.state != "Running"
    }
    return {name for name in names & set(world.jobs) if not (world.jobs[name].complete or world.jobs[name].failed)}


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example("busy", [("live", 20)])
@example("evicted", [("live", 1), ("trainer", "busy")])
@example("evicted", [("live", 40), ("annotate", "retry"), ("trainer", "good")])
@given(st.sampled_from(TRAINERS), st.lists(ACTS, min_size=1, max_size=8))
def test_whatever_begins_holds_or_kills_it_the_plan_does_not_raise_and_comes_to_rest(
    trainer: str, sequence: list[tuple[str, Any]]
) -> None:
    world = World(wish=spec(training=BUSY))
    act(world, "trainer", trainer)
    for name, value in sequence:
        act(world, name, value)
        world.live(6, rate=50)
        is_sound(world)
    world.wish = world.wish.model_copy(update={"triggers": spec().triggers})
    world.sleep(5400, most=60)
    status, versions = world.status, {number: version.status for number, version in world.versions.items()}
    world.live(3)
    assert (world.status, {number: version.status for number, version in world.versions.items()}) == (status, versions)
    is_sound(world)
