"""Metrics that are counted elsewhere: what becomes a block, what is dropped, and what a provider that cannot answer does."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perennial.api.rollout_status import RolloutStatus
from perennial.api.v1alpha1 import ModelDeploymentStatus
from perennial.core import analysis, elsewhere, providers
from perennial.core.inputs import stamp
from perennial.core.observed import MetricProblem, MetricReading, Observed, RouteState
from unit.core.world import START, World, served, spec

ORDERS = {
    "name": "orders",
    "prometheus": {
        "source": "shop",
        "good": 'sum(orders_total{v="$(version)",outcome="good"})',
        "total": 'sum(orders_total{v="$(version)"})',
        "scrapeInterval": "2s",
    },
}
STEPS = [{"weight": 10, "hold": "10s"}, {"weight": 50, "hold": "10s"}]
DOWN = MetricProblem("SourceTimedOut", "metric orders, source shop, query x: no answer within 2 s; asking again")


def wish(**changes: Any) -> Any:
    rollout = {"steps": STEPS, "minimumRequests": 20, "metrics": [{"name": "errors", "errors": {}}, ORDERS]}
    return spec(rollout=rollout | changes)


class Shop:
    """Counts the orders that each version's requests make, and answers for them as a provider."""

    def __init__(self, world: World, failing: float = 0.0) -> None:
        self.world, self.failing = world, failing
        self.counts = {number: [0, 0] for number in range(1, 5)}
        self.problem: MetricProblem | None = None
        self.silent = False

    def live(self, seconds: int) -> None:
        """Seconds of traffic, orders and passes; 100 requests a second, each an order."""
        for _ in range(seconds):
            for version, weight in self.world.route.weights if self.world.route else ():
                failed = round(weight * self.failing) if version == 2 else 0
                self.counts[version][0] += weight - failed
                self.counts[version][1] += weight
            if not self.silent:
                self.world.readings["orders"] = self.problem or self.reading()
            self.world.live(1, rate=100)

    def reading(self) -> MetricReading:
        (good2, total2), (good1, total1) = self.counts[2], self.counts[1]
        return MetricReading(self.world.now, good2, total2, good1, total1)


def rolling(failing: float = 0.0, **changes: Any) -> tuple[World, Shop]:
    """v1 serves, v2 gets its first requests."""
    world = served(World(wish=wish(**changes)))
    world.wish = wish(**changes).model_copy(update={"data": spec().data.model_copy(update={"minimum_rows": 7})})
    shop = Shop(world, failing)
    for _ in range(60):
        shop.live(1)
        if world.status.rollout is not None and world.status.rollout.settled:
            return world, shop
    raise AssertionError(world.status.summary)


def condition(world: World, type_: str) -> tuple[str, str, str]:
    found = next((c for c in world.status.conditions if c.type == type_), None)
    return (found.status, found.reason, found.message) if found else ("", "", "")


# ---- through whole rollouts ----


def test_a_candidate_whose_orders_fail_is_taken_back_though_its_answers_are_good() -> None:
    world, shop = rolling(failing=0.5)
    shop.live(30)
    assert world.versions[2].status.state == "RolledBack"
    assert "CanaryWorse: orders" in world.versions[2].status.message
    evidence = {one.name: one for one in world.versions[2].status.evidence}
    assert (evidence["orders"].guarantee, evidence["errors"].guarantee) == ("approximate", "exact")
    assert evidence["orders"].candidate_bad > 0
    assert evidence["errors"].candidate_bad == 0


def test_a_candidate_whose_orders_go_well_is_promoted() -> None:
    world, shop = rolling()
    shop.live(60)
    assert (world.status.stable, world.status.summary) == (2, "Serving")
    evidence = {one.name: one for one in world.versions[2].status.evidence}
    assert 0 < evidence["orders"].candidate_total < evidence["errors"].candidate_total


def test_no_step_passes_while_the_source_has_a_problem_and_nothing_is_counted_bad() -> None:
    world, shop = rolling()
    shop.problem = DOWN
    shop.live(35)
    assert world.status.rollout is not None
    assert world.status.rollout.step == 0
    assert condition(world, "MetricsAnswered") == ("False", "SourceTimedOut", DOWN.message)
    shop.problem = None
    shop.live(2)
    assert world.status.rollout.step == 1


def test_a_source_that_never_answered_holds_the_first_step() -> None:
    world = served(World(wish=wish()))
    world.wish = wish().model_copy(update={"data": spec().data.model_copy(update={"minimum_rows": 7})})
    shop = Shop(world)
    shop.silent = True
    shop.live(60)
    assert world.status.rollout is not None
    assert world.status.rollout.step == 0
    assert condition(world, "MetricsAnswered") == ("Unknown", "Asked", "metric orders: its source has not answered yet")


