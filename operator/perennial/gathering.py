"""Gathers what a pass knows: the cached objects of a ModelDeployment and its surroundings, as `perennial.core.observed.Observed`.

The pods' counters come afterwards, when the core has said whose it needs. Called by `perennial.reconciler`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import replace
from typing import TypeVar

from perennial.adapters import lent, observe, sharing
from perennial.adapters.cache import Cache, Key
from perennial.adapters.kinds import DEPLOYMENTS_OF_MODELS, JOBS, PODS, ROUTES, SERVICES, VERSIONS, WORKLOADS
from perennial.adapters.silence import Silence
from perennial.adapters.surroundings import OWN_PARENTS, GatewayState, Surroundings
from perennial.api.serving import ParentReference, RuleReference
from perennial.api.v1alpha1 import ModelDeploymentSpec, ModelDeploymentStatus
from perennial.asking import Asking
from perennial.core import progress, providers
from perennial.core.jobs import LEDGER_STEP, POLL_STEP
from perennial.core.observed import Borrowed, Meta, Observed, PodCounters, RouteState, ServingPod
from perennial.following import Following
from perennial.manifests.borrowed import rivals
from perennial.manifests.common import ROLE_LABEL
from perennial.manifests.route import predict_path
from perennial.ports import Clock, ClusterError, Manifest, PodMetrics

Value = TypeVar("Value")

PATIENCE_SECONDS = 3.0
"""A Job that has had no pod for so long is asked why."""

_PODS = "pods"
"""Whose counters are read, as what is silent."""
_PLACEHOLDER = {
    "data": {
        "source": {"uri": "s3://unreadable/"},
        "columns": [{"name": "x", "role": "feature"}, {"name": "y", "role": "label"}],
    },
    "training": {"recipe": {}},
    "serving": {"route": {"parentRefs": [{"name": "unreadable"}], "path": "/"}},
}
"""Stands where a spec cannot be read; the core decides nothing on it then."""


async def _unless(rolling_out: bool, reading: Awaitable[Value], nothing: Value) -> Value:
    """What only explains must not stop a rollout from being measured; else a pass waits, or statuses would move to and fro."""
    try:
        return await reading
    except ClusterError:
        if not rolling_out:
            raise
        return nothing


class Gatherer:
    """Reads the cache and, seldom, the API server."""

    def __init__(
        self,
        cache: Cache,
        surroundings: Surroundings,
        metrics: PodMetrics,
        asking: Asking,
        *,
        following: Following,
        silence: Silence,
        clock: Clock,
    ) -> None:
        self._cache = cache
        self._surroundings = surroundings
        self._metrics = metrics
        self._asking = asking
        self._following = following
        self._silence = silence
        self._clock = clock

    async def observe(
        self,
        key: Key,
        manifest: Manifest,
        status: ModelDeploymentStatus,
        errors: tuple[tuple[str, str], ...],
        known: ModelDeploymentSpec | None = None,
    ) -> Observed:
        """All but the counters. `status` is what the last pass left, which may be newer than what was written; `known` is the
        last spec that could be read, for a rollout that must not go on unmeasured when the spec cannot be read any more."""
        namespace, name = key
        meta = observe.meta_of(manifest)
        spec = observe.deployment_spec(manifest)
        versions, broken = observe.versions(self._cache.of(key, VERSIONS), meta.uid)
        invalid = broken or (spec if isinstance(spec, str) else "")
        wish = (known or ModelDeploymentSpec.model_validate(_PLACEHOLDER)) if isinstance(spec, str) else spec
        rolling_out = status.rollout is not None
        asked = wish if known is not None or not isinstance(spec, str) else None
        rule = asked.serving.route.http_route if asked is not None and asked.serving.route is not None else None
        lending = await _unless(rolling_out, self._lending(meta, rule), None)
        parents = self._parents(asked, lending)
        gateway = await _unless(rolling_out, self._gateway(namespace, parents), GatewayState("", ""))
        owners = {version.meta.uid: version.number for version in versions}
        pods = list(self._cache.of(key, PODS))
        jobs = list(self._cache.of(key, JOBS))
        warnings = await _unless(rolling_out, self._warnings(jobs, pods), {})
        serving = [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(ROLE_LABEL) == "serve"]
        return Observed(
            now=self._clock.now(),
            meta=meta,
            spec=wish,
            status=status,
            defaults=await self._surroundings.defaults(namespace),
            versions=versions,
            jobs=observe.jobs(jobs, pods, owners, warnings),
            ledger_jobs=observe.own_jobs(LEDGER_STEP, jobs, pods, meta.uid, warnings),
            poll_jobs=observe.own_jobs(POLL_STEP, jobs, pods, meta.uid, warnings),
            workloads=observe.workloads(self._cache.of(key, WORKLOADS), serving, owners),
            route=await self._route(meta, gateway.problem),
            path_taken=self._path_taken(meta, asked),
            borrowed=await self._borrowed(key, meta, rule, lending, gateway),
            service=self._has_service(namespace, name, meta.uid),
            gateway_address=gateway.address,
            mirror_problem=await _unless(rolling_out, self._mirror_problem(namespace, wish, parents), ""),
            errors=errors,
            invalid=invalid,
            remembered=invalid != "" and not broken and known is not None,
        )

    def leaving(
        self, key: Key, manifest: Manifest, status: ModelDeploymentStatus, errors: tuple[tuple[str, str], ...]
    ) -> Observed:
        """Of one that is being deleted, what has to be given back first: from the cache alone, nothing else is to hold it up."""
        meta = observe.meta_of(manifest)
        return Observed(
            now=self._clock.now(),
            meta=meta,
            spec=ModelDeploymentSpec.model_validate(_PLACEHOLDER),
            status=status,
            defaults=self._surroundings.installed,
            borrowed=self._held(key, meta),
            errors=errors,
        )

    async def with_counters(self, observed: Observed, wanted: Sequence[tuple[int, ServingPod]]) -> Observed:
        """The counters of these pods, or who could not be read, and what providers last answered; the time is that of the
        reading. Providers are asked beside it and never waited for."""
        key, queries = (observed.meta.namespace, observed.meta.name), providers.wanted(observed)
        self._asking.ask(key, queries)
        if training := progress.wanted(observed):
            observed = replace(observed, trained=self._following.newest(training))
        if not wanted:
            self._silence.ends(key, _PODS)
            return replace(observed, readings=self._asking.answers(key)) if queries else observed
        answers = await self._metrics.read(wanted)
        counters = tuple(answer for answer in answers if isinstance(answer, PodCounters))
        silent = [answer for answer in answers if isinstance(answer, str)]
        now = self._clock.now()
        observed = replace(observed, readings=self._asking.answers(key))
        if silent:
            await self._look_for_pods(key)
            return replace(observed, now=now, counters=None, unreachable="; ".join(silent)[:1000])
        self._silence.ends(key, _PODS)
        return replace(observed, now=now, counters=counters)

    def forget(self, key: Key) -> None:
        """The model is gone: nothing is asked for it any more."""
        self._asking.ask(key, ())
        self._silence.forget(key)

    async def _lending(self, meta: Meta, rule: RuleReference | None) -> Manifest | None:
        """The HTTPRoute of a user that the spec names. Events of it come in from the time that a spec names it; before, it is
        asked for."""
        if rule is None:
            return None
        known = await self._newest(meta, self._cache.get(ROUTES, meta.namespace, rule.name))
        if known is None:
            known = await self._surroundings.route(meta.namespace, rule.name)
            if known is not None:
                self._cache.put(known)
        return known

    def _parents(self, spec: ModelDeploymentSpec | None, lending: Manifest | None) -> list[ParentReference]:
        """Gateways that requests come from."""
        if lending is not None:
            return lent.parents(lending)
        return list(spec.serving.route.parent_refs or ()) if spec is not None and spec.serving.route is not None else []

    async def _borrowed(
        self, key: Key, meta: Meta, rule: RuleReference | None, route: Manifest | None, gateway: GatewayState
    ) -> tuple[Borrowed, ...]:
        """The rule that the spec names, and those that are held besides."""
        held = self._held(key, meta)
        if rule is None:
            return held
        if gateway.problem:
            problem = gateway.problem.replace(OWN_PARENTS, f"parentRefs of HTTPRoute {rule.name}")
            gateway = GatewayState(gateway.address, problem)
        others = rivals(route, rule.rule, meta) if route is not None else ()
        gone = [one.uid for one in others if await self._is_gone(meta.namespace, one.model, one.uid)]
        named = lent.rule_of(route, meta, rule, gateway, gone)
        if route is not None and named.state is not None:
            named = replace(named, state=self._timed(meta, route, named.state))
        return named, *(one for one in held if not named.held or (one.route, one.rule) != (named.route, named.rule))

    def _held(self, key: Key, meta: Meta) -> tuple[Borrowed, ...]:
        routes = sorted(self._cache.claimed(key), key=lambda route: str(route["metadata"]["name"]))
        return tuple(rule for route in routes for rule in lent.held_rules(route, meta))

    async def _is_gone(self, namespace: str, name: str, uid: str) -> bool:
        known = self._cache.get(DEPLOYMENTS_OF_MODELS, namespace, name)
        if known is not None and known["metadata"]["uid"] == uid:
            return False
        try:
            return await self._surroundings.is_gone(namespace, name, uid)
        except ClusterError:
            return False  # who cannot be asked is taken to be there

    async def _gateway(self, namespace: str, parents: Sequence[ParentReference]) -> GatewayState:
        states = [await self._surroundings.gateway(namespace, parent) for parent in parents]
        address = next((state.address for state in states if state.address), "")
        return GatewayState(address, next((state.problem for state in states if state.problem), ""))

    async def _mirror_problem(self, namespace: str, wish: ModelDeploymentSpec, parents: Sequence[ParentReference]) -> str:
        shadow, problem = wish.rollout.shadow, ""
        if shadow is not None:
            for parent in parents:
                problem = problem or await self._surroundings.mirror_problem(namespace, parent, shadow.percent)
        return problem

    async def _route(self, meta: Meta, gateway_problem: str) -> RouteState | None:
        manifest = await self._newest(meta, self._cache.get(ROUTES, meta.namespace, meta.name))
        if manifest is None or not observe.is_owned(manifest, meta.uid):
            return None
        return self._timed(meta, manifest, observe.route(manifest, meta.name, gateway_problem))

    def _timed(self, meta: Meta, route: Manifest, state: RouteState) -> RouteState:
        """The state with how long its weights and its mirror are unseen."""
        key, uid = (meta.namespace, meta.name), route["metadata"]["uid"]
        if not state.unseen:
            self._silence.ends(key, uid)
            return state
        return replace(state, unseen_seconds=self._silence.lasts(key, uid, (frozenset(state.weights), state.mirror)))

    async def _newest(self, meta: Meta, route: Manifest | None) -> Manifest | None:
        """A route as it is known, or, where its Gateway's controller is silent, as the API server has it: watches lose events."""
        if route is None or not self._silence.is_to_be_asked((meta.namespace, meta.name), route["metadata"]["uid"]):
            return route
        place = route["metadata"]["namespace"], route["metadata"]["name"]
        try:
            found = await self._surroundings.route(*place)
        except ClusterError:
            return route  # it is asked for again soon
        if found is None:
            self._cache.remove(route)
        else:
            self._cache.put(found)
        return self._cache.get(ROUTES, *place)

    async def _look_for_pods(self, key: Key) -> None:
        """Whether pods that do not answer are there at all, for the next pass: one whose end was lost would stop every block."""
        self._silence.lasts(key, _PODS)
        if not self._silence.is_to_be_asked(key, _PODS):
            return
        try:
            found, resource_version = await self._surroundings.pods(*key)
        except ClusterError:
            return  # they are asked for again soon
        self._cache.refill(PODS, found, resource_version, key[0], key)

    def _path_taken(self, meta: Meta, spec: ModelDeploymentSpec | None) -> str:
        """What answers at the path of a route of our own, where that is another model's."""
        route = spec.serving.route if spec is not None else None
        if route is None or route.http_route is not None:
            return ""
        known = self._cache.get(ROUTES, meta.namespace, meta.name)
        own = known if known is not None and observe.is_owned(known, meta.uid) else None
        others = [one for one in self._cache.answering(predict_path(route.path or ""), route.hostnames or [""]) if one is not own]
        return sharing.rival(meta, route, own, others)

    def _has_service(self, namespace: str, name: str, uid: str) -> bool:
        manifest = self._cache.get(SERVICES, namespace, name)
        return manifest is not None and observe.is_owned(manifest, uid) and "deletionTimestamp" not in manifest["metadata"]

    async def _warnings(self, jobs: Sequence[Manifest], pods: Sequence[Manifest]) -> dict[str, str]:
        """Words of the API server for every unfinished Job that has no pod; by UID of the Job."""
        with_pods = {
            reference["uid"] for pod in pods for reference in pod["metadata"].get("ownerReferences") or () if reference.get("uid")
        }
        waiting = [job["metadata"] for job in jobs if job["metadata"]["uid"] not in with_pods and self._is_waiting(job)]
        if not waiting:
            return {}
        words = await self._surroundings.warnings(waiting[0]["namespace"])
        return {meta["uid"]: words.get(meta["uid"], "") for meta in waiting}

    def _is_waiting(self, job: Manifest) -> bool:
        ended = any(
            condition.get("status") == "True" and condition.get("type") in ("Complete", "Failed")
            for condition in (job.get("status") or {}).get("conditions") or ()
        )
        created = observe.time_of(job["metadata"].get("creationTimestamp"))
        if ended or (job.get("spec") or {}).get("suspend") or created is None:
            return False
        return (self._clock.now() - created).total_seconds() >= PATIENCE_SECONDS
