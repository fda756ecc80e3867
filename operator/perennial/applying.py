"""Carries out one action of a plan: rendered by `perennial.manifests`, written through the port, taken into the cache at once.

Every action may come again after a crash: what is there already, with our owner and as wanted, is not written. An object of
our name that is not ours is never taken over. Called by `perennial.reconciler`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import assert_never

from perennial.adapters.cache import Cache
from perennial.adapters.kinds import DEPLOYMENTS_OF_MODELS, JOBS, ROUTES, SERVICES, VERSIONS, WORKLOADS, kind_of
from perennial.adapters.observe import is_owned
from perennial.api.v1alpha1 import ModelDeploymentStatus, ModelVersionStatus
from perennial.core.actions import (
    Action,
    AddFinalizer,
    ApplyRoute,
    ApplyService,
    ApplyServing,
    BorrowRule,
    CreateJob,
    CreateLedgerJob,
    CreateMetricJob,
    CreatePollJob,
    CreateReproduceJob,
    CreateVersion,
    DeleteJob,
    DeleteModel,
    DeleteRoute,
    DeleteService,
    DeleteVersion,
    KeepRecording,
    RemoveAnnotation,
    RemoveFinalizer,
    ReturnRule,
    WriteVersionStatus,
)
from perennial.core.observed import Meta, Observed, Version
from perennial.lending import Lending
from perennial.manifests import REVISIONS
from perennial.manifests.common import RENDERED_ANNOTATION, pointer
from perennial.manifests.jobs import job, ledger_job, poll_job
from perennial.manifests.recording import recording
from perennial.manifests.reproducing import reproduce_job
from perennial.manifests.route import http_route, in_order, turned
from perennial.manifests.service import model_service
from perennial.manifests.serving import serving
from perennial.manifests.version import model_version
from perennial.manifests.workers import workers_service
from perennial.ports import Cluster, Conflict, Invalid, Manifest, NotFound, Unavailable

MOST_GENERATIONS = 20_000


@dataclass(slots=True)
class Scene:
    """One pass's observation, and the resourceVersions that its own writes made."""

    observed: Observed
    written: dict[str, str] = field(default_factory=dict)
    """resourceVersion by UID."""

    def version(self, number: int) -> Version:
        """A version that the plan speaks of."""
        return next(version for version in self.observed.versions if version.number == number)


