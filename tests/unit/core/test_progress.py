"""How far a trainer is: what of it goes into the status, and how seldom."""

from __future__ import annotations

from dataclasses import replace

from perennial.core import progress
from perennial.core.actions import CreateJob
from perennial.core.observed import Job, JobPod, TrainReading
from unit.core.test_pause_and_retry import request
from unit.core.world import START, World

POD = JobPod("pod-x", "u-1", "Running", START, ip="198.51.100.7")


def training(*pods: JobPod) -> World:
    """A trainer at work."""
    world = World()

    def answer(step: str, number: int, action: CreateJob) -> Job | None:
        found = pods or (POD,)
        return Job("", "uid-1", 1, "train", action.attempt, START, pods=found) if step == "train" else None

    world.answer = answer
    return world.until(lambda w: "delays-v1-train-1" in w.jobs)


def test_status_says_percent_loss_and_the_time_of_its_end() -> None:
    world = training()
    world.trained = {"u-1": TrainReading(43.0, 0.42, 100.0)}
    world.live(1)
    found = world.versions[1].status.progress
    assert found is not None
    assert (found.attempt, found.percent, found.loss) == (1, 40, 0.42)
    assert found.ends_at is not None


def test_status_moves_by_steps_of_five_and_never_by_itself() -> None:
    world = training()
    seen = set()
    for number in range(1000):
        world.trained = {"u-1": TrainReading(number / 10, 1.0 / (number + 1), 1000.0 - number)}
        world.live(1)
        seen.add(str(world.versions[1].status.progress))
    assert len(seen) == 20
    before = (world.status_writes, world.versions[1].status)
    world.live(100)
    assert (world.status_writes, world.versions[1].status) == before


def test_pass_for_the_next_look_is_ten_seconds_away_and_none_is_wanted_when_nothing_trains() -> None:
    world = training()
    assert world.run().wake_after == progress.ASK_SECONDS
    assert progress.wanted(world.observed()) == (POD,)
    world.answer = None
    world.jobs.clear()
    world.until(lambda w: w.status.stable == 1)
    assert progress.wanted(world.observed()) == ()
    assert world.versions[1].status.progress is None


def test_only_the_first_worker_is_asked_and_only_while_it_runs() -> None:
    others = [replace(POD, uid="u-2", index=1), replace(POD, uid="u-0", index=0)]
    assert [pod.uid for pod in progress.wanted(training(*others).observed())] == ["u-0"]
    for away in ({"phase": "Pending"}, {"ip": ""}, {"deleting": True}):
        assert progress.wanted(training(replace(POD, **away)).observed()) == ()  # type: ignore[arg-type]


def test_progress_of_an_attempt_that_ended_is_not_told_of_the_next_one() -> None:
    world = training()
    world.trained = {"u-1": TrainReading(90.0)}
    world.live(2)
    job = world.jobs["delays-v1-train-1"]
    world.jobs[job.name] = replace(job, failed=True, pods=(replace(POD, phase="Failed"),))
    world.live(1)
    assert world.versions[1].status.progress is None


def test_progress_goes_when_a_person_ends_the_version() -> None:
    world = training()
    world.trained = {"u-1": TrainReading(90.0)}
    world.live(2)
    assert request(world, "abort") == "v1 is ended"
    assert world.versions[1].status.progress is None


def test_trainer_that_goes_back_to_its_checkpoint_is_told_as_it_is() -> None:
    world = training()
    for percent, expected in ((60.0, 60), (30.0, 30)):
        world.trained = {"u-1": TrainReading(percent)}
        world.live(1)
        assert world.versions[1].status.progress is not None
        assert world.versions[1].status.progress.percent == expected
