"""Our own copy of the objects that matter, filled by LIST and kept by events and by the answers to our own writes.

An older state never overwrites a newer one (resourceVersions of one object only grow), and an object that was seen deleted
does not come back by a late event. So a pass never plans on a state older than its own writes. `perennial.door` and the
reconciler's writes feed it; `perennial.adapters.observe` reads it. Keys are (namespace, name) of ModelDeployments.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

from perennial.adapters.declared import DECLARED, declared_keys
from perennial.adapters.kinds import DEPLOYMENTS_OF_MODELS, JOBS, PODS, ROUTES, WORKLOADS, kind_of
from perennial.manifests.common import CLAIM_PREFIX, MODEL_LABEL
from perennial.ports import Manifest

Key = tuple[str, str]
_Place = tuple[str, str, str]

SHARED_LENGTH = 64
"""Strings up to this length are kept once: kinds, reasons, names."""
BURIED = 20_000
"""Deleted UIDs that are remembered; late events of one arrive within seconds."""


class Cache:
    """Objects by kind and name, and by the ModelDeployment that they belong to."""

    def __init__(self) -> None:
        self._objects: dict[_Place, Manifest] = {}
        self._by_key: dict[Key, set[_Place]] = {}
        self._naming: dict[_Place, set[Key]] = {}
        """By users' HTTPRoutes, the ModelDeployments whose specs name a rule of it."""
        self._claimed: dict[Key, set[_Place]] = {}
        """Users' HTTPRoutes that a ModelDeployment has its claim on."""
        self._answering: dict[tuple[str, str], set[_Place]] = {}
        """Our own HTTPRoutes by what they answer."""
        self._buried: OrderedDict[str, float] = OrderedDict()
        """UID to the resourceVersion at which it was gone."""

    def put(self, manifest: Manifest) -> frozenset[Key]:
        """Takes in a state of an object. The keys to wake when it was news, else none.

        Of users' HTTPRoutes only those are kept that a ModelDeployment names or holds a rule of; the watch brings all of them.
        """
        meta = manifest["metadata"]
        place = _place(manifest)
        old = self._objects.get(place)
        late = self._buried.get(meta["uid"], -1.0) >= _version(manifest)
        if late or (old is not None and _version(old) >= _version(manifest)):
            return _NOBODY
        keys = self._keys_of(manifest)
        if not keys:
            return self._take_out(old) if old is not None else _NOBODY
        kept = slim(manifest)
        before = self._keys_of(old) if old is not None else _NOBODY
        if old is not None:
            self._unlink(old)
        self._objects[place] = kept
        self._link(kept)
        if old is not None:
            self._forget_route_of(old)
        return _NOBODY if old is not None and _same(old, kept) else keys | before

    def remove(self, manifest: Manifest, at: float = float("inf")) -> frozenset[Key]:
        """An object is gone (as seen at this resourceVersion). The keys to wake when that is news."""
        self._bury(manifest["metadata"]["uid"], at)
        old = self._objects.get(_place(manifest))
        if old is None or old["metadata"]["uid"] != manifest["metadata"]["uid"]:
            return _NOBODY
        return self._take_out(old)

    def refill(
        self, kind: str, items: Iterable[Manifest], resource_version: str, namespace: str | None = None, key: Key | None = None
    ) -> set[Key]:
        """The answer to a LIST, of a namespace or of a model alone: takes in what is newer, drops what the list no longer has.
        The keys to wake."""
        news: set[Key] = set()
        listed: set[_Place] = set()
        for item in items:
            listed.add(_place(item))
            news |= self.put(item)
        at = int(resource_version or 0)
        gone = [
            manifest
            for place, manifest in self._objects.items()
            if place[0] == kind
            and namespace in (None, place[1])
            and place not in listed
            and _version(manifest) <= at
            and key in (None, key_of(manifest))
        ]
        for manifest in gone:
            news |= self.remove(manifest, at)
        return news

    def get(self, kind: str, namespace: str, name: str) -> Manifest | None:
        """One object."""
        return self._objects.get((kind, namespace, name))

    def of(self, key: Key, kind: str) -> Iterator[Manifest]:
        """All objects of a kind that are labelled as belonging to a ModelDeployment; owners are to be checked by UID."""
        for place in self._by_key.get(key, ()):
            if place[0] == kind:
                yield self._objects[place]

    def claimed(self, key: Key) -> list[Manifest]:
        """Users' HTTPRoutes with a claim in a ModelDeployment's name; whether it is its own is to be checked by UID."""
        return [self._objects[place] for place in self._claimed.get(key, ())]

    def answering(self, path: str, hosts: Iterable[str]) -> list[Manifest]:
        """Our own HTTPRoutes for this path on any of these hosts, at whatever Gateway; the empty host: those that name none."""
        places = {place for host in hosts for place in self._answering.get((path, host), ())}
        return [self._objects[place] for place in sorted(places)]

    def models(self) -> set[Key]:
        """Of all ModelDeployments."""
        return {(namespace, name) for kind, namespace, name in self._objects if kind == DEPLOYMENTS_OF_MODELS}

    def _keys_of(self, manifest: Manifest) -> frozenset[Key]:
        """Whom it concerns: the model that it belongs to, or those that name or hold a rule of it."""
        key = key_of(manifest)
        own = frozenset((key,)) if key is not None else _NOBODY
        return own | claimants(manifest) | self._naming.get(_place(manifest), set())

    def _take_out(self, old: Manifest) -> frozenset[Key]:
        keys = self._keys_of(old)
        del self._objects[_place(old)]
        self._unlink(old)
        self._forget_route_of(old)
        return keys

    def _forget_route_of(self, model: Manifest) -> None:
        """A user's HTTPRoute that this ModelDeployment was the last to name."""
        route = self._objects.get((ROUTES, model["metadata"]["namespace"], named_route(model)))
        if route is not None and not self._keys_of(route):
            del self._objects[_place(route)]

    def _link(self, kept: Manifest) -> None:
        for index, name, entry in self._entries(kept):
            index.setdefault(name, set()).add(entry)

    def _unlink(self, old: Manifest) -> None:
        for index, name, entry in self._entries(old):
            entries = index.get(name, set())
            entries.discard(entry)
            if not entries:
                index.pop(name, None)

    def _entries(self, kept: Manifest) -> Iterator[tuple[dict[Any, set[Any]], Any, Any]]:
        """(index, name in it, what stands there) of an object."""
        key, place = key_of(kept), _place(kept)
        if key is not None:
            yield self._by_key, key, place
        if route := named_route(kept):
            yield self._naming, (ROUTES, _key(kept)[0], route), _key(kept)
        for claimant in claimants(kept):
            yield self._claimed, claimant, place
        for answered in answers(kept):
            yield self._answering, answered, place

    def _bury(self, uid: str, at: float) -> None:
        self._buried[uid] = at
        while len(self._buried) > BURIED:
            self._buried.popitem(last=False)


