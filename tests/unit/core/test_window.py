"""rollout.window: a reverted spec goes back to a version that served, without training and without steps."""

from __future__ import annotations

from perennial.api.v1alpha1 import ModelDeploymentSpec
from unit.core.test_plan import condition
from unit.core.world import World, served, spec

STEPS = [{"weight": 10, "hold": "5s"}, {"weight": 50, "hold": "5s"}]
OLD, NEW = {"recipe": {"algorithm": "gradient-boosting"}}, {"recipe": {"algorithm": "logistic-regression"}}


def wish(training: dict[str, object], window: int = 2) -> ModelDeploymentSpec:
    return spec(training=training, rollout={"steps": STEPS, "minimumRequests": 20, "window": window})


def ask(world: World, training: dict[str, object], window: int = 2) -> None:
    """The spec is changed to these inputs."""
    world.wish = wish(training, window)
    world.generation += 1


def promoted(window: int = 2) -> World:
    """v1 was made of the old inputs, v2 of the new ones, and v2 serves."""
    world = served(World(wish=wish(OLD, window)))
    ask(world, NEW, window)
    return world.until(lambda w: w.status.stable == 2 and w.status.rollout is None, rate=100)


def test_reverted_spec_returns_in_one_write_of_the_route_and_trains_nothing() -> None:
    world = promoted()
    world.live(30, rate=100)
    assert world.workloads[1].replicas == 0
    jobs, before = len(world.jobs), len(world.route_writes)
    ask(world, OLD)
    world.until(lambda w: w.status.stable == 1, rate=100, limit=20)
    assert world.route_writes[before:] == [((1, 100), (2, 0))]
    world.live(30, rate=100)
    assert len(world.jobs) == jobs
    assert sorted(world.versions) == [1, 2]
    assert world.versions[2].status.state == "Retired"
    assert condition(world, "UpToDate")[:2] == ("True", "Reverted")
    assert [event.reason for event in world.events].count("SpecReverted") == 1


def test_reverted_spec_is_trained_where_no_window_is_given() -> None:
    world = promoted(window=0)
    ask(world, OLD, window=0)
    world.until(lambda w: 3 in w.versions, rate=100)
    assert world.status.stable == 2


def test_version_outside_the_window_is_trained_anew() -> None:
    world = promoted(window=1)
    ask(world, OLD, window=1)
    world.until(lambda w: 3 in w.versions, rate=100)


def test_version_that_was_taken_back_is_never_gone_back_to() -> None:
    world = promoted()
    ask(world, OLD | {"seed": 9})
    world.until(lambda w: w.status.quarantined != [], rate=100, bad={3: 0.3})
    world.live(2, rate=100)
    assert world.status.summary == "Serving (v3 RolledBack)"
    ask(world, NEW)
    world.live(5, rate=100)
    assert world.status.stable == 2
    assert sorted(world.versions) == [1, 2, 3]
    assert (condition(world, "UpToDate")[0], world.status.summary) == ("True", "Serving"), "what was taken back is wanted no more"
    ask(world, OLD | {"seed": 9})
    world.live(5, rate=100)
    assert world.status.stable == 2
    assert world.status.summary == "Serving (v3 RolledBack)"
    assert sorted(world.versions) == [1, 2, 3]


def test_revert_in_mid_rollout_ends_the_rollout() -> None:
    world = served(World(wish=wish(OLD)))
    ask(world, NEW)
    world.until(lambda w: w.route is not None and dict(w.route.weights).get(2, 0) > 0, rate=100)
    ask(world, OLD)
    world.live(3, rate=100)
    assert world.status.stable == 1
    assert world.status.rollout is None
    assert world.versions[2].status.state == "Superseded"
    assert condition(world, "UpToDate")[0] == "True"


def test_forward_again_goes_to_the_version_that_is_there() -> None:
    world = promoted()
    ask(world, OLD)
    world.until(lambda w: w.status.stable == 1 and w.status.returning is None, rate=100, limit=20)
    ask(world, NEW)
    world.until(lambda w: w.status.stable == 2 and w.status.returning is None, rate=100, limit=20)
    assert sorted(world.versions) == [1, 2]
    assert condition(world, "UpToDate")[:2] == ("True", "NewestServes")


def test_pin_keeps_a_revert_from_moving_anything() -> None:
    world = promoted()
    world.wish = world.wish.model_copy(update={"pin": 2})
    world.live(3, rate=100)
    world.wish = spec(training=OLD, pin=2, rollout={"steps": STEPS, "minimumRequests": 20, "window": 2})
    world.live(10, rate=100)
    assert world.status.stable == 2
