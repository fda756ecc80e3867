"""One pass over one ModelDeployment: gather -> plan -> apply actions -> one status write -> the rest -> events -> sleep.

`perennial.core.plan` decides; this shell only reads, writes, and says when to look again. Killing the process between any two
lines loses nothing: the plan follows from what is in the cluster. `perennial.bootstrap` runs it on N workers over
`perennial.wakequeue`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from perennial.adapters import observe
from perennial.adapters.cache import Cache, Key
from perennial.adapters.kinds import DEPLOYMENTS_OF_MODELS
from perennial.api.v1alpha1 import ModelDeploymentSpec, ModelDeploymentStatus
from perennial.applying import Applier, Scene
from perennial.core.actions import Action, CreateVersion, KeepRecording, Plan, RemoveFinalizer, ReturnRule, WriteVersionStatus
from perennial.core.observed import Observed, ServingPod
from perennial.core.tape import Recording
from perennial.gathering import Gatherer
from perennial.manifests.common import FINALIZER
from perennial.manifests.event import event
from perennial.ports import Clock, Cluster, ClusterError, Conflict, Invalid, Manifest, NotFound, Unavailable
from perennial.standing import Ending, Stays, ending, standing
from perennial.telemetry import Telemetry
from perennial.wakequeue import WakeQueue

Decide = Callable[[Observed], Plan]
Wanted = Callable[[Observed], Sequence[tuple[int, ServingPod]]]
Refusals = tuple[tuple[str, str], ...]

WRITING_PASSES = 50
"""So many passes in a row that write something are a fault; what follows is slowed down."""

log = logging.getLogger("perennial.reconciler")


@dataclass(slots=True)
class Memory:
    """What a pass leaves for the next one; losing it in a crash does no harm."""

    errors: Refusals = ()
    """Writes that the API server refused."""
    written: Any = None
    """The raw status in the cluster that `status` was derived from."""
    status: ModelDeploymentStatus | None = None
    """Newer than what is in the cluster: measurements that are not worth a write yet."""
    spec: ModelDeploymentSpec | None = None
    """The last spec that could be read, while a rollout lasts."""
    writing: int = 0
    """Passes in a row that wrote something."""
    ending: Ending | None = None
    """The end of a rollout that was decided and is not counted yet."""
    stays: Stays = field(default_factory=Stays)
    recordings: tuple[Recording, ...] = ()
    """Of the rollout under way, and of those that are over and could not be kept yet."""


@dataclass(slots=True)
class _Pass:
    """One pass while it runs."""

    key: Key
    scene: Scene
    refused: list[tuple[str, str]] = field(default_factory=list)
    """Writes that will be refused again, with the API server's words."""
    failed: list[str] = field(default_factory=list)
    """Writes that the API server could not take just now."""
    wrote: list[str] = field(default_factory=list)
    kept: set[int] = field(default_factory=set)
    """Versions whose recording is in the cluster."""


