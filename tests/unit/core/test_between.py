"""Features that meet: what one does in the midst of another."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from perennial.api.v1alpha1 import RolloutStatus
from perennial.core import shortfall
from unit.core import test_objective as objectives
from unit.core import test_window as windows
from unit.core.service_world import ServiceWorld, unrouted
from unit.core.test_plan import condition
from unit.core.test_providers import DOWN, ORDERS, Shop, rolling, wish
from unit.core.test_shadow import shadowed
from unit.core.world import START, World, served, spec


def rollout_of(world: World) -> RolloutStatus:
    assert world.status.rollout is not None
    return world.status.rollout


def slow_orders(interval: str = "60s", **more: Any) -> dict[str, Any]:
    prometheus = ORDERS["prometheus"] | {"scrapeInterval": interval}
    return {"name": "orders", "prometheus": prometheus, "tolerance": 10, "objective": {"maxRate": 0.02}, **more}


class Scraped(Shop):
    """Both versions' orders fail alike, and the source reads the counters once in `every` seconds."""

    every = 60

    def live(self, seconds: int) -> None:
        for _ in range(seconds):
            for version, weight in self.world.route.weights if self.world.route else ():
                failed = round(20 * weight * self.failing)
                self.counts[version][0] += 20 * weight - failed
                self.counts[version][1] += 20 * weight
            if int((self.world.now - START).total_seconds()) % self.every == 0:
                self.world.readings["orders"] = self.problem or self.reading()
            elif self.problem:
                self.world.readings["orders"] = self.problem
            elif "orders" in self.world.readings and not hasattr(self.world.readings["orders"], "reason"):
                self.world.readings["orders"] = replace(self.world.readings["orders"], at=self.world.now - timedelta(seconds=5))
            self.world.live(1, rate=100)


def scraped(metric: dict[str, Any], **changes: Any) -> tuple[World, Scraped]:
    world, shop = rolling(metrics=[{"name": "errors", "errors": {}}, metric], **changes)
    new = Scraped(world)
    new.counts = shop.counts
    return world, new


def watching(interval: int) -> tuple[World, Scraped]:
    """v2 is watched, and both versions' orders were good so far."""
    watch = {"for": "20m", "holdBack": 10}
    world, shop = scraped(slow_orders(f"{interval}s"), steps=[{"weight": 5, "hold": "200s"}], watch=watch)
    shop.every = interval
    shop.live(450)
    assert world.status.rollout is not None
    assert world.status.rollout.phase == "Watch"
    return world, shop


@pytest.mark.parametrize("interval", [60, 120])
def test_an_outage_that_a_source_tells_of_seldom_is_one_outage_and_nobodys_fault(interval: int) -> None:
    world, shop = watching(interval)
    shop.failing = 0.1
    shop.live(500)
    assert not world.status.quarantined
    assert [e.reason for e in world.events].count("Outage") == 1
    assert [e.reason for e in world.events].count("OutageOver") == 0


def test_objective_taken_out_while_its_source_is_away_lets_the_watch_end() -> None:
    metric = slow_orders("2s")
    metrics = [{"name": "errors", "errors": {}}, metric]
    world, shop = rolling(metrics=metrics, watch={"for": "60s", "holdBack": 10}, steps=[{"weight": 20, "hold": "10s"}])
    new = Scraped(world)
    new.counts, new.every = shop.counts, 1
    for _ in range(100):
        new.live(1)
        if world.status.stable == 2:
            break
    assert world.status.stable == 2
    new.live(10)
    new.failing = 0.5
    for _ in range(90):
        new.live(1)
        if objectives.has(world, "Outage"):
            break
    assert objectives.has(world, "Outage")
    new.problem = DOWN
    new.live(300)
    assert objectives.has(world, "Outage")
    without = [{k: v for k, v in metric.items() if k != "objective"} if m is metric else m for m in metrics]
    world.wish = world.wish.model_copy(
        update={
            "rollout": wish(metrics=without, watch={"for": "60s", "holdBack": 10}, steps=[{"weight": 20, "hold": "10s"}]).rollout
        }
    )
    new.live(70)
    assert world.status.rollout is None


