"""The life of a version as the plan decides it: from trigger to traffic and back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from perennial.core import actions, arms
from perennial.core.observed import ContainerState
from perennial.core.plan import plan
from perennial.standing import troubles
from perennial_runtime.contract import Fault, Refusal, encode_answer
from unit.core.world import SPEC, World, evaluated, failed, served, spec


def condition(world: World, kind: str) -> tuple[str, str, str]:
    found = next(c for c in world.status.conditions if c.type == kind)
    return found.status, found.reason, found.message


def v2_in_canary() -> World:
    world = served()
    world.annotations["perennial.dev/retrain"] = "now"
    return world.until(lambda w: w.status.rollout is not None, rate=100)


def test_path_that_another_model_answers_is_no_place_to_be_ready_at() -> None:
    words = "requests for /delays/predict are answered by ModelDeployment ns/rides"
    observed = replace(served().observed(), path_taken=words)
    status = plan(observed).status
    assert status.summary == "Serving (path taken)"
    for before, events in ((observed.status, [("Warning", "PathTaken", words)]), (status, [])):
        seen = plan(replace(observed, status=before)).events
        assert [(one.type, one.reason, one.message) for one in seen if one.reason == "PathTaken"] == events
    told = status.conditions
    found = {one.type: (one.status, one.reason, one.message) for one in told if one.type in ("Ready", "Accepted", "Stalled")}
    refused = ("PathTaken", words)
    assert found == {"Ready": ("False", *refused), "Accepted": ("False", *refused), "Stalled": ("True", *refused)}


def test_nothing_is_written_when_converged() -> None:
    world = served()
    world.live(20)
    before = world.status_writes, len(world.route_writes)
    world.live(60, rate=100)
    assert (world.status_writes, len(world.route_writes)) == before
    assert not [a for a in plan(world.observed()).after if isinstance(a, actions.WriteVersionStatus)]


def test_retrain_makes_a_second_version_and_a_healthy_one_is_promoted_step_by_step() -> None:
    world = v2_in_canary().until(lambda w: w.status.stable == 2, rate=100)
    assert world.route_writes == [((1, 100),), ((1, 90), (2, 10)), ((1, 50), (2, 50)), ((2, 100), (1, 0))]
    assert world.versions[1].status.state == "Retired"
    world.live(30, rate=100)
    assert world.workloads[1].replicas == 0
    assert not world.annotations


def test_request_is_carried_out_once_when_the_operator_dies_before_removing_the_annotation() -> None:
    world = served()
    world.annotations["perennial.dev/retrain"] = "now"
    decided = plan(world.observed())
    for action in decided.before:
        world.apply(action)
    world.write(decided)
    world.until(lambda w: w.status.stable == 2, rate=100)
    assert max(world.versions) == 2


def test_retrain_is_not_repeated_when_the_operator_dies_before_the_status_write() -> None:
    world = served()
    world.annotations["perennial.dev/retrain"] = "now"
    for action in plan(world.observed()).before:
        world.apply(action)
    world.until(lambda w: w.status.stable == 2, rate=100)
    assert max(world.versions) == 2


def test_breach_takes_the_candidate_back_and_quarantines_it() -> None:
    world = v2_in_canary()
    world.until(lambda w: w.versions[2].status.state == "RolledBack", rate=200, bad={2: 0.5})
    assert world.status.stable == 1
    assert world.route is not None
    assert world.route.weights == ((1, 100), (2, 0))
    assert world.status.quarantined[0].identity == "identity-2"
    assert world.status.summary == "Serving (v2 RolledBack)"
    assert "bad" in world.versions[2].status.message
    weights_after = [writes for writes in world.route_writes if dict(writes).get(2)]
    world.live(40, rate=100)
    assert [writes for writes in world.route_writes if dict(writes).get(2)] == weights_after
    assert world.workloads[2].replicas == 0


def test_evidence_outlives_an_operator_that_dies_when_it_has_written_the_verdict() -> None:
    world = v2_in_canary()
    while not world.status.quarantined:
        world.traffic(200, {2: 0.5})
        world.now += timedelta(seconds=1)
        decided = plan(world.observed())
        for action in decided.before:
            world.apply(action)
        world.write(decided)
        for action in () if world.status.quarantined else decided.after:
            world.apply(action)
    world.live(2)
    assert world.versions[2].status.state == "RolledBack"
    assert world.versions[2].status.evidence[0].candidate_bad > 0
    assert world.versions[2].status.message.startswith("CanaryWorse: errors")


def test_the_same_inputs_are_not_trained_again_after_a_rollback() -> None:
    world = served()
    first, second = world.wish, spec(training={"image": "user@sha256:1"})
    world.wish = second
    world.until(lambda w: w.status.rollout is not None, rate=100)
    world.until(lambda w: 2 in {q.version for q in w.status.quarantined}, rate=200, bad={2: 0.5})
    world.wish = first
    world.live(30, rate=100)
    world.wish = second
    world.live(30, rate=100)
    assert not [v for v in world.versions.values() if v.number > 2 and v.spec.training.image]
    assert condition(world, "Quarantined")[1] == "InputsQuarantined"
    assert "kubectl annotate mdep delays perennial.dev/lift=2, and they are" in condition(world, "Quarantined")[2]
    world.annotations["perennial.dev/lift"] = "2"
    world.until(lambda w: w.versions[max(w.versions)].spec.training.image == "user@sha256:1", rate=100, limit=5)


def v2_with_traffic() -> World:
    world = served()
    world.annotations["perennial.dev/retrain"] = "now"
    return world.until(lambda w: w.route is not None and dict(w.route.weights).get(2, 0) > 0, rate=100)


def test_breach_moves_nothing_to_a_stable_version_without_a_ready_pod() -> None:
    world = v2_with_traffic()
    world.unready(1)
    world.annotations["perennial.dev/abort"] = "2"
    world.live(320, rate=100)
    assert world.versions[2].status.state == "RolledBack"
    assert world.route is not None
    assert world.route.weights == ((1, 90), (2, 10))
    assert condition(world, "RollbackBlocked")[0] == "True"
    world.never_ready.clear()
    world.live(10, rate=100)
    assert dict(world.route.weights) == {1: 100, 2: 0}


def test_candidate_that_loses_its_pods_again_and_again_is_taken_back() -> None:
    world = v2_with_traffic()
    for _ in range(3):
        world.unready(2)
        world.live(3, rate=100)
        world.never_ready.clear()
        world.live(10, rate=100)
    assert world.versions[2].status.state == "RolledBack"
    assert "3 times" in world.versions[2].status.message
    assert world.status.stable == 1


def test_restarts_are_counted_pod_by_pod() -> None:
    world = v2_with_traffic()
    world.restart("pod-1-0", 3)
    world.live(2, rate=100)
    world.unready(1)
    world.never_ready.clear()
    world.live(6, rate=100)
    assert world.status.rollout is not None
    assert world.status.rollout.crashes_stable == 3
    world.restart("pod-2-0", 1)
    world.live(2, rate=100)
    world.restart("pod-2-0", 0)
    world.restart("pod-2-1", 1)
    world.live(2, rate=100)
    assert world.status.rollout.crashes_candidate == 2


def test_pin_that_cannot_be_served_still_lets_nothing_be_promoted() -> None:
    world = v2_with_traffic()
    world.wish = spec(pin=99)
    world.live(100, rate=100)
    assert world.status.stable == 1
    assert world.route is not None
    assert dict(world.route.weights) == {1: 90, 2: 10}
    world.until(lambda w: w.versions[2].status.state == "RolledBack", rate=200, bad={2: 0.5})


def test_version_whose_traffic_the_live_route_still_has_keeps_its_pods() -> None:
    world = v2_with_traffic().until(lambda w: w.route is not None and dict(w.route.weights).get(2) == 50, rate=100)
    world.frozen_route = True
    world.until(lambda w: w.status.stable == 2, rate=100)
    world.live(60, rate=100)
    assert world.workloads[1].replicas == 2
    world.frozen_route = False
    world.live(60, rate=100)
    assert world.workloads[1].replicas == 0


def test_version_that_may_not_be_made_stops_neither_a_rollback_nor_a_request() -> None:
    world = v2_with_traffic()
    world.no_versions = True
    world.wish = spec(data=world.wish.data.model_copy(update={"minimum_rows": 7}).model_dump(by_alias=True))
    world.annotations["perennial.dev/retrain"] = "july"
    world.live(5, rate=100)
    assert world.annotations, "a wish that could not be carried out is not forgotten"
    world.until(lambda w: w.versions[2].status.state == "RolledBack", rate=200, bad={2: 0.5})
    world.no_versions = False
    world.until(lambda w: 3 in w.versions, rate=100)
    world.live(3, rate=100)
    assert not world.annotations


def test_rollout_whose_spec_cannot_be_read_any_more_is_still_taken_back() -> None:
    world = v2_with_traffic()
    world.invalid = "spec.rollout: unknown field"
    world.live(60, rate=100)
    assert world.route is not None
    assert dict(world.route.weights) == {1: 90, 2: 10}
    assert condition(world, "Ready")[:2] == ("False", "SpecUnreadable")
    world.until(lambda w: w.versions[2].status.state == "RolledBack", rate=200, bad={2: 0.5})


def test_version_that_never_served_is_no_target_of_a_return() -> None:
    world = v2_in_canary().until(lambda w: w.status.stable == 2, rate=100)
    world.annotations["perennial.dev/rollback-to"] = "1"
    world.until(lambda w: w.status.stable == 1, rate=100)
    world.annotations["perennial.dev/retrain"] = "again"
    world.until(lambda w: 3 in w.versions and w.versions[3].status.state == "Accepted", rate=100)
    assert "not rolled out by itself" in world.status.requests[-1].outcome
    world.annotations["perennial.dev/rollback-to"] = "3"
    world.live(3, rate=100)
    assert world.status.stable == 1
    assert "never served" in world.status.requests[-1].outcome


def test_return_that_is_under_way_is_progress() -> None:
    world = v2_in_canary().until(lambda w: w.status.stable == 2, rate=100)
    world.live(30)
    world.annotations["perennial.dev/rollback-to"] = "1"
    world.run()
    assert condition(world, "Progressing")[:2] == ("True", "Returning")


def test_model_that_serves_already_is_up_to_date() -> None:
    world = served()
    world.answer = lambda step, number, action: evaluated(1, "identity-1") if step == "evaluate" else None
    world.annotations["perennial.dev/retrain"] = "x"
    world.until(lambda w: 2 in w.versions and w.versions[2].status.state == "Retired", rate=100)
    world.live(2)
    assert condition(world, "UpToDate")[:2] == ("True", "SameModel")
    world.annotations["perennial.dev/pause"] = ""
    world.wish = spec(evaluation={"gates": []})
    world.live(2)
    assert condition(world, "Stalled")[:2] == ("True", "Paused")
    assert condition(world, "UpToDate")[:2] == ("False", "InputsDiffer")
    assert "a person paused it: kubectl annotate mdep delays perennial.dev/resume=" in condition(world, "UpToDate")[2]


def test_misspelled_request_is_told() -> None:
    world = served()
    world.annotations["perennial.dev/rolback-to"] = "1"
    world.live(2)
    assert condition(world, "RequestUnknown")[0] == "True"
    assert "perennial.dev/rolback-to" in condition(world, "RequestUnknown")[2]


def test_crds_that_are_older_than_the_operator_are_told_until_they_are_not() -> None:
    world = served()
    world.dropped = tuple(f"ModelVersion.status.f{number}" for number in range(7))
    world.live(2)
    status, reason, words = condition(world, "CRDsOutdated")
    assert (status, reason) == ("True", "FieldsMissing")
    assert "do not have ModelVersion.status.f0, ModelVersion.status.f1, " in words
    assert "f4 and 2 more: what is written there is dropped" in words
    assert words.endswith("helm upgrade perennial-crds, or apply crds/")
    assert ("CRDsOutdated", "FieldsMissing") in troubles(world.status)
    writes = world.status_writes
    world.live(20)
    assert world.status_writes == writes, "the condition itself is written once"
    world.dropped = ()
    world.live(2)
    assert "CRDsOutdated" not in {one.type for one in world.status.conditions}


def test_step_that_waits_for_requests_says_so() -> None:
    world = v2_with_traffic()
    world.live(30)
    assert condition(world, "Measured")[:2] == ("True", "TooFewRequests")
    assert world.status.rollout is not None
    assert world.status.rollout.step_started_at is None
    assert condition(world, "Measured")[2].startswith(
        "the hold of step 1 begins with the candidate's first request; the candidate"
    )
    assert condition(world, "Measured")[2].endswith(
        "; ways out: send requests, or type kubectl perennial promote delays -n ns, or set rollout.onTooLittleData: promote"
    )
    world.live(1, rate=20)
    world.live(40)
    assert condition(world, "Measured")[2].startswith("the hold of step 1 is over; the candidate has to answer")


def test_step_that_waits_past_its_deadline_names_the_ways_out_and_none_that_is_taken_already() -> None:
    quiet = {"steps": [{"weight": 10, "hold": "5s"}], "deadline": "10s"}
    world = served(World(wish=spec(rollout=quiet)))
    world.annotations["perennial.dev/retrain"] = "now"
    world.until(lambda w: any(found.type == "Inconclusive" for found in w.status.conditions), rate=1)
    words = condition(world, "Inconclusive")[2]
    assert words.endswith(" promote delays -n ns, or set rollout.onTooLittleData: promote")
    later = served(World(wish=spec(rollout={**quiet, "deadline": "1h", "onTooLittleData": "abort"})))
    later.annotations["perennial.dev/retrain"] = "now"
    later.until(lambda w: any(found.reason == "TooFewRequests" for found in w.status.conditions), rate=1)
    assert condition(later, "Measured")[2].endswith("; ways out: send requests, or type kubectl perennial promote delays -n ns")


def test_retired_version_that_a_person_deletes_leaves_the_route() -> None:
    world = v2_in_canary().until(lambda w: w.status.stable == 2, rate=100)
    del world.versions[1]
    world.live(2, rate=100)
    assert world.route is not None
    assert world.route.weights == ((2, 100),)


def test_every_status_that_is_planned_fits_its_schema() -> None:
    world = v2_with_traffic()
    for bad in (0.0, 0.5):
        for _ in range(40):
            world.live(1, rate=200, bad={2: bad})
            type(world.status).model_validate(world.status.model_dump(by_alias=True, exclude_none=True))


def test_promotion_of_a_candidate_without_a_ready_pod_is_refused() -> None:
    world = v2_with_traffic()
    world.unready(2)
    world.live(2, rate=100)
    world.annotations["perennial.dev/promote"] = "2"
    world.live(2, rate=100)
    assert world.status.stable == 1
    assert world.status.requests[-1].outcome.startswith("refused: v2 has no pod that is ready")


def test_measurements_are_written_at_most_every_ten_seconds() -> None:
    world = v2_in_canary()
    world.live(2, rate=100)
    before = world.status_writes
    world.live(7, rate=100)
    assert world.status_writes - before <= 1


def test_rollback_to_scales_the_old_version_up_before_it_gets_any_request() -> None:
    world = v2_in_canary().until(lambda w: w.status.stable == 2, rate=100)
    world.live(30, rate=100)
    assert world.workloads[1].replicas == 0
    world.annotations["perennial.dev/rollback-to"] = "1"
    world.run()
    assert world.route is not None
    assert world.route.weights[0] == (2, 100)
    world.until(lambda w: w.status.stable == 1, rate=100)
    assert world.route.weights[0] == (1, 100)
    assert world.status.held


def test_pin_on_a_version_that_does_not_exist_is_refused_and_serving_goes_on() -> None:
    world = served()
    world.wish = spec(pin=7)
    world.live(10, rate=100)
    assert world.status.stable == 1
    assert condition(world, "Pinned")[:2] == ("False", "VersionNotServable")


def test_paused_rollout_keeps_its_weight_but_still_takes_a_bad_candidate_back() -> None:
    world = v2_in_canary()
    world.wish = spec(paused=True)
    world.live(40, rate=100)
    assert world.route is not None
    assert world.route.weights == ((1, 90), (2, 10))
    world.until(lambda w: w.versions[2].status.state == "RolledBack", rate=200, bad={2: 0.5})


def test_promote_and_abort_end_a_rollout_at_once() -> None:
    world = v2_in_canary()
    world.annotations["perennial.dev/promote"] = "2"
    world.run()
    assert world.status.stable == 2
    other = v2_with_traffic()
    other.live(1, rate=100)
    other.annotations["perennial.dev/abort"] = ""
    other.run()
    assert other.versions[2].status.state == "RolledBack"
    assert other.status.stable == 1


def test_the_same_id_again_does_nothing_and_says_so() -> None:
    world = served()
    for value in ("july;id=a1", "august", "july;id=a1"):
        world.annotations["perennial.dev/retrain"] = value
        world.live(60, rate=100)
    known = [event for event in world.events if event.reason == "RequestKnown"]
    assert [(event.type, event.message) for event in known] == [
        ("Normal", "retrain: id a1 was carried out before (v2 is being trained)")
    ]
    assert not world.annotations
    assert max(world.versions) == 3


def test_the_same_id_with_another_argument_is_a_warning() -> None:
    world = served()
    for value in ("july;id=a1", "august;id=a1"):
        world.annotations["perennial.dev/retrain"] = value
        world.live(60, rate=100)
    known = next(event for event in world.events if event.reason == "RequestKnown")
    assert (known.type, "give the new wish a new id" in known.message) == ("Warning", True)
    assert world.status.requests[-1].repeats == 1
    assert max(world.versions) == 2


def test_unknown_word_behind_the_argument_is_refused() -> None:
    world = served()
    world.annotations["perennial.dev/rollback-to"] = "1;foo=x"
    world.live(2)
    assert world.status.requests[-1].outcome.startswith("refused: 'foo=x' is unknown")


def test_request_that_stands_in_an_applied_manifest_is_carried_out_once() -> None:
    world = served()
    world.declared = frozenset({"perennial.dev/retrain"})
    for _ in range(3):
        world.annotations["perennial.dev/retrain"] = "from Git"
        world.live(60, rate=100)
    assert max(world.versions) == 2
    assert world.status.requests[-1].repeats == 2
    assert "take it out of the manifest" in world.events[-1].message


def test_the_same_words_typed_again_are_a_new_wish() -> None:
    world = served()
    for number in (2, 3):
        world.annotations["perennial.dev/retrain"] = "again"
        world.until(lambda w, n=number: w.status.stable == n, rate=100)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("verb", "argument"), [("rollback-to", "9"), ("rollback-to", "yesterday"), ("promote", ""), ("abort", "")]
)
def test_request_that_makes_no_sense_is_refused_with_words_and_removed(verb: str, argument: str) -> None:
    world = served()
    world.annotations[f"perennial.dev/{verb}"] = argument
    world.live(2)
    assert world.status.requests[-1].outcome.startswith("refused")
    assert not world.annotations
    assert world.status.stable == 1


def test_model_that_fails_a_gate_is_rejected_and_stable_stays() -> None:
    world = served()
    world.answer = lambda step, number, action: evaluated(number, "identity-1", 0.5) if step == "evaluate" else None
    world.annotations["perennial.dev/retrain"] = "x"
    world.until(lambda w: 2 in w.versions and w.versions[2].status.state == "Rejected", rate=100)
    assert world.status.stable == 1
    assert condition(world, "UpToDate")[:2] == ("False", "Rejected")
    assert condition(world, "UpToDate")[2].endswith("; what was measured: kubectl perennial explain delays 2 -n ns")
    assert 2 not in world.workloads


def test_step_that_refuses_in_a_serving_pod_is_told_at_once_with_the_secret_by_name() -> None:
    world = World()
    world.never_ready.add(1)
    world.until(lambda w: 1 in w.versions and w.versions[1].status.state == "Deploying" and 1 in w.workloads)
    said = encode_answer(Refusal("SecretMissing", "the Secret of the store does not exist", "store"))
    waits = ContainerState("fetch-bento", "waiting", "CrashLoopBackOff", last_reason="Error", last_message=said)
    workload = world.workloads[1]
    world.workloads[1] = replace(workload, pods=tuple(replace(pod, containers=(waits,)) for pod in workload.pods))
    world.live(2)
    secret = world.versions[1].spec.store.serving_secret_name
    named = f"it is the Secret {secret} of namespace ns (container fetch-bento)"
    words = f"SecretMissing: the Secret of the store does not exist; {named}"
    assert world.versions[1].status.message.startswith("its pods do not get ready: pod ")
    assert world.versions[1].status.message.endswith(words)
    assert condition(world, "Progressing")[2].endswith(words)
    world.live(400)
    assert world.versions[1].status.state == "Failed"
    assert world.versions[1].status.message.startswith("NotReady: not ready within 5m (spec.serving.progressDeadline): pod ")
    assert world.versions[1].status.message.endswith(words)


@pytest.mark.parametrize(("exit_code", "why"), [(0, "CrashLoopBackOff: OOMKilled"), (75, "StoreUnavailable: it is away")])
def test_fault_of_a_step_that_went_well_in_the_end_is_not_why_a_pod_is_not_ready(exit_code: int, why: str) -> None:
    world = served()
    said = encode_answer(Fault("StoreUnavailable", "it is away"))
    fetched = ContainerState("fetch-bento", "terminated", "", exit_code=exit_code, last_reason="Error", last_message=said)
    server = ContainerState("server", "waiting", "CrashLoopBackOff", last_reason="OOMKilled")
    workload = world.workloads[1]
    pods = tuple(replace(pod, ready=False, containers=(server, fetched)) for pod in workload.pods)
    told = arms.why_not_ready(replace(workload, pods=pods), world.versions[1])
    assert why in told
    assert ("StoreUnavailable" in told) is (exit_code != 0)


def test_trainer_that_fails_is_tried_again_and_then_failed() -> None:
    world = World()
    world.answer = lambda step, number, action: (
        failed(world.now, ContainerState("train", "terminated", "Error", "", 3)) if step == "train" else None
    )
    world.until(lambda w: 1 in w.versions and w.versions[1].status.state == "Failed")
    assert [name for name in world.created if "train" in name] == ["delays-v1-train-1", "delays-v1-train-2"]
    assert "exit code 3" in world.versions[1].status.message


def test_refused_input_is_not_tried_again() -> None:
    world = World()
    message = encode_answer(Refusal("ColumnMissing", "column late is not in flights.csv"))
    world.answer = lambda step, number, action: failed(world.now, ContainerState("prepare", "terminated", "Error", message, 64))
    world.until(lambda w: 1 in w.versions and w.versions[1].status.state == "Failed")
    assert world.created == ["delays-v1", "delays-v1-prepare-1"]
    assert "column late is not in flights.csv" in world.versions[1].status.message


@pytest.mark.parametrize(
    ("of", "named"),
    [("data source", "flights-keys"), ("store", "perennial-store")],
)
def test_secret_that_is_missing_is_named(of: str, named: str) -> None:
    source = {**SPEC["data"]["source"], "secretRef": {"name": "flights-keys"}}
    world = World(wish=spec(data={**SPEC["data"], "source": source}))
    message = encode_answer(Refusal("SecretMissing", f"the Secret of the {of} does not exist or is empty", of))
    world.answer = lambda step, number, action: failed(world.now, ContainerState("prepare", "terminated", "Error", message, 64))
    world.until(lambda w: 1 in w.versions and w.versions[1].status.state == "Failed")
    assert world.versions[1].status.message.endswith(f"does not exist or is empty; it is the Secret {named} of namespace ns")
    for told in ("Ready", "UpToDate"):
        words = "; a corrected spec is tried by itself; if something else was mended, type kubectl annotate mdep delays -n ns "
        assert condition(world, told)[2].endswith(f"{words}perennial.dev/retry=1")


@pytest.mark.parametrize(
    ("source", "address"),
    [
        ({"uri": "https://files.example/flights.csv"}, "https://files.example/flights.csv"),
        ({"pvc": {"claimName": "flights", "path": "2013/"}}, "file:///perennial/source/2013/"),
        ({"pvc": {"claimName": "flights"}}, "file:///perennial/source/"),
    ],
)
def test_prepare_is_told_where_the_data_is_and_what_tells_rows_apart(source: dict[str, Any], address: str) -> None:
    data = {**SPEC["data"], "source": source, "duplicates": {"by": "columns"}}
    world, asked = World(wish=spec(data=data)), []
    world.answer = lambda step, number, action: asked.append(action.input)
    world.until(lambda w: bool(asked))
    assert (asked[0].source, asked[0].duplicates_by) == (address, "columns")


def test_model_of_a_quarantined_version_is_rejected_when_it_is_made_again() -> None:
    world = v2_in_canary()
    world.until(lambda w: bool(w.status.quarantined), rate=200, bad={2: 0.5})
    world.answer = lambda step, number, action: evaluated(2, "identity-1") if step == "evaluate" else None
    world.annotations["perennial.dev/retrain"] = "y"
    world.until(lambda w: 3 in w.versions and w.versions[3].status.state == "Rejected", rate=100)
    assert "Quarantined" in world.versions[3].status.message


def test_challenger_is_judged_again_when_another_champion_serves_by_then() -> None:
    world = v2_in_canary().until(lambda w: w.status.stable == 2, rate=100)
    world.wish = spec(pin=2)
    world.annotations["perennial.dev/retrain"] = "z"
    world.until(lambda w: 3 in w.versions and w.versions[3].status.state == "Accepted", rate=100)
    world.wish = spec(pin=1)
    world.until(lambda w: w.status.stable == 1, rate=100)
    world.live(10, rate=100)
    keys = [record.key for record in world.versions[3].status.steps if record.step == "evaluate"]
    assert keys == ["identity-2", "identity-1"]


def test_history_prunes_ended_versions_but_never_what_serves() -> None:
    world = served(World(wish=spec(history=2)))
    for token in "abc":
        target = max(world.versions) + 1
        world.annotations["perennial.dev/retrain"] = token
        world.until(lambda w, t=target: w.status.stable == t, rate=100)  # type: ignore[misc]
    world.live(30, rate=100)
    assert sorted(world.versions) == [3, 4]


def one_pass(world: World, writes_left: int) -> int:
    """A pass that ends when no write is left to it, as a killed process would; what is left afterwards."""
    decided = plan(world.observed())
    for action in [*decided.before, None, *decided.after]:
        if action is None:
            world.write(decided)
        else:
            world.apply(action)
        writes_left -= 1
        if writes_left == 0:
            break
    return writes_left


def story(die_at: int) -> World:
    """v1 serves, v2 is bad and taken back; the operator dies after its write number `die_at`, and comes back."""
    world, left = World(), die_at
    for second in range(140):
        if second == 30:
            world.annotations["perennial.dev/retrain"] = "x"
        world.traffic(200, {2: 0.5})
        world.now += timedelta(seconds=1)
        left = one_pass(world, left)
    return world


@pytest.mark.timeout(20)
def test_operator_that_dies_after_any_action_reaches_the_same_end() -> None:
    reference = story(-1)
    assert reference.versions[2].status.state == "RolledBack"
    for die_at in range(1, 90, 4):
        killed = story(die_at)
        assert sorted(killed.created) == sorted(reference.created), f"killed at write {die_at}"
        assert killed.status.stable == reference.status.stable, f"killed at write {die_at}"
        assert [v.status.state for v in killed.versions.values()] == [v.status.state for v in reference.versions.values()]


def test_deleted_object_is_left_to_its_owner_references() -> None:
    world = served()
    seen = world.observed()
    decided = plan(replace(seen, meta=replace(seen.meta, deleting=True)))
    assert (decided.before, decided.after, decided.status) == ((), (), seen.status)


def test_candidate_that_a_person_deletes_in_its_canary_loses_its_traffic() -> None:
    world = v2_in_canary()
    del world.versions[2]
    world.live(3, rate=100)
    assert world.route is not None
    assert dict(world.route.weights).get(2, 0) == 0
    assert world.status.rollout is None
    world.annotations["perennial.dev/abort"] = ""
    world.live(2, rate=100)
    assert not world.annotations


def test_stable_that_a_person_deletes_is_followed_by_the_next_fit_version() -> None:
    world = served()
    del world.versions[1]
    world.live(2)
    assert world.status.stable is None
    assert condition(world, "Ready")[:2] == ("False", "VersionLost")
    world.annotations["perennial.dev/retrain"] = "again"
    world.live(2)
    status, reason, words = condition(world, "Ready")
    assert (status, reason) == ("False", "VersionLost")
    assert words.startswith("the version that served was deleted; v2 is ")
    world.until(lambda w: w.status.stable == 2 and condition(w, "Ready")[0] == "True")


def test_first_version_that_is_being_made_is_no_version_lost() -> None:
    world = World()
    world.live(2)
    assert condition(world, "Ready")[:2] == ("False", "NoVersionServes")


def test_version_that_serves_is_recognised_when_the_status_was_lost() -> None:
    world = served()
    world.status = type(world.status)()
    world.live(60, rate=100)
    assert world.status.stable == 1
    assert world.workloads[1].replicas == 2
    assert sorted(world.versions) == [1]


def test_pin_on_the_stable_version_ends_a_rollout_under_way() -> None:
    world = v2_in_canary()
    world.wish = spec(pin=1)
    world.live(60, rate=100)
    assert world.status.stable == 1
    assert not [weights for weights in world.route_writes if dict(weights).get(2) == 100]


def test_newer_wish_cancels_a_return_that_is_under_way() -> None:
    world = v2_in_canary().until(lambda w: w.status.stable == 2, rate=100)
    world.live(30)
    world.annotations["perennial.dev/rollback-to"] = "1"
    world.run()
    world.annotations["perennial.dev/rollback-to"] = "2"
    world.live(30, rate=100)
    assert world.status.stable == 2
