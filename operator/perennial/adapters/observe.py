"""Raw objects turned into what `perennial.core` sees: pure functions from manifests to `perennial.core.observed`.

Children are taken by the UID of their owner, never by name or label alone. Called by `perennial.reconciler` with the objects of
`perennial.adapters.cache`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import ValidationError

from perennial.adapters.declared import DECLARED
from perennial.api.serving import ParentReference
from perennial.api.v1alpha1 import ModelDeploymentSpec, ModelDeploymentStatus, ModelVersionSpec, ModelVersionStatus
from perennial.core.observed import ContainerState, Job, JobPod, Meta, Mirror, RouteState, ServingPod, Version, Workload
from perennial.manifests.common import FINALIZER, INDEX_ANNOTATION, STEP_LABEL, VERSION_LABEL
from perennial.ports import Manifest

QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOT_SEEN = "has not looked at the newest route yet"


def meta_of(manifest: Manifest) -> Meta:
    """Identity of an object."""
    meta = manifest["metadata"]
    return Meta(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        generation=int(meta.get("generation", 0)),
        resource_version=str(meta["resourceVersion"]),
        annotations=meta.get("annotations") or {},
        deleting="deletionTimestamp" in meta,
        finalizer=FINALIZER in (meta.get("finalizers") or ()),
        created_at=time_of(meta.get("creationTimestamp")),
        declared=frozenset(manifest.get(DECLARED, ())),
    )


def time_of(text: str | None) -> datetime | None:
    """RFC 3339 as the API server writes it."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def is_owned(manifest: Manifest, uid: str) -> bool:
    """The controlling owner is the object with this UID."""
    return any(
        reference.get("controller") and reference.get("uid") == uid
        for reference in manifest["metadata"].get("ownerReferences") or ()
    )


def deployment_spec(manifest: Manifest) -> ModelDeploymentSpec | str:
    """The wish, or why it cannot be read."""
    try:
        return ModelDeploymentSpec.model_validate(manifest.get("spec") or {})
    except ValidationError as error:
        return f"spec.{_words(error)}"


def deployment_status(manifest: Manifest) -> ModelDeploymentStatus:
    """The status as it stands. Raises ValidationError when it is not one that an operator wrote."""
    return ModelDeploymentStatus.model_validate(manifest.get("status") or {})


def salvaged_status(manifest: Manifest) -> ModelDeploymentStatus:
    """What can be read of a status that cannot be read as a whole: field by field, and the quarantine entry by entry."""
    kept: dict[str, Any] = {}
    for name, value in (manifest.get("status") or {}).items():
        candidates = [[entry] for entry in value] if name == "quarantined" and isinstance(value, list) else [value]
        readable = [one for one in candidates if _is_readable(name, one)]
        if readable:
            kept[name] = [entry for one in readable for entry in one] if name == "quarantined" else readable[0]
    return ModelDeploymentStatus.model_validate(kept)


def _is_readable(name: str, value: Any) -> bool:
    try:
        ModelDeploymentStatus.model_validate({name: value})
    except ValidationError:
        return False
    return True


def versions(manifests: Iterable[Manifest], owner_uid: str) -> tuple[tuple[Version, ...], str]:
    """ModelVersions of a ModelDeployment, by number, and which of them cannot be read and why (empty: all can)."""
    found: list[Version] = []
    broken = ""
    for manifest in manifests:
        if not is_owned(manifest, owner_uid):
            continue
        try:
            spec = ModelVersionSpec.model_validate(manifest["spec"])
            found.append(Version(meta_of(manifest), spec, ModelVersionStatus.model_validate(manifest.get("status") or {})))
        except ValidationError as error:
            broken = f"ModelVersion {manifest['metadata']['name']}: {_words(error)}"
    return tuple(sorted(found, key=lambda version: version.number)), broken


def jobs(
    manifests: Iterable[Manifest], pods: Iterable[Manifest], owners: Mapping[str, int], warnings: Mapping[str, str]
) -> tuple[Job, ...]:
    """Jobs of the versions in `owners` (UID to number), with their pods; `warnings` by UID of the Job."""
    by_owner = _by_owner(pods)
    found: list[Job] = []
    for manifest in manifests:
        uid, version = manifest["metadata"]["uid"], _owning(manifest, owners)
        if version is not None:
            found.append(_job(manifest, version, by_owner.get(uid, ()), warnings.get(uid, "")))
    return tuple(sorted(found, key=lambda job: (job.created_at, job.name)))


