"""Metrics that a Job measures: when it runs, what its end means, and what becomes of its Jobs."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from perennial.core import actions, runs
from perennial.core.jobs import METRIC_CONTAINER, METRIC_STEP
from perennial.core.observed import ContainerState, Job, JobPod
from unit.core.world import START, World, came_to, served, spec

ACCEPTANCE = {"name": "acceptance", "job": {"image": "checks@sha256:1", "command": ["check"]}}
ERRORS = {"name": "errors", "errors": {}}
STEPS = [{"weight": 10, "hold": "10s"}, {"weight": 50, "hold": "10s"}]
MOST_SECONDS = 60


def good(action: actions.CreateMetricJob, now: datetime) -> Job:
    return came_to(0)


def bad(action: actions.CreateMetricJob, now: datetime) -> Job:
    return bad_one()


def broken(action: actions.CreateMetricJob, now: datetime) -> Job:
    return came_to(2)


def bad_one() -> Job:
    return came_to(1, "accuracy 0.61 on the acceptance rows: at least 0.7 is needed\n")


LONG = [{"weight": 10, "hold": "300s"}]


def named(world: World, run: int) -> dict[str, Any]:
    """What makes a Job that of a run of v2."""
    name = f"delays-v2-metric-{run}"
    return {"name": name, "uid": f"uid-{name}", "version": 2, "step": METRIC_STEP, "attempt": run, "created_at": world.now}


def wish(*metrics: dict[str, Any], **changes: Any) -> Any:
    return spec(rollout={"steps": STEPS, "minimumRequests": 20, "metrics": list(metrics or (ERRORS, ACCEPTANCE))} | changes)


def rolling(measure: Any = None, *metrics: dict[str, Any], **changes: Any) -> World:
    """v1 serves, v2 gets its first requests; Jobs of metrics come to what `measure` says."""
    world = served(World(wish=wish(*metrics, **changes)))
    world.measure = measure
    world.wish = wish(*metrics, **changes).model_copy(update={"data": spec().data.model_copy(update={"minimum_rows": 7})})
    return world.until(lambda w: w.status.rollout is not None and w.status.rollout.settled, rate=100, limit=MOST_SECONDS)


def condition(world: World, type_: str) -> tuple[str, str, str]:
    found = next((c for c in world.status.conditions if c.type == type_), None)
    return (found.status, found.reason, found.message) if found else ("", "", "")


def ran(world: World) -> list[str]:
    return [name for name in world.created if "-metric-" in name]


def with_job(**changes: Any) -> dict[str, Any]:
    return {**ACCEPTANCE, "job": {**ACCEPTANCE["job"], **changes}}  # type: ignore[dict-item]


# ---- whole rollouts ----


def test_a_candidate_that_its_job_finds_good_is_measured_once_in_each_step_and_promoted() -> None:
    world = rolling(good)
    world.live(40, rate=100)
    assert (world.status.stable, world.status.summary) == (2, "Serving")
    assert ran(world) == ["delays-v2-metric-1", "delays-v2-metric-2"]
    evidence = next(one for one in world.versions[2].status.evidence if one.name == "acceptance")
    assert (evidence.candidate_total, evidence.candidate_bad) == (2, 0)
    assert "not part of falseRollbackRate" in evidence.message


def test_a_candidate_that_its_job_finds_bad_is_taken_back_with_its_words() -> None:
    world = rolling(bad)
    world.live(5, rate=100)
    version = world.versions[2].status
    assert version.state == "RolledBack"
    assert version.message.startswith("MetricJobFailed: acceptance: Job delays-v2-metric-1 measured it as bad: accuracy 0.61")
    assert [entry.version for entry in world.status.quarantined] == [2]
    assert "delays-v2-metric-1" in world.jobs


def test_on_breach_pause_leaves_it_to_a_person() -> None:
    world = rolling(bad, onBreach="pause")
    world.live(20, rate=100)
    assert condition(world, "Breached")[1] == "MetricJobFailed"
    assert ran(world) == ["delays-v2-metric-1"]


def test_as_many_bad_measurements_as_failure_limit_says_are_let_pass() -> None:
    world = rolling(bad, ERRORS, with_job(failureLimit=1, every="10s"))
    world.live(5, rate=100)
    assert world.versions[2].status.state == "Canary"
    world.live(12, rate=100)
    assert world.versions[2].status.state == "RolledBack"
    assert "2 of 2 runs bad, failureLimit 1" in world.versions[2].status.message


def test_a_job_that_breaks_is_no_measurement_and_no_step_passes() -> None:
    world = rolling(broken)
    world.live(100, rate=100)
    assert world.status.rollout is not None
    assert (world.status.rollout.step, world.status.stable) == (0, 1)
    status, reason, words = condition(world, "MetricsAnswered")
    assert (status, reason) == ("False", "JobBroke")
    assert "ended with exit code 2" in words
    assert 3 <= len(ran(world)) <= 5, "tried again after 10, 20, 40 s"
    world.measure = good
    world.live(100, rate=100)
    assert world.status.stable == 2


@pytest.mark.parametrize(("policy", "outcome"), [("wait", "Canary"), ("promote", "Canary"), ("abort", "Superseded")])
def test_a_job_that_breaks_until_the_deadline_is_too_little_data(policy: str, outcome: str) -> None:
    world = rolling(broken, onTooLittleData=policy, deadline="30s")
    world.live(45, rate=100)
    assert world.versions[2].status.state == outcome
    assert world.status.quarantined == []


def test_no_step_passes_while_the_job_is_under_way_and_its_name_is_told() -> None:
    world = rolling(None)
    world.live(30, rate=100)
    assert world.status.rollout is not None
    assert world.status.rollout.step == 0
    assert condition(world, "MetricsAnswered") == (
        "Unknown",
        "Measuring",
        "metric acceptance: Job delays-v2-metric-1 is under way",
    )


def test_why_a_job_does_not_start_is_told_as_long_as_that_is_so() -> None:
    pod = JobPod("pod-x", "pu", "Pending", START, unschedulable="0/2 nodes are available")
    world = rolling(lambda action, now: Job("", "", 0, METRIC_STEP, 1, now, pods=(pod,)))
    world.live(3, rate=100)
    status, reason, words = condition(world, "MetricsAnswered")
    assert (status, reason) == ("False", "Unschedulable")
    assert "0/2 nodes are available; waiting" in words
    job = world.jobs["delays-v2-metric-1"]
    world.jobs[job.name] = replace(job, pods=(replace(pod, phase="Running", unschedulable=""),))
    world.live(2, rate=100)
    assert condition(world, "MetricsAnswered")[:2] == ("Unknown", "Measuring")


def test_a_measurement_of_one_step_does_not_count_for_the_next() -> None:
    world = rolling(good)
    world.until(lambda w: w.status.rollout is not None and w.status.rollout.step == 1, rate=100)
    world.measure = bad
    world.live(6, rate=100)
    assert world.versions[2].status.state == "RolledBack"


def test_in_the_watch_it_is_measured_again() -> None:
    world = rolling(good, watch={"for": "60s"})
    world.until(lambda w: w.status.stable == 2, rate=100)
    world.measure = bad
    world.live(6, rate=100)
    assert (world.status.stable, world.versions[2].status.state) == (1, "RolledBack")


def test_a_job_alone_can_be_the_only_metric() -> None:
    world = rolling(good, ACCEPTANCE)
    world.live(40, rate=100)
    assert world.status.stable == 2
    world = rolling(bad, ACCEPTANCE)
    world.live(6, rate=100)
    assert world.versions[2].status.state == "RolledBack"


def test_a_shadow_is_not_measured_by_a_job() -> None:
    world = rolling(bad, shadow={"hold": "20s", "percent": 100})
    world.live(10, rate=100)
    assert world.status.rollout is not None
    assert (world.status.rollout.phase, ran(world)) == ("Shadow", [])


# ---- the Jobs ----


def test_it_is_told_whom_to_measure_and_where() -> None:
    made: list[actions.CreateMetricJob] = []

    def noted(action: actions.CreateMetricJob, now: datetime) -> Job:
        made.append(action)
        return came_to(0)

    rolling(noted).live(2, rate=100)
    environment = dict(made[0].environment)
    assert environment == {
        "PERENNIAL_NAME": "delays",
        "PERENNIAL_NAMESPACE": "ns",
        "PERENNIAL_METRIC": "acceptance",
        "PERENNIAL_WEIGHT": "10",
        "PERENNIAL_CANDIDATE": "delays-v2",
        "PERENNIAL_CANDIDATE_URL": "http://delays-v2.ns.svc:81/predict",
        "PERENNIAL_STABLE": "delays-v1",
        "PERENNIAL_STABLE_URL": "http://delays-v1.ns.svc:81/predict",
    }


def test_a_job_that_runs_for_nobody_any_more_is_deleted() -> None:
    world = rolling(None)
    world.live(3, rate=100)
    assert ran(world) == ["delays-v2-metric-1"]
    world.live(10, rate=100, bad={2: 1.0})
    assert world.versions[2].status.state == "RolledBack"
    assert "delays-v2-metric-1" in world.deleted


def test_of_the_runs_that_ended_only_the_last_is_kept() -> None:
    world = rolling(good, ERRORS, with_job(every="10s"), steps=[{"weight": 10, "hold": "60s"}])
    world.live(70, rate=100)
    assert len(ran(world)) > 3
    assert [name for name in world.jobs if "-metric-" in name] == ran(world)[-1:]


def test_a_job_that_is_deleted_by_hand_is_made_again() -> None:
    world = rolling(None)
    world.live(3, rate=100)
    del world.jobs["delays-v2-metric-1"]
    world.live(1, rate=100)
    assert "delays-v2-metric-1" in world.jobs


def test_a_crash_between_the_job_and_the_status_makes_no_second_run() -> None:
    world = served(World(wish=wish()))
    world.wish = wish().model_copy(update={"data": spec().data.model_copy(update={"minimum_rows": 7})})
    written = world.status
    while not ran(world):
        written = world.status
        world.live(1, rate=100)
    world.status = written  # the operator died between the two
    world.live(3, rate=100)
    assert ran(world) == ["delays-v2-metric-1"]


def test_numbers_go_on_in_another_rollout_of_the_same_version() -> None:
    world = rolling(None)
    world.live(3, rate=100)
    began = runs.begin(world.observed(), 2)
    assert [(entry.name, entry.run, entry.running) for entry in began] == [("acceptance", 1, False)]


def test_a_metric_that_is_taken_out_of_the_spec_asks_for_nothing_more() -> None:
    world = rolling(None)
    world.live(3, rate=100)
    world.wish = wish(ERRORS).model_copy(update={"data": world.wish.data})
    world.live(40, rate=100)
    assert world.status.stable == 2
    assert "delays-v2-metric-1" in world.deleted


def test_while_paused_no_run_begins() -> None:
    world = served(World(wish=wish()))
    world.wish = wish().model_copy(update={"data": spec().data.model_copy(update={"minimum_rows": 7})})
    world.until(lambda w: w.status.rollout is not None, rate=100)
    world.wish = world.wish.model_copy(update={"paused": True})
    world.live(20, rate=100)
    assert ran(world) == []


def test_a_job_that_is_changed_in_the_spec_begins_again_at_once_and_the_old_one_says_nothing_more() -> None:
    world = rolling(None)
    world.live(3, rate=100)
    world.wish = wish(ERRORS, with_job(image="checks@sha256:2")).model_copy(update={"data": world.wish.data})
    world.jobs["delays-v2-metric-1"] = replace(bad_one(), **named(world, 1))
    world.live(3, rate=100)
    assert world.versions[2].status.state == "Canary"
    assert ran(world) == ["delays-v2-metric-1", "delays-v2-metric-2"]
    assert "delays-v2-metric-1" not in world.jobs


def test_after_an_edit_of_a_broken_job_nobody_waits_for_the_retry() -> None:
    world = rolling(broken)
    world.live(60, rate=100)
    before = len(ran(world))
    world.measure = good
    world.wish = wish(ERRORS, with_job(image="checks@sha256:2")).model_copy(update={"data": world.wish.data})
    world.live(3, rate=100)
    assert len(ran(world)) > before


def test_a_run_that_spans_a_loss_of_the_candidate_s_pods_is_not_held_against_it() -> None:
    world = rolling(None)
    world.live(3, rate=100)
    world.unready(2)
    world.live(2, rate=100)
    world.never_ready.clear()
    world.measure = good
    if "delays-v2-metric-1" in world.jobs:
        world.jobs["delays-v2-metric-1"] = replace(bad_one(), **named(world, 1))
    world.live(60, rate=100)
    assert world.status.stable == 2


def test_a_step_that_was_measured_does_not_wait_for_the_next_run() -> None:
    world = rolling(good, ERRORS, with_job(every="10s"), steps=[{"weight": 10, "hold": "20s"}])
    world.live(3, rate=100)
    world.measure = None
    world.live(30, rate=100)
    assert len(ran(world)) == 2, "the second is under way for ever"
    assert world.status.stable == 2


def test_a_refused_job_is_told_as_not_made_and_harm_is_still_found() -> None:
    world = rolling(None)
    for _ in range(8):
        world.jobs.pop("delays-v2-metric-1", None)
        world.live(1, rate=100)
        world.jobs.pop("delays-v2-metric-1", None)
    assert condition(world, "MetricsAnswered")[:2] == ("False", "JobNotMade")
    for _ in range(10):
        world.jobs.pop("delays-v2-metric-1", None)
        world.live(1, rate=100, bad={2: 1.0})
    assert world.versions[2].status.state == "RolledBack"


def test_a_pod_that_failed_before_its_job_says_so_is_judged_and_its_job_is_kept_with_its_logs() -> None:
    world = rolling(lambda action, now: replace(bad_one(), failed=False))
    decided = world.run()
    world.live(3, rate=100)
    assert world.versions[2].status.state == "RolledBack"
    assert "delays-v2-metric-1" in world.jobs
    assert not [action for action in decided.before if isinstance(action, actions.DeleteJob)]


def test_what_is_deleted_stands_behind_all_that_matters_more() -> None:
    world = rolling(None)
    world.live(3, rate=100)
    world.traffic(1000, {2: 1.0})
    for _ in range(10):
        world.traffic(100, {2: 1.0})
        world.now += timedelta(seconds=1)
        decided = world.run()
        if any(isinstance(action, actions.DeleteJob) for action in decided.after):
            assert not any(isinstance(action, actions.DeleteJob) for action in decided.before)
            return
    raise AssertionError("the Job of a version that was taken back goes on")


def test_a_candidate_that_was_let_pass_is_not_called_without_harm() -> None:
    world = rolling(bad, ERRORS, with_job(failureLimit=9))
    world.live(40, rate=100)
    promoted = next(event for event in world.events if event.reason == "Promoted" and "v2" in event.message)
    assert "no evidence of harm in any step; but acceptance: 2 of 2 runs bad, within failureLimit" in promoted.message


def test_a_limit_that_is_lowered_names_the_measurement_that_was_bad() -> None:
    told = iter([bad_one(), came_to(0), came_to(0)])
    world = rolling(lambda action, now: next(told, came_to(0)), ERRORS, with_job(failureLimit=1, every="10s"), steps=LONG)
    world.live(30, rate=100)
    world.wish = wish(ERRORS, with_job(failureLimit=0, every="10s"), steps=LONG).model_copy(update={"data": world.wish.data})
    world.live(2, rate=100)
    assert "delays-v2-metric-1 measured it as bad: accuracy 0.61" in world.versions[2].status.message


def test_a_deadline_waits_for_a_run_that_is_within_its_time() -> None:
    world = rolling(None, ERRORS, with_job(timeout="2m"), onTooLittleData="abort", deadline="20s")
    world.live(100, rate=100)
    assert world.versions[2].status.state == "Canary"
    world.live(100, rate=100)
    assert world.versions[2].status.state == "Superseded"


def test_however_often_a_job_broke_a_pass_goes_on() -> None:
    world = rolling(broken)
    world.live(3, rate=100)
    rollout = world.status.rollout
    assert rollout is not None
    worn = [entry.model_copy(update={"errors": 10**6}) for entry in rollout.runs]
    world.status = world.status.model_copy(update={"rollout": rollout.model_copy(update={"runs": worn})})
    world.live(400, rate=100)
    assert world.versions[2].status.state == "Canary"


def test_that_every_metric_answered_is_told_without_a_gap() -> None:
    world = rolling(good)
    for _ in range(25):
        world.live(1, rate=100)
        if world.status.rollout is not None:
            assert condition(world, "MetricsAnswered")[0] != ""


# ---- how a Job's end is read ----


@pytest.mark.parametrize(
    ("job", "state", "reason", "words"),
    [
        (came_to(0), "succeeded", "", "passed"),
        (came_to(0, "0.81"), "succeeded", "", "passed: 0.81"),
        (came_to(1, "p95 is 80 ms"), "refused", "", "measured it as bad: p95 is 80 ms"),
        (came_to(1), "failed", "NothingSaid", "write what is bad to /dev/termination-log"),
        (came_to(1, " \n\t\x00"), "failed", "NothingSaid", "no words"),
        (
            came_to(3, "no connection"),
            "failed",
            "JobBroke",
            "exit code 3, which is no measurement (0 is good, 1 with words is bad)",
        ),
        (came_to(137, reason="DeadlineExceeded"), "failed", "TimedOut", "ran longer than 5m"),
        (came_to(137, reason="Evicted"), "failed", "OutOfStorage", "metrics[].job.resources.limits.ephemeral-storage"),
        (came_to(137, disrupted=True), "failed", "JobFailed", "the Job failed"),
        (replace(came_to(1, "worker died"), failed=False), "refused", "", "worker died"),
        (replace(came_to(0), complete=False), "running", "", ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_end_of_a_job(job: Job, state: str, reason: str, words: str) -> None:
    reading = runs.read(replace(job, name="delays-v2-metric-1"), "5m", START)
    assert (reading.state, reading.reason) == (state, reason)
    assert words in reading.message


def test_a_job_that_is_killed_for_memory_is_no_measurement_though_it_exits_with_0() -> None:
    container = ContainerState(METRIC_CONTAINER, "terminated", "OOMKilled", "", 0, memory_limit="512Mi")
    pods = (JobPod("pod-x", "pu", "Succeeded", START, containers=(container,)),)
    reading = runs.read(Job("j", "u", 2, METRIC_STEP, 1, START, complete=True, pods=pods), "5m", START)
    assert (reading.state, reading.reason) == ("failed", "OutOfMemory")
    assert reading.message.endswith("raise metrics[].job.resources.limits.memory")


@pytest.mark.parametrize("failed", [True, False], ids=["the Job says so", "its pod says so"])
def test_words_of_a_job_that_is_killed_for_memory_are_no_measurement(failed: bool) -> None:
    container = ContainerState(METRIC_CONTAINER, "terminated", "OOMKilled", "worker died", 1)
    pods = (JobPod("pod-x", "pu", "Failed", START, containers=(container,)),)
    reading = runs.read(Job("j", "u", 2, METRIC_STEP, 1, START, failed=failed, pods=pods), "5m", START)
    assert (reading.state, reading.reason) == ("failed", "OutOfMemory")


def test_a_time_out_before_the_start_says_what_it_waited_for() -> None:
    waiting = ContainerState(METRIC_CONTAINER, "waiting", "ImagePullBackOff", "no such image")
    pods = (JobPod("pod-x", "pu", "Failed", START, reason="DeadlineExceeded", containers=(waiting,)),)
    reading = runs.read(Job("j", "u", 2, METRIC_STEP, 1, START, failed=True, pods=pods), "20s", START)
    assert "had not started after 20s: ImagePullBackOff: no such image" in reading.message


def test_an_image_that_cannot_be_pulled_is_told_and_at_last_no_measurement() -> None:
    waiting = ContainerState(METRIC_CONTAINER, "waiting", "ImagePullBackOff", "no such image")
    pods = (JobPod("pod-x", "pu", "Pending", START, scheduled_at=START, containers=(waiting,)),)
    job = Job("j", "u", 2, METRIC_STEP, 1, START, pods=pods)
    soon, late = (runs.read(job, "5m", START + timedelta(seconds=seconds)) for seconds in (5, 200))
    assert (soon.state, soon.reason) == ("running", "ImageCannotBePulled")
    assert (late.state, late.reason) == ("failed", "ImageCannotBePulled")
    assert "correct metrics[].job.image" in late.message


def test_long_words_of_a_job_are_one_line_and_cut() -> None:
    reading = runs.read(came_to(1, "a\nb " + "x" * 4000), "5m", START)
    assert "bad: a b xxx" in reading.message
    assert len(reading.message) < 700
