"""What surrounds a model and changes seldom: the store of its namespace and its Gateway. Read on demand, kept for half a minute.

Used by `perennial.reconciler` when it gathers a pass.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from perennial.adapters import observe
from perennial.adapters.cache import slim
from perennial.adapters.kinds import CONFIG_MAPS, DEPLOYMENTS_OF_MODELS, EVENTS, GATEWAY_CLASSES, GATEWAYS, PODS, ROUTES
from perennial.adapters.mirrors import mirror_problem
from perennial.api.serving import ParentReference
from perennial.core.observed import Defaults, StoreSettings
from perennial.manifests.common import MODEL_LABEL
from perennial.ports import Cluster, ClusterError, Invalid, Manifest, NotFound, Unavailable

STORE_CONFIG = "perennial-store"
KEEP_SECONDS = 30.0
KEEP_PROBLEM_SECONDS = 3.0
KEEP_WARNINGS_SECONDS = 5.0
OWN_PARENTS = "spec.serving.route.parentRefs"
"""Where a Gateway's name stands, as its problem says; for a user's route it stands elsewhere."""
MANY_EVENTS = 200
LARGEST = 10_000

_COMBINED = "(combined from similar events): "
_DRAWN = re.compile(r'^(Error creating: pods "[^"]+)-[a-z0-9]{5}(")')

Value = TypeVar("Value")


class _Kept(Generic[Value]):
    """Values with the time until which they hold."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._values: dict[tuple[str, str], tuple[float, Value]] = {}

    def get(self, key: tuple[str, str]) -> Value | None:
        until, value = self._values.get(key, (0.0, None))
        return value if until > self._time() else None

    def put(self, key: tuple[str, str], value: Value, seconds: float) -> Value:
        if len(self._values) >= LARGEST:
            self._values.clear()
        self._values[key] = (self._time() + seconds, value)
        return value


@dataclass(frozen=True, slots=True)
class GatewayState:
    """Where clients reach a Gateway, and what is wrong with it; either may be empty."""

    address: str
    problem: str
    class_name: str = ""


