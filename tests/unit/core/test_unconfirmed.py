"""A Gateway's controller that does not tell whether it has taken up the newest route: harm is found all the same."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from random import Random
from typing import Any

import pytest

from perennial.core import actions
from perennial.core.observed import Observed
from perennial.core.plan import plan
from perennial.core.replay import replay, reproduced
from perennial.core.routers import REMINDER_SECONDS, UNCONFIRMED_SECONDS
from unit.core.recorded_world import RecordedWorld
from unit.core.test_plan import condition
from unit.core.world import served, spec

STEPS = [{"weight": 20, "hold": "8s"}, {"weight": 50, "hold": "8s"}]


@dataclass
class SilentWorld(RecordedWorld):
    """While it is `silent` the gateway carries routes out and nobody says so, until reminder number `answers_at`."""

    silent: bool = False
    answers_at: int = 99
    changed_at: datetime | None = None
    reminders: list[int] = field(default_factory=list)

    def _apply_route(self, action: actions.ApplyRoute) -> None:
        before = self.route
        super()._apply_route(action)
        assert self.route is not None
        if before is None or (before.weights, before.mirror) != (self.route.weights, self.route.mirror):
            self.changed_at, self.reminders = self.now, []
        if action.reminder not in (0, *self.reminders):
            assert before is not None
            assert (before.weights, before.mirror) == (action.weights, action.mirror)  # else there is news for it anyway
            self.reminders.append(action.reminder)
        if self.silent and not any(number >= self.answers_at for number in self.reminders):
            self.route = replace(self.route, accepted=False, unseen=True, message="the controller has not looked at it")

    def observed(self) -> Observed:
        found = super().observed()
        if found.route is None or not found.route.unseen or self.changed_at is None:
            return found
        return replace(found, route=replace(found.route, unseen_seconds=(self.now - self.changed_at).total_seconds()))


def in_canary(*, rollout: dict[str, Any] | None = None, **more: Any) -> SilentWorld:
    """v2 has its first weight, or is mirrored to, and no word has come of that."""
    policy = {"steps": STEPS, "minimumRequests": 20, "metrics": [{"name": "errors", "errors": {}}], **(rollout or {})}
    wish = spec(rollout=policy)
    world = SilentWorld(wish=wish, chance=Random(7), **more)
    world.until(lambda w: w.status.stable == 1 and w.status.summary == "Serving")
    world.annotations["perennial.dev/retrain"] = "now"
    world.silent = wish.rollout.shadow is None  # a mirror is asked for when the route before it was confirmed
    for _ in range(60):
        if world.route is not None and (dict(world.route.weights).get(2) or world.route.mirror):
            world.silent = True
            return world
        world.second()
    raise AssertionError("v2 got no weight")


def test_harmful_version_is_taken_back_although_its_route_is_never_confirmed() -> None:
    world = in_canary(share_bad=0.6)
    began = world.now
    world.rolled_out(60)
    assert world.versions[2].status.state == "RolledBack"
    assert UNCONFIRMED_SECONDS < (world.now - began).total_seconds() < UNCONFIRMED_SECONDS + 15
    assert world.route is not None
    assert {version: weight for version, weight in world.route.weights if weight} == {1: 100}


def test_rollout_that_nobody_confirmed_is_recorded_and_happens_again() -> None:
    world = in_canary(share_bad=0.6)
    world.rolled_out(60)
    recorded = world.tape()
    replayed = replay(recorded)
    assert reproduced(recorded, replayed) == ""
    assert replayed.outcome == "rolled back"


def test_healthy_version_waits_in_its_first_step_and_says_for_whom() -> None:
    world = in_canary()
    for _ in range(90):
        world.second()
    rollout = world.status.rollout
    assert rollout is not None
    assert (rollout.step, rollout.step_started_at) == (0, None)
    assert rollout.step_candidate_requests > 20
    status, reason, words = condition(world, "Measured")
    assert (status, reason) == ("True", "RouteNotConfirmed")
    for part in (
        "the controller has not looked at it: harm is looked for all the same",
        "no step passes until it has",
        "restart it",
    ):
        assert part in words
        assert part in condition(world, "Inconclusive")[2]
    world.silent = False
    assert world.rolled_out().versions[2].status.state == "Serving"


@pytest.mark.parametrize("answers_at", [1, 2])
def test_reminder_that_is_answered_lets_the_rollout_go_on(answers_at: int) -> None:
    world = in_canary(answers_at=answers_at)
    assert world.rolled_out(300).versions[2].status.state == "Serving"


def test_reminders_come_later_and_later_and_each_is_written_once() -> None:
    world, seen = in_canary(), []
    began = world.now
    for _ in range(200):
        world.second()
        if len(world.reminders) > len(seen):
            seen.append((world.now - began).total_seconds())
    assert world.reminders == [1, 2, 3, 4]
    assert all(abs(at - REMINDER_SECONDS * 2**index) < 3 for index, at in enumerate(seen))


def test_before_the_first_ten_seconds_nothing_is_compared() -> None:
    world = in_canary(share_bad=1.0)
    for _ in range(int(UNCONFIRMED_SECONDS) - 2):
        world.second()
    assert condition(world, "Measured")[:2] == ("False", "RouteNotAccepted")
    assert world.status.rollout is not None
    assert all(state.candidate_total == 0 for state in world.status.rollout.metrics)


@pytest.mark.parametrize("policy", ["promote", "abort"])
def test_too_little_data_decides_nothing_while_nobody_knows_where_requests_go(policy: str) -> None:
    world = in_canary(rate=0.0, rollout={"onTooLittleData": policy, "deadline": "30s"})
    for _ in range(120):
        world.second()
    rollout = world.status.rollout
    assert rollout is not None
    assert (rollout.step, world.versions[2].status.state) == (0, "Canary")
    assert condition(world, "Measured")[:2] == ("True", "RouteNotConfirmed")
    told = condition(world, "Inconclusive")[2]
    assert "the candidate has to answer 20 requests in it and answered 0; the controller has not looked at it" in told
    world.silent = False
    world.until(lambda w: w.versions[2].status.state == {"promote": "Serving", "abort": "Superseded"}[policy])


def test_shadow_that_nobody_confirmed_goes_nowhere_and_says_so() -> None:
    world = in_canary(rollout={"shadow": {"percent": 50, "hold": "8s"}})
    for _ in range(90):
        world.second()
    assert world.status.rollout is not None
    assert world.status.rollout.phase == "Shadow"
    assert condition(world, "Measured")[:2] == ("True", "RouteNotConfirmed")
    world.silent = False
    assert world.rolled_out().versions[2].status.state == "Serving"


def test_route_that_is_silent_is_looked_at_again_by_itself_and_less_and_less_often() -> None:
    world = in_canary()
    world.annotations["perennial.dev/abort"] = "2"
    world.second()
    assert world.status.rollout is None
    world.sleep(120, most=600)
    assert world.reminders == [1, 2, 3]
    world.sleep(20_000, most=60_000)
    assert len(world.reminders) == 10


def test_while_another_model_answers_at_the_path_the_way_that_works_is_kept() -> None:
    world = served()
    observed = replace(world.observed(), service=True)
    assert actions.DeleteService() in plan(observed).after
    assert actions.DeleteService() not in plan(replace(observed, path_taken="taken")).after
    assert (plan(replace(observed, path_taken="taken")).wake_after or 1e9) <= 10.0