def own_jobs(
    step: str, manifests: Iterable[Manifest], pods: Iterable[Manifest], owner: str, warnings: Mapping[str, str]
) -> tuple[Job, ...]:
    """Jobs of a step of the ModelDeployment with this UID itself, with their pods; `warnings` by UID of the Job."""
    by_owner = _by_owner(pods)
    found = [
        _job(one, 0, by_owner.get(one["metadata"]["uid"], ()), warnings.get(one["metadata"]["uid"], ""))
        for one in manifests
        if is_owned(one, owner) and (one["metadata"].get("labels") or {}).get(STEP_LABEL) == step
    ]
    return tuple(sorted(found, key=lambda job: (job.created_at, job.attempt)))


def workloads(manifests: Iterable[Manifest], pods: Iterable[Manifest], owners: Mapping[str, int]) -> tuple[Workload, ...]:
    """Serving Deployments of the versions in `owners`, with their pods."""
    candidates = list(pods)
    found = [
        _workload(manifest, version, [pod for pod in candidates if _is_of_deployment(pod, manifest)])
        for manifest in manifests
        if (version := _owning(manifest, owners)) is not None
    ]
    return tuple(sorted(found, key=lambda workload: workload.version))


def route(manifest: Manifest, model: str, gateway_problem: str) -> RouteState:
    """The HTTPRoute; `gateway_problem` is told when the Gateway's controller says nothing."""
    spec = manifest.get("spec") or {}
    prefix = f"{model}-v"
    backends = [ref for rule in spec.get("rules") or () for ref in rule.get("backendRefs") or ()]
    weights = tuple(
        (int(ref["name"].removeprefix(prefix)), int(ref.get("weight", 1)))
        for ref in backends
        if ref["name"].startswith(prefix) and ref["name"].removeprefix(prefix).isdigit()
    )
    return route_state(manifest, weights, _mirror(spec, prefix), gateway_problem)


def route_state(
    manifest: Manifest, weights: tuple[tuple[int, int], ...], mirror: Mirror | None, gateway_problem: str
) -> RouteState:
    """Weights and mirror, and whether the Gateways carry the route out as it is."""
    problem = _route_problem(manifest)
    return RouteState(
        weights=weights,
        accepted=not problem,
        message=(gateway_problem or problem) if problem else "",
        unseen=problem.endswith(NOT_SEEN),
        mirror=mirror,
    )


def _mirror(spec: Mapping[str, Any], prefix: str) -> Mirror | None:
    """Our own mirror; a filter that is no such thing is none."""
    for rule in spec.get("rules") or ():
        for one in rule.get("filters") or ():
            wanted = one.get("requestMirror") or {}
            number = str((wanted.get("backendRef") or {}).get("name", "")).removeprefix(prefix)
            if one.get("type") == "RequestMirror" and number.isdigit():
                return Mirror(int(number), int(wanted.get("percent", 100)))
    return None


def gateway(manifest: Manifest, parent: ParentReference) -> tuple[str, str]:
    """(address of the Gateway for clients, what is wrong with it); either may be empty."""
    meta, status = manifest["metadata"], manifest.get("status") or {}
    problems = [
        f"Gateway {meta['namespace']}/{meta['name']}: {condition['reason']}: {condition.get('message', '')}"
        for condition in status.get("conditions") or ()
        if condition.get("type") in ("Accepted", "Programmed") and condition.get("status") != "True"
    ]
    addresses = [address["value"] for address in status.get("addresses") or () if address.get("value")]
    if not addresses:
        return "", problems[0] if problems else f"Gateway {meta['namespace']}/{meta['name']} has no address yet"
    listeners = (manifest.get("spec") or {}).get("listeners") or ()
    wanted = [listener for listener in listeners if parent.section_name in (None, listener.get("name"))]
    port = next((listener["port"] for listener in wanted if listener.get("protocol") == "HTTP"), 80)
    return addresses[0] if port == 80 else f"{addresses[0]}:{port}", problems[0] if problems else ""


# ---- jobs ------------------------------------------------------------------------------------------------------------------


def _job(manifest: Manifest, version: int, pods: Iterable[Manifest], warning: str) -> Job:
    meta, status = manifest["metadata"], manifest.get("status") or {}
    conditions = _conditions(status)
    failed = conditions.get("Failed", {})
    return Job(
        name=meta["name"],
        uid=meta["uid"],
        version=version,
        step=(meta.get("labels") or {}).get(STEP_LABEL, ""),
        attempt=_attempt(meta["name"]),
        created_at=time_of(meta.get("creationTimestamp")) or EPOCH,
        complete=_is_true(conditions, "Complete"),
        failed=_is_true(conditions, "Failed"),
        failure_reason=failed.get("reason", ""),
        failure_message=failed.get("message", ""),
        pods=tuple(sorted((_job_pod(pod) for pod in pods), key=lambda pod: (pod.created_at, pod.name))),
        warning=warning,
        suspended=bool((manifest.get("spec") or {}).get("suspend")),
        queue=str((meta.get("labels") or {}).get(QUEUE_LABEL, "")),
    )


