"""Flux, Helm and `kubectl wait` on a ModelDeployment: what each state is to them, and never both conditions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perennial.core.plan import plan
from unit.core.test_plan_properties import ACTS, act
from unit.core.world import World
from unit.gitops import kstatus
from unit.gitops.states import RATE, STATES, State, canary, commit, manifest, other_data, passed, rolled_back, serving

TOLD = ("Reconciling", "Stalled")


def told(world: World) -> list[tuple[str, str]]:
    """(type, reason) of what kstatus reads besides Ready."""
    return [(one.type, one.reason) for one in world.status.conditions if one.type in TOLD]


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.name)
def test_state_is_what_a_gitops_tool_has_to_see(state: State) -> None:
    world = state.make()
    found, message = kstatus.compute(manifest(world))
    assert found == state.kstatus, message
    expected = {"InProgress": "Reconciling", "Failed": "Stalled"}.get(state.kstatus, "")
    assert told(world) == ([(expected, state.reason)] if state.reason else [])


def test_older_version_goes_on_serving_while_the_newest_is_stalled() -> None:
    conditions = {one.type: one for one in rolled_back().status.conditions}
    assert conditions["Ready"].status == conditions["Stalled"].status == "True"
    assert conditions["Stalled"].message.startswith("v2: CanaryWorse: ")


def test_conditions_of_a_state_that_is_over_are_gone() -> None:
    world = canary()
    assert told(world) == [("Reconciling", "Canary")]
    world.until(lambda w: w.status.stable == 2, rate=RATE)
    assert told(world) == []


def test_write_that_the_cluster_refuses_is_in_progress_also_where_the_newest_serves() -> None:
    world = serving()
    refused = replace(world.observed(), errors=(("Deployment delays-v1", "exceeded quota: pods"),))
    world.write(plan(refused))
    assert told(world) == [("Reconciling", "RefusedByCluster")]
    assert "exceeded quota" in kstatus.compute(manifest(world))[1]


def test_spec_that_nobody_ever_could_read_is_seen_and_failed() -> None:
    world = commit(World())
    world.write(plan(replace(world.observed(), invalid="spec.data: field required", remembered=False)))
    assert kstatus.compute(manifest(world))[0] == "Failed"


def test_pass_of_a_stalled_model_writes_nothing() -> None:
    for world in (rolled_back(), passed(commit(canary(), pin=1))):
        world.live(20, rate=RATE)
        before = world.status_writes
        world.live(20, rate=RATE)
        assert world.status_writes == before


def test_commit_is_never_called_current_or_failed_before_its_version_had_its_chance() -> None:
    world = rolled_back()
    other_data(world, rows=8)
    seen = []
    while world.status.stable != 3:
        seen.append(kstatus.compute(manifest(world))[0])
        world.live(1, rate=RATE)
    assert set(seen) == {"InProgress"}
    assert kstatus.compute(manifest(world))[0] == "Current"


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ACTS, min_size=1, max_size=8))
def test_whatever_happens_at_most_one_is_told_and_the_conditions_fit_into_the_status(sequence: list[tuple[Any, ...]]) -> None:
    world = World()
    for name, *arguments in sequence:
        act(world, name, *arguments)
        world.live(2, rate=50)
        types = [one.type for one in world.status.conditions]
        assert len(types) == len(set(types)) <= 16
        assert len(told(world)) <= 1
        assert all(one.status == "True" for one in world.status.conditions if one.type in TOLD)
