"""States of a ModelDeployment that a GitOps tool meets, each with what kstatus and Argo CD are to make of it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import wraps
from typing import Any

from perennial.api.approval import Approval
from perennial.core.observed import ContainerState, Job, RouteState
from unit.cli.worldcluster import WorldCluster
from unit.core import test_window as windows
from unit.core.world import START, World, evaluated, failed, served, spec

STEPS = [{"weight": 10, "hold": "5s"}, {"weight": 50, "hold": "5s"}]
RATE = 100
_MADE: dict[str, World] = {}


def once(make: Callable[..., World]) -> Callable[..., World]:
    """A world that takes a while is made once; everybody gets a copy."""

    @wraps(make)
    def copy(**given: Any) -> World:
        key = f"{make.__name__} {given}"
        if key not in _MADE:
            _MADE[key] = make(**given)
        return deepcopy(_MADE[key])

    return copy


def manifest(world: World) -> dict[str, Any]:
    """The ModelDeployment as the API server holds it."""
    return WorldCluster(world, is_down=True).model("delays")


def commit(world: World, **changes: Any) -> World:
    """The spec is changed in Git, and applied."""
    world.wish = world.wish.model_copy(update=changes)
    world.generation += 1
    return world


def other_data(world: World, rows: int = 7) -> World:
    """A commit that asks for another version."""
    return commit(world, data=world.wish.data.model_copy(update={"minimum_rows": rows}))


def ask(world: World, verb: str, argument: str = "") -> World:
    """A person's request, and two passes."""
    world.annotations[f"perennial.dev/{verb}"] = argument
    world.live(2, rate=RATE)
    return world


def runs(step: str, number: int, action: object) -> Job:
    """Every Job is under way."""
    return Job("", "", 0, "", 0, START)


def trains(step: str, number: int, action: object) -> Job | None:
    """Training is under way."""
    return runs(step, number, action) if step == "train" else None


def fails(step: str, number: int, action: object) -> Job | None:
    """The trainer ends with an error."""
    return failed(START, ContainerState("train", "terminated", "Error", "", 3)) if step == "train" else None


@once
def serving(**rollout: Any) -> World:
    """v1 serves, and its route is there."""
    world = served(World(wish=spec(rollout={"steps": STEPS, "minimumRequests": 20, **rollout})))
    world.live(2)
    return world


@once
def canary(**rollout: Any) -> World:
    """v2, which a commit asked for, has a share of the requests."""
    world = other_data(serving(**rollout))
    return world.until(lambda w: w.status.rollout is not None and w.status.rollout.settled, rate=RATE)


@once
def shadow() -> World:
    world = other_data(serving(shadow={"hold": "20s"}))
    return world.until(lambda w: w.status.summary.startswith("Shadow 100"), rate=RATE)


@once
def promoted(**rollout: Any) -> World:
    return canary(**rollout).until(lambda w: w.status.stable == 2, rate=RATE)


@once
def rolled_back() -> World:
    return canary().until(lambda w: w.versions[2].status.state == "RolledBack", rate=RATE, bad={2: 0.5})


def being_made() -> World:
    world = World(answer=runs)
    world.live(3)
    return world


@once
def training() -> World:
    world = other_data(serving())
    world.answer = trains
    return world.until(lambda w: 2 in w.versions and w.versions[2].status.state == "Training", rate=RATE)


@once
def first_failed() -> World:
    world = World(answer=fails)
    return world.until(lambda w: 1 in w.versions and w.versions[1].status.state == "Failed")


@once
def newest_failed() -> World:
    world = other_data(serving())
    world.answer = fails
    return world.until(lambda w: 2 in w.versions and w.versions[2].status.state == "Failed", rate=RATE)


def smoke(lower: float) -> World:
    """A smoke run that was judged; its gate asks for 0.7."""
    world = World(wish=spec(smoke={}, serving={"replicas": 2}))
    world.answer = lambda step, number, action: evaluated(number, None, lower) if step == "evaluate" else None
    return passed(world.until(lambda w: 1 in w.versions and w.versions[1].status.finished_at is not None))


@once
def rejected() -> World:
    world = other_data(serving())
    world.answer = lambda step, number, action: evaluated(number, "identity-1", 0.5) if step == "evaluate" else None
    return world.until(lambda w: 2 in w.versions and w.versions[2].status.state == "Rejected", rate=RATE)


@once
def retried() -> World:
    world = newest_failed()
    world.answer = runs
    return ask(world, "retry")


@once
def breached() -> World:
    return harmed(canary(onBreach="pause"))