class Applier:
    """Writes to one cluster and keeps the cache abreast. Methods return whether anything was written."""

    def __init__(self, cluster: Cluster, cache: Cache) -> None:
        self._cluster = cluster
        self._cache = cache
        self._lending = Lending(cluster, cache)
        self._generations: dict[str, int] = {}
        """Of Deployments, by UID, as our last apply left them: another one means that somebody has changed the spec since."""
        self._reminded: dict[str, int] = {}
        """Number of the last reminder that was written, by UID of HTTPRoutes whose controller is silent."""

    async def carry_out(self, action: Action, scene: Scene) -> bool:  # noqa: C901, PLR0912 - one arm for each action
        """One action. Raises ClusterError."""
        meta = scene.observed.meta
        match action:
            case CreateVersion(spec):
                return await self._create(model_version(meta, spec), meta.uid)
            case CreateJob() | CreateMetricJob():
                version = scene.version(action.version)
                if isinstance(action, CreateJob) and (meeting := workers_service(meta.name, version, action)) is not None:
                    await self._create(meeting, version.meta.uid)
                return await self._create(job(meta.name, version, action), version.meta.uid)
            case CreateReproduceJob():
                version = scene.version(action.version)
                return await self._create(reproduce_job(meta.name, version, action), version.meta.uid)
            case CreateLedgerJob():
                return await self._create(ledger_job(meta, scene.observed.spec.training, action), meta.uid)
            case CreatePollJob():
                return await self._create(poll_job(meta, scene.observed.spec.training, action), meta.uid)
            case DeleteJob(name, uid):
                return await self._delete(JOBS, meta.namespace, name, uid)
            case DeleteVersion(name, uid):
                return await self._delete(VERSIONS, meta.namespace, name, uid)
            case DeleteModel():
                return await self._delete(DEPLOYMENTS_OF_MODELS, meta.namespace, meta.name, meta.uid)
            case ApplyServing():
                return await self._serve(action, scene)
            case ApplyRoute(weights, mirror, reminder):
                route = scene.observed.spec.serving.route
                return route is not None and await self._route(http_route(meta, route, weights, mirror), meta.uid, reminder)
            case BorrowRule() | ReturnRule() | AddFinalizer() | RemoveFinalizer():
                return await self._lending.carry_out(action, meta, scene.observed.status)
            case ApplyService():
                return await self._keep(model_service(meta), meta.uid)
            case DeleteRoute() | DeleteService():
                return await self._delete_ours(ROUTES if isinstance(action, DeleteRoute) else SERVICES, meta)
            case RemoveAnnotation(key, value):
                return await self._remove_annotation(meta, key, value)
            case WriteVersionStatus(number, status):
                version = scene.version(number)
                return await self.write_status(VERSIONS, version.meta, version.status, status, scene)
            case KeepRecording(number, data):
                return await self._keep_recording(scene.version(number), data)
            case _:
                assert_never(action)

    async def write_status(
        self,
        kind: str,
        meta: Meta,
        old: ModelDeploymentStatus | ModelVersionStatus,
        new: ModelDeploymentStatus | ModelVersionStatus,
        scene: Scene,
    ) -> bool:
        """The status, if it changed, with the resourceVersion that was read. A Conflict refreshes the cache first."""
        cached = self._cache.get(kind, meta.namespace, meta.name)
        if old == new or cached is None or cached["metadata"]["uid"] != meta.uid:
            return False
        body: Manifest = {
            "apiVersion": cached["apiVersion"],
            "kind": cached["kind"],
            "metadata": {
                "name": meta.name,
                "namespace": meta.namespace,
                "uid": meta.uid,
                "resourceVersion": scene.written.get(meta.uid, meta.resource_version),
            },
            "spec": cached["spec"],
            "status": new.model_dump(mode="json", by_alias=True, exclude_none=True),
        }
        try:
            answer = await self._cluster.replace_status(body)
        except Conflict:
            await self._refresh(kind, meta.namespace, meta.name)
            raise
        except NotFound:
            self._cache.remove(cached)
            return True
        scene.written[meta.uid] = answer["metadata"]["resourceVersion"]
        self._cache.put(answer)
        return True

    async def _create(self, manifest: Manifest, owner: str) -> bool:
        """A new object, or the one of ours that is there."""
        meta = manifest["metadata"]
        kind = kind_of(manifest)
        cached = self._cache.get(kind, meta["namespace"], meta["name"])
        if cached is not None and is_owned(cached, owner):
            return False
        try:
            self._cache.put(await self._cluster.create(manifest))
        except Conflict:
            self._check_ours(await self._cluster.get(kind, meta["namespace"], meta["name"]), owner)
        return True

    async def _keep_recording(self, version: Version, data: bytes) -> bool:
        """Once: one that is there is of an earlier rollout of this version, or of this one, when the answer was lost. The
        operator may not read ConfigMaps; who reads this one looks whose it is."""
        try:
            await self._cluster.create(recording(version, data))
        except Conflict:
            return False
        return True

    def _check_ours(self, found: Manifest, owner: str) -> None:
        """Takes the object into the cache when it is ours. Raises Invalid when it is not, Unavailable when it is going."""
        meta = found["metadata"]
        if is_owned(found, owner):
            self._cache.put(found)
            return
        name = f"{found['kind']} {meta['namespace']}/{meta['name']}"
        if "deletionTimestamp" in meta or _is_orphan_of_ours(found):
            raise Unavailable(409, f"{name} of a deleted object with the same name is still being removed")
        raise Invalid(409, f"{name} exists and is not owned by this ModelDeployment: delete or rename it")

    async def _delete(self, kind: str, namespace: str, name: str, uid: str) -> bool:
        cached = self._cache.get(kind, namespace, name)
        if cached is None or cached["metadata"]["uid"] != uid or "deletionTimestamp" in cached["metadata"]:
            return False
        rest = await self._cluster.delete(kind, namespace, name, uid)
        if rest is None:
            self._cache.remove(cached)
        else:
            self._cache.put(rest)
        return True

    async def _delete_ours(self, kind: str, meta: Meta) -> bool:
        """The object of this kind that has the ModelDeployment's name, if it is its own."""
        cached = self._cache.get(kind, meta.namespace, meta.name)
        if cached is None or not is_owned(cached, meta.uid):
            return False
        return await self._delete(kind, meta.namespace, meta.name, cached["metadata"]["uid"])

    async def _serve(self, action: ApplyServing, scene: Scene) -> bool:
        """Service first: a route that names it must find it."""
        version = scene.version(action.version)
        revision = version.spec.runtime.manifest_revision
        if revision not in REVISIONS:
            raise Invalid(
                0,
                f"ModelVersion {version.meta.name} has manifest revision {revision}, which this operator does not know: "
                "its pods are left as they are; upgrade the operator",
            )
        deployment, service = serving(scene.observed.meta.name, version, scene.observed.spec.serving, action)
        owner = version.meta.uid
        live = self._cache.get(WORKLOADS, version.meta.namespace, deployment["metadata"]["name"])
        served = self._cache.get(SERVICES, version.meta.namespace, service["metadata"]["name"])
        fits = live is not None and _rendered(live) == _rendered(deployment) and self._is_as_left(live)
        scaled = live is not None and live["spec"]["replicas"] == action.replicas
        reached = served is not None and _holds(served["spec"], service["spec"])
        wrote = False
        if not fits or not reached:
            wrote = await self._apply(service, owner)
        if fits and scaled:
            return wrote
        wrote = await self._apply(deployment, owner) or wrote
        live = self._cache.get(WORKLOADS, version.meta.namespace, deployment["metadata"]["name"])
        if live is not None:
            if len(self._generations) >= MOST_GENERATIONS:
                self._generations.clear()  # what is forgotten counts as untouched when it is seen next
            self._generations[live["metadata"]["uid"]] = int(live["metadata"].get("generation", 0))
        return wrote

    def _is_as_left(self, live: Manifest) -> bool:
        """What was changed by hand is put back; what an operator before this one left counts as untouched."""
        meta = live["metadata"]
        return self._generations.setdefault(meta["uid"], int(meta.get("generation", 0))) == int(meta.get("generation", 0))

    async def _route(self, manifest: Manifest, owner: str, reminder: int) -> bool:
        """Our HTTPRoute as wanted. A reminder writes one that is there the other way round, once for each number: its controller
        tells of a generation only once, and may not have been heard."""
        live = self._cache.get(ROUTES, manifest["metadata"]["namespace"], manifest["metadata"]["name"])
        uid = live["metadata"]["uid"] if live is not None else ""
        if not reminder or live is None:
            self._reminded.pop(uid, None)
        elif self._reminded.get(uid, 0) < reminder:
            written = await self._apply(turned(manifest, live), owner)
            if len(self._reminded) >= MOST_GENERATIONS:
                self._reminded.clear()  # of routes that are gone; one that is not is reminded once more
            self._reminded[uid] = reminder
            return written
        return await self._keep(manifest, owner)

    async def _keep(self, manifest: Manifest, owner: str) -> bool:
        """A route or Service as wanted; one that is there and holds all of that is not written."""
        meta = manifest["metadata"]
        live = self._cache.get(kind_of(manifest), meta["namespace"], meta["name"])
        if (
            live is not None
            and _rendered(live) == _rendered(manifest)
            and _holds(in_order(live)["spec"], in_order(manifest)["spec"])
        ):
            return False
        return await self._apply(manifest, owner)

    async def _apply(self, manifest: Manifest, owner: str) -> bool:
        """Server-side apply of an object of ours; a foreign one of that name is left alone."""
        meta = manifest["metadata"]
        kind = kind_of(manifest)
        cached = self._cache.get(kind, meta["namespace"], meta["name"])
        if cached is None or not is_owned(cached, owner):
            try:
                self._check_ours(await self._cluster.get(kind, meta["namespace"], meta["name"]), owner)
            except NotFound:
                if cached is not None:
                    self._cache.remove(cached)
        return bool(self._cache.put(await self._cluster.apply(manifest)))

    async def _remove_annotation(self, meta: Meta, key: str, value: str) -> bool:
        """Only if it is still the one that was carried out."""
        path = "/metadata/annotations/" + pointer(key)
        patch = [{"op": "test", "path": path, "value": value}, {"op": "remove", "path": path}]
        try:
            self._cache.put(await self._cluster.json_patch(DEPLOYMENTS_OF_MODELS, meta.namespace, meta.name, patch))
        except (Invalid, NotFound):
            await self._refresh(DEPLOYMENTS_OF_MODELS, meta.namespace, meta.name)
            cached = self._cache.get(DEPLOYMENTS_OF_MODELS, meta.namespace, meta.name)
            if cached is not None and (cached["metadata"].get("annotations") or {}).get(key) == value:
                raise  # it is still there: removing it was refused, by RBAC or a policy
        return True

    async def _refresh(self, kind: str, namespace: str, name: str) -> None:
        """The newest state into the cache: the watch may be late."""
        try:
            self._cache.put(await self._cluster.get(kind, namespace, name))
        except NotFound:
            cached = self._cache.get(kind, namespace, name)
            if cached is not None:
                self._cache.remove(cached)


def _is_orphan_of_ours(found: Manifest) -> bool:
    """Owned by an object of our kinds, but another one: what the garbage collector has not come to yet."""
    return any(
        reference.get("controller") and reference.get("kind") in ("ModelDeployment", "ModelVersion")
        for reference in found["metadata"].get("ownerReferences") or ()
    )


def _rendered(manifest: Manifest) -> str:
    return str((manifest["metadata"].get("annotations") or {}).get(RENDERED_ANNOTATION, ""))


def _holds(live: object, wanted: object) -> bool:
    """Every field that is wanted has that value; what the API server added by default does not matter."""
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(name in live and _holds(live[name], value) for name, value in wanted.items())
    if isinstance(wanted, list):
        return isinstance(live, list) and len(live) == len(wanted) and all(map(_holds, live, wanted))
    return live == wanted
