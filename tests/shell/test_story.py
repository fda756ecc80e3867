"""The shell with the real core over a cluster in memory: the whole life of a model."""

from __future__ import annotations

import asyncio
import copy
from pathlib import Path

from fakes.world import MODEL, SPEC, World, model
from perennial.adapters.kinds import DEPLOYMENTS_OF_MODELS, EVENTS, JOBS, ROUTES, SERVICES, WORKLOADS
from perennial.core import storing
from perennial.core.observed import MetricProblem
from perennial.manifests.common import RENDERED_ANNOTATION
from perennial.ports import Invalid
from perennial_runtime.store import Store

RETRAIN = {"recipe": {}, "seed": 2}


async def serving_world() -> World:
    world = World()
    world.cluster.add(model())
    await world.start()
    await world.run(60)
    return world


def weights(world: World) -> dict[str, int]:
    route = world.cluster.of(ROUTES)[0]
    return {ref["name"]: ref["weight"] for ref in route["spec"]["rules"][0]["backendRefs"]}


def updates(world: World) -> int:
    return len([verb for verb, kind, _ in world.cluster.writes if verb == "update" and kind == DEPLOYMENTS_OF_MODELS])


async def test_a_new_model_is_trained_and_serves_all_requests() -> None:
    world = await serving_world()
    assert world.model()["status"]["stable"] == 1
    assert weights(world) == {"delays-v1": 100}
    assert [job["metadata"]["name"] for job in world.cluster.of(JOBS)] == [
        "delays-v1-prepare-1",
        "delays-v1-train-1",
        "delays-v1-evaluate-1",
    ]


async def test_a_changed_spec_is_rolled_out_through_the_canary() -> None:
    world = await serving_world()
    world.change(training=RETRAIN)
    await world.run(120)
    assert world.model()["status"]["stable"] == 2
    assert weights(world) == {"delays-v2": 100, "delays-v1": 0}
    replicas = {deployment["metadata"]["name"]: deployment["spec"]["replicas"] for deployment in world.cluster.of(WORKLOADS)}
    assert replicas == {"delays-v1": 0, "delays-v2": 1}


async def test_what_somebody_changes_by_hand_is_put_back() -> None:
    world = await serving_world()
    deployment, service, route = (copy.deepcopy(world.cluster.of(kind)[0]) for kind in (WORKLOADS, SERVICES, ROUTES))
    image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = "somebody/else"
    service["spec"]["selector"] = {"app": "another"}
    route["spec"]["rules"][0]["backendRefs"][0]["weight"] = 7
    for manifest in (deployment, service, route):
        world.cluster.edit(manifest)
    await world.run(3)
    assert world.cluster.of(WORKLOADS)[0]["spec"]["template"]["spec"]["containers"][0]["image"] == image
    assert world.cluster.of(SERVICES)[0]["spec"]["selector"]["perennial.dev/version"] == "1"
    assert weights(world) == {"delays-v1": 100}


async def shadowed_world() -> World:
    """v2 in a shadow that does not end."""
    world = World()
    world.cluster.add(model(rollout={**SPEC["rollout"], "shadow": {"percent": 20, "hold": "1h"}}))
    await world.start()
    await world.run(60)
    world.change(training=RETRAIN)
    await world.run(60)
    return world


def filters(world: World) -> list[str]:
    return [one["type"] for one in world.cluster.of(ROUTES)[0]["spec"]["rules"][0]["filters"]]


async def test_a_mirror_that_somebody_takes_out_or_changes_is_put_back() -> None:
    world = await shadowed_world()
    assert weights(world) == {"delays-v1": 100}
    assert filters(world) == ["URLRewrite", "RequestMirror"]
    route = copy.deepcopy(world.cluster.of(ROUTES)[0])
    mirror = route["spec"]["rules"][0]["filters"].pop()
    world.cluster.edit(route)
    await world.run(3)
    assert filters(world) == ["URLRewrite", "RequestMirror"]
    other = copy.deepcopy(world.cluster.of(ROUTES)[0])
    other["spec"]["rules"][0]["filters"][1]["requestMirror"]["percent"] = 90
    world.cluster.edit(other)
    await world.run(3)
    assert world.cluster.of(ROUTES)[0]["spec"]["rules"][0]["filters"][1] == mirror


async def test_a_shadow_writes_its_status_at_most_once_in_ten_seconds() -> None:
    world = await shadowed_world()
    before = updates(world)
    await world.run(100)
    assert updates(world) - before <= 10


async def test_a_candidate_that_answers_errors_is_taken_back() -> None:
    world = await serving_world()
    world.pods.bad_versions.add(2)
    world.change(training=RETRAIN)
    await world.run(120)
    assert world.model()["status"]["stable"] == 1
    assert world.model()["status"]["quarantined"][0]["version"] == 2
    assert {name: weight for name, weight in weights(world).items() if weight} == {"delays-v1": 100}


