"""Margins: a step waits until the harm is shown to be small, and says how far it is."""

from __future__ import annotations

from unit.core.test_plan import condition
from unit.core.test_watch import weights
from unit.core.world import World, served, spec

METRIC = {"name": "errors", "errors": {}, "margin": 3}
STEPS = [{"weight": 50, "hold": "10s"}]
FEW, ALIKE = {1: 0.01, 2: 0.01}, {1: 0.05, 2: 0.05}


def candidate(**rollout: object) -> World:
    """v2 on its way: its errors must be shown to be under three times stable's."""
    wish = spec(rollout={"steps": STEPS, "minimumRequests": 20, "metrics": [METRIC], **rollout})
    world = served(World(wish=wish))
    world.annotations["perennial.dev/retrain"] = "now"
    return world.until(lambda w: w.route is not None and dict(w.route.weights).get(2, 0) > 0, rate=200)


def rewished(world: World, metric: dict[str, object]) -> None:
    world.wish = spec(rollout={"steps": STEPS, "minimumRequests": 20, "metrics": [metric]})


def test_a_step_passes_when_the_harm_is_shown_to_be_under_the_margin_and_the_promotion_says_so() -> None:
    world = candidate()
    world.live(12, rate=200)
    assert weights(world) == {1: 50, 2: 50}, "nothing is shown without a bad answer"
    world.until(lambda w: w.status.stable == 2, rate=200, bad=ALIKE, limit=60)
    promoted = next(event for event in reversed(world.events) if event.reason == "Promoted")
    assert "harm shown to be under an odds ratio of (errors: 3)" in promoted.message
    item = world.versions[2].status.evidence[0]
    assert item.margin is not None
    assert item.margin.e >= item.margin.threshold == 20.0
    assert item.margin.upper_bound is not None
    assert 1.0 < item.margin.upper_bound <= 3.0


def test_without_a_margin_a_promotion_says_no_more_than_that_there_is_no_evidence() -> None:
    world = candidate(metrics=[{"name": "errors", "errors": {}}]).until(lambda w: w.status.stable == 2, rate=200)
    assert any("no evidence of harm" in event.message for event in world.events if event.reason == "Promoted")


def test_a_margin_that_is_not_shown_is_told_with_the_metric_and_how_far_it_is() -> None:
    world = candidate()
    world.live(25, rate=200, bad=FEW)
    status, reason, words = condition(world, "Measured")
    assert (status, reason) == ("True", "MarginNotShown")
    assert "errors: harm is not shown to be under an odds ratio of 3 (E " in words
    assert "shown at 20.0" in words
    world.live(30, rate=200)
    assert condition(world, "Inconclusive")[:2] == ("True", "StepDeadline")
    assert "not shown to be under" in condition(world, "Inconclusive")[2]


def test_words_with_numbers_do_not_make_the_status_be_written_at_every_look() -> None:
    world = candidate(steps=[{"weight": 50, "hold": "5s"}], deadline="1h", metrics=[METRIC | {"tolerance": 2.9}])
    world.live(12, rate=200, bad={1: 0.02, 2: 0.06})
    before, words = world.status_writes, set()
    for _ in range(60):
        world.live(1, rate=200, bad={1: 0.02, 2: 0.06})
        words.add(condition(world, "Measured")[2])
    assert world.status_writes - before <= 6
    assert len(words) > 2


def test_a_margin_that_is_not_shown_is_never_skipped_at_the_deadline() -> None:
    world = candidate(onTooLittleData="promote", deadline="20s")
    world.live(100, rate=200)
    assert weights(world) == {1: 50, 2: 50}
    world.until(lambda w: w.status.stable == 2, rate=200, bad=ALIKE, limit=60)


def test_a_margin_that_is_not_shown_at_the_deadline_is_too_little_data() -> None:
    world = candidate(onTooLittleData="abort", deadline="20s")
    world.until(lambda w: w.versions[2].status.state == "Superseded", rate=200, limit=60)
    assert "errors: harm is not shown to be under an odds ratio of 3" in world.versions[2].status.message
    assert not world.status.quarantined


def test_a_candidate_over_the_margin_does_not_pass_though_its_tolerance_is_not_exceeded() -> None:
    world = candidate(metrics=[METRIC | {"tolerance": 2.9, "margin": 3}])
    world.live(150, rate=200, bad={1: 0.02, 2: 0.06})
    assert weights(world) == {1: 50, 2: 50}
    assert not world.status.quarantined


def test_a_margin_that_is_taken_out_is_asked_for_no_more_and_a_changed_one_begins_again() -> None:
    world = candidate()
    world.live(30, rate=200)
    rewished(world, METRIC | {"margin": 5})
    world.live(1, rate=200)
    assert world.status.rollout is not None
    assert world.status.rollout.metrics[0].margin is not None
    assert world.status.rollout.metrics[0].margin.margin == 5
    rewished(world, {"name": "errors", "errors": {}})
    world.until(lambda w: w.status.stable == 2, rate=200, limit=5)


def test_suspicion_is_told_with_the_metric() -> None:
    world = candidate(metrics=[{"name": "errors", "errors": {}}], steps=[{"weight": 10, "hold": "5s"}], minimumRequests=10)
    world.live(2, rate=100)
    world.live(1, rate=20, bad={2: 1.0})
    world.live(10)
    assert condition(world, "Measured")[:2] == ("True", "Suspicion")
    assert "errors: in suspicion: E " in condition(world, "Measured")[2]
    assert "promote" not in condition(world, "Measured")[2], "nobody is told to promote what may do harm"


def test_the_guard_follows_the_wish_and_stands_in_the_evidence() -> None:
    world = candidate(dispersionGuard=True, steps=[{"weight": 50, "hold": "1h"}])
    for second in range(120):
        world.live(1, rate=200, bad={1: 0.3 if second % 30 < 10 else 0.0})
    item = world.versions[2].status.evidence[0]
    assert item.variance_factor > 2.0
    assert "stable's dispersion" in item.message
    rewished(world, {"name": "errors", "errors": {}})
    world.live(12, rate=200)
    assert world.versions[2].status.evidence[0].variance_factor == 1.0