@once
def breached_in_its_watch() -> World:
    return harmed(promoted(onBreach="pause", watch={"for": "60s"}))


def harmed(world: World) -> World:
    """v2 breaches, and onBreach is pause."""
    return world.until(lambda w: w.status.rollout is not None and w.status.rollout.breach != "", rate=RATE, bad={2: 0.5})


@once
def inconclusive() -> World:
    world = canary(deadline="6s")
    return world.until(lambda w: any(one.type == "Inconclusive" for one in w.status.conditions))


@once
def same_model() -> World:
    world = other_data(serving())
    world.answer = lambda step, number, action: evaluated(1, "identity-1") if step == "evaluate" else None
    return world.until(lambda w: 2 in w.versions and w.versions[2].status.state == "Retired", rate=RATE)


@once
def reverted() -> World:
    world = windows.promoted()
    windows.ask(world, windows.OLD)
    world.generation += 1
    return world.until(lambda w: w.status.stable == 1 and w.status.returning is None, rate=RATE)


@once
def inputs_quarantined() -> World:
    """Back to inputs that did harm, by way of others that failed."""
    world = other_data(rolled_back(), rows=8)
    world.answer = fails
    world.until(lambda w: 3 in w.versions and w.versions[3].status.state == "Failed", rate=RATE)
    return passed(other_data(world))


def retrain(then: Callable[[World], World], before: Callable[[], World] = serving) -> World:
    """A new version that nobody committed."""
    world = ask(before(), "retrain", "now")
    world.answer = None
    return then(world.until(lambda w: w.status.rollout is not None and w.status.rollout.settled, rate=RATE))


def passed(world: World) -> World:
    world.run()
    return world


def pods_lost() -> World:
    world = serving()
    world.unready(1)
    return passed(world)


def lost(world: World) -> World:
    """Somebody deletes the version that serves."""
    del world.versions[1]
    return passed(world)


def route_refused() -> World:
    world = serving()
    world.route = RouteState(((1, 100),), False, "Gateway gw is not there")
    world.frozen_route = True
    return passed(world)


def unreadable() -> World:
    world = commit(serving())
    world.invalid = "spec.data: unknown field"
    return passed(world)


def unknown_source() -> World:
    orders = {"source": "nowhere", "good": 'a{v="$(version)"}', "total": 'b{v="$(version)"}'}
    metrics = [{"name": "errors", "errors": {}}, {"name": "orders", "prometheus": orders}]
    wish = spec(rollout={"steps": STEPS, "minimumRequests": 20, "metrics": metrics})
    return passed(commit(serving(), rollout=wish.rollout))


@once
def held() -> World:
    return ask(promoted(), "rollback-to").until(lambda w: w.status.stable == 1 and w.status.returning is None, rate=RATE)


@once
def stopped() -> World:
    """v2 was rejected, and nothing is retrained by itself any more."""
    world = served(World(wish=spec(triggers={"schedule": {"cron": "0 3 * * *"}}, limits={"stopAfterFailures": 1})))
    world.answer = lambda step, number, action: evaluated(number, "identity-1", 0.5) if step == "evaluate" else None
    ask(world, "retrain")
    return world.until(lambda w: 2 in w.versions and w.versions[2].status.state == "Rejected", rate=RATE)


@once
def accepted() -> World:
    """v2 is fit to serve, and waits for the pin to go."""
    world = other_data(pin(serving(), 1))
    return world.until(lambda w: 2 in w.versions and w.versions[2].status.state == "Accepted", rate=RATE)


@once
def unapproved() -> World:
    """v2 is fit to serve, and waits for a person."""
    world = other_data(commit(serving(), approval=Approval()))
    return world.until(lambda w: w.status.summary == "Awaiting approval of v2", rate=RATE)


def pin(world: World, number: int) -> World:
    commit(world, pin=number)
    world.live(5, rate=RATE)
    return world


@dataclass(frozen=True, slots=True)
class State:
    """A state, and what it is to look like from outside."""

    name: str
    make: Callable[[], World]
    kstatus: str
    health: str
    reason: str = ""
    """Of Reconciling or Stalled; empty where neither is there."""