class Surroundings:
    """`time` gives monotonic seconds."""

    def __init__(self, cluster: Cluster, defaults: Defaults, time: Callable[[], float]) -> None:
        self._cluster = cluster
        self._defaults = defaults
        self._stores: _Kept[StoreSettings] = _Kept(time)
        self._gateways: _Kept[GatewayState] = _Kept(time)
        self._mirrors: _Kept[str] = _Kept(time)
        self._warnings: _Kept[Mapping[str, str]] = _Kept(time)
        self._absent: _Kept[str] = _Kept(time)
        self._seen: dict[tuple[str, str], GatewayState] = {}
        self._said: dict[str, Mapping[str, str]] = {}
        self._listing: dict[str, asyncio.Lock] = {}

    @property
    def installed(self) -> Defaults:
        """The operator's own defaults, without any question."""
        return self._defaults

    def note_dropped(self, fields: tuple[str, ...]) -> None:
        """What the CRDs in the cluster do not have, as it was found out."""
        self._defaults = replace(self._defaults, dropped=fields)

    async def route(self, namespace: str, name: str) -> Manifest | None:
        """An HTTPRoute that nobody asked for yet; None: it is not there."""
        if self._absent.get((namespace, name)) is not None:
            return None
        try:
            return await self._cluster.get(ROUTES, namespace, name)
        except NotFound:
            self._absent.put((namespace, name), "route", KEEP_PROBLEM_SECONDS)
            return None

    async def pods(self, namespace: str, model: str) -> tuple[Sequence[Manifest], str]:
        """All pods of a model as they are now, and the resourceVersion of that."""
        return await self._cluster.list(PODS, namespace, f"{MODEL_LABEL}={model}", keep=slim)

    async def is_gone(self, namespace: str, name: str, uid: str) -> bool:
        """Whether there is no ModelDeployment of this UID (any more), which another operator may look after."""
        key = (namespace, f"{name}/{uid}")
        known = self._absent.get(key)
        if known is None:
            try:
                found = await self._cluster.get(DEPLOYMENTS_OF_MODELS, namespace, name)
            except NotFound:
                known = "gone"
            else:
                known = "" if found["metadata"]["uid"] == uid else "gone"
            self._absent.put(key, known, KEEP_PROBLEM_SECONDS)
        return known == "gone"

    async def defaults(self, namespace: str) -> Defaults:
        """The operator's, with the store that the namespace's ConfigMap names instead."""
        store = self._stores.get((namespace, ""))
        if store is None:
            store = self._stores.put((namespace, ""), await self._store(namespace), KEEP_SECONDS)
        return replace(self._defaults, store=store)

    async def gateway(self, namespace: str, parent: ParentReference) -> GatewayState:
        """The Gateway that a route hangs on."""
        key = (parent.namespace or namespace, f"{parent.name}/{parent.section_name or ''}")
        known = self._gateways.get(key)
        if known is not None:
            return known
        try:
            state = await self._gateway(key[0], parent)
        except Unavailable:
            if key not in self._seen:
                raise
            return self._gateways.put(key, self._seen[key], KEEP_PROBLEM_SECONDS)
        self._seen[key] = state
        return self._gateways.put(key, state, KEEP_PROBLEM_SECONDS if state.problem else KEEP_SECONDS)

    async def mirror_problem(self, namespace: str, parent: ParentReference, percent: int) -> str:
        """Why a Gateway cannot mirror this share of requests; empty when it can, or is not there (which is told elsewhere)."""
        name = (await self.gateway(namespace, parent)).class_name
        if not name:
            return ""
        key = (name, str(percent < 100))
        known = self._mirrors.get(key)
        if known is not None:
            return known
        problem = await self._class_problem(name, percent)
        return self._mirrors.put(key, problem, KEEP_PROBLEM_SECONDS if problem else KEEP_SECONDS)

    async def warnings(self, namespace: str) -> Mapping[str, str]:
        """Why Jobs have no pods, by UID: the newest FailedCreate event on each (a quota's or a LimitRange's words).

        One list for all models of a namespace: the API server reads every event of the namespace to answer it.
        """
        async with self._listing.setdefault(namespace, asyncio.Lock()):
            known = self._warnings.get((namespace, ""))
            if known is not None:
                return known
            try:
                events, _ = await self._cluster.list(EVENTS, namespace, fields="reason=FailedCreate", keep=_told)
            except Invalid:
                return self._warnings.put((namespace, ""), {}, KEEP_SECONDS)
            except ClusterError:
                # what was said last, or a busy API server would move the status of every waiting model to and fro
                if namespace not in self._said:
                    raise
                return self._warnings.put((namespace, ""), self._said[namespace], KEEP_WARNINGS_SECONDS)
            words = {event["involvedObject"].get("uid", ""): _steady(event) for event in sorted(events, key=_when)}
            self._said[namespace] = words
            seconds = KEEP_WARNINGS_SECONDS if len(events) < MANY_EVENTS else KEEP_SECONDS
            return self._warnings.put((namespace, ""), words, seconds)

    async def _store(self, namespace: str) -> StoreSettings:
        base = self._defaults.store
        try:
            data = (await self._cluster.get(CONFIG_MAPS, namespace, STORE_CONFIG)).get("data") or {}
        except NotFound:
            return base
        return StoreSettings(
            uri=str(data.get("uri") or base.uri).rstrip("/"),
            secret_name=str(data.get("secretName") or base.secret_name),
            serving_secret_name=str(data.get("servingSecretName") or base.serving_secret_name),
        )

    async def _gateway(self, namespace: str, parent: ParentReference) -> GatewayState:
        where = f"Gateway {namespace}/{parent.name}"
        try:
            manifest = await self._cluster.get(GATEWAYS, namespace, parent.name)
        except NotFound:
            return GatewayState("", f"{where} does not exist: create it, or correct {OWN_PARENTS}")
        except Invalid as error:
            return GatewayState("", f"{where} cannot be read: {error}")
        address, problem = observe.gateway(manifest, parent)
        return GatewayState(address, problem, str((manifest.get("spec") or {}).get("gatewayClassName", "")))

    async def _class_problem(self, name: str, percent: int) -> str:
        try:
            manifest = await self._cluster.get(GATEWAY_CLASSES, "", name)
        except NotFound:
            return f"rollout.shadow: GatewayClass {name} does not exist: create it, or remove spec.rollout.shadow"
        except Invalid as error:
            return (
                f"rollout.shadow: GatewayClass {name} cannot be read: {error}; upgrade the chart, or remove spec.rollout.shadow"
            )
        return mirror_problem(manifest, percent)


def _told(event: Manifest) -> Manifest:
    """What is read of an event: a thousand refused Jobs have ten thousand of them."""
    kept = {key: event[key] for key in ("message", "lastTimestamp", "eventTime") if event.get(key)}
    created = {"creationTimestamp": event["metadata"].get("creationTimestamp")}
    return {**kept, "metadata": created, "involvedObject": {"uid": event["involvedObject"].get("uid", "")}}


def _steady(event: Manifest) -> str:
    """The event's words without the drawn end of the pod's name: each try has another, and a status must not move by itself."""
    return _DRAWN.sub(r"\1-*\2", str(event.get("message", "")).removeprefix(_COMBINED), count=1)


def _when(event: Manifest) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")