def test_orders_of_none_but_stable_are_no_data_for_the_step() -> None:
    world, shop = rolling()
    frozen = list(shop.counts[2])
    for _ in range(30):
        shop.counts[2] = list(frozen)
        shop.live(1)
    assert world.status.rollout is not None
    assert world.status.rollout.step == 0
    assert condition(world, "MetricsAnswered")[1] == "NothingCounted"


@pytest.mark.parametrize(
    ("policy", "outcome"), [("wait", "Canary 10 %"), ("promote", "Canary 50 %"), ("abort", "Superseded")], ids=lambda value: value
)
def test_a_source_that_is_away_at_the_deadline_is_too_little_data(policy: str, outcome: str) -> None:
    world, shop = rolling(onTooLittleData=policy, deadline="20s")
    shop.problem = DOWN
    shop.live(25)
    words = world.versions[2].status.state if policy == "abort" else world.status.summary
    assert words == outcome
    if policy == "abort":
        assert "no answer within 2 s" in world.versions[2].status.message


def test_errors_of_the_pods_take_a_candidate_back_while_the_source_is_away() -> None:
    world, shop = rolling()
    shop.problem = DOWN
    shop.live(3)
    world.live(10, rate=100, bad={2: 1.0})
    assert world.versions[2].status.state == "RolledBack"
    assert "errors" in world.versions[2].status.message


def test_a_watch_counts_the_orders_too() -> None:
    world, shop = rolling(watch={"for": "1m", "holdBack": 10})
    while world.status.rollout is not None and world.status.rollout.phase == "Steps":
        shop.live(1)
    shop.failing = 0.5
    shop.live(20)
    assert world.status.stable == 1
    assert "orders" in world.versions[2].status.message


def test_a_restart_counts_nothing_twice() -> None:
    world, shop = rolling()
    shop.live(6)
    before = world.status.rollout
    assert before is not None
    world.status = ModelDeploymentStatus.model_validate(world.status.model_dump(by_alias=True, mode="json"))
    world.run()
    world.run()
    assert world.status.rollout is not None
    assert world.status.rollout.provided == before.provided
    assert world.status.rollout.metrics == before.metrics


def test_a_source_that_the_operator_does_not_have_is_told_at_once_and_nothing_is_rolled_out() -> None:
    world = World(wish=wish(), sources=("other", "third"))
    world.run()
    status, reason, words = condition(world, "Accepted")
    assert (status, reason) == ("False", "MetricSourceUnknown")
    for part in ("orders (source shop)", "known: other, third", "the chart's metricSources"):
        assert part in words
    served(world)
    world.wish = wish().model_copy(update={"data": spec().data.model_copy(update={"minimum_rows": 7})})
    world.live(40, rate=100)
    assert world.status.rollout is None
    assert world.versions[2].status.state == "Accepted"
    assert "no source for orders" in condition(world, "UpToDate")[2]
    world.sources = ("shop",)
    world.live(10, rate=100)
    assert world.status.rollout is not None
    assert condition(world, "Accepted") == ("", "", "")


def test_a_status_does_not_move_with_the_words_of_one_problem() -> None:
    world, shop = rolling()
    shop.problem = DOWN
    shop.live(2)
    before = world.status.conditions
    shop.problem = replace(DOWN, message="said in other words")
    shop.live(2)
    assert world.status.conditions == before


def test_a_metric_that_leaves_the_spec_holds_nothing_up() -> None:
    world, shop = rolling()
    shop.problem = DOWN
    shop.live(2)
    rest = [metric for metric in world.wish.rollout.metrics if metric.name == "errors"]
    world.wish = world.wish.model_copy(update={"rollout": world.wish.rollout.model_copy(update={"metrics": rest})})
    shop.live(60)
    assert world.status.stable == 2
    assert condition(world, "MetricsAnswered") == ("", "", "")


# ---- reading by reading ----


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def observed(second: float, *counts: int, rollout: RolloutStatus, answered: float | None = None, metrics: Any = None) -> Observed:
    """A pass at this second, with the answer (candidate's good and total, stable's) of `answered` seconds, else of this one."""
    world = World(wish=spec(rollout={"metrics": metrics or [ORDERS]}), now=at(second))
    world.status = ModelDeploymentStatus(rollout=rollout, stable=1)
    world.route = RouteState(((1, 90), (2, 10)), True)
    reading = MetricReading(at(second if answered is None else answered), *counts)
    return replace(world.observed(), readings={"orders": reading})