_NOBODY: frozenset[Key] = frozenset()


def named_route(manifest: Manifest) -> str:
    """The user's HTTPRoute that a ModelDeployment names; empty: none."""
    if kind_of(manifest) != DEPLOYMENTS_OF_MODELS:
        return ""
    try:
        return str(manifest["spec"]["serving"]["route"]["httpRoute"]["name"])
    except (KeyError, TypeError):
        return ""


def answers(manifest: Manifest) -> list[tuple[str, str]]:
    """(path, host) of an HTTPRoute that we made, the empty host where it names none; nothing: it is none."""
    if kind_of(manifest) != ROUTES or key_of(manifest) is None:
        return []
    try:
        path = str(manifest["spec"]["rules"][0]["matches"][0]["path"]["value"])
        return [(path, str(host)) for host in manifest["spec"].get("hostnames") or [""]]
    except (KeyError, IndexError, TypeError):
        return []


def claimants(manifest: Manifest) -> set[Key]:
    """ModelDeployments that have an annotation of a claim on an HTTPRoute."""
    meta = manifest["metadata"]
    if kind_of(manifest) != ROUTES:
        return set()
    found = (meta.get("annotations") or {}).keys()
    return {(meta["namespace"], key.removeprefix(CLAIM_PREFIX)) for key in found if key.startswith(CLAIM_PREFIX)}


def key_of(manifest: Manifest) -> Key | None:
    """The ModelDeployment that an object belongs to by its label, or that it is."""
    meta = manifest["metadata"]
    if kind_of(manifest) == DEPLOYMENTS_OF_MODELS:
        return meta["namespace"], meta["name"]
    model = (meta.get("labels") or {}).get(MODEL_LABEL)
    return (meta["namespace"], model) if model else None


def slim(manifest: Manifest) -> Manifest:
    """The object without what no pass reads: a thousand of them have to fit. Of what is slim already, the same."""
    meta = {name: value for name, value in manifest["metadata"].items() if name not in ("managedFields", "selfLink")}
    annotations = {k: v for k, v in (meta.get("annotations") or {}).items() if not k.startswith("kubectl.kubernetes.io/")}
    meta.pop("annotations", None)
    if annotations:
        meta["annotations"] = annotations
    kept = {**manifest, "metadata": meta}
    spec = manifest.get("spec") or {}
    match kind_of(manifest):
        case str() as kind if kind == PODS:
            kept["spec"] = _slim_pod(spec)
        case str() as kind if kind == JOBS:
            kept["spec"] = {"suspend": True} if spec.get("suspend") else {}
        case str() as kind if kind == WORKLOADS:
            kept["spec"] = {"replicas": spec.get("replicas", 1)}
        case str() as kind if kind == DEPLOYMENTS_OF_MODELS:
            kept[DECLARED] = manifest.get(DECLARED) or declared_keys(manifest["metadata"])
        case _:
            pass
    compacted: Manifest = _compact(kept)
    return compacted


def _compact(value: Any) -> Any:
    """A copy that shares what all objects have in common, names of fields above all, and nothing with what it came in."""
    if isinstance(value, dict):
        return {sys.intern(name): _compact(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_compact(inner) for inner in value]
    return sys.intern(value) if type(value) is str and len(value) <= SHARED_LENGTH else value


def _slim_pod(spec: Manifest) -> Manifest:
    return {
        field: [{"name": container["name"], "limits": _limits(container)} for container in spec.get(field) or ()]
        for field in ("initContainers", "containers")
    }


def _limits(container: Manifest) -> Manifest:
    return container.get("limits") or (container.get("resources") or {}).get("limits") or {}


def _same(old: Manifest, new: Manifest) -> bool:
    """Only the resourceVersion moved: a change in fields that no pass reads."""
    return {**old["metadata"], "resourceVersion": ""} == {**new["metadata"], "resourceVersion": ""} and all(
        old.get(field) == new.get(field) for field in ("spec", "status")
    )


def _place(manifest: Manifest) -> _Place:
    meta = manifest["metadata"]
    return kind_of(manifest), meta["namespace"], meta["name"]


def _key(manifest: Manifest) -> Key:
    meta = manifest["metadata"]
    return meta["namespace"], meta["name"]


def _version(manifest: Manifest) -> int:
    return int(manifest["metadata"]["resourceVersion"])