def test_metric_that_becomes_a_providers_is_asked_for_and_holds_the_step() -> None:
    world, shop = rolling(metrics=[{"name": "errors", "errors": {}}, {"name": "orders", "errors": {}}])
    data = world.wish.data
    world.wish = wish().model_copy(update={"data": data})
    shop.silent = True
    shop.live(30)
    assert world.status.rollout is not None
    assert world.status.rollout.step == 0
    shop.silent = False
    shop.failing = 0.5
    shop.live(30)
    assert world.versions[2].status.state == "RolledBack"


def test_metric_that_becomes_a_shift_rolls_nothing_back() -> None:
    steps = [{"weight": 20, "hold": "1h"}]
    metrics = [{"name": "slow", "latency": {"slowerThan": "50ms"}}, {"name": "scores", "errors": {}}]
    world = objectives.candidate(metrics=metrics, steps=steps)
    world.live(5, rate=400)
    metrics = [metrics[0], {"name": "scores", "predictionShift": {}}]
    world.wish = spec(rollout={"steps": steps, "minimumRequests": 20, "metrics": metrics})
    world.live(60, rate=400, bad={2: 0.3})
    assert not world.status.quarantined


@pytest.mark.parametrize("state", ["Training", "Deploying"])
def test_reverted_spec_ends_what_is_still_trained_or_deployed(state: str) -> None:
    world = served(World(wish=windows.wish(windows.OLD)))
    windows.ask(world, windows.NEW)
    world.until(lambda w: 2 in w.versions and w.versions[2].status.state == state, rate=100)
    windows.ask(world, windows.OLD)
    world.live(60, rate=100)
    assert world.status.stable == 1
    assert world.status.candidate is None
    assert world.versions[2].status.state == "Superseded"


def test_revert_to_what_is_being_watched_keeps_the_watch() -> None:
    watch = {"for": "120s", "holdBack": 10}

    def ask(training: dict[str, object]) -> None:
        rollout = {"steps": windows.STEPS, "minimumRequests": 20, "window": 2, "watch": watch}
        world.wish = spec(training=training, rollout=rollout)
        world.generation += 1

    world = World()
    ask(windows.OLD)
    served(world)
    ask(windows.NEW)
    world.until(lambda w: w.status.stable == 2, rate=100)
    world.live(5, rate=100)
    ask(windows.OLD | {"seed": 9})
    world.until(lambda w: w.status.candidate == 3, rate=100)
    ask(windows.NEW)
    world.live(5, rate=100)
    assert world.status.rollout is not None
    assert world.status.rollout.phase == "Watch"
    assert world.status.candidate is None
    world.until(lambda w: w.status.stable == 1, rate=100, bad={2: 0.5}, limit=30)


def test_breached_shadow_gets_no_request_when_route_and_shadow_are_taken_away() -> None:
    rollout = {"steps": [{"weight": 25, "hold": "5s"}, {"weight": 50, "hold": "5s"}], "minimumRequests": 20}
    shadow = {"shadow": {"hold": "10s"}, "onBreach": "pause"}
    route = {"parentRefs": [{"name": "gw"}], "path": "/delays"}
    world = served(ServiceWorld(wish=spec(serving={"replicas": 3, "route": route}, rollout=rollout | shadow)))
    world.annotations["perennial.dev/retrain"] = "now"
    world.until(lambda w: w.route is not None and w.route.mirror is not None)
    world.until(lambda w: bool(w.status.rollout and w.status.rollout.breach), rate=100, bad={2: 0.5})
    world.wish = spec(serving={"replicas": 3}, rollout=rollout | {"onBreach": "pause"})
    world.live(30, rate=100)
    assert rollout_of(world).breach
    assert world.ready().get(2, 0) == 0
    assert sum(pod.total for pod in world.totals.values() if pod.version == 2) == 0