def begun(settled: float = 0.0) -> RolloutStatus:
    world, _ = rolling(metrics=[ORDERS])
    rollout = world.status.rollout
    assert rollout is not None
    fresh = {
        "provided": providers.begin(world.wish.rollout.metrics),
        "settled_at": stamp(at(settled)),
        "started_at": stamp(START),
    }
    return rollout.model_copy(update=fresh)


def after(rollout: RolloutStatus, *readings: tuple[float, int, int, int, int]) -> RolloutStatus:
    for second, *counts in readings:
        rollout = providers.measure(observed(second, *counts, rollout=rollout), rollout)
    return rollout


def counted(rollout: RolloutStatus) -> tuple[int, int, int, int]:
    (state,) = rollout.metrics
    return state.candidate_bad, state.candidate_total, state.stable_bad, state.stable_total


def test_the_difference_of_two_readings_is_a_block() -> None:
    rollout = after(begun(), (3, 90, 100, 1000, 1000), (8, 185, 200, 1990, 2000))
    assert counted(rollout) == (5, 100, 10, 1000)
    assert rollout.unsaved


def test_arms_that_the_source_reads_at_different_times_are_compared_all_the_same() -> None:
    rollout = after(begun(), (3, 100, 100, 1000, 1000), (8, 150, 200, 1000, 1000))
    assert counted(rollout) == (0, 0, 0, 0)
    rollout = after(rollout, (13, 150, 200, 1990, 2000), (18, 200, 300, 1990, 2000), (23, 200, 300, 2980, 3000))
    assert counted(rollout) == (100, 200, 20, 2000)
    assert analysis.judge("orders", analysis.resume(rollout.metrics[0], rollout.planned_seconds), 0.01) != analysis.Clear()


def test_a_fall_is_seen_also_while_only_one_arm_has_moved() -> None:
    rollout = after(begun(), (3, 100, 100, 1000, 1000), (8, 150, 150, 1000, 1000), (13, 120, 120, 2000, 2000))
    assert counted(rollout) == (0, 0, 0, 0)
    assert rollout.provided[0].reason == "CountersFell"


def test_the_same_reading_counts_once_however_often_it_is_seen() -> None:
    rollout = after(begun(), (3, 90, 100, 1000, 1000), (8, 185, 200, 1990, 2000))
    for second in (9, 10):
        again = observed(second, 185, 200, 1990, 2000, rollout=rollout, answered=8)
        assert providers.measure(again, rollout) == rollout


def test_nothing_is_counted_for_one_scrape_interval_after_a_change_of_weight() -> None:
    rollout = after(begun(), (3, 90, 100, 1000, 1000), (8, 190, 200, 2000, 2000))
    moved = rollout.model_copy(update={"settled_at": stamp(at(10))})
    rollout = after(moved, (11, 200, 300, 3000, 3000), (13, 200, 310, 3100, 3100), (18, 300, 410, 4100, 4100))
    assert counted(rollout) == (0, 200, 0, 2000)


def test_nothing_is_counted_while_the_route_has_other_weights() -> None:
    rollout = after(begun(), (3, 90, 100, 1000, 1000))
    elsewhere = observed(8, 185, 200, 1990, 2000, rollout=rollout)
    elsewhere = replace(elsewhere, route=RouteState(((1, 50), (2, 50)), True))
    assert counted(providers.measure(elsewhere, rollout)) == (0, 0, 0, 0)


@pytest.mark.parametrize("index", range(4))
def test_counters_that_fall_are_dropped_and_told(index: int) -> None:
    fallen = [200, 200, 2000, 2000]
    fallen[index] = 5
    if index in (1, 3):
        fallen[index - 1] = 5
    rollout = after(begun(), (3, 100, 100, 1000, 1000), (8, *fallen))
    assert counted(rollout) == (0, 0, 0, 0)
    (entry,) = rollout.provided
    assert entry.reason == "CountersFell"
    for part in ("metric orders, source shop", 'orders_total{v="delays-v2"}', "fell", "two scrape intervals"):
        assert part in entry.problem


def test_a_series_that_was_away_for_a_scrape_is_not_counted_again_when_it_is_back() -> None:
    rollout = after(begun(), (3, 100, 100, 1000, 1000), (5, 20, 20, 1100, 1100), (6, 30, 30, 1150, 1150))
    assert rollout.provided[0].reason == "CountersFell"
    rollout = after(rollout, (7, 160, 170, 1200, 1200), (9, 200, 200, 1300, 1300), (11, 270, 300, 1400, 1400))
    assert counted(rollout) == (30, 100, 0, 100)
    assert rollout.provided[0].reason == ""