async def test_writes_nothing_when_converged(tmp_path: Path) -> None:
    world = await serving_world()
    world.store = Store(f"file://{tmp_path}")
    await world.run(storing.OLDEST_SECONDS + 60)
    assert world.model()["status"]["ledger"]["stored"]["number"] == world.model()["status"]["ledger"]["length"]
    before = len(world.cluster.writes)
    await world.run(3600)
    assert len(world.cluster.writes) == before


async def test_a_restart_over_a_converged_cluster_writes_nothing() -> None:
    world = await serving_world()
    before = len(world.cluster.writes)
    await world.start()
    await world.run(600)
    assert len(world.cluster.writes) == before


async def test_a_pod_that_cannot_be_read_holds_the_canary() -> None:
    world = await serving_world()
    world.pods.silent.add("delays-v2-hash-0")
    world.change(training=RETRAIN)
    await world.run(60)
    assert world.model()["status"]["candidate"] == 2
    measured = next(c for c in world.model()["status"]["conditions"] if c["type"] == "Measured")
    assert (measured["status"], measured["reason"]) == ("False", "PodsUnreachable")


async def test_measurements_are_written_at_most_every_ten_seconds() -> None:
    world = await serving_world()
    world.change(rollout={"steps": [{"weight": 50, "hold": "1h"}], "minimumRequests": 10}, training=RETRAIN)
    await world.run(30)
    before = updates(world)
    await world.run(100)
    assert 9 <= updates(world) - before <= 11


async def test_a_quota_that_forbids_the_job_is_told_in_its_own_words_and_tried_again() -> None:
    world = World()
    world.cluster.add(model())
    words = 'jobs.batch "delays-v1-prepare-1" is forbidden: exceeded quota: no-jobs'
    world.cluster.verdict = lambda verb, manifest: Invalid(403, words) if manifest["kind"] == "Job" else None
    await world.start()
    await world.run(30)
    told = [c["message"] for c in world.model()["status"]["conditions"] if c["type"] == "WritesRefused"]
    assert told
    assert words in told[0]
    world.cluster.verdict = lambda verb, manifest: None
    await world.run(120)
    assert world.model()["status"]["stable"] == 1
    assert "WritesRefused" not in [c["type"] for c in world.model()["status"]["conditions"]]


async def test_a_quota_that_forbids_the_jobs_pods_is_told_in_its_own_words() -> None:
    world = World()
    world.held.add("prepare")
    world.cluster.add(model())
    await world.start()
    await world.run(1)
    (job,) = world.cluster.of(JOBS)
    for second, words in ((1, "older words"), (2, 'pods "delays-v1-prepare-1-x" is forbidden: exceeded quota: no-pods')):
        event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": f"e{second}", "namespace": "shop"}}
        involved = {"uid": job["metadata"]["uid"]}
        stamp = f"2026-01-01T00:00:0{second}Z"
        world.cluster.add(
            {**event, "involvedObject": involved, "reason": "FailedCreate", "message": words, "lastTimestamp": stamp}
        )
    await world.run(20)
    told = [condition["message"] for condition in world.model()["status"]["conditions"]]
    assert any("exceeded quota: no-pods" in message for message in told)


async def test_a_version_that_may_not_be_created_is_not_recorded_as_made() -> None:
    world = await serving_world()
    world.cluster.verdict = lambda verb, manifest: Invalid(403, "no") if manifest["kind"] == "ModelVersion" else None
    world.change(training=RETRAIN)
    await world.run(30)
    assert world.model()["status"]["latest"] == 1
    assert weights(world) == {"delays-v1": 100}
    world.cluster.verdict = lambda verb, manifest: None
    await world.run(200)
    assert world.model()["status"]["stable"] == 2


async def test_a_foreign_deployment_of_our_name_is_left_alone_and_told() -> None:
    world = World()
    world.cluster.add(model())
    foreign = world.cluster.add(
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "delays-v1", "namespace": "shop"}, "spec": {"theirs": True}}
    )
    await world.start()
    await world.run(60)
    assert (await world.cluster.get("v1/Service", "shop", "delays-v1"))["spec"] == foreign["spec"]
    told = next(c["message"] for c in world.model()["status"]["conditions"] if c["type"] == "WritesRefused")
    assert "Service shop/delays-v1 exists and is not owned by this ModelDeployment" in told


async def test_a_request_annotation_is_carried_out_once_and_removed() -> None:
    world = await serving_world()
    world.annotate(retrain="again")
    await world.run(120)
    assert world.model()["status"]["latest"] == 2
    assert "perennial.dev/retrain" not in world.model()["metadata"].get("annotations", {})