def test_an_outage_told_by_a_source_outlasts_a_clock_that_was_set_back() -> None:
    world, shop = watching(5)
    shop.failing = 0.3
    shop.live(60)
    assert objectives.has(world, "Outage")
    world.readings.clear()
    world.now -= timedelta(hours=1)
    world.live(1, rate=100)
    assert objectives.has(world, "Outage")


def test_clock_set_back_version_before_is_still_the_one_before() -> None:
    world = served()
    world.live(5)
    world.now -= timedelta(hours=1)
    world.annotations["perennial.dev/retrain"] = "now"
    world.until(lambda w: w.status.stable == 2 and w.status.rollout is None, rate=100)
    world.live(30, rate=100)
    world.annotations["perennial.dev/rollback-to"] = ""
    world.until(lambda w: w.status.stable == 1, rate=100, limit=30)


def test_a_metric_that_leaves_the_spec_in_suspicion_holds_nothing_up() -> None:
    errors, slow = {"name": "errors", "errors": {}}, {"name": "slow", "latency": {"slowerThan": "50ms"}}
    steps = [{"weight": 20, "hold": "10s"}]
    world = objectives.candidate(metrics=[errors, slow], steps=steps)
    for _ in range(60):
        if "in suspicion" in shortfall.said(shortfall.lacks(world.observed(), rollout_of(world))):
            break
        world.live(1, rate=400, bad={2: 0.025})
    assert "in suspicion" in shortfall.said(shortfall.lacks(world.observed(), rollout_of(world)))
    world.wish = spec(rollout={"steps": steps, "minimumRequests": 20, "metrics": [slow]})
    world.until(lambda w: w.status.stable == 2, rate=400, limit=30)


@pytest.mark.parametrize("policy", ["wait", "promote"])
def test_a_rollout_whose_metrics_all_left_the_spec_goes_no_further(policy: str) -> None:
    steps = [{"weight": 20, "hold": "10s"}]
    world = objectives.candidate(metrics=[{"name": "errors", "errors": {}}], steps=steps)
    metrics = [{"name": "renamed", "errors": {}}]
    world.wish = spec(rollout={"steps": steps, "minimumRequests": 20, "metrics": metrics, "onTooLittleData": policy})
    world.live(80, rate=400)
    assert world.status.stable == 1
    assert condition(world, "Measured")[:2] == ("True", "NothingJudged")
    world.annotations["perennial.dev/promote"] = ""
    world.until(lambda w: w.status.stable == 2, rate=400, limit=5)


def test_what_is_written_beside_measurements_is_marked_as_written() -> None:
    """A pass that measures nothing new, but has another thing to tell, writes what the pass before measured too."""
    world = objectives.candidate()
    world.live(1, rate=400)
    while not rollout_of(world).unsaved:
        world.live(1, rate=400)
    world.annotations["perennial.dev/no-such-verb"] = ""
    assert world.run().persist
    assert not rollout_of(world).unsaved


def test_a_shift_guarantees_nothing_also_where_no_route_is_given() -> None:
    wish = unrouted()
    metrics = [{"name": "errors", "errors": {}}, {"name": "scores", "predictionShift": {}}]
    rollout = spec(rollout={"steps": [{"weight": 25, "hold": "10s"}], "minimumRequests": 20, "metrics": metrics}).rollout
    world = served(ServiceWorld(wish=wish.model_copy(update={"rollout": rollout})))
    world.annotations["perennial.dev/retrain"] = "now"
    world.until(lambda w: w.status.stable == 2, rate=100)
    assert {one.name: one.guarantee for one in world.versions[2].status.evidence} == {"errors": "approximate", "scores": ""}


def test_a_canary_that_nobody_asks_writes_nothing_after_its_shadow_either() -> None:
    """Its pods remember the mirrored requests, which the steps do not count."""
    world = shadowed()
    world.live(5, rate=100)
    world.until(lambda w: rollout_of(w).phase == "Steps")
    world.live(60)
    writes = world.status_writes
    world.live(30)
    assert world.status_writes == writes