def test_more_good_ones_than_all_is_a_problem_and_no_measurement() -> None:
    rollout = after(begun(), (3, 100, 100, 1000, 1000), (8, 210, 200, 2000, 2000))
    assert counted(rollout) == (0, 0, 0, 0)
    assert rollout.provided[0].reason == "CountersDisagree"
    assert "the candidate's good is more than its total" in rollout.provided[0].problem


def test_good_that_grows_by_more_than_total_is_a_problem_and_no_measurement() -> None:
    rollout = after(begun(), (3, 50, 100, 1000, 1000), (8, 180, 200, 2000, 2000))
    assert counted(rollout) == (0, 0, 0, 0)
    assert rollout.provided[0].reason == "CountersDisagree"
    assert "good grew by more than total" in rollout.provided[0].problem


def test_counters_of_something_else_than_requests_cannot_keep_the_operator_busy() -> None:
    many = 10**12
    rollout = after(begun(), (3, 100, 100, 1000, 1000), (8, 100, many, 2000, many))
    assert counted(rollout) == (0, 0, 0, 0)
    assert rollout.provided[0].reason == "TooManyCounted"
    assert "more than 1,000,000 bad ones" in rollout.provided[0].problem


def test_another_question_under_the_same_name_is_not_compared_with_the_old_answer() -> None:
    rollout = after(begun(), (3, 100, 100, 1000, 1000))
    other = [{**ORDERS, "prometheus": {**ORDERS["prometheus"], "total": 'sum(all_orders{v="$(version)"})'}}]
    for second, counts in ((8, (180, 5000, 2000, 9000)), (13, (280, 5100, 3000, 10_000))):
        rollout = providers.measure(observed(second, *counts, rollout=rollout, metrics=other), rollout)
    assert counted(rollout) == (0, 100, 0, 1000)


def test_a_clock_that_jumps_an_hour_and_back_costs_no_more_than_the_interval() -> None:
    rollout = after(begun(), (3, 100, 100, 1000, 1000), (3603, 110, 110, 1100, 1100))
    ahead = rollout.model_copy(update={"settled_at": stamp(at(3600))})
    rollout = after(ahead, (10, 120, 120, 1200, 1200), (13, 130, 130, 1300, 1300), (18, 140, 140, 1400, 1400))
    assert counted(rollout) == (0, 20, 0, 200)


def test_placeholders_are_filled_in_for_each_arm() -> None:
    metrics = [{**ORDERS, "prometheus": {**ORDERS["prometheus"], "total": "$(namespace)/$(name) $(version)"}}]
    (query,) = providers.wanted(observed(3, 0, 0, 0, 0, rollout=begun(), metrics=metrics))
    assert (query.metric, query.source) == ("orders", "shop")
    assert (query.candidate_total, query.stable_total) == ("ns/delays delays-v2", "ns/delays delays-v1")
    assert query.candidate_good == 'sum(orders_total{v="delays-v2",outcome="good"})'


def test_nothing_is_asked_when_no_rollout_is_under_way() -> None:
    assert providers.wanted(served(World(wish=wish())).observed()) == ()


@cache
def fresh() -> RolloutStatus:
    """Made once for all examples."""
    return begun()


COUNT = st.integers(0, 2**53)
ANSWERS = st.one_of(
    st.builds(lambda ago, counts: (ago, counts), st.floats(-7200, 7200), st.tuples(COUNT, COUNT, COUNT, COUNT)),
    st.builds(lambda ago, base: (ago, (base, base + 3, base, base + 9)), st.floats(0, 10), st.integers(0, 1000)),
    st.just(DOWN),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(ANSWERS, max_size=12))
def test_whatever_a_provider_answers_it_is_counted_or_told(answers: list[Any]) -> None:
    rollout = fresh()
    for second, answer in enumerate(answers, 5):
        seen = observed(second, 0, 0, 0, 0, rollout=rollout)
        reading = answer if isinstance(answer, MetricProblem) else MetricReading(at(second - answer[0]), *answer[1])
        seen = replace(seen, readings={"orders": reading})
        before, rollout = rollout, providers.measure(seen, rollout)
        assert (counted(rollout) == counted(before)) or not rollout.provided[0].reason
        bad, total, stable_bad, stable_total = counted(rollout)
        assert bad <= total
        assert stable_bad <= stable_total
        RolloutStatus.model_validate(rollout.model_dump(by_alias=True, mode="json"))
        assert bool(elsewhere.lacking(seen, rollout)) or elsewhere.findings(seen, rollout)[0].status is True
