"""Before its steps: the shadow, in which a candidate is judged by copies of live requests, and what ends it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perennial.api.v1alpha1 import ModelDeploymentStatus
from perennial.core.observed import Mirror
from unit.core.test_plan import condition
from unit.core.world import World, served, spec

STEPS = [{"weight": 10, "hold": "5s"}, {"weight": 50, "hold": "5s"}]


def wish(**rollout: object) -> dict[str, object]:
    return {"steps": STEPS, "minimumRequests": 20, "shadow": {"hold": "10s"}, **rollout}


def deployed(**rollout: object) -> World:
    """v2 in its shadow; no request came yet."""
    world = served(World(wish=spec(rollout=wish(**rollout))))
    world.annotations["perennial.dev/retrain"] = "now"
    return world.until(lambda w: w.status.rollout is not None)


def shadowed(**rollout: object) -> World:
    """v2 in its shadow, the mirror on."""
    return deployed(**rollout).until(lambda w: w.route is not None and w.route.mirror is not None)


def phase(world: World) -> str:
    return world.status.rollout.phase if world.status.rollout is not None else ""


def answered_by(world: World, version: int) -> int:
    return sum(pod.total for pod in world.totals.values() if pod.version == version)


def weights(world: World) -> dict[int, int]:
    assert world.route is not None
    return {version: weight for version, weight in world.route.weights if weight}


def reasons(world: World) -> list[str]:
    return [event.reason for event in world.events]


def test_shadow_mirrors_to_the_candidate_and_leaves_every_answer_to_stable() -> None:
    world = shadowed()
    world.live(8, rate=100)
    assert phase(world) == "Shadow"
    assert weights(world) == {1: 100}
    assert world.mirrors == [Mirror(2, 100)]
    assert answered_by(world, 2) == 0
    assert world.status.summary == "Shadow 100 %"
    assert "ShadowStarted" in reasons(world)


def test_healthy_candidate_goes_through_shadow_and_steps_to_promotion() -> None:
    world = shadowed()
    world.until(lambda w: phase(w) == "Steps", rate=100)
    assert world.mirrors == [Mirror(2, 100), None]
    assert answered_by(world, 2) == 0
    world.until(lambda w: w.status.stable == 2, rate=100)
    shown = world.versions[2].status
    assert shown.shadow_evidence[0].candidate_total >= 900
    assert shown.shadow_evidence[0].stable_total >= 900
    assert shown.evidence[0].candidate_total > 0
    assert [r for r in reasons(world) if r in ("ShadowStarted", "ShadowOver", "CanaryStep", "Promoted")][-5:] == [
        "ShadowStarted",
        "ShadowOver",
        "CanaryStep",
        "CanaryStep",
        "Promoted",
    ]


def test_bad_candidate_is_quarantined_before_a_client_meets_it() -> None:
    world = shadowed()
    world.until(lambda w: w.versions[2].status.state == "RolledBack", rate=100, bad={2: 0.1}, limit=30)
    world.live(3, rate=100)
    assert weights(world) == {1: 100}
    assert world.route is not None
    assert world.route.mirror is None
    assert answered_by(world, 2) == 0
    assert (world.status.quarantined[0].version, world.status.quarantined[0].reason) == (2, "ShadowWorse")
    assert "no client met it" in world.versions[2].status.message
    evidence = world.versions[2].status.shadow_evidence[0]
    assert evidence.e >= evidence.threshold
    assert world.versions[2].status.evidence == []


def test_a_fifth_of_alpha_is_the_shadows_and_the_rest_the_steps() -> None:
    world = shadowed(falseRollbackRate=0.1)
    assert world.status.rollout is not None
    assert [state.alpha for state in world.status.rollout.metrics] == pytest.approx([0.02])
    assert world.status.rollout.planned_seconds == 10.0
    world.until(lambda w: phase(w) == "Steps", rate=100)
    assert [state.alpha for state in world.status.rollout.metrics] == pytest.approx([0.08])
    assert world.status.rollout.planned_seconds == 10.0
    assert world.status.rollout.metrics[0].candidate_total == 0


def test_mirrored_requests_are_not_counted_in_the_steps_nor_readings_double() -> None:
    world = shadowed().until(lambda w: phase(w) == "Steps", rate=100)
    world.until(lambda w: w.status.stable == 2, rate=100)
    assert world.versions[2].status.evidence[0].candidate_total <= answered_by(world, 2)


def test_mirror_waits_until_every_pod_was_read() -> None:
    world = served(World(wish=spec(rollout=wish())))
    world.annotations["perennial.dev/retrain"] = "now"
    world.unreachable = True
    world.until(lambda w: w.status.rollout is not None)
    world.live(20, rate=100)
    assert world.mirrors == []
    assert condition(world, "Measured")[:2] == ("False", "PodsUnreachable")
    world.unreachable = False
    world.live(3, rate=100)
    assert world.mirrors == [Mirror(2, 100)]


def test_shadow_whose_pods_are_never_read_is_inconclusive_in_its_own_words() -> None:
    world = deployed()
    world.unreachable = True
    world.live(60, rate=100)
    assert condition(world, "Inconclusive")[:2] == ("True", "ShadowDeadline")


def test_unread_pods_in_the_shadow_stop_it_and_lose_nothing() -> None:
    world = shadowed()
    world.live(3, rate=100)
    world.unreachable = True
    world.live(30, rate=100)
    assert phase(world) == "Shadow"
    world.unreachable = False
    world.until(lambda w: phase(w) == "Steps", rate=100, limit=10)
    assert world.versions[2].status.shadow_evidence[0].candidate_total >= 3000


def test_share_of_the_requests_is_mirrored_as_asked_for() -> None:
    world = shadowed(shadow={"hold": "10s", "percent": 25})
    assert world.mirrors == [Mirror(2, 25)]
    world.until(lambda w: phase(w) == "Steps", rate=100)
    shown = world.versions[2].status.shadow_evidence[0]
    assert 3 * shown.candidate_total < shown.stable_total


def test_hand_removed_mirror_is_put_back_and_nothing_counts_meanwhile() -> None:
    world = shadowed()
    world.live(3, rate=100)
    assert world.route is not None
    world.route = replace(world.route, mirror=None)
    world.run()
    assert world.route.mirror == Mirror(2, 100)
    assert world.status.rollout is not None
    assert not world.status.rollout.settled
    world.until(lambda w: phase(w) == "Steps", rate=100)


def test_crashes_in_the_shadow_take_the_candidate_back() -> None:
    world = shadowed()
    world.live(2, rate=100)
    world.restart("pod-2-0", 2)
    world.live(2, rate=100)
    assert world.versions[2].status.state == "RolledBack"
    assert world.status.quarantined[0].reason == "CanaryCrashing"
    assert "no client met it" in world.versions[2].status.message


def test_crash_of_the_shadow_is_not_forgotten_in_the_steps() -> None:
    world = shadowed()
    world.restart("pod-2-0", 1)
    world.until(lambda w: phase(w) == "Steps", rate=100)
    world.restart("pod-2-0", 2)
    world.live(2, rate=100)
    assert world.status.quarantined[0].reason == "CanaryCrashing"


def test_candidate_without_a_ready_pod_is_not_mirrored_to() -> None:
    world = shadowed()
    world.unready(2)
    world.live(2, rate=100)
    assert world.mirrors == [Mirror(2, 100), None]
    assert condition(world, "Measured")[1] == "CanaryNotReady"
    world.never_ready.clear()
    world.live(10, rate=100)
    assert world.mirrors == [Mirror(2, 100), None, Mirror(2, 100)]


def test_candidate_that_loses_its_pods_again_and_again_is_taken_back() -> None:
    world = shadowed(shadow={"hold": "1h"})
    for _ in range(3):
        world.unready(2)
        world.live(3, rate=100)
        world.never_ready.clear()
        world.live(10, rate=100)
    assert world.versions[2].status.state == "RolledBack"
    assert world.status.quarantined[0].reason == "CanaryNotReady"


def test_paused_shadow_goes_on_mirroring_and_does_not_pass() -> None:
    world = shadowed()
    world.wish = spec(paused=True, rollout=wish())
    world.live(60, rate=100)
    assert phase(world) == "Shadow"
    assert world.route is not None
    assert world.route.mirror == Mirror(2, 100)
    world.wish = spec(rollout=wish())
    world.live(2, rate=100)
    assert phase(world) == "Steps"


def test_bad_candidate_is_taken_back_while_paused_too() -> None:
    world = shadowed()
    world.wish = spec(paused=True, rollout=wish())
    world.until(lambda w: w.versions[2].status.state == "RolledBack", rate=100, bad={2: 0.3}, limit=20)


@pytest.mark.parametrize("watch", [None, {"for": "60s"}])
def test_promote_leaves_shadow_and_steps_out_and_a_watch_has_its_own_account(watch: dict[str, str] | None) -> None:
    world = shadowed(**({"watch": watch} if watch else {}))
    world.live(3, rate=100)
    world.annotations["perennial.dev/promote"] = "2"
    world.live(3, rate=100)
    assert world.status.stable == 2
    assert world.mirrors[-1] is None
    assert weights(world) == ({2: 90, 1: 10} if watch else {2: 100})
    if watch:
        assert world.status.rollout is not None
        assert [state.alpha for state in world.status.rollout.metrics] == pytest.approx([0.008])
        assert world.status.rollout.planned_seconds == 70.0


def test_abort_takes_the_candidate_back() -> None:
    world = shadowed()
    world.annotations["perennial.dev/abort"] = "2"
    world.live(2, rate=100)
    assert world.versions[2].status.state == "RolledBack"
    assert world.mirrors[-1] is None
    assert weights(world) == {1: 100}


@pytest.mark.parametrize("verb", ["rollback-to", "pin"])
def test_pin_or_return_in_mid_shadow_ends_it(verb: str) -> None:
    world = shadowed()
    if verb == "pin":
        world.wish = spec(pin=1, rollout=wish())
    else:
        world.annotations["perennial.dev/rollback-to"] = "1"
    world.live(3, rate=100)
    assert world.status.rollout is None
    assert world.mirrors[-1] is None
    assert weights(world) == {1: 100}


def test_resume_lets_a_shadow_begin_that_a_return_held_back() -> None:
    world = shadowed()
    world.annotations["perennial.dev/rollback-to"] = "1"
    world.live(3, rate=100)
    world.annotations["perennial.dev/retrain"] = "again"
    world.until(lambda w: 3 in w.versions and w.versions[3].status.state == "Accepted", rate=100)
    world.live(10, rate=100)
    assert phase(world) == ""
    world.annotations["perennial.dev/resume"] = ""
    world.until(lambda w: phase(w) == "Shadow", rate=100)


def test_restarted_operator_goes_on_with_the_same_evidence() -> None:
    world = shadowed()
    world.live(5, rate=100)
    kept = ModelDeploymentStatus.model_validate(world.status.model_dump(mode="json", by_alias=True, exclude_none=True))
    assert kept.rollout is not None
    before = kept.rollout.metrics[0].candidate_total
    world.status = kept
    world.live(2, rate=100)
    assert world.status.rollout is not None
    assert world.status.rollout.metrics[0].candidate_total == before + 200
    world.until(lambda w: phase(w) == "Steps", rate=100)
    assert world.mirrors == [Mirror(2, 100), None]


def test_shadow_that_is_taken_out_of_the_spec_is_over() -> None:
    world = shadowed()
    world.wish = spec(rollout={"steps": STEPS, "minimumRequests": 20})
    world.live(2, rate=100)
    assert phase(world) == "Steps"
    assert world.mirrors[-1] is None
    assert world.status.rollout is not None
    assert [state.alpha for state in world.status.rollout.metrics] == pytest.approx([0.008])


def test_too_little_data_waits_and_says_that_no_mirrored_request_came() -> None:
    world = shadowed()
    assert world.route is not None
    for _ in range(60):
        world.traffic(0, {})
        for pod in world.workloads[1].pods:
            counted = world._counters(1, pod)
            world.totals[pod.uid] = replace(counted, total=counted.total + 50, timed=counted.timed + 50)
        world.live(1)
    assert phase(world) == "Shadow"
    assert condition(world, "Inconclusive")[:2] == ("True", "ShadowDeadline")
    found = condition(world, "Measured")
    assert found[1] == "TooFewRequests"
    assert "does not mirror" in found[2]
    assert "; ways out: send requests, or type kubectl perennial promote " in found[2]


def test_too_little_data_may_abort_without_a_quarantine() -> None:
    world = shadowed(onTooLittleData="abort", deadline="20s")
    world.until(lambda w: w.versions[2].status.state == "Superseded", limit=60)
    assert not world.status.quarantined
    assert world.mirrors[-1] is None


def test_too_little_data_may_go_on_to_the_steps() -> None:
    world = shadowed(onTooLittleData="promote", deadline="20s")
    world.until(lambda w: phase(w) == "Steps", limit=60)
    assert any("onTooLittleData is promote" in event.message for event in world.events if event.reason == "ShadowOver")


def test_breach_left_to_a_person_keeps_the_shadow_and_no_client_meets_it() -> None:
    world = shadowed(onBreach="pause")
    world.live(60, rate=100, bad={2: 0.5})
    assert phase(world) == "Shadow"
    assert condition(world, "Breached")[:2] == ("True", "ShadowWorse")
    assert "no client met it" in condition(world, "Breached")[2]
    assert answered_by(world, 2) == 0
    world.annotations["perennial.dev/abort"] = "2"
    world.live(2, rate=100)
    assert world.mirrors[-1] is None


def test_person_may_promote_what_breached_in_its_shadow_and_no_watch_follows() -> None:
    world = shadowed(onBreach="pause", watch={"for": "60s"})
    world.live(20, rate=100, bad={2: 0.5})
    assert condition(world, "Breached")[1] == "ShadowWorse"
    world.annotations["perennial.dev/promote"] = "2"
    world.live(2, rate=100)
    assert weights(world) == {2: 100}
    assert world.status.rollout is None


def test_gateway_that_cannot_mirror_is_told_before_anything_starts() -> None:
    world = World(wish=spec(rollout=wish()), mirror_problem="GatewayClass plain does not mirror")
    world.live(5)
    assert world.created == []
    assert condition(world, "Accepted") == ("False", "MirrorNotSupported", "GatewayClass plain does not mirror")
    world.mirror_problem = ""
    served(world)
    assert all(one.type != "Accepted" for one in world.status.conditions)


def test_gateway_that_cannot_mirror_lets_no_candidate_begin_and_what_serves_serves() -> None:
    world = served(World(wish=spec(rollout=wish())))
    world.mirror_problem = "GatewayClass plain does not mirror"
    world.annotations["perennial.dev/retrain"] = "now"
    world.until(lambda w: 2 in w.versions and w.versions[2].status.state == "Accepted")
    world.live(10, rate=100)
    assert phase(world) == ""
    assert weights(world) == {1: 100}
    assert condition(world, "Accepted")[1] == "MirrorNotSupported"
    world.wish = spec(rollout={"steps": STEPS, "minimumRequests": 20})
    world.until(lambda w: w.status.stable == 2, rate=100)


def test_route_that_the_gateway_refuses_because_of_its_mirror_is_written_without_it() -> None:
    world = deployed()
    world.refuses_mirrors = True
    world.live(30, rate=100)
    assert world.mirrors == [Mirror(2, 100), None]
    assert phase(world) == "Shadow"
    assert condition(world, "Accepted")[:2] == ("False", "MirrorNotSupported")
    assert "UnsupportedValue" in condition(world, "Accepted")[2]
    before = world.status_writes
    world.live(30, rate=100)
    assert world.status_writes == before
    world.wish = spec(rollout={"steps": STEPS, "minimumRequests": 20})
    world.until(lambda w: w.status.stable == 2, rate=100)


def test_candidate_deleted_in_its_shadow_leaves_no_mirror() -> None:
    world = shadowed()
    del world.versions[2]
    world.live(2, rate=100)
    assert world.mirrors[-1] is None
    assert weights(world) == {1: 100}


def test_first_version_has_no_shadow() -> None:
    world = served(World(wish=spec(rollout=wish())))
    assert world.mirrors == []