STATES = (
    State("not seen by the operator", World, "InProgress", "Progressing"),
    State("the first version is asked for", lambda: passed(World()), "InProgress", "Progressing", "Pending"),
    State("the first version is being made", being_made, "InProgress", "Progressing", "Preparing"),
    State("the first version failed", first_failed, "Failed", "Degraded", "Failed"),
    State("the first version serves", serving, "Current", "Healthy"),
    State("a commit is not seen yet", lambda: other_data(serving()), "InProgress", "Progressing"),
    State("a commit was just seen", lambda: passed(other_data(serving())), "InProgress", "Progressing", "Pending"),
    State("a commit is being trained", training, "InProgress", "Progressing", "Training"),
    State("waits for approval", unapproved, "Failed", "Suspended", "ApprovalNeeded"),
    State("approved", lambda: ask(unapproved(), "approve"), "InProgress", "Progressing", "Deploying"),
    State("in its shadow", shadow, "InProgress", "Progressing", "Canary"),
    State("in its canary", canary, "InProgress", "Progressing", "Canary"),
    State("promoted", promoted, "Current", "Healthy"),
    State("promoted and watched", lambda: promoted(watch={"for": "60s"}), "Current", "Healthy"),
    State("rolled back", rolled_back, "Failed", "Degraded", "RolledBack"),
    State("rolled back, corrected", lambda: passed(other_data(rolled_back(), 8)), "InProgress", "Progressing", "Pending"),
    State("rolled back, reverted in Git", lambda: passed(other_data(rolled_back(), 1000)), "Current", "Healthy"),
    State("rolled back, pinned in Git", lambda: pin(rolled_back(), 1), "Current", "Healthy"),
    State("rejected", rejected, "Failed", "Degraded", "Rejected"),
    State("failed", newest_failed, "Failed", "Degraded", "Failed"),
    State("a smoke run that passed", lambda: smoke(0.72), "Current", "Healthy"),
    State("a smoke run that was rejected", lambda: smoke(0.5), "Failed", "Degraded", "Rejected"),
    State("failed, tried again", retried, "InProgress", "Progressing", "Training"),
    State("aborted in its training", lambda: ask(training(), "abort"), "Failed", "Degraded", "Superseded"),
    State("a breach left to a person", breached, "Failed", "Degraded", "CanaryWorse"),
    State("a breach in its watch left to a person", breached_in_its_watch, "Failed", "Degraded", "CanaryWorse"),
    State("too little traffic", inconclusive, "Failed", "Suspended", "StepDeadline"),
    State("the same model", same_model, "Current", "Healthy"),
    State("reverted inside the window", reverted, "Current", "Healthy"),
    State("asked for inputs that did harm", inputs_quarantined, "Failed", "Degraded", "InputsQuarantined"),
    State("paused by a person with nothing to do", lambda: ask(serving(), "pause"), "Current", "Suspended"),
    State("paused by a person in its canary", lambda: ask(canary(), "pause"), "Failed", "Suspended", "Paused"),
    State(
        "paused by a person, then a commit", lambda: passed(other_data(ask(serving(), "pause"))), "Failed", "Suspended", "Paused"
    ),
    State("paused in Git in its canary", lambda: passed(commit(canary(), paused=True)), "Current", "Suspended"),
    State("paused in Git from the start", lambda: passed(World(wish=spec(paused=True))), "Failed", "Suspended", "Paused"),
    State("returned by a person", held, "Failed", "Suspended", "Held"),
    State("returned by a person, resumed", lambda: ask(held(), "resume"), "Failed", "Degraded", "Retired"),
    State("pinned", lambda: pin(promoted(), 2), "Current", "Healthy"),
    State("pinned to a version before", lambda: pin(promoted(), 1), "Current", "Healthy"),
    State("pinned, with a newer one that waits", accepted, "Current", "Healthy"),
    State("pinned to what is not there", lambda: pin(serving(), 9), "Failed", "Degraded", "VersionNotServable"),
    State("a retrain in its canary", lambda: retrain(lambda w: w), "Current", "Healthy"),
    State(
        "a retrain rolled back",
        lambda: retrain(lambda w: w.until(lambda x: bool(x.status.quarantined), rate=RATE, bad={2: 0.5})),
        "Current",
        "Healthy",
    ),
    State("a retrain that breaches", lambda: retrain(harmed, lambda: serving(onBreach="pause")), "Current", "Healthy"),
    State("a retrain after the same model", lambda: retrain(lambda w: w, same_model), "Current", "Healthy"),
    State("no pod ready", pods_lost, "InProgress", "Degraded"),
    State("what serves was deleted", lambda: lost(serving()), "Failed", "Degraded", "VersionMissing"),
    State("what serves was deleted, and a commit is trained", lambda: lost(training()), "InProgress", "Degraded", "Training"),
    State("its route not accepted", route_refused, "InProgress", "Progressing"),
    State("a spec that cannot be read", unreadable, "Failed", "Degraded", "SpecUnreadable"),
    State("a metric source that is not there", unknown_source, "Failed", "Degraded", "MetricSourceUnknown"),
)
