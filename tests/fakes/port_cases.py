"""What the operator leans on in an API server, as cases for the fake and a real one alike, so that the fake cannot lie."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable

import pytest

from perennial.adapters.kinds import CONFIG_MAPS, ROUTES
from perennial.api.served import missing
from perennial.ports import Cluster, Conflict, Invalid, Manifest, NotFound

Case = Callable[[Cluster, str], Awaitable[None]]


def config(namespace: str, name: str = "notes", **data: str) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": {"perennial.dev/model": name}},
        "data": data,
    }


def route(namespace: str, *weights: int) -> Manifest:
    backends = [{"kind": "Service", "name": f"m-v{n}", "port": 80, "weight": weight} for n, weight in enumerate(weights, 1)]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "m", "namespace": namespace, "labels": {"perennial.dev/model": "m"}},
        "spec": {"parentRefs": [{"name": "no-such-gateway"}], "rules": [{"backendRefs": backends}]},
    }


async def a_missing_object_is_not_found(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(NotFound, match="not found"):
        await cluster.get(CONFIG_MAPS, namespace, "nobody")


async def what_is_created_is_read_back_with_an_identity(cluster: Cluster, namespace: str) -> None:
    made = await cluster.create(config(namespace, a="1"))
    read = await cluster.get(CONFIG_MAPS, namespace, "notes")
    assert read["data"] == {"a": "1"}
    assert read["metadata"]["uid"] == made["metadata"]["uid"]
    assert int(read["metadata"]["resourceVersion"]) > 0


async def a_name_is_given_once(cluster: Cluster, namespace: str) -> None:
    await cluster.create(config(namespace))
    with pytest.raises(Conflict, match="already exists"):
        await cluster.create(config(namespace))


async def an_unchanged_apply_is_no_write(cluster: Cluster, namespace: str) -> None:
    first = await cluster.apply(config(namespace, a="1"))
    second = await cluster.apply(config(namespace, a="1"))
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def an_apply_takes_back_what_it_no_longer_says(cluster: Cluster, namespace: str) -> None:
    await cluster.apply(config(namespace, a="1", b="2"))
    changed = await cluster.apply(config(namespace, b="3"))
    assert changed["data"] == {"b": "3"}


async def an_apply_keeps_the_identity(cluster: Cluster, namespace: str) -> None:
    first = await cluster.apply(config(namespace, a="1"))
    second = await cluster.apply(config(namespace, a="2"))
    assert second["metadata"]["uid"] == first["metadata"]["uid"]
    assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])


async def weights_of_a_route_move_in_one_apply(cluster: Cluster, namespace: str) -> None:
    await cluster.apply(route(namespace, 100, 0))
    changed = await cluster.apply(route(namespace, 50, 50))
    assert [ref["weight"] for ref in changed["spec"]["rules"][0]["backendRefs"]] == [50, 50]
    assert changed["metadata"]["generation"] == 2


async def a_status_is_written_apart_from_the_spec(cluster: Cluster, namespace: str) -> None:
    made = await cluster.create(route(namespace, 100))
    changed = copy.deepcopy(made)
    changed["status"] = {"parents": []}
    changed["spec"] = {"parentRefs": [], "rules": []}
    written = await cluster.replace_status(changed)
    assert written["status"] == {"parents": []}
    assert written["spec"]["rules"] == made["spec"]["rules"]
    assert written["metadata"]["generation"] == 1


async def a_status_needs_the_newest_resource_version(cluster: Cluster, namespace: str) -> None:
    made = await cluster.create(route(namespace, 100))
    await cluster.apply(route(namespace, 50, 50))
    with pytest.raises(Conflict, match="has been modified"):
        await cluster.replace_status({**made, "status": {"parents": []}})


async def an_unchanged_status_is_no_write(cluster: Cluster, namespace: str) -> None:
    made = await cluster.create(route(namespace, 100))
    first = await cluster.replace_status({**made, "status": {"parents": []}})
    second = await cluster.replace_status(first)
    assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


async def a_patch_that_tests_another_value_is_refused(cluster: Cluster, namespace: str) -> None:
    manifest = config(namespace)
    manifest["metadata"]["annotations"] = {"perennial.dev/promote": "now"}
    await cluster.create(manifest)
    path = "/metadata/annotations/perennial.dev~1promote"
    with pytest.raises(Invalid):
        await cluster.json_patch(
            CONFIG_MAPS, namespace, "notes", [{"op": "test", "path": path, "value": "later"}, {"op": "remove", "path": path}]
        )
    patched = await cluster.json_patch(
        CONFIG_MAPS, namespace, "notes", [{"op": "test", "path": path, "value": "now"}, {"op": "remove", "path": path}]
    )
    assert not patched["metadata"].get("annotations")


async def a_patch_changes_entries_of_a_list_and_leaves_the_others(cluster: Cluster, namespace: str) -> None:
    made = await cluster.create(route(namespace, 100, 0))
    path = "/spec/rules/0/backendRefs"
    refs = made["spec"]["rules"][0]["backendRefs"]
    third = {"group": "", "kind": "Service", "name": "m-v3", "port": 80, "weight": 7}
    patch = [
        {"op": "test", "path": path, "value": refs},
        {"op": "replace", "path": f"{path}/1/weight", "value": 5},
        {"op": "remove", "path": f"{path}/0"},
        {"op": "add", "path": f"{path}/-", "value": third},
        {"op": "add", "path": f"{path}/0", "value": {**third, "name": "m-v4"}},
    ]
    changed = await cluster.json_patch(ROUTES, namespace, "m", patch)
    assert changed["spec"]["rules"][0]["backendRefs"] == [{**third, "name": "m-v4"}, {**refs[1], "weight": 5}, third]
    with pytest.raises(Invalid):
        await cluster.json_patch(ROUTES, namespace, "m", patch)
    assert await cluster.get(ROUTES, namespace, "m") == changed


async def a_patch_tests_the_resource_version(cluster: Cluster, namespace: str) -> None:
    made = await cluster.create(route(namespace, 100))
    test = {"op": "test", "path": "/metadata/resourceVersion", "value": made["metadata"]["resourceVersion"]}
    note = {"op": "add", "path": "/metadata/annotations", "value": {"note": "1"}}
    changed = await cluster.json_patch(ROUTES, namespace, "m", [test, note])
    assert changed["metadata"]["annotations"] == {"note": "1"}
    with pytest.raises(Invalid):
        await cluster.json_patch(ROUTES, namespace, "m", [test, {**note, "value": {"note": "2"}}])


async def names_of_rules_are_kept(cluster: Cluster, namespace: str) -> None:
    named = route(namespace, 100)
    named["spec"]["rules"][0]["name"] = "predict"
    made = await cluster.create(named)
    assert made["spec"]["rules"][0]["name"] == "predict"


async def an_object_with_a_finalizer_goes_when_it_is_taken_off(cluster: Cluster, namespace: str) -> None:
    made = await cluster.create(config(namespace))
    held = await cluster.json_patch(
        CONFIG_MAPS, namespace, "notes", [{"op": "add", "path": "/metadata/finalizers", "value": ["perennial.dev/borrowed-rule"]}]
    )
    assert held["metadata"]["finalizers"] == ["perennial.dev/borrowed-rule"]
    rest = await cluster.delete(CONFIG_MAPS, namespace, "notes", made["metadata"]["uid"])
    assert rest is not None
    assert rest["metadata"]["deletionTimestamp"]
    assert "deletionTimestamp" in (await cluster.get(CONFIG_MAPS, namespace, "notes"))["metadata"]
    await cluster.json_patch(CONFIG_MAPS, namespace, "notes", [{"op": "remove", "path": "/metadata/finalizers/0"}])
    with pytest.raises(NotFound):
        await cluster.get(CONFIG_MAPS, namespace, "notes")


async def an_object_is_deleted_only_with_its_uid(cluster: Cluster, namespace: str) -> None:
    made = await cluster.create(config(namespace))
    await cluster.delete(CONFIG_MAPS, namespace, "notes", "another-uid")
    assert await cluster.get(CONFIG_MAPS, namespace, "notes")
    assert await cluster.delete(CONFIG_MAPS, namespace, "notes", made["metadata"]["uid"]) is None
    with pytest.raises(NotFound):
        await cluster.get(CONFIG_MAPS, namespace, "notes")


async def deleting_what_is_gone_counts_as_done(cluster: Cluster, namespace: str) -> None:
    assert await cluster.delete(CONFIG_MAPS, namespace, "nobody", "uid") is None


async def a_list_is_selected_by_label(cluster: Cluster, namespace: str) -> None:
    await cluster.create(config(namespace, "one"))
    await cluster.create(config(namespace, "two"))
    items, resource_version = await cluster.list(CONFIG_MAPS, namespace, "perennial.dev/model")
    assert sorted(item["metadata"]["name"] for item in items) == ["one", "two"]
    assert all((item["apiVersion"], item["kind"]) == ("v1", "ConfigMap") for item in items)
    assert int(resource_version) >= max(int(item["metadata"]["resourceVersion"]) for item in items)
    items, _ = await cluster.list(CONFIG_MAPS, namespace, "perennial.dev/model=two")
    assert [item["metadata"]["name"] for item in items] == ["two"]


async def a_list_is_selected_by_field(cluster: Cluster, namespace: str) -> None:
    await cluster.create(config(namespace, "one"))
    await cluster.create(config(namespace, "two"))
    items, _ = await cluster.list(CONFIG_MAPS, namespace, "perennial.dev/model", "metadata.name=one")
    assert [item["metadata"]["name"] for item in items] == ["one"]


async def routes_are_listed(cluster: Cluster, namespace: str) -> None:
    await cluster.create(route(namespace, 100))
    items, _ = await cluster.list(ROUTES, namespace, "perennial.dev/model=m")
    assert [item["metadata"]["name"] for item in items] == ["m"]


async def schemas_of_our_kinds_have_all_that_the_operator_writes(cluster: Cluster, namespace: str) -> None:
    found = await cluster.schemas()
    assert found.keys() == {"ModelDeployment", "ModelVersion"}
    assert missing(found) == ()
    assert "steps" in found["ModelVersion"]["properties"]["status"]["properties"]


CASES: tuple[Case, ...] = (
    schemas_of_our_kinds_have_all_that_the_operator_writes,
    a_missing_object_is_not_found,
    what_is_created_is_read_back_with_an_identity,
    a_name_is_given_once,
    an_unchanged_apply_is_no_write,
    an_apply_takes_back_what_it_no_longer_says,
    an_apply_keeps_the_identity,
    weights_of_a_route_move_in_one_apply,
    a_status_is_written_apart_from_the_spec,
    a_status_needs_the_newest_resource_version,
    an_unchanged_status_is_no_write,
    a_patch_that_tests_another_value_is_refused,
    a_patch_changes_entries_of_a_list_and_leaves_the_others,
    a_patch_tests_the_resource_version,
    names_of_rules_are_kept,
    an_object_with_a_finalizer_goes_when_it_is_taken_off,
    an_object_is_deleted_only_with_its_uid,
    deleting_what_is_gone_counts_as_done,
    a_list_is_selected_by_label,
    a_list_is_selected_by_field,
    routes_are_listed,
)
