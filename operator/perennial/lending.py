"""Writes on what is not ours: a rule of a user's HTTPRoute, and the finalizer of a ModelDeployment that borrows one.

Each is a JSON patch on the newest state, with tests of what it rests on. One that fails because somebody else wrote meanwhile is
made again on what is there then. Called by `perennial.applying`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from perennial.adapters.cache import Cache
from perennial.adapters.kinds import DEPLOYMENTS_OF_MODELS, ROUTES
from perennial.api.v1alpha1 import ModelDeploymentStatus
from perennial.core.actions import AddFinalizer, BorrowRule, RemoveFinalizer, ReturnRule
from perennial.core.observed import Meta
from perennial.manifests.borrowed import Operations, borrowed, changes, claim_of, returned
from perennial.manifests.common import FINALIZER
from perennial.ports import Cluster, ClusterError, Conflict, Invalid, Manifest, NotFound

TRIES = 3
"""Of one write in one pass, against somebody who writes all the time."""

Difference = Callable[[Manifest], Operations]


class Lending:
    """Methods return whether anything was written, or turned out to be other than the cache had it; they raise ClusterError."""

    def __init__(self, cluster: Cluster, cache: Cache) -> None:
        self._cluster = cluster
        self._cache = cache

    async def carry_out(
        self, action: BorrowRule | ReturnRule | AddFinalizer | RemoveFinalizer, meta: Meta, status: ModelDeploymentStatus
    ) -> bool:
        """One of them; `status` has the weights that were given so far."""
        match action:
            case BorrowRule():
                return await self.borrow(action, meta, status)
            case ReturnRule(route, rule):
                return await self.give_back(route, rule, meta)
            case AddFinalizer() | RemoveFinalizer():
                return await self.put_finalizer(meta, isinstance(action, AddFinalizer))
            case _:
                assert_never(action)

    async def borrow(self, action: BorrowRule, meta: Meta, status: ModelDeploymentStatus) -> bool:
        """The claim on a rule, and our weights and mirror in it."""
        known = {*action.weights, *((entry.version, entry.weight) for entry in status.weights)}
        return await self._patch(
            ROUTES, meta.namespace, action.route, lambda route: changes(route, borrowed(route, meta, action, known))
        )

    async def give_back(self, route: str, rule: str, meta: Meta) -> bool:
        """A rule as it was found."""

        def difference(found: Manifest) -> Operations:
            claim = claim_of(found, meta)
            return changes(found, returned(found, claim, rule)) if claim is not None and rule in claim.rules else []

        return await self._patch(ROUTES, meta.namespace, route, difference)

    async def put_finalizer(self, meta: Meta, wanted: bool) -> bool:
        """Our finalizer on the ModelDeployment, or off it; others stay."""
        if meta.deleting and not wanted and await self._holds_unseen(meta):
            return True

        def difference(found: Manifest) -> Operations:
            same = found["metadata"]["uid"] == meta.uid
            return _finalizer(found["metadata"], wanted) if same else []

        return await self._patch(DEPLOYMENTS_OF_MODELS, meta.namespace, meta.name, difference)

    async def _holds_unseen(self, meta: Meta) -> bool:
        """The route that the spec names has a claim of ours that the cache does not: the answer to its write was lost. An API
        server that does not tell holds nothing up."""
        own = self._cache.get(DEPLOYMENTS_OF_MODELS, meta.namespace, meta.name)
        route = ((own or {}).get("spec", {}).get("serving") or {}).get("route") or {}
        name = (route.get("httpRoute") or {}).get("name")
        if not name or self._is_seen_to_hold(meta):
            return False
        try:
            self._cache.put(await self._cluster.get(ROUTES, meta.namespace, name))
        except ClusterError:
            return False
        return self._is_seen_to_hold(meta)

    def _is_seen_to_hold(self, meta: Meta) -> bool:
        return any(claim_of(one, meta) for one in self._cache.claimed((meta.namespace, meta.name)))

    async def _patch(self, kind: str, namespace: str, name: str, difference: Difference) -> bool:
        """Nothing is written where the cache shows no difference. What is gone needs no write."""
        cached = self._cache.get(kind, namespace, name)
        if cached is None or not difference(cached):
            return False
        for _ in range(TRIES):
            try:
                found = await self._cluster.get(kind, namespace, name)
                self._cache.put(found)
                operations = difference(found)
                if operations:
                    self._cache.put(await self._cluster.json_patch(kind, namespace, name, operations))
            except NotFound:
                self._cache.remove(cached)
                return True
            except (Invalid, Conflict) as error:
                await self._raise_if_unchanged(kind, found, error)
            else:
                return True
        raise Conflict(409, f"{kind.rpartition('/')[2]} {namespace}/{name} is written by somebody else all the time")

    async def _raise_if_unchanged(self, kind: str, found: Manifest, error: Invalid | Conflict) -> None:
        """The API server refused the patch although it holds what was tested: by RBAC, a policy or the schema."""
        meta = found["metadata"]
        newest = await self._cluster.get(kind, meta["namespace"], meta["name"])
        if newest["metadata"]["resourceVersion"] == meta["resourceVersion"]:
            raise error


def _finalizer(meta: Manifest, wanted: bool) -> Operations:
    held = list(meta.get("finalizers") or ())
    if (FINALIZER in held) is wanted or (wanted and "deletionTimestamp" in meta):
        return []
    path = "/metadata/finalizers"
    if not held:
        version = {"op": "test", "path": "/metadata/resourceVersion", "value": meta["resourceVersion"]}
        return [version, {"op": "add", "path": path, "value": [FINALIZER]}]
    change = {"op": "add", "path": f"{path}/-", "value": FINALIZER}
    if not wanted:
        change = {"op": "remove", "path": f"{path}/{held.index(FINALIZER)}"}
    return [{"op": "test", "path": path, "value": held}, change]