async def test_deleting_the_model_leaves_nothing_but_events() -> None:
    world = await serving_world()
    world.cluster.remove(world.model())
    await world.run(60)
    assert {kind for kind, _, name in world.cluster.objects if "hash" not in name} == {EVENTS}


async def test_a_route_changed_by_hand_is_put_right() -> None:
    world = await serving_world()
    route = world.cluster.of(ROUTES)[0]
    route = {**route, "spec": {**route["spec"], "rules": [{"backendRefs": [{"name": "elsewhere", "port": 80}]}]}}
    route["metadata"] = {
        **route["metadata"],
        "annotations": {RENDERED_ANNOTATION: route["metadata"]["annotations"][RENDERED_ANNOTATION]},
    }
    world.cluster.edit(route)
    await world.run(30)
    assert weights(world) == {"delays-v1": 100}


async def test_a_spec_that_cannot_be_read_is_told_and_what_serves_stays() -> None:
    world = await serving_world()
    world.change(surprise=True)
    await world.run(30)
    ready = next(c for c in world.model()["status"]["conditions"] if c["type"] == "Ready")
    assert ready["reason"] == "SpecUnreadable"
    assert "spec.surprise" in ready["message"]
    assert weights(world) == {"delays-v1": 100}


async def test_a_fault_in_one_model_does_not_stop_another() -> None:
    world = World()
    world.cluster.add(model())
    other = model()
    other["metadata"] = {**other["metadata"], "name": "broken"}
    decide = world.decide

    def failing(observed):  # type: ignore[no-untyped-def]
        if observed.meta.name == "broken":
            raise RuntimeError("a fault of ours")
        return decide(observed)

    world.decide = failing
    world.cluster.add(other)
    await world.start()
    await world.run(60)
    assert world.model()["status"]["stable"] == 1
    broken = next(m for m in world.cluster.of(DEPLOYMENTS_OF_MODELS) if m["metadata"]["name"] != MODEL)
    assert "status" not in broken


ORDERS = {
    "name": "orders",
    "prometheus": {"source": "shop", "good": "good $(version)", "total": "total $(version)", "scrapeInterval": "1s"},
}
TWO_METRICS = {
    "steps": [{"weight": 50, "hold": "2s"}],
    "minimumRequests": 10,
    "metrics": [{"name": "errors", "errors": {}}, ORDERS],
}


async def test_orders_that_fail_with_the_candidate_take_it_back() -> None:
    world = await serving_world()
    world.shop.failing.add("delays-v2")
    world.change(training=RETRAIN, rollout=TWO_METRICS)
    await world.run(120)
    assert world.model()["status"]["stable"] == 1
    version = await world.cluster.get("perennial.dev/v1alpha1/ModelVersion", "shop", "delays-v2")
    assert "CanaryWorse: orders" in version["status"]["message"]


async def test_orders_that_go_well_promote_the_candidate_and_nothing_is_asked_afterwards() -> None:
    world = await serving_world()
    assert world.shop.asked == []
    world.change(training=RETRAIN, rollout=TWO_METRICS)
    await world.run(120)
    assert world.model()["status"]["stable"] == 2
    before = len(world.shop.asked)
    assert 2 <= before <= 25
    await world.run(600)
    assert len(world.shop.asked) == before


async def test_a_source_that_does_not_answer_delays_no_rollback_by_errors() -> None:
    took = []
    for slow in (False, True):
        world = await serving_world()
        world.change(training=RETRAIN, rollout=TWO_METRICS)
        while not world.model()["status"].get("rollout", {}).get("settled"):
            await world.run(0.5)
        world.shop.slow = asyncio.Event() if slow else None
        began = world.clock.seconds
        world.pods.bad_versions.add(2)
        while not world.model()["status"].get("quarantined"):
            await world.run(0.1)
            assert world.clock.seconds < began + 30
        took.append(world.clock.seconds - began)
    assert took[0] == took[1]


async def test_a_source_with_a_problem_holds_the_canary_and_its_words_do_not_write_again_and_again() -> None:
    world = await serving_world()
    world.shop.problem = MetricProblem("NoData", "metric orders, source shop, query x: nothing has these labels")
    world.change(training=RETRAIN, rollout=TWO_METRICS)
    await world.run(60)
    answered = next(c for c in world.model()["status"]["conditions"] if c["type"] == "MetricsAnswered")
    assert (answered["status"], answered["reason"]) == ("False", "NoData")
    before = updates(world)
    await world.run(100)
    assert updates(world) - before <= 11
    world.shop.problem = None
    await world.run(60)
    assert world.model()["status"]["stable"] == 2