def _attempt(name: str) -> int:
    last = name.rpartition("-")[2]
    return int(last) if last.isdigit() else 0


def _job_pod(manifest: Manifest) -> JobPod:
    meta, status = manifest["metadata"], manifest.get("status") or {}
    conditions = _conditions(status)
    main = {container["name"] for container in manifest["spec"].get("containers") or ()}
    states = [container for container in status.get("containerStatuses") or () if container["name"] in main]
    starts, ends = [_started(container) for container in states], [_ended(container) for container in states]
    return JobPod(
        name=meta["name"],
        uid=meta["uid"],
        phase=status.get("phase", "Pending"),
        created_at=time_of(meta.get("creationTimestamp")) or EPOCH,
        reason=status.get("reason", ""),
        message=status.get("message", ""),
        disrupted=_is_true(conditions, "DisruptionTarget"),
        deleting="deletionTimestamp" in meta,
        index=_index(meta),
        ip=status.get("podIP", ""),
        unschedulable=_unschedulable(conditions),
        scheduled_at=_scheduled_at(conditions),
        running_since=min((moment for moment in starts if moment is not None), default=None),
        ended_at=min((moment for moment in ends if moment is not None), default=None),
        containers=_containers(manifest),
    )


def _index(meta: Mapping[str, Any]) -> int | None:
    """Which worker a pod is, as the Job controller writes it."""
    found = str((meta.get("annotations") or {}).get(INDEX_ANNOTATION, ""))
    return int(found) if found.isdecimal() else None


def _started(container: Mapping[str, Any]) -> datetime | None:
    state = container.get("state") or {}
    return time_of((state.get("running") or state.get("terminated") or {}).get("startedAt"))


def _ended(container: Mapping[str, Any]) -> datetime | None:
    return time_of(((container.get("state") or {}).get("terminated") or {}).get("finishedAt"))


def _unschedulable(conditions: Mapping[str, Mapping[str, Any]]) -> str:
    scheduled = conditions.get("PodScheduled", {})
    return str(scheduled.get("message", "")) if scheduled.get("reason") == "Unschedulable" else ""


def _scheduled_at(conditions: Mapping[str, Mapping[str, Any]]) -> datetime | None:
    scheduled = conditions.get("PodScheduled", {})
    return time_of(scheduled.get("lastTransitionTime")) if scheduled.get("status") == "True" else None


# ---- containers ------------------------------------------------------------------------------------------------------------


def _containers(manifest: Manifest) -> tuple[ContainerState, ...]:
    spec, status = manifest["spec"], manifest.get("status") or {}
    limits = {
        container["name"]: str((container.get("limits") or {}).get("memory", ""))
        for field in ("initContainers", "containers")
        for container in spec.get(field) or ()
    }
    return tuple(
        _container(state, limits.get(state["name"], ""))
        for field in ("initContainerStatuses", "containerStatuses")
        for state in status.get(field) or ()
    )


def _container(status: Mapping[str, Any], memory_limit: str) -> ContainerState:
    states = status.get("state") or {}
    name: Literal["waiting", "running", "terminated"] = "waiting"
    if "running" in states:
        name = "running"
    elif "terminated" in states:
        name = "terminated"
    now = states.get(name) or {}
    last = (status.get("lastState") or {}).get("terminated") or {}
    return ContainerState(
        name=status["name"],
        state=name,
        reason=now.get("reason", ""),
        message=now.get("message", ""),
        exit_code=now.get("exitCode"),
        restarts=int(status.get("restartCount", 0)),
        memory_limit=memory_limit,
        last_reason=last.get("reason", ""),
        last_exit_code=last.get("exitCode"),
        last_message=last.get("message", ""),
        image_id=str(status.get("imageID", "")),
        started_at=_started(status),
        ended_at=_ended(status),
    )


# ---- serving ---------------------------------------------------------------------------------------------------------------


def _workload(manifest: Manifest, version: int, pods: Iterable[Manifest]) -> Workload:
    meta, status = manifest["metadata"], manifest.get("status") or {}
    replicas = int((manifest.get("spec") or {}).get("replicas", 1))
    seen = int(status.get("observedGeneration", 0)) >= int(meta.get("generation", 0))
    failure = _conditions(status).get("ReplicaFailure", {})
    return Workload(
        version=version,
        replicas=replicas,
        updated=seen and int(status.get("updatedReplicas", 0)) == replicas == int(status.get("replicas", 0)),
        pods=tuple(sorted((_serving_pod(pod) for pod in pods), key=lambda pod: (pod.created_at, pod.name))),
        warning=str(failure.get("message", "")) if failure.get("status") == "True" else "",
    )