class Reconciler:
    """All that a worker needs; `decide` and `wanted` are the core's."""

    def __init__(
        self,
        *,
        cluster: Cluster,
        cache: Cache,
        gatherer: Gatherer,
        clock: Clock,
        queue: WakeQueue[Key],
        telemetry: Telemetry,
        decide: Decide,
        wanted: Wanted,
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._gatherer = gatherer
        self._clock = clock
        self._queue = queue
        self._telemetry = telemetry
        self._decide = decide
        self._wanted = wanted
        self._applier = Applier(cluster, cache)
        self._memories: dict[Key, Memory] = {}

    async def work(self) -> None:
        """A worker: one key after the other, for ever."""
        while True:
            key = await self._queue.take()
            try:
                with self._telemetry.one_pass(key):
                    await self.look_at(key)
            finally:
                self._queue.done(key)

    async def look_at(self, key: Key) -> None:
        """One pass, and when the next one is due. Raises nothing: a pass that fails is tried again, later and later."""
        about = {"kind": "ModelDeployment", "object": f"{key[0]}/{key[1]}"}
        try:
            outcome = await self._pass(key)
        except Conflict as error:
            log.debug("somebody else wrote meanwhile: %s", error, extra=about)
            self._telemetry.passed("conflict")
            self._queue.retry(key)
        except ClusterError as error:
            seconds = self._queue.retry(key)
            log.warning("the pass failed: %s; again in %.1f s", error, seconds, extra=about)
            self._telemetry.passed("failed")
        except Exception:  # the one place: a fault in one model must not stop the others
            seconds = self._queue.retry(key)
            log.exception("the pass failed by a fault of ours; again in %.1f s", seconds, extra=about)
            self._telemetry.passed("failed")
        else:
            self._telemetry.passed(outcome)

    async def _pass(self, key: Key) -> str:
        manifest = self._cache.get(DEPLOYMENTS_OF_MODELS, *key)
        if manifest is None or _is_gone(manifest):
            self._memories.pop(key, None)
            self._telemetry.forget(key)
            self._gatherer.forget(key)
            self._queue.succeeded(key)
            return "gone"
        memory = self._memories.setdefault(key, Memory())
        written = _status_of(manifest)
        self._count_ending(memory, written)
        if memory.written != manifest.get("status"):
            memory.status = None
        observed = await self._observe(key, manifest, written, memory)
        observed = replace(observed, recordings=memory.recordings)
        plan = self._decide(observed)
        memory.ending = ending(observed.status, plan)
        current = _Pass(key, Scene(observed))
        if await self._carry_out(plan, current, written):
            self._count_ending(memory, plan.status)
        self._remember(plan, current, memory)
        return self._schedule(plan, current, memory)

    async def _observe(self, key: Key, manifest: Manifest, written: ModelDeploymentStatus, memory: Memory) -> Observed:
        if "deletionTimestamp" in manifest["metadata"]:
            return self._gatherer.leaving(key, manifest, written, memory.errors)
        observed = await self._gatherer.observe(key, manifest, memory.status or written, memory.errors, memory.spec)
        return await self._gatherer.with_counters(observed, self._wanted(observed))

    async def _carry_out(self, plan: Plan, current: _Pass, written: ModelDeploymentStatus) -> bool:
        """Writes what the plan asks for, the status between what it records and what rests on it. Whether that was written."""
        scene, saved = current.scene, False
        await self._apply(plan.before, current, Unavailable)
        if plan.persist:
            saved = await self._applier.write_status(DEPLOYMENTS_OF_MODELS, scene.observed.meta, written, plan.status, scene)
        if saved:
            current.wrote.append("Status")
        await self._apply(plan.after, current, (Unavailable, Conflict))
        if saved:
            await self._tell(plan, current)
        return saved

    async def _apply(
        self, actions: Sequence[Action], current: _Pass, later: type[ClusterError] | tuple[type[ClusterError], ...]
    ) -> None:
        """All actions, in order. One that fails stops no other, least of all a rollback: the next pass asks for it again.

        `later` are the errors that are worth another try; a Conflict before the status write ends the pass, nothing is told yet.
        """
        for action in actions:
            name = type(action).__name__
            try:
                if await self._applier.carry_out(action, current.scene):
                    current.wrote.append(name)
                    self._note_state(action, current)
                if isinstance(action, KeepRecording):
                    current.kept.add(action.version)
            except (Invalid, NotFound) as error:
                current.refused.append((name, str(error)))
            except later as error:
                current.failed.append(f"{name}: {error}")
                if isinstance(action, (ReturnRule, RemoveFinalizer)) and current.scene.observed.meta.deleting:
                    current.refused.append((name, str(error)))  # the ModelDeployment stays by it, which must be told and end

    def _count_ending(self, memory: Memory, status: ModelDeploymentStatus) -> None:
        """Once, when the cluster has it: at once, or in the next pass where the answer to the write was lost."""
        if memory.ending is not None and memory.ending.is_written(status):
            self._telemetry.rollout_ended(memory.ending.outcome)
            memory.ending = None

    def _note_state(self, action: Action, current: _Pass) -> None:
        """A write that went through: how long a version was in the state that it has left by it."""
        stays, now = self._memories[current.key].stays, self._clock.now()
        match action:
            case CreateVersion(spec):
                stays.created(spec.number, frozenset(version.number for version in current.scene.observed.versions), now)
            case WriteVersionStatus(number, status):
                before = current.scene.version(number).status
                if left := stays.moved(number, before.state, status.state, now):
                    self._telemetry.state_left(*left)
            case _:
                pass

    async def _tell(self, plan: Plan, current: _Pass) -> None:
        """Events; one that cannot be sent is not worth a pass."""
        meta = current.scene.observed.meta
        resource_version = current.scene.written.get(meta.uid, meta.resource_version)
        for said in plan.events:
            try:
                await self._cluster.create(event(meta, resource_version, said, self._clock.now()))
            except ClusterError as error:
                log.debug("an event was not sent: %s", error, extra={"object": f"{meta.namespace}/{meta.name}"})

    def _remember(self, plan: Plan, current: _Pass, memory: Memory) -> None:
        manifest = self._cache.get(DEPLOYMENTS_OF_MODELS, *current.key)
        memory.written = manifest.get("status") if manifest else None
        memory.status = None if plan.persist else plan.status
        memory.recordings = tuple(one for one in plan.recordings if not (one.over and one.version in current.kept))
        readable = not current.scene.observed.invalid
        if readable:
            memory.spec = current.scene.observed.spec if plan.status.rollout is not None else None
        self._telemetry.model(current.key, standing(current.scene.observed, plan))

    def _schedule(self, plan: Plan, current: _Pass, memory: Memory) -> str:
        """When to look again: at once after a write or another refusal, later while refused, else as the plan says."""
        key, errors = current.key, tuple(current.refused)
        changed = errors != memory.errors
        memory.errors = errors
        memory.writing = memory.writing + 1 if current.wrote else 0
        facts = {"kind": "ModelDeployment", "object": f"{key[0]}/{key[1]}"}
        if plan.wake_after is not None:
            self._queue.wake_after(key, plan.wake_after)
        if current.failed:
            seconds = self._queue.retry(key)
            log.warning("not written: %s; again in %.1f s", "; ".join(current.failed)[:1000], seconds, extra=facts)
            return "failed"
        if errors:
            if changed:
                log.warning("refused by the API server: %s: %s", *errors[0], extra=facts)
                self._queue.wake(key)
            self._queue.retry(key)
            return "refused"
        if memory.writing > WRITING_PASSES:
            log.warning("writes in every pass: %s", ", ".join(current.wrote), extra=facts)
            self._queue.retry(key)
            return "wrote"
        self._queue.succeeded(key)
        if current.wrote or changed:
            log.info("wrote %s", ", ".join(current.wrote), extra=facts)
            self._queue.wake(key)
            return "wrote"
        log.debug("nothing to do", extra=facts)
        return "quiet"


def _is_gone(manifest: Manifest) -> bool:
    """Nothing is left to do for it: what belongs to it goes by owner reference, and what it borrowed is given back."""
    meta = manifest["metadata"]
    return "deletionTimestamp" in meta and FINALIZER not in (meta.get("finalizers") or ())


def _status_of(manifest: Manifest) -> ModelDeploymentStatus:
    """The status in the cluster; of one that cannot be read what can be, for it holds the quarantine."""
    try:
        return observe.deployment_status(manifest)
    except ValidationError:
        status = observe.salvaged_status(manifest)
        meta = manifest["metadata"]
        about = {"kind": "ModelDeployment", "object": f"{meta['namespace']}/{meta['name']}"}
        lost = ", ".join(sorted(set(manifest["status"]) - set(status.model_dump(by_alias=True, exclude_unset=True))))
        log.warning("the status cannot be read in: %s; what it said there is found anew", lost or "some entries", extra=about)
        return status