def _serving_pod(manifest: Manifest) -> ServingPod:
    meta, status = manifest["metadata"], manifest.get("status") or {}
    conditions = _conditions(status)
    ready = _is_true(conditions, "Ready")
    return ServingPod(
        name=meta["name"],
        uid=meta["uid"],
        ip=status.get("podIP", ""),
        created_at=time_of(meta.get("creationTimestamp")) or EPOCH,
        ready=ready,
        ready_since=time_of(conditions["Ready"].get("lastTransitionTime")) if ready else None,
        deleting="deletionTimestamp" in meta,
        containers=_containers(manifest),
        unschedulable=_unschedulable(conditions),
    )


def _is_of_deployment(pod: Manifest, deployment: Manifest) -> bool:
    """By its ReplicaSet's name, which is the Deployment's with the template's hash; a pod that ended is none."""
    meta = pod["metadata"]
    if (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return False
    labels = meta.get("labels") or {}
    name = f"{deployment['metadata']['name']}-{labels.get('pod-template-hash', '')}"
    return any(
        reference.get("controller") and reference.get("kind") == "ReplicaSet" and reference.get("name") == name
        for reference in meta.get("ownerReferences") or ()
    )


# ---- the route -------------------------------------------------------------------------------------------------------------


def _route_problem(manifest: Manifest) -> str:
    """What keeps the route from being carried out for its newest generation by every parent; empty when nothing does."""
    answers = (manifest.get("status") or {}).get("parents") or ()
    wanted = parents(manifest)
    told = [answer for answer in answers if _parent_key(manifest, answer.get("parentRef") or {}) in wanted]
    generation = int(manifest["metadata"].get("generation", 0))
    if len({_parent_key(manifest, answer.get("parentRef") or {}) for answer in told}) < len(set(wanted)):
        return "no Gateway controller has answered for this route yet: is there a Gateway of the name in its parentRefs?"
    for parent in told:
        conditions = _conditions(parent)
        for name in ("Accepted", "ResolvedRefs"):
            condition = conditions.get(name, {})
            if int(condition.get("observedGeneration", 0)) < generation:
                return f"{parent.get('controllerName', 'the Gateway controller')} {NOT_SEEN}"
            if condition.get("status") != "True":
                return f"{name}: {condition.get('reason', '')}: {condition.get('message', '')}"
    return ""


def parents(manifest: Manifest) -> list[tuple[str, str, str]]:
    """(namespace, name, listener or empty for all) of every Gateway that a route asks for."""
    return [_parent_key(manifest, ref) for ref in (manifest.get("spec") or {}).get("parentRefs") or ()]


def accepted_parents(manifest: Manifest) -> list[tuple[str, str, str]]:
    """Those of them that have accepted it, as they last told."""
    answers = (manifest.get("status") or {}).get("parents") or ()
    accepted = {_parent_key(manifest, one.get("parentRef") or {}) for one in answers if _is_true(_conditions(one), "Accepted")}
    return [parent for parent in parents(manifest) if parent in accepted]


def _parent_key(manifest: Manifest, ref: Mapping[str, Any]) -> tuple[str, str, str]:
    """A status may still hold answers for parents that the spec has given up."""
    return ref.get("namespace") or manifest["metadata"]["namespace"], ref.get("name", ""), ref.get("sectionName", "")


# ---- small ones ------------------------------------------------------------------------------------------------------------


def _conditions(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {condition["type"]: condition for condition in status.get("conditions") or ()}


def _is_true(conditions: Mapping[str, Mapping[str, Any]], name: str) -> bool:
    return conditions.get(name, {}).get("status") == "True"


def _owning(manifest: Manifest, owners: Mapping[str, int]) -> int | None:
    """The version that controls this object, if its label agrees."""
    for reference in manifest["metadata"].get("ownerReferences") or ():
        if reference.get("controller") and reference.get("uid") in owners:
            version = owners[reference["uid"]]
            return version if (manifest["metadata"].get("labels") or {}).get(VERSION_LABEL) == str(version) else None
    return None


def _by_owner(manifests: Iterable[Manifest]) -> dict[str, list[Manifest]]:
    grouped: dict[str, list[Manifest]] = {}
    for manifest in manifests:
        for reference in manifest["metadata"].get("ownerReferences") or ():
            if reference.get("controller"):
                grouped.setdefault(reference["uid"], []).append(manifest)
    return grouped


def _words(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}; does the CRD fit this operator? Upgrade the chart perennial-crds and correct the field"
